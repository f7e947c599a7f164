"""A span on its way into the books, and how its run's tree sees it and those that are booked already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from agentops.costs.cells import measures_of
from agentops.domain.runtree import Node
from agentops.domain.spans import COSTED_KINDS, Cost, Kind, Span
from agentops.domain.terms import stored_terms
from agentops.runs import store as runs
from agentops.runs.store import RunKey, SpanKey, StoredSpan


@dataclass(slots=True)
class Entry:
    """A span and its price, ready to be booked."""

    span: Span
    cost: Cost
    content: str | None
    key: SpanKey = field(init=False)
    run: RunKey = field(init=False)
    measures: tuple[int, ...] = field(init=False)
    #: By when budgets count it; known once its transaction has begun.
    counted_at: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Derive the keys and what the span counts, once."""
        span = self.span
        self.key = (span.trace_id, span.span_id, span.service)
        self.run = (span.trace_id, span.service)
        self.measures = measures_of(span, self.cost)


def answer_key(span: Span | StoredSpan) -> bytes | None:
    """Under what a model call's answer is remembered; ``None`` when it has no id of its own."""
    return runs.answer_key(span.service, Kind(span.kind), span.response_id) if span.kind in COSTED_KINDS else None


def figures_of(entry: Entry) -> tuple[Any, ...]:
    """What a new span tells that counts, in the order of ``FIGURES``."""
    span, cost, usage = entry.span, entry.cost, entry.span.usage
    return (
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_creation,
        usage.reasoning,
        cost.nano,
        cost.source,
        cost.price_id,
        cost.is_estimate,
        stored_terms(span),
    )


def node_of(span: Span) -> Node:
    """A new span as its run's tree sees it."""
    usage = span.usage
    return Node(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kind=span.kind,
        own_agent=span.agent_name,
        scope=span.scope,
        response_id=span.response_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        usage_fields=_known((usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)),
        output_tokens=usage.output,
        is_error=span.is_error,
    )


def node_of_stored(span: StoredSpan) -> Node:
    """A booked span as its run's tree sees it: by what it told itself."""
    own = span.tokens if span.own_figures is None else orjson.loads(span.own_figures)[:5]
    return Node(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kind=Kind(span.kind),
        own_agent=span.own_agent,
        scope=span.scope,
        response_id=span.response_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        usage_fields=_known(own),
        output_tokens=own[1],
        is_error=span.is_error,
    )


def _known(counts: Iterable[int | None]) -> int:
    return sum(1 for count in counts if count)
