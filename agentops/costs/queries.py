"""What is asked of spend. Money is nano-dollars; a key of ``None`` is what carries none.

Hours are whole everywhere: a range is widened to the hours that it touches.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, get_args

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from agentops.catalog.queries import ownership
from agentops.costs import windows
from agentops.costs.models import MEASURES, Dimension
from agentops.costs.sources import DIMENSIONS, MANY_KEYED, SOME_KEYS, By, Source, SpendFilters, bucket_of, cells
from agentops.domain.periods import DAY, HOUR, Buckets, Interval, buckets, ceil_hour, floor_hour, truncate
from agentops.domain.spans import OTHER

BYS: tuple[By, ...] = get_args(By)
#: Of these a service may bring so many in a day and no more.
LIMITED: tuple[By, ...] = ("service", "environment", "user", "feature", "release", "agent", "model", "tool")
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

    def __sub__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, m) - getattr(other, m) for m in MEASURES))

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
    """Totals by key, the largest first; ``other`` sums the ``others`` keys past the limit."""

    total: Totals
    items: list[Item]
    other: Totals | None = None
    others: int = 0
    series: list[Point] = field(default_factory=list)


_SUMS = ", ".join(f"sum({m}) AS {m}" for m in MEASURES)
#: A key whose spend all moved elsewhere keeps an empty cell, which nobody needs to see.
RANKED = f"""
WITH sums AS (
    SELECT key, {_SUMS} FROM ({{cells}}) AS c GROUP BY key HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY {{order}}) AS place
    FROM sums
)
SELECT least(place, %(limit)s + 1), min(key) FILTER (WHERE place <= %(limit)s), count(*), {_SUMS}
FROM ranked GROUP BY 1 ORDER BY 1
"""
#: The same of what is inside each of some keys.
NESTED = f"""
WITH sums AS (
    SELECT outer_key, key, {_SUMS} FROM ({{cells}}) AS c WHERE outer_key = ANY(%(outer)s)
    GROUP BY outer_key, key HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY outer_key ORDER BY {{order}}) AS place FROM sums
)
SELECT outer_key, least(place, %(limit)s + 1), min(key) FILTER (WHERE place <= %(limit)s), count(*), {_SUMS}
FROM ranked GROUP BY 1, 2 ORDER BY 1, 2
"""
SERIES = """
SELECT {bucket}, array_position(%(named)s::text[], key), sum({measure})
FROM ({cells}) AS c GROUP BY 1, 2 HAVING sum({measure}) <> 0 ORDER BY 1, 2
"""
#: The same for dimensions of many keys, most of which nobody wants to see: the sums of all measures only of those.
TOP = """
SELECT key, count(*) OVER () FROM (
    SELECT key, sum({order}) AS ordered, sum(cost_nano) AS cost_nano, sum(steps) AS steps
    FROM ({cells}) AS c GROUP BY key HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0
) AS sums ORDER BY ordered {direction}, cost_nano DESC, steps DESC, key COLLATE "C" LIMIT %(limit)s
"""
OF_KEYS = f"SELECT key, {_SUMS} FROM ({{cells}}) AS c WHERE key = ANY(%(keys)s) GROUP BY key"
OF_ALL = f"SELECT {_SUMS} FROM ({{cells}}) AS c"
#: The first and the last hour count in part.
WEIGHTED = """
WITH sums AS (
    SELECT key, sum(cost_nano * CASE WHEN start < %(second_hour)s THEN %(first_share)s
        WHEN start >= %(last_hour)s THEN %(last_share)s ELSE 1 END) AS cost_nano
    FROM ({cells}) AS c GROUP BY key
)
SELECT NULL, coalesce(sum(cost_nano), 0) FROM sums
UNION ALL SELECT key, cost_nano FROM sums WHERE key = ANY(%(keys)s)
"""
_OTHERS = SOME_KEYS.format(table="spend_hourly", condition="k.dimension = ANY(%(dimensions)s) AND k.key = %(other)s")
TOO_MANY = f"""
SELECT u.service, u.dimension::text, {", ".join(f"sum(u.{m})" for m in MEASURES)} FROM {_OTHERS}
WHERE t.dimension = {int(Dimension.SERVICE)} AND t.start >= %(from)s AND t.start < %(until)s GROUP BY 1, 2
UNION ALL
SELECT service, CASE WHEN service = %(other)s THEN 'service' ELSE 'environment' END, {_SUMS} FROM spend_hourly
WHERE dimension = {int(Dimension.SERVICE)} AND start >= %(from)s AND start < %(until)s
    AND %(other)s IN (service, environment) GROUP BY 1, 2
"""
TOTAL = "SELECT coalesce(sum(cost_nano), 0) FROM ({cells}) AS c"
OWNED = "SELECT coalesce(sum(cost_nano), 0) FROM ({cells}) AS c WHERE key = ANY(%(owned)s)"
CELLS = f"""
SELECT {{bucket}} AS bucket, key, {_SUMS} FROM ({{cells}}) AS c
GROUP BY 1, 2 HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0 ORDER BY 1, 3 DESC, 2
"""


def spend(
    by: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    *,
    interval: Interval | None = None,
    zone: tzinfo = UTC,
    limit: int = 100,
    sort: str = "-cost_nano",
    measure: str = "cost_nano",
) -> SpendReport:
    """Spend of ``[from_, until)`` by a dimension; with an interval of a time zone also as a series.

    ``sort`` is one of ``MEASURES``, with ``-`` the largest first. The series names the same keys as the items
    and sums the rest, in ``measure``. Half a dozen statements at most.
    """
    if sort.removeprefix("-") not in MEASURES or measure not in MEASURES:
        raise ValueError(sort, measure)
    limit = max(1, min(limit, MAX_LIMIT))
    begin, end = floor_hour(from_), ceil_hour(until)
    if by in MANY_KEYED and not getattr(filters, by):
        everything = cells("environment", filters, begin, end)
        if windows.hold(by, filters):
            report = _largest(windows.rest(by, filters, begin, end), everything, sort, limit)
        else:
            report = _top(cells(by, filters, begin, end), everything, sort, limit)
    else:
        rows = _ask(RANKED, cells(by, filters, begin, end), {"limit": limit}, order=_order(sort))
        report = _report(rows, limit)
    if interval is None:
        return report
    told = buckets(begin, end, interval, zone)
    source = cells(by, filters, begin, end, buckets=told)
    if report.others:
        everything = cells("environment", filters, begin, end, buckets=told)
        return replace(report, series=_series_of_some(source, everything, told, report.items, measure))
    return replace(report, series=_series(source, told, report.items, measure))


def _report(rows: Sequence[tuple[Any, ...]], limit: int) -> SpendReport:
    """A report of all keys in their order, the last of which is all others."""
    items = [Item(key or None, _totals(sums)) for place, key, _, *sums in rows if place <= limit]
    rest = next(((count, _totals(sums)) for place, _, count, *sums in rows if place > limit), None)
    return SpendReport(
        total=sum((item.totals for item in items), rest[1] if rest else Totals()),
        items=items,
        other=rest[1] if rest else None,
        others=rest[0] if rest else 0,
    )


def _largest(rest: Source, everything: Source, sort: str, limit: int) -> SpendReport:
    """The keys that are wanted, mostly from the sums of a window, and what all others leave of the total."""
    rows = _ask(windows.LARGEST, rest, {"limit": limit}, order=_order(sort))
    items = [Item(key or None, _totals(sums)) for key, _, *sums in rows]
    return _with_others(items, rows[0][1] if rows else 0, everything)


def _top(source: Source, everything: Source, sort: str, limit: int) -> SpendReport:
    """The keys that are wanted, and what all others leave of the total."""
    rows = _ask(TOP, source, {"limit": limit}, order=sort.removeprefix("-"), direction=_direction(sort))
    keys = [key for key, _ in rows]
    totals = {key: _totals(sums) for key, *sums in _ask(OF_KEYS, source, {"keys": keys})}
    return _with_others([Item(key or None, totals[key]) for key in keys], rows[0][1] if rows else 0, everything)


def _with_others(items: list[Item], keys: int, everything: Source) -> SpendReport:
    """The report of so many keys of which some are listed."""
    listed = sum((item.totals for item in items), Totals())
    others = keys - len(items)
    total = _totals(_ask(OF_ALL, everything)[0]) if others else listed
    return SpendReport(total=total, items=items, other=total - listed if others else None, others=others)


def _order(sort: str) -> str:
    """The order of rows that have the measures: that of the page, then what makes it certain."""
    return f'{sort.removeprefix("-")} {_direction(sort)}, cost_nano DESC, steps DESC, key COLLATE "C"'


def _direction(sort: str) -> str:
    return "DESC" if sort.startswith("-") else "ASC"


def _series(source: Source, told: Buckets, items: Sequence[Item], measure: str) -> list[Point]:
    keys = [item.key for item in items]
    more = {"named": [key or "" for key in keys], "starts": list(told.starts)}
    rows = _ask(SERIES, source, more, bucket=bucket_of("start", told), measure=measure)
    return [
        Point(_start(told, bucket), keys[place - 1] if place else None, int(value), is_other=place is None)
        for bucket, place, value in rows
    ]


def _start(told: Buckets, bucket: datetime | int) -> datetime:
    """The start of a bucket as SQL names it."""
    return told.starts[bucket - 1] if isinstance(bucket, int) else bucket


def _series_of_some(
    source: Source, everything: Source, told: Buckets, items: Sequence[Item], measure: str
) -> list[Point]:
    """The same without reading the keys that have no name: they are what the named ones leave of everything."""
    named = _series(_of_keys(source, [item.key for item in items]), told, items, measure)
    left: dict[datetime, int] = {}
    for point in _series(everything, told, (), measure):
        left[point.start] = left.get(point.start, 0) + point.value
    for point in named:
        left[point.start] = left.get(point.start, 0) - point.value
    others = [Point(start, None, value, is_other=True) for start, value in left.items() if value]
    return sorted([*named, *others], key=lambda point: (point.start, point.is_other))


def _of_keys(source: Source, keys: Sequence[str | None]) -> Source:
    """The cells of some keys."""
    sql = f"SELECT * FROM ({source.sql}) AS k WHERE key = ANY(%(wanted_keys)s)"
    return Source(sql, source.parameters | {"wanted_keys": [key or "" for key in keys]})


def costs_by_key(
    by: By, filters: SpendFilters, from_: datetime, until: datetime, keys: Sequence[str | None]
) -> tuple[int, dict[str | None, int]]:
    """The cost of everything in exactly ``[from_, until)``, and of some keys: what a later range is compared with.

    An hour that the range cuts counts as far as the range reaches into it.
    """
    begin, last = floor_hour(from_), floor_hour(until)
    parameters = {
        "keys": [key or "" for key in keys],
        "second_hour": begin + HOUR,
        "first_share": (min(begin + HOUR, until) - from_) / HOUR,
        "last_hour": last,
        "last_share": (until - last) / HOUR,
    }
    source = cells(by, filters, begin, ceil_hour(until), hours_at_ends=True)
    of_all = None
    if by in MANY_KEYED and not getattr(filters, by):
        of_all = costs_by_key("environment", filters, from_, until, [])[0]
        source = _of_keys(source, keys)
    (_, total), *rows = _ask(WEIGHTED, source, parameters)
    found = {key or None: round(cost) for key, cost in rows}
    return round(total) if of_all is None else of_all, {key: found.get(key, 0) for key in keys}


def nested(
    by: By,
    then: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    keys: Sequence[str | None],
    *,
    limit: int = 10,
    sort: str = "-cost_nano",
) -> dict[str | None, SpendReport]:
    """What is inside some keys of ``by``: for each the report by ``then``, without a series.

    Each report is what ``spend`` answers of ``filters.within(by, key)``. Raises ``ValueError`` when ``then`` is ``by``.
    """
    if by == then:
        raise ValueError(then)
    if then in MANY_KEYED:  # one at a time they need not all be summed up
        return {key: spend(then, filters.within(by, key), from_, until, limit=limit, sort=sort) for key in keys}
    named = [key or "" for key in keys]
    source = cells(then, filters.among(by, keys), floor_hour(from_), ceil_hour(until), within=by)
    by_key: dict[str | None, list[tuple[Any, ...]]] = {key: [] for key in keys}
    limit = max(1, min(limit, MAX_LIMIT))
    more = {"limit": limit, "outer": named}
    for outer, *row in _ask(NESTED, source, more, order=_order(sort)) if named else ():
        by_key[outer or None].append(tuple(row))
    return {key: _report(rows, limit) for key, rows in by_key.items()}


def coverage(filters: SpendFilters, from_: datetime, until: datetime, total: int) -> Coverage:
    """How much of a range's cost, ``total``, has a user, a feature, a service that somebody owns."""
    if total <= 0:
        return Coverage(None, None, None)
    begin, end = floor_hour(from_), ceil_hour(until)

    def share_with(dimension: Literal["user", "feature"]) -> float:
        if filters.has_only_named(dimension):
            return 1.0
        without = cells("environment", filters.within(dimension, None), begin, end)
        return 1 - int(_ask(TOTAL, without)[0][0]) / total

    owned = [service for service, owner in ownership().items() if owner.is_owned]
    return Coverage(
        user=share_with("user"),
        feature=share_with("feature"),
        owner=int(_ask(OWNED, cells("service", filters, begin, end), {"owned": owned})[0][0]) / total,
    )


@dataclass(frozen=True, slots=True)
class TooMany:
    """What of a service is booked under ``OTHER``, because it brought too many values of a dimension in a day."""

    service: str
    dimension: By
    totals: Totals


def booked_under_other(from_: datetime, until: datetime) -> list[TooMany]:
    """What came beyond the limits that ingest keeps, the most expensive first. One statement."""
    names: dict[str, By] = {str(int(DIMENSIONS[name])): name for name in LIMITED if name in DIMENSIONS}
    parameters = {
        "from": floor_hour(from_),
        "until": ceil_hour(until),
        "other": OTHER,
        "dimensions": [int(dimension) for dimension in names],
    }
    rows = _ask(TOO_MANY, Source("", parameters))
    found = [TooMany(service, names.get(dimension, dimension), _totals(sums)) for service, dimension, *sums in rows]
    return sorted(found, key=lambda one: (-one.totals.cost_nano, -one.totals.steps, one.service, one.dimension))


def spend_cells(
    by: By, filters: SpendFilters, from_: datetime, until: datetime, interval: Interval, zone: tzinfo = UTC
) -> Generator[tuple[datetime, str | None, Totals]]:
    """Every key of every interval with its totals, without a limit, a chunk at a time: for exports."""
    begin, end = floor_hour(from_), ceil_hour(until)
    told = buckets(begin, end, interval, zone)
    source = cells(by, filters, begin, end, buckets=told)
    statement = CELLS.format(bucket=bucket_of("start", told), cells=source.sql)
    for bucket, key, *sums in stream(statement, source.parameters | {"starts": list(told.starts)}):
        yield _start(told, bucket), key or None, _totals(sums)


def kept_since() -> datetime:
    """The day from which on no span has gone for its age yet: nothing that started since is missing."""
    return truncate(timezone.now(), "day") - DAY * (settings.SPAN_RETENTION_DAYS - 1)


def stream(statement: str, parameters: dict[str, Any]) -> Generator[tuple[Any, ...]]:
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


def _ask(statement: str, source: Source, more: dict[str, Any] | None = None, **words: str) -> list[tuple[Any, ...]]:
    """The rows of a statement over a source's cells; ``words`` are our own, never a user's."""
    with connection.cursor() as cursor:
        cursor.execute(statement.format(cells=source.sql, **words), source.parameters | (more or {}))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _totals(sums: Sequence[Any]) -> Totals:
    return Totals(*(int(value or 0) for value in sums))
