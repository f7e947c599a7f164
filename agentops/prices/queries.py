"""What is asked of the price book, and of the calls that it does not price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from agentops.costs import queries as costs
from agentops.costs.queries import Totals
from agentops.costs.sources import SpendFilters
from agentops.costs.spans import UNPRICED
from agentops.domain.periods import DAY, ceil_hour, floor_hour
from agentops.prices.models import ModelAlias, PriceEntry
from agentops.prices.store import alias_of, entry_of, fields_of, to_moment, to_ns

MAX_GROUPS = 500
#: A version, and what it is one of.
Row = PriceEntry | ModelAlias
Model = type[PriceEntry] | type[ModelAlias]


@dataclass(frozen=True, slots=True)
class Change:
    """One version of something in the book, and what it changed of the one before: (field, before, after)."""

    row: Row
    fields: list[tuple[str, Any, Any]]


def latest(model: Model, *, number: int | None = None) -> list[Row]:
    """The last version of every entry or alias, withdrawn ones last, by what they are for; or of one number."""
    rows = _versions(model) if number is None else _versions(model).filter(number=number)
    found: list[Row] = list(rows.order_by("number", "-version").distinct("number"))
    return sorted(found, key=lambda row: (row.is_withdrawn, row.pattern.lower(), row.provider, row.service, row.number))


def history(model: Model, number: int) -> list[Change]:
    """Every version, the last first, with what it changed."""
    rows: list[Row] = list(_versions(model).filter(number=number).order_by("-version"))
    shapes = [_shape(row) for row in rows]
    changes = []
    for row, after, before in zip(rows, shapes, [*shapes[1:], None], strict=True):
        names = [name for name in after if before is not None and before[name] != after[name]]
        changes.append(Change(row, [(name, before[name], after[name]) for name in names if before is not None]))
    return changes


def _versions(model: Model) -> Any:
    return model._default_manager.select_related("revision__by")  # noqa: SLF001  (Django's own name)


def _shape(row: Row) -> dict[str, Any]:
    values = fields_of(entry_of(row) if isinstance(row, PriceEntry) else alias_of(row))
    return values | {"is_withdrawn": row.is_withdrawn}


@dataclass(frozen=True, slots=True)
class Comparable:
    """A model that the period paid for: what a token of it cost, in nano-dollars, input and output alike."""

    model: str
    nano_per_token: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What unpriced tokens may cost, in nano-dollars.

    ``mean`` is at what the period paid for a token on average, ``low`` and ``high`` at what it paid on average for one
    of its cheapest and one of its dearest model.
    """

    low_nano: int
    mean_nano: int
    high_nano: int


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Calls of a period without a price that a model of a provider made for a service.

    ``silent`` of them told no tokens. ``bounds`` is ``None`` when nothing tells what their tokens may cost.
    """

    provider: str
    model: str
    service: str
    calls: int
    input_tokens: int
    output_tokens: int
    silent: int
    first_at: datetime
    bounds: Bounds | None

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class UnpricedReport:
    """All of them, the most tokens first; what the whole period adds up to, and what its tokens are compared with."""

    groups: list[Unpriced]
    total: Totals
    calls: int
    tokens: int
    silent: int
    bounds: Bounds | None
    cheapest: Comparable | None
    dearest: Comparable | None
    is_cut: bool

    @property
    def share_of_calls(self) -> float | None:
        """How many of the period's model calls have no price, 0 to 1."""
        return self.calls / self.total.llm_calls if self.total.llm_calls else None

    @property
    def share_of_tokens(self) -> float | None:
        """How many of the period's tokens have no price, 0 to 1."""
        return self.tokens / self.total.tokens if self.total.tokens else None

    @property
    def share_of_cost(self) -> tuple[float, float, float] | None:
        """How much of the period's cost they may be, 0 to 1: at the least, on average, at the most."""
        if self.bounds is None:
            return None
        nanos = (self.bounds.low_nano, self.bounds.mean_nano, self.bounds.high_nano)
        low, mean, high = (nano / (self.total.cost_nano + nano) if nano else 0.0 for nano in nanos)
        return low, mean, high


GROUPS = f"""
SELECT coalesce(s.provider, ''), coalesce(nullif(s.response_model, ''), s.request_model, ''), s.service, count(*),
    coalesce(sum(s.input_tokens), 0), coalesce(sum(s.output_tokens), 0),
    count(*) FILTER (WHERE s.input_tokens IS NULL AND s.output_tokens IS NULL), min(s.start_ns)
FROM spans s
WHERE s.start_ns >= %(from_ns)s AND s.start_ns < %(until_ns)s AND s.received_on >= %(received_from)s
    AND {UNPRICED} AND s.merged_into IS NULL
GROUP BY 1, 2, 3 ORDER BY sum(coalesce(s.input_tokens, 0) + coalesce(s.output_tokens, 0)) DESC, 4 DESC, 1, 2, 3
"""


def unpriced(from_: datetime, until: datetime) -> UnpricedReport:
    """The calls of a period, widened to whole hours, whose cost is not known, and how much of it they may be."""
    from_, until = floor_hour(from_), ceil_hour(until)
    report = costs.spend("model", SpendFilters(), from_, until, limit=costs.MAX_LIMIT)
    with connection.cursor() as cursor:
        period: dict[str, Any] = {
            "from_ns": to_ns(from_, 0),
            "until_ns": to_ns(until, 0),
            "received_from": (from_ - DAY).date(),
        }
        cursor.execute(GROUPS, period)
        rows = cursor.fetchall()
    tokens = sum(int(row[4] + row[5]) for row in rows)
    # What names no model are tools.
    tools = next((item.totals for item in report.items if item.key is None), Totals())
    mean = _mean(report.total - tools, tokens)
    comparables = [
        Comparable(item.key, item.totals.cost_nano / item.totals.tokens)
        for item in report.items
        if item.key and item.totals.cost_nano > 0 and item.totals.output_tokens and not item.totals.unpriced_calls
    ]
    cheapest, dearest = (
        (pick(comparables, key=lambda each: each.nano_per_token) if comparables else None) for pick in (min, max)
    )

    def bound(count: int) -> Bounds | None:
        if mean is None:
            return None
        low, high = cheapest.nano_per_token if cheapest else mean, dearest.nano_per_token if dearest else mean
        return Bounds(round(count * min(low, mean)), round(count * mean), round(count * max(high, mean)))

    return UnpricedReport(
        groups=[_group(row, bound(int(row[4] + row[5]))) for row in rows[:MAX_GROUPS]],
        total=report.total,
        calls=sum(row[3] for row in rows),
        tokens=tokens,
        silent=sum(row[6] for row in rows),
        bounds=bound(tokens),
        cheapest=cheapest,
        dearest=dearest,
        is_cut=len(rows) > MAX_GROUPS,
    )


def _mean(total: Totals, unpriced_tokens: int) -> float | None:
    """What a token that has a price cost on average; ``None`` when none has."""
    priced = total.tokens - unpriced_tokens
    return total.cost_nano / priced if priced > 0 and total.cost_nano > 0 else None


def _group(row: Sequence[Any], bounds: Bounds | None) -> Unpriced:
    provider, model, service, calls, given, output, silent, first_ns = row
    return Unpriced(provider, model, service, calls, int(given), int(output), silent, to_moment(first_ns), bounds)
