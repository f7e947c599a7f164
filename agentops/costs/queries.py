"""What is asked of spend. Money is nano-dollars; ``None`` is a key that nothing carries.

Where an answer comes from:

| by | filters | read from |
|---|---|---|
| any | service, team, environment, and a value of ``by`` itself | rollups: days within, hours at the edges |
| service, environment, team | one of user, feature, session, release, agent, model, tool | rollups of that dimension |
| any other combination | any | the spans of the runs in the range that have those values |

The last row reads spans, but only of runs that match: of one user, one session, one feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.db import connection

from agentops.catalog.queries import ownership
from agentops.costs.models import MEASURES, Dimension
from agentops.domain.spans import DEFAULT_ENVIRONMENT

By = Literal["service", "team", "user", "feature", "model", "agent", "tool", "session", "release", "environment"]
Interval = Literal["hour", "day", "month"]
BYS: tuple[str, ...] = (
    "service",
    "team",
    "user",
    "feature",
    "model",
    "agent",
    "tool",
    "session",
    "release",
    "environment",
)
DIMENSIONS = {
    "service": Dimension.SERVICE,
    "user": Dimension.USER,
    "feature": Dimension.FEATURE,
    "session": Dimension.SESSION,
    "release": Dimension.RELEASE,
    "agent": Dimension.AGENT,
    "model": Dimension.MODEL,
    "tool": Dimension.TOOL,
}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAX_LIMIT = 1_000
SERIES_KEYS = 8


@dataclass(frozen=True, slots=True)
class SpendFilters:
    """Which spend; empty means any."""

    service: str = ""
    team: str = ""
    user: str = ""
    feature: str = ""
    session: str = ""
    release: str = ""
    environment: str = ""
    agent: str = ""
    model: str = ""
    tool: str = ""

    def keyed(self) -> dict[str, str]:
        """The filters that are dimensions with a key of their own."""
        return {n: v for n in DIMENSIONS if n != "service" and (v := getattr(self, n))}


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
    def is_empty(self) -> bool:
        """Whether nothing is in it: a rollup cell that its spend was moved away from."""
        return not (self.steps or self.cost_nano)

    @property
    def known_cost_nano(self) -> int | None:
        """The cost, or ``None`` when none of its calls has a price."""
        return None if self.unpriced_calls and not self.cost_nano else self.cost_nano


@dataclass(frozen=True, slots=True)
class Item:
    """The totals of one key."""

    key: str | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class Point:
    """The cost of one key in one interval."""

    start: datetime
    key: str | None
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares of the cost, 0 to 1; ``None`` when there is no cost."""

    user: float | None
    feature: float | None
    owner: float | None


@dataclass(frozen=True, slots=True)
class SpendReport:
    """Totals by key, the largest first; what is past the limit is ``other``."""

    total: Totals
    items: list[Item]
    other: Totals | None
    series: list[Point] = field(default_factory=list)


Row = tuple[datetime, str, str, Totals]  # start, service, key, totals


def spend(
    by: str, filters: SpendFilters, from_: datetime, until: datetime, *, interval: str = "", limit: int = 100
) -> SpendReport:
    """Spend of ``[from_, until)`` by a dimension; with an interval also its series.

    The series' keys are the largest items; the rest is its key ``other``. Hours are whole: the
    range is widened to them.
    """
    rows = _rows(by, filters, floor_hour(from_), ceil_hour(until), interval=interval)
    teams = {s: o.team for s, o in ownership().items()} if by == "team" or filters.team else {}
    if filters.team:
        rows = [row for row in rows if teams.get(row[1]) == filters.team]
    if by == "team":
        rows = [(start, service, teams.get(service) or "", totals) for start, service, _, totals in rows]
    sums: dict[str, Totals] = {}
    for _, _, key, totals in rows:
        sums[key] = sums[key] + totals if key in sums else totals
    ranked = sorted(
        ((key, totals) for key, totals in sums.items() if not totals.is_empty),
        key=lambda pair: (-pair[1].cost_nano, -pair[1].steps, pair[0]),
    )
    kept, rest = ranked[: min(limit, MAX_LIMIT)], ranked[min(limit, MAX_LIMIT) :]
    total = sum((totals for _, totals in ranked), Totals())
    return SpendReport(
        total=total,
        items=[Item(key or None, totals) for key, totals in kept],
        other=sum((totals for _, totals in rest), Totals()) if rest else None,
        series=_series(rows, [key for key, _ in ranked], interval) if interval else [],
    )


def _series(rows: Iterable[Row], ranked: Sequence[str], interval: str) -> list[Point]:
    named = set(ranked[:SERIES_KEYS])
    cells: dict[tuple[datetime, str], int] = {}
    for start, _, key, totals in rows:
        if totals.cost_nano:
            bucket = (truncate(start, interval), key if key in named else OTHER)
            cells[bucket] = cells.get(bucket, 0) + totals.cost_nano
    order = {key: place for place, key in enumerate([*ranked[:SERIES_KEYS], OTHER])}
    return [
        Point(start, key or None, cost)
        for (start, key), cost in sorted(cells.items(), key=lambda c: (c[0][0], order[c[0][1]]))
    ]


#: The key of the series that sums all but the largest.
OTHER = "other"


def truncate(moment: datetime, interval: str) -> datetime:
    """The start of the hour, day or month (UTC) of a moment."""
    if interval == "month":
        return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return moment.replace(hour=moment.hour if interval == "hour" else 0, minute=0, second=0, microsecond=0)


def floor_hour(moment: datetime) -> datetime:
    """The start of a moment's hour, UTC."""
    return truncate(moment.astimezone(UTC), "hour")


def ceil_hour(moment: datetime) -> datetime:
    """The end of a moment's hour, UTC; itself when it is one."""
    floor = floor_hour(moment)
    return floor if floor == moment else floor + HOUR


def _rows(by: str, filters: SpendFilters, from_: datetime, until: datetime, *, interval: str) -> list[Row]:
    keyed = filters.keyed()
    keyed.pop(by, None)
    if not keyed:
        dimension, value = DIMENSIONS.get(by, Dimension.SERVICE), getattr(filters, by, "") if by in DIMENSIONS else ""
        return _from_rollups(by, dimension, value if by != "service" else "", filters, from_, until, interval=interval)
    if len(keyed) == 1 and by in ("service", "team", "environment"):
        ((name, value),) = keyed.items()
        return _from_rollups(by, DIMENSIONS[name], value, filters, from_, until, interval=interval)
    return _from_spans(by, filters, from_, until, interval=interval)


_SUMS = ", ".join(f"sum({m})" for m in MEASURES)


def _from_rollups(
    by: str, dimension: int, value: str, filters: SpendFilters, from_: datetime, until: datetime, *, interval: str
) -> list[Row]:
    """From the daily rollup where whole days lie in the range, from the hourly at its edges."""
    first_day = truncate(from_ + DAY - timedelta(microseconds=1), "day")
    last_day = truncate(until, "day")
    pieces: list[tuple[str, datetime, datetime]] = []
    if interval == "hour" or first_day >= last_day:
        pieces.append(("spend_hourly", from_, until))
    else:
        pieces = [("spend_hourly", from_, first_day), ("spend_daily", first_day, last_day)]
        pieces.append(("spend_hourly", last_day, until))
    key = {"service": "service", "team": "service", "environment": "environment"}.get(by, "key")
    where = "dimension = %(dimension)s AND start >= %(from)s AND start < %(until)s"
    parameters: dict[str, Any] = {"dimension": int(dimension)}
    for name, column, wanted in (
        ("environment", "environment", filters.environment),
        ("service", "service", filters.service),
        ("value", "key", value),
    ):
        if wanted:
            where += f" AND {column} = %({name})s"
            parameters[name] = wanted
    service = "service" if by in ("service", "team") or filters.team else "''"
    start, grouped = ("start", "1, 2, 3") if interval else ("min(start)", "2, 3")
    rows: list[Row] = []
    with connection.cursor() as cursor:
        for table, begin, end in pieces:
            if begin >= end:
                continue
            cursor.execute(
                f"SELECT {start}, {service}, {key}, {_SUMS} FROM {table} WHERE {where} GROUP BY {grouped}",
                {**parameters, "from": begin, "until": end},
            )
            rows += [(row[0], row[1], row[2], _totals(row[3:])) for row in cursor.fetchall()]
    return rows


def _totals(sums: Sequence[Any]) -> Totals:
    return Totals(*(int(value or 0) for value in sums))


_COUNTED = "s.merged_into IS NULL"
_MODEL = f"(s.kind IN (3, 4) AND {_COUNTED})"
_STEP = f"(s.kind IN (3, 4, 5, 6) AND {_COUNTED})"
_TELLS = (
    "(coalesce(s.input_tokens, s.output_tokens, s.cache_read_input_tokens, s.cache_creation_input_tokens, "
    "s.reasoning_output_tokens) IS NOT NULL OR NOT s.is_error)"
)
#: The measures as they follow from spans: the same as ``booking.measures_of``.
SPAN_MEASURES = [
    f"coalesce(sum(s.cost_nano) FILTER (WHERE {_MODEL}), 0)",
    f"count(*) FILTER (WHERE {_MODEL} AND s.cost_nano IS NULL AND {_TELLS})",
    f"count(*) FILTER (WHERE {_MODEL})",
    f"count(*) FILTER (WHERE s.kind = 5 AND {_COUNTED})",
    f"count(*) FILTER (WHERE {_STEP})",
    f"count(*) FILTER (WHERE {_STEP} AND s.is_error)",
    *(f"coalesce(sum(s.{m}) FILTER (WHERE {_MODEL}), 0)" for m in MEASURES[6:]),
]
SPAN_SUMS = ", ".join(SPAN_MEASURES)
#: Each dimension's key as it follows from a span ``s`` and its run ``r``.
SPAN_KEYS = {
    "service": "r.service",
    "team": "r.service",
    "environment": f"coalesce(r.environment, '{DEFAULT_ENVIRONMENT}')",
    "user": "coalesce(r.\"user\", '')",
    "feature": "coalesce(r.feature, '')",
    "session": "coalesce(r.session, '')",
    "release": "coalesce(r.release, '')",
    "agent": "coalesce(s.agent, '')",
    "model": "CASE WHEN s.kind IN (3, 4) THEN coalesce(s.response_model, s.request_model, '') ELSE '' END",
    "tool": "CASE WHEN s.kind = 5 THEN coalesce(s.tool, '') ELSE '' END",
}
SPAN_HOUR = "date_trunc('hour', to_timestamp(s.start_ns / 1000000000), 'UTC')"
#: The indexes of runs serve these as they stand, without coalesce.
_PLAIN = {"user": 'r."user"', "feature": "r.feature", "session": "r.session", "release": "r.release"}


def _from_spans(by: str, filters: SpendFilters, from_: datetime, until: datetime, *, interval: str) -> list[Row]:
    where = "r.latest_at >= %(from)s AND r.started_at < %(until)s"
    where += " AND s.start_ns >= %(from_ns)s AND s.start_ns < %(until_ns)s"
    parameters: dict[str, Any] = {
        "from": from_,
        "until": until,
        "from_ns": _ns(from_),
        "until_ns": _ns(until),
    }
    for name, expression in SPAN_KEYS.items():
        if name != "team" and (wanted := getattr(filters, name)):
            where += f" AND {_PLAIN.get(name, expression)} = %({name})s"
            parameters[name] = wanted
    hour = SPAN_HOUR if interval else "%(from)s::timestamptz"
    statement = f"""SELECT {hour}, r.service, {SPAN_KEYS[by]}, {SPAN_SUMS}
        FROM runs r JOIN spans s ON s.trace_id = r.trace_id AND s.service = r.service
        AND s.received_on BETWEEN r.first_received_at::date AND r.last_received_at::date
        WHERE {where} GROUP BY 1, 2, 3"""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [(row[0], row[1], row[2], _totals(row[3:])) for row in cursor.fetchall()]


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def coverage(filters: SpendFilters, from_: datetime, until: datetime) -> Coverage:
    """How much of the cost has a user, a feature, a service that somebody owns."""
    by_service = spend("service", filters, from_, until, limit=MAX_LIMIT)
    total = by_service.total.cost_nano
    if not total:
        return Coverage(None, None, None)

    def without(dimension: str) -> int:
        bare = replace(filters, **{dimension: ""})
        report = spend(dimension, bare, from_, until, limit=MAX_LIMIT)
        known = sum(item.totals.cost_nano for item in report.items if item.key is not None)
        return known + (report.other.cost_nano if report.other else 0)

    owners = ownership()
    owned = sum(item.totals.cost_nano for item in by_service.items if (o := owners.get(item.key or "")) and o.is_owned)
    return Coverage(
        1.0 if filters.user else min(1.0, without("user") / total),
        1.0 if filters.feature else min(1.0, without("feature") / total),
        owned / total,
    )
