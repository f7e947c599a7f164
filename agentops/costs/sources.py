"""Where spend is read from: one SELECT of cells for each kind of question.

A cell has a start, a key and the measures; a key may have any number of cells. Besides ``service``,
``team``, ``environment`` and a value of ``by`` itself, which every source can filter by:

| by | filters | read from |
|---|---|---|
| any | none | rollups of ``by``: days inside the range, hours at its edges |
| service, team, environment | one of those with a key | rollups of that one |
| what belongs to a run | what belongs to runs | runs inside the range; spans of runs that cross its ends |
| any | anything else | spans of the runs that match |

User, feature, session and release belong to a run, as service, team and environment do; agent, model and
tool to a span. All of these but service, team and environment are the keys of rollups.
Rollups outlive runs' spans: the last two rows of the table know only what retention has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from agentops.catalog.queries import Ownership, ownership
from agentops.costs.models import MEASURES, Dimension
from agentops.domain.periods import DAY, HOUR, Buckets, ceil_hour, floor_hour, truncate
from agentops.domain.spans import DEFAULT_ENVIRONMENT
from agentops.runs.filters import Values, is_named

By = Literal["service", "team", "user", "feature", "model", "agent", "tool", "session", "release", "environment"]
#: The rollup whose key a dimension is; those that are missing are columns of every rollup, or joined.
DIMENSIONS: dict[str, Dimension] = {
    "user": Dimension.USER,
    "feature": Dimension.FEATURE,
    "session": Dimension.SESSION,
    "release": Dimension.RELEASE,
    "agent": Dimension.AGENT,
    "model": Dimension.MODEL,
    "tool": Dimension.TOOL,
}
#: Those that grow with what happens. Days that are over leave ``spend_daily`` for ``spend_past``; ``spend_days`` is
#: both.
MANY_KEYED: dict[str, Dimension] = {"user": Dimension.USER, "session": Dimension.SESSION}
#: What a rollup of any dimension can be grouped by.
_COLUMNS = {"service": "service", "team": "service", "environment": "environment"}
#: What belongs to a whole run; the rest belongs to single spans.
_OF_RUNS = frozenset({"service", "team", "environment", "user", "feature", "session", "release"})
HOURS_PER_DAY = 24
#: Spans are dated at most so long after their receipt; see ``CLOCK_FUTURE_SECONDS``.
_AHEAD = timedelta(days=1)

_IS_MODEL = "s.kind IN (3, 4)"
#: A model call without a known price: it told its usage, or it succeeded and told none.
UNPRICED = (
    f"({_IS_MODEL} AND s.cost_nano IS NULL AND (NOT s.is_error OR coalesce(s.input_tokens, s.output_tokens, "
    "s.cache_read_input_tokens, s.cache_creation_input_tokens, s.reasoning_output_tokens) IS NOT NULL))"
)
#: What one span ``s`` adds to each measure; the same as ``cells.measures_of``. Only for ``COUNTED`` spans.
SPAN_MEASURES = {
    "cost_nano": "coalesce(s.cost_nano, 0)",
    "unpriced_calls": f"{UNPRICED}::int",
    "llm_calls": f"({_IS_MODEL})::int",
    "tool_calls": "(s.kind = 5)::int",
    "steps": "1",
    "errors": "s.is_error::int",
    **{m: f"CASE WHEN {_IS_MODEL} THEN coalesce(s.{m}, 0) ELSE 0 END" for m in MEASURES[6:]},
}
#: Spans that count at all.
COUNTED = "s.kind IN (3, 4, 5, 6) AND s.merged_into IS NULL"
#: Each dimension's key, as it follows from a span ``s`` and its run ``r``.
SPAN_KEYS = {
    "service": "r.service",
    "environment": f"coalesce(r.environment, '{DEFAULT_ENVIRONMENT}')",
    "user": "coalesce(r.\"user\", '')",
    "feature": "coalesce(r.feature, '')",
    "session": "coalesce(r.session, '')",
    "release": "coalesce(r.release, '')",
    "agent": "coalesce(s.agent, '')",
    "model": f"CASE WHEN {_IS_MODEL} THEN coalesce(nullif(s.response_model, ''), s.request_model, '') ELSE '' END",
    "tool": "CASE WHEN s.kind = 5 THEN coalesce(s.tool, '') ELSE '' END",
}
SPAN_HOUR = "date_trunc('hour', to_timestamp(s.start_ns / 1000000000), 'UTC')"
#: Spans lie in the partitions of the days on which their run received anything.
RECEIVED = """s.received_on BETWEEN (r.first_received_at AT TIME ZONE 'UTC')::date
        AND (r.last_received_at AT TIME ZONE 'UTC')::date"""
#: Columns of runs as their indexes serve them, for values that are not empty; ``SPAN_KEYS`` compare with any.
_INDEXED = {
    "service": "r.service",
    "user": 'r."user"',
    **{name: f"r.{name}" for name in ("feature", "session", "release")},
}
#: What charges are told apart by.
CHARGE_KEYS = {
    **{name: SPAN_KEYS[name] for name in ("environment", "service", "feature", "model")},
    "provider": "coalesce(s.provider, '')",
    **{name: SPAN_KEYS[name] for name in ("agent", "tool", "user", "session", "release")},
    "price_source": "coalesce(s.price_source, 0)",
    "price_id": "coalesce(s.price_id, '')",
    "tier": "coalesce(s.terms ->> 'tier', '')",
    "is_estimate": "s.is_estimate",
}
_RUN_MEASURES = ", ".join(f"r.{m}" for m in MEASURES)
_SPAN_MEASURES = ", ".join(f"{SPAN_MEASURES[m]} AS {m}" for m in MEASURES)
_ROLLED = ", ".join(f"u.{m}" for m in MEASURES)
#: The rows ``u`` of one key of a dimension. The index leads to them by way of the services' own rows ``t``, of which
#: there are few: without them it would have to read all keys.
_ONE_KEY = """{table} AS t JOIN {table} AS u ON u.dimension = %(dimension)s AND u.start = t.start
    AND u.environment = t.environment AND u.service = t.service AND u.key = ANY(%(values)s)"""


@dataclass(frozen=True, slots=True)
class SpendFilters:
    """Which spend: of any of these values in each dimension. ``team`` holds slugs; ``environment`` is one, or empty."""

    service: Values = ()
    team: Values = ()
    user: Values = ()
    feature: Values = ()
    session: Values = ()
    release: Values = ()
    environment: str = ""
    agent: Values = ()
    model: Values = ()
    tool: Values = ()

    @classmethod
    def of(cls, *, environment: str = "", **values: str | None) -> SpendFilters:
        """One value each; ``None`` is what carries none, and an empty text any."""
        chosen = {name: (value or "",) for name, value in values.items() if value != ""}
        return cls(environment=environment, **chosen)

    def within(self, by: By, key: str | None) -> SpendFilters:
        """The same, of one key of a dimension alone."""
        if by == "environment":
            return replace(self, environment=key or DEFAULT_ENVIRONMENT)
        only: dict[str, Any] = {by: (key or "",)}
        return replace(self, **only)

    def has_only_named(self, dimension: str) -> bool:
        """Whether the values asked for in a dimension leave out what carries none."""
        return is_named(getattr(self, dimension))


@dataclass(frozen=True, slots=True)
class Source:
    """A SELECT of cells ``(start, key, *MEASURES)`` with its parameters, and what it reads."""

    sql: str
    parameters: dict[str, Any]
    reads: Literal["rollups", "runs", "spans"]


def cells(
    by: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    *,
    buckets: Buckets | None = None,
    key: str | None = None,
    hours_at_ends: bool = False,
    with_past: bool = True,
) -> Source:
    """The cells of ``[from_, until)``, whole hours, that an answer by ``by`` sums.

    ``buckets`` are what they may be told apart by at most, None for nothing at all; with ``hours_at_ends`` the
    first and the last hour stay apart in any case. With ``key``, only the cells of that key, empty for what
    carries none; it takes the place of a filter by ``by``. Without ``with_past``, none of ``spend_past``.
    """
    owners = ownership() if by == "team" or filters.team else {}
    other = [name for name in DIMENSIONS if name != by and getattr(filters, name)]
    if not other or (len(other) == 1 and by in _COLUMNS):
        dimension = other[0] if other else by
        values: Values = getattr(filters, dimension) if dimension in DIMENSIONS else ()
        if key is not None and dimension == by:
            values = (key,)
        keys = f"u.{_COLUMNS.get(by, 'key')} AS key"
        pieces = _pieces(from_, until, buckets, hours_at_ends=hours_at_ends)
        if dimension in MANY_KEYED and with_past:
            pieces = [replace(piece, table=_WITH_PAST.get(piece.table, piece.table)) for piece in pieces]
        source = _rollups(keys, dimension, values, filters, pieces, owners)
    else:
        keys = f"{SPAN_KEYS['service' if by == 'team' else by]} AS key"
        if by in _OF_RUNS and _OF_RUNS.issuperset(other):
            source = _runs(keys, filters, from_, until, owners, buckets)
        else:
            source = _spans(keys, filters, from_, until, owners)
        if key is not None:
            sql = f"SELECT * FROM ({source.sql}) AS c WHERE key = %(key)s"
            source = Source(sql, source.parameters | {"key": key}, source.reads)
    return source if by != "team" else _by_team(source, owners)


def whole_days(from_: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The days inside a range of whole hours, half-open; the end is not after the start when there is none."""
    return truncate(from_ + DAY - HOUR, "day"), truncate(until, "day")


_WITH_PAST = {"spend_daily": "spend_days"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A table and the part of the range that is read from it: of some days nothing, or nothing but some hours."""

    table: str
    begin: datetime
    end: datetime
    without: tuple[datetime, ...] = ()
    only: tuple[datetime, ...] = ()


def _pieces(from_: datetime, until: datetime, buckets: Buckets | None, *, hours_at_ends: bool = False) -> list[Piece]:
    """Days inside the range and hours at its edges, and of days that two buckets share; hours alone where none is."""
    first_day, last_day = whole_days(from_, until)
    if hours_at_ends:
        first_day, last_day = truncate(from_ + DAY, "day"), truncate(until - HOUR, "day")
    shared = tuple(day for day in buckets.cut_days if first_day <= day < last_day) if buckets else ()
    no_days = first_day >= last_day or len(shared) * DAY >= last_day - first_day
    if no_days or (buckets and buckets.interval == "hour"):
        return [Piece("spend_hourly", from_, until)]
    pieces = [
        Piece("spend_hourly", from_, first_day),
        Piece("spend_daily", first_day, last_day, without=shared),
        Piece("spend_hourly", last_day, until),
    ]
    if shared:
        hours = tuple(day + place * HOUR for day in shared for place in range(HOURS_PER_DAY))
        pieces.append(Piece("spend_hourly", first_day, last_day, only=hours))
    return [piece for piece in pieces if piece.begin < piece.end]


def _rollups(
    keys: str,
    dimension: str,
    values: Values,
    filters: SpendFilters,
    pieces: Sequence[Piece],
    owners: dict[str, Ownership],
) -> Source:
    """The rows of a dimension; ``values`` are the keys to read, empty for all: services have no keys."""
    parameters = _wanted(filters, owners) | {"values": list(values)}
    parameters["dimension"] = int(DIMENSIONS.get(dimension, Dimension.SERVICE))
    is_some = bool(values) and dimension in DIMENSIONS
    selects = []
    for place, piece in enumerate(pieces):
        table = piece.table
        parameters |= {f"begin{place}": piece.begin, f"end{place}": piece.end}
        parameters |= {f"without{place}": list(piece.without), f"only{place}": list(piece.only)}
        by_services = is_some and table != "spend_days"  # the past has an index of its keys
        read, relation = ("t", _ONE_KEY) if by_services else ("u", "{table} AS u")
        where = f"{read}.dimension = {int(Dimension.SERVICE) if by_services else '%(dimension)s'}"
        for condition, applies in (
            ("key = ANY(%(values)s)", is_some and not by_services),
            ("environment = %(environment)s", filters.environment),
            ("service = ANY(%(service)s)", filters.service),
            ("service = ANY(%(services)s)", filters.team),
            (f"start <> ALL(%(without{place})s)", piece.without),
            (f"start = ANY(%(only{place})s)", piece.only),
        ):
            where += f" AND {read}.{condition}" if applies else ""
        selects.append(
            f"SELECT u.start, {keys}, {_ROLLED} FROM {relation.format(table=table)} WHERE {where}"
            f" AND {read}.start >= %(begin{place})s AND {read}.start < %(end{place})s"
        )
    return Source(" UNION ALL ".join(selects), parameters, "rollups")


def _runs(
    keys: str,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    owners: dict[str, Ownership],
    buckets: Buckets | None,
) -> Source:
    """Totals of runs that lie inside the range, and inside one bucket; the spans of the others."""
    inside = "(r.started_at >= %(from)s AND r.latest_at < %(until)s)"
    if buckets:
        one = f"{bucket_of('r.started_at', buckets)} = {bucket_of('r.latest_at', buckets)}"
        inside = f"({inside} AND {one})"
    crossing = _spans(keys, filters, from_, until, owners, extra=f"AND NOT {inside}", few_runs=True)
    whole = f"""SELECT r.started_at AS start, {keys}, {_RUN_MEASURES} FROM runs r
        WHERE {inside} AND r.started_at < %(until)s {matching_runs(filters)}"""
    parameters = crossing.parameters | ({"starts": list(buckets.starts)} if buckets else {})
    return Source(f"{whole} UNION ALL {crossing.sql}", parameters, "runs")


def bucket_of(moment: str, buckets: Buckets) -> str:
    """SQL for the bucket of a moment: the hour that it is in, else its place in the parameter ``starts``, from 1."""
    if buckets.interval == "hour":
        return f"date_trunc('hour', {moment}, 'UTC')"
    return f"width_bucket({moment}, %(starts)s::timestamptz[])"


def charges(
    filters: SpendFilters, from_: datetime, until: datetime, *, kept_since: datetime, owners: dict[str, Ownership]
) -> Source:
    """Spend of known cost of whole days, as ``(day, *CHARGE_KEYS, *MEASURES)``.

    Days before ``kept_since`` have no spans any more: there the details answer, as far as anything of a row has a cost,
    with what only spans know empty.
    """
    begin, end = charge_days(from_, until)
    kept_since = min(max(begin, kept_since), end)
    columns = ", ".join(f'"{name}"' for name in CHARGE_KEYS)
    sums = ", ".join(f"sum({m}) AS {m}" for m in MEASURES)
    day = "date_trunc('day', start, 'UTC') AS day"
    grouped = f"SELECT {day}, {columns}, {sums} FROM ({{cells}}) AS c GROUP BY day, {columns}"
    keys = ", ".join(f'{expression} AS "{name}"' for name, expression in CHARGE_KEYS.items())
    spans = _spans(keys, filters, kept_since, end, owners, extra="AND s.cost_nano IS NOT NULL")
    sql = grouped.format(cells=spans.sql)
    parameters = spans.parameters | {"begin": begin, "kept_since": kept_since}
    if begin < kept_since:
        known = "sum(cost_nano) <> 0 OR (sum(unpriced_calls) = 0 AND sum(input_tokens + output_tokens) > 0)"
        steps = _steps(CHARGE_KEYS, filters)
        sql = f"{grouped.format(cells=steps)} HAVING {known} UNION ALL {sql}"
    return Source(sql, parameters, "spans")


def charge_days(from_: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The days (UTC) that a range touches, half-open."""
    return truncate(floor_hour(from_), "day"), truncate(ceil_hour(until) + DAY - HOUR, "day")


#: What the details know nothing of, of the keys of charges.
_ABSENT = {"provider": "''", "price_source": "0", "price_id": "''", "tier": "''", "is_estimate": "false"}


def _steps(keys: Iterable[str], filters: SpendFilters) -> str:
    """The details from ``begin`` until ``kept_since`` that match, with some keys."""
    named = ", ".join(_ABSENT.get(name, f'u."{name}"') + f' AS "{name}"' for name in keys)
    where = "u.start >= %(begin)s AND u.start < %(kept_since)s"
    for name in ("service", *DIMENSIONS):
        where += f' AND u."{name}" = ANY(%({name})s)' if getattr(filters, name) else ""
    where += " AND u.environment = %(environment)s" if filters.environment else ""
    where += " AND u.service = ANY(%(services)s)" if filters.team else ""
    return f"SELECT u.start, {named}, {_ROLLED} FROM spend_steps AS u WHERE {where}"


def _spans(
    keys: str,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    owners: dict[str, Ownership],
    *,
    extra: str = "",
    few_runs: bool = False,
) -> Source:
    """The counted spans of runs that match, those that match themselves and start in the range."""
    parameters = _wanted(filters, owners) | {
        "from": from_,
        "until": until,
        "from_ns": int(from_.timestamp()) * 10**9,
        "until_ns": int(until.timestamp()) * 10**9,
        "received_from": (from_ - _AHEAD).date(),
    }
    for name in ("agent", "model", "tool"):
        if getattr(filters, name):
            extra += f" AND {SPAN_KEYS[name]} = ANY(%({name})s)"
    # Narrows the runs to read: a run that has the agent says so, unless it has more than it can name.
    if filters.has_only_named("agent"):
        extra += " AND (r.agents && %(agent)s::text[] OR cardinality(r.agents) >= 100)"
    if filters.has_only_named("model"):
        extra += " AND r.llm_calls > 0"
    if filters.has_only_named("tool"):
        extra += " AND r.tool_calls > 0"
    # The planner cannot know that a run's spans lie in one or two partitions: few runs are looked up one by one.
    apart = "OFFSET 0" if few_runs or filters.has_only_named("user") or filters.has_only_named("session") else ""
    sql = f"""SELECT {SPAN_HOUR} AS start, {keys}, {_SPAN_MEASURES}
        FROM runs r CROSS JOIN LATERAL (
            SELECT * FROM spans s WHERE s.trace_id = r.trace_id AND s.service = r.service AND {RECEIVED} {apart}
        ) AS s
        WHERE r.latest_at >= %(from)s AND r.started_at < %(until)s {matching_runs(filters)}
            AND s.received_on >= %(received_from)s AND s.start_ns >= %(from_ns)s AND s.start_ns < %(until_ns)s
            AND {COUNTED} {extra}"""
    return Source(sql, parameters, "spans")


def matching_runs(filters: SpendFilters) -> str:
    """SQL that leaves of runs ``r`` those that match what belongs to runs, with the parameters of any source."""
    conditions = [
        f"{column if filters.has_only_named(name) else SPAN_KEYS[name]} = ANY(%({name})s)"
        for name, column in _INDEXED.items()
        if getattr(filters, name)
    ]
    if filters.environment:
        conditions.append(f"{SPAN_KEYS['environment']} = %(environment)s")
    if filters.team:
        conditions.append("r.service = ANY(%(services)s)")
    return "".join(f" AND {condition}" for condition in conditions)


def _wanted(filters: SpendFilters, owners: dict[str, Ownership]) -> dict[str, Any]:
    wanted: dict[str, Any] = {name: list(getattr(filters, name)) for name in ("service", *DIMENSIONS)}
    wanted["environment"] = filters.environment
    wanted["services"] = [o.service for o in owners.values() if (o.team or "") in filters.team]
    return wanted


def _by_team(source: Source, owners: dict[str, Ownership]) -> Source:
    owned: Sequence[Ownership] = [o for o in owners.values() if o.team]
    sql = f"""SELECT c.start, coalesce(o.team, '') AS key, {", ".join(f"c.{m}" for m in MEASURES)}
        FROM ({source.sql}) AS c
        LEFT JOIN unnest(%(owned)s::text[], %(teams)s::text[]) AS o (service, team) ON o.service = c.key"""
    teams = {"owned": [o.service for o in owned], "teams": [o.team for o in owned]}
    return Source(sql, source.parameters | teams, source.reads)
