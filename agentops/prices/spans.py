"""Booked spans with all that decides what they cost, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from psycopg import Cursor

from agentops.columns import Byteas, Texts, transpose
from agentops.costs.spans import RECEIVED
from agentops.domain.pricing import PriceList, span_cost
from agentops.domain.spans import Cost, Kind, Span, TokenUsage
from agentops.domain.terms import recall_terms
from agentops.runs.store import STORED_COLUMNS, RunKey, StoredSpan

#: What may cost anything.
PRICED_KINDS = (Kind.LLM, Kind.EMBEDDING, Kind.TOOL)
#: Where the counts of tokens end among ``FIGURES``, and where what a price makes of them does.
_TOKENS, _COST = 5, 9


@dataclass(slots=True, frozen=True)
class PricedSpan:
    """A booked span; ``place`` counts from 1 the runs that were asked for."""

    place: int
    provider: str | None
    stored: StoredSpan

    def cost(self, prices: PriceList) -> Cost:
        """What it costs by other prices."""
        return span_cost(_span(self.stored, self.provider), prices)

    def costs_as(self, cost: Cost) -> bool:
        """Whether it costs that already, from the same source: a new version of the same price changes nothing."""
        stored = self.stored
        return (stored.cost_nano, stored.price_source, stored.is_estimate) == (cost.nano, cost.source, cost.is_estimate)

    def figures(self, cost: Cost) -> tuple[Any, ...]:
        """What it counts at that cost."""
        return _figures(self.stored.figures, cost)

    def own_figures(self, prices: PriceList) -> str | None:
        """What it told itself, by other prices, where it counts what another span tells."""
        if self.stored.own_figures is None:
            return None
        own = orjson.loads(self.stored.own_figures)
        told = replace(self.stored, **dict(zip(_COUNTS, own[:_TOKENS], strict=True)), terms=own[_COST])
        return orjson.dumps(_figures(own, span_cost(_span(told, self.provider), prices))).decode()


_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)


def _figures(figures: Sequence[Any], cost: Cost) -> tuple[Any, ...]:
    return (*figures[:_TOKENS], *cost, *figures[_COST:])


def _span(stored: StoredSpan, provider: str | None) -> Span:
    """As much of a span as its price needs."""
    span = Span(
        stored.trace_id,
        stored.span_id,
        stored.parent_span_id,
        stored.service,
        Kind(stored.kind),
        "",
        stored.scope,
        stored.start_ns,
        stored.end_ns,
        is_error=stored.is_error,
        provider=provider,
        request_model=stored.request_model,
        response_model=stored.response_model,
        tool_name=stored.tool,
        usage=TokenUsage(*stored.tokens),
    )
    recall_terms(span, stored.terms)
    return span


PRICED = f"""
SELECT k.place, s.provider, {STORED_COLUMNS}
FROM unnest(%b::bytea[], %b::text[]) WITH ORDINALITY AS k (trace_id, service, place)
JOIN runs r ON r.trace_id = k.trace_id AND r.service = k.service
CROSS JOIN LATERAL (
    SELECT * FROM spans s WHERE s.trace_id = k.trace_id AND s.service = k.service AND {RECEIVED}
        AND s.start_ns >= %b::bigint AND s.start_ns < %b::bigint
        AND s.kind IN ({", ".join(str(int(kind)) for kind in PRICED_KINDS)})
        AND (%b::text = '' OR %b::text IN (s.response_model, s.request_model, s.tool))
        AND (%b::text = '' OR s.provider = %b::text)
) AS s
WHERE (k.place, s.start_ns, s.span_id) > (1, %b::bigint, %b::bytea)
ORDER BY k.place, s.start_ns, s.span_id LIMIT %b::bigint
"""


def priced_spans(
    cursor: Cursor[Any],
    runs: Sequence[RunKey],
    from_ns: int,
    until_ns: int,
    *,
    name: str,
    provider: str,
    after: tuple[int, bytes],
    limit: int,
) -> list[PricedSpan]:
    """Spans of some runs that started in a range, in the order of runs and starts.

    Of the first run those after a start and a span id. ``name`` (of a model or a tool) and ``provider`` are filters,
    empty for any.
    """
    keys = transpose((Byteas, Texts), runs)
    cursor.execute(PRICED, [*keys, from_ns, until_ns, name, name, provider, provider, *after, limit])
    return [PricedSpan(row[0], row[1], StoredSpan(*row[2:])) for row in cursor.fetchall()]
