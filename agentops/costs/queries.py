"""What is asked of spend. Money is nano-dollars; a key of ``None`` is what carries none.

Hours are whole everywhere: a range is widened to the hours that it touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from agentops.catalog.queries import ownership
from agentops.costs.models import MEASURES
from agentops.costs.sources import DAY, By, Interval, Source, SpendFilters, ceil_hour, cells, floor_hour, truncate

BYS: tuple[By, ...] = get_args(By)
INTERVALS: tuple[Interval, ...] = get_args(Interval)
MAX_LIMIT = 1_000
#: Time for questions that read spans, and for exports; what pages and rollups ask stays far below.
LONG_TIMEOUT = "SET LOCAL statement_timeout = '55s'"
CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of the measures."""

    cost_nano: int = 0
    unpriced_calls: int = 0
    llm_calls: int = 0
    tool_calls: int = 0
    steps: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    reasoning_output_tokens: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, m) + getattr(other, m) for m in MEASURES))

    @property
    def known_cost_nano(self) -> int | None:
        """The cost, or ``None`` when none of its calls has a price."""
        return None if self.unpriced_calls and not self.cost_nano else self.cost_nano

    @property
    def shown_cost_nano(self) -> int | None:
        """The cost, or ``None`` where nothing has one: calls that failed before they used anything."""
        return self.cost_nano if self.cost_nano or (self.tokens and not self.unpriced_calls) else None

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    @property
    def cached_share(self) -> float | None:
        """The share of input tokens that came from a cache; ``None`` without input."""
        return self.cache_read_input_tokens / self.input_tokens if self.input_tokens else None


@dataclass(frozen=True, slots=True)
class Item:
    """The totals of one key."""

    key: str | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class Point:
    """What one key adds up to in the interval that starts then; ``is_other`` sums all keys not listed."""

    start: datetime
    key: str | None
    value: int
    is_other: bool = False


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares of the cost, 0 to 1, and of no owner the amount; ``None`` when there is no cost."""

    user: float | None
    feature: float | None
    owner: float | None


@dataclass(frozen=True, slots=True)
class SpendReport:
    """Totals by key, the largest first; ``other`` sums the ``others`` keys past the limit.

    ``reads`` says how far back it is complete: ``spans`` go when their retention ends.
    """

    total: Totals
    items: list[Item]
    other: Totals | None = None
    others: int = 0
    series: list[Point] = field(default_factory=list)
    reads: Literal["rollups", "runs", "spans"] = "rollups"


_SUMS = ", ".join(f"sum({m}) AS {m}" for m in MEASURES)
#: A key whose spend all moved elsewhere keeps an empty cell, which nobody needs to see.
RANKED = f"""
WITH sums AS (
    SELECT key, {_SUMS} FROM ({{cells}}) AS c GROUP BY key HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY {{order}}, cost_nano DESC, steps DESC, key COLLATE "C") AS place
    FROM sums
)
SELECT least(place, %(limit)s + 1), min(key) FILTER (WHERE place <= %(limit)s), count(*), {_SUMS}
FROM ranked GROUP BY 1 ORDER BY 1
"""
SERIES = """
SELECT date_trunc('{interval}', start, 'UTC'), array_position(%(named)s::text[], key), sum({measure})
FROM ({cells}) AS c GROUP BY 1, 2 HAVING sum({measure}) <> 0 ORDER BY 1, 2
"""
COSTS = "SELECT key, sum(cost_nano) FROM ({cells}) AS c WHERE key = ANY(%(keys)s) GROUP BY key"
TOTAL = "SELECT coalesce(sum(cost_nano), 0) FROM ({cells}) AS c"
WITHOUT = "SELECT coalesce(sum(cost_nano), 0) FROM ({cells}) AS c WHERE key = ''"
OWNED = "SELECT coalesce(sum(cost_nano), 0) FROM ({cells}) AS c WHERE key = ANY(%(owned)s)"
CELLS = f"""
SELECT date_trunc('{{interval}}', start, 'UTC') AS bucket, key, {_SUMS} FROM ({{cells}}) AS c
GROUP BY 1, 2 HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0 ORDER BY 1, 3 DESC, 2
"""


def spend(
    by: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    *,
    interval: Interval | None = None,
    limit: int = 100,
    sort: str = "-cost_nano",
    measure: str = "cost_nano",
) -> SpendReport:
    """Spend of ``[from_, until)`` by a dimension; with an interval also as a series.

    ``sort`` is one of ``MEASURES``, with ``-`` the largest first. The series names the same keys as the items
    and sums the rest, in ``measure``. Two statements, or three with a series.
    """
    limit = max(1, min(limit, MAX_LIMIT))
    source = cells(by, filters, floor_hour(from_), ceil_hour(until), owners=ownership(), interval=interval)
    if sort.removeprefix("-") not in MEASURES or measure not in MEASURES:
        raise ValueError(sort, measure)
    order = f"{sort.removeprefix('-')} {'DESC' if sort.startswith('-') else 'ASC'}"
    rows = _ask(RANKED.format(order=order, cells="{cells}"), source, {"limit": limit})
    items = [Item(key or None, _totals(sums)) for place, key, _, *sums in rows if place <= limit]
    rest = next(((count, _totals(sums)) for place, _, count, *sums in rows if place > limit), None)
    report = SpendReport(
        total=sum((item.totals for item in items), rest[1] if rest else Totals()),
        items=items,
        other=rest[1] if rest else None,
        others=rest[0] if rest else 0,
        reads=source.reads,
    )
    return replace(report, series=_series(source, interval, items, measure)) if interval else report


def _series(source: Source, interval: Interval, items: Sequence[Item], measure: str) -> list[Point]:
    keys = [item.key for item in items]
    rows = _ask(
        SERIES.format(interval=interval, measure=measure, cells="{cells}"),
        source,
        {"named": [key or "" for key in keys]},
    )
    return [
        Point(start, keys[place - 1] if place else None, int(value), is_other=place is None)
        for start, place, value in rows
    ]


def costs_by_key(
    by: By, filters: SpendFilters, from_: datetime, until: datetime, keys: Sequence[str | None]
) -> tuple[int, dict[str | None, int]]:
    """The cost of everything in exactly ``[from_, until)``, and of some keys: what a later range is compared with.

    An hour that the range cuts counts as far as the range reaches into it.
    """
    owners, first, last = ownership(), floor_hour(from_), floor_hour(until)
    total, by_key = 0.0, dict.fromkeys(keys, 0.0)
    shares = [(first, last, 1.0)] if first < last else []
    if last < until:
        shares.append((last, ceil_hour(until), (until - last) / (ceil_hour(until) - last)))
    if first < from_:
        shares.append((first, ceil_hour(from_), -((from_ - first) / (ceil_hour(from_) - first))))
    for begin, end, share in shares:
        source = cells(by, filters, begin, end, owners=owners)
        total += share * int(_ask(TOTAL, source)[0][0])
        for key, cost in _ask(COSTS, source, {"keys": [key or "" for key in keys]}):
            by_key[key or None] += share * int(cost)
    return round(total), {key: round(cost) for key, cost in by_key.items()}


def coverage(filters: SpendFilters, from_: datetime, until: datetime, total: int) -> Coverage:
    """How much of a range's cost, ``total``, has a user, a feature, a service that somebody owns."""
    if total <= 0:
        return Coverage(None, None, None)
    owners, begin, end = ownership(), floor_hour(from_), ceil_hour(until)

    def share_with(dimension: Literal["user", "feature"]) -> float:
        if getattr(filters, dimension):
            return 1.0
        return 1 - int(_ask(WITHOUT, cells(dimension, filters, begin, end, owners=owners))[0][0]) / total

    owned = [service for service, owner in owners.items() if owner.is_owned]
    services = cells("service", filters, begin, end, owners=owners)
    return Coverage(
        user=share_with("user"),
        feature=share_with("feature"),
        owner=int(_ask(OWNED, services, {"owned": owned})[0][0]) / total,
    )


def spend_cells(
    by: By, filters: SpendFilters, from_: datetime, until: datetime, interval: Interval
) -> Iterator[tuple[datetime, str | None, Totals]]:
    """Every key of every interval with its totals, without a limit, a chunk at a time: for exports."""
    source = cells(by, filters, floor_hour(from_), ceil_hour(until), owners=ownership(), interval=interval)
    statement = CELLS.format(interval=interval, cells=source.sql)
    for start, key, *sums in stream(statement, source.parameters):
        yield start, key or None, _totals(sums)


def kept_since() -> datetime:
    """The day from which on no span has gone for its age yet: nothing that started since is missing."""
    return truncate(timezone.now(), "day") - DAY * (settings.SPAN_RETENTION_DAYS - 1)


def stream(statement: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of a long answer; memory holds one chunk, and no transaction stays open for a slow reader."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LONG_TIMEOUT)
        cursor.execute(f"DECLARE export CURSOR WITH HOLD FOR {statement}", parameters)
    try:
        while True:
            with connection.cursor() as cursor:
                cursor.execute(f"FETCH {CHUNK} FROM export")
                rows = cursor.fetchall()
            if not rows:
                return
            yield from rows
    finally:
        with connection.cursor() as cursor:
            cursor.execute("CLOSE export")


def _ask(statement: str, source: Source, more: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(cells=source.sql), source.parameters | (more or {}))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _totals(sums: Sequence[Any]) -> Totals:
    return Totals(*(int(value or 0) for value in sums))
