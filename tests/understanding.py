"""Spans made up for a test, understood."""

from __future__ import annotations

from typing import Any

from agentops.domain.dialects import normalise
from agentops.domain.spans import RawSpan, Resource, Span

START = 1_790_000_000_000_000_000
CHAT = {"gen_ai.operation.name": "chat"}


def understood(
    attributes: dict[str, Any], *, scope: str = "scope", name: str = "span", resource: Any = None, **more: Any
) -> Span:
    raw = RawSpan(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        parent_span_id=b"p" * 8,
        name=name,
        start_ns=START,
        end_ns=START + 5,
        status_code=0,
        status_message="",
        attributes=attributes,
        events=[],
        scope=scope,
        resource=Resource(resource or {}),
    )
    for field, value in more.items():
        setattr(raw, field, value)
    return normalise(raw, "service")
