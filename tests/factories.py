"""Rows for tests that read: runs and spans as they lie in the tables, not as the pipeline books them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from agentops.domain.spans import COSTED_KINDS, Kind, PriceSource
from agentops.runs.models import Run, Span

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ns(moment: datetime) -> int:
    """Nanoseconds since the epoch."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


class RunFactory(DjangoModelFactory[Run]):
    """A run that ended well a minute ago, of a service with a user and a session."""

    class Meta:
        model = Run

    trace_id = factory.Sequence(lambda n: md5(f"trace {n}".encode(), usedforsecurity=False).digest())
    service = "research-assistant"
    environment: Any = None
    session: Any = "sess-1"
    user: Any = "maria@example.com"
    feature: Any = "churn-brief"
    release: Any = "1.4.0"
    name = "answer question"
    agents = factory.LazyFunction(lambda: ["planner"])
    has_root = True
    started_at = factory.LazyFunction(lambda: timezone.now() - timedelta(minutes=1))
    latest_at = factory.LazyAttribute(lambda run: run.started_at + timedelta(seconds=18))
    first_received_at = factory.LazyAttribute(lambda run: run.started_at + timedelta(seconds=1))
    last_received_at = factory.LazyAttribute(lambda run: run.latest_at + timedelta(seconds=1))
    cost_nano = 41_000_000
    llm_calls = 2
    tool_calls = 1
    steps = 3
    input_tokens = 1_500
    output_tokens = 400
    spans = 4


class SpanFactory(DjangoModelFactory[Span]):
    """A model call of a run (``run=``), a second after its start and two seconds long, with a known price.

    ``content`` may be a dict. A span of another kind costs nothing unless it says so.
    """

    class Meta:
        model = Span

    class Params:
        run = factory.SubFactory(RunFactory)
        after_ms = 1_000
        took_ms = 2_000

    received_on = factory.LazyAttribute(lambda span: span.run.first_received_at.date())
    service = factory.LazyAttribute(lambda span: span.run.service)
    trace_id = factory.LazyAttribute(lambda span: span.run.trace_id)
    span_id = factory.Sequence(lambda n: (n + 1).to_bytes(8, "big"))
    parent_span_id: Any = None
    kind: Any = Kind.LLM
    is_error = False
    name = factory.LazyAttribute(lambda span: f"{Kind(span.kind).name.lower()} span")
    scope = "test"
    own_agent: Any = None
    agent: Any = "planner"
    provider = factory.LazyAttribute(lambda span: "openai" if span.kind in COSTED_KINDS else None)
    request_model = factory.LazyAttribute(lambda span: "gpt-4o" if span.kind in COSTED_KINDS else None)
    response_model = factory.LazyAttribute(lambda span: "gpt-4o-2024-08-06" if span.kind in COSTED_KINDS else None)
    tool = factory.LazyAttribute(lambda span: "web_search" if span.kind == Kind.TOOL else None)
    start_ns = factory.LazyAttribute(lambda span: to_ns(span.run.started_at) + span.after_ms * 1_000_000)
    end_ns = factory.LazyAttribute(lambda span: span.start_ns + span.took_ms * 1_000_000)
    input_tokens = factory.LazyAttribute(lambda span: 1_000 if span.kind in COSTED_KINDS else None)
    output_tokens = factory.LazyAttribute(lambda span: 200 if span.kind in COSTED_KINDS else None)
    cost_nano = factory.LazyAttribute(lambda span: 4_500_000 if span.kind in COSTED_KINDS else None)
    price_source = factory.LazyAttribute(lambda span: None if span.cost_nano is None else PriceSource.GENAI_PRICES)
    price_id = factory.LazyAttribute(
        lambda span: None if span.cost_nano is None else "genai-prices 0.2.3 openai/gpt-4o"
    )
    content: Any = None

    @classmethod
    def _adjust_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
        if isinstance(kwargs["content"], dict):
            kwargs["content"] = json.dumps(kwargs["content"])
        return kwargs
