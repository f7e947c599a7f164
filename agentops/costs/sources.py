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

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from agentops.catalog.queries import Ownership
from agentops.costs.models import MEASURES, Dimension
from agentops.domain.spans import DEFAULT_ENVIRONMENT

By = Literal["service", "team", "user", "feature", "model", "agent", "tool", "session", "release", "environment"]
Interval = Literal["hour", "day", "month"]
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
#: What a rollup of any dimension can be grouped by.
_COLUMNS = {"service": "service", "team": "service", "environment": "environment"}
#: What belongs to a whole run; the rest belongs to single spans.
_OF_RUNS = frozenset({"service", "team", "environment", "user", "feature", "session", "release"})
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: Spans are dated at most so long after their receipt; see ``CLOCK_FUTURE_SECONDS``.
_AHEAD = timedelta(days=1)

_IS_MODEL = "s.kind IN (3, 4)"
#: A model call without a known price: it told its usage, or it succeeded and told none.
_UNPRICED = (
    f"({_IS_MODEL} AND s.cost_nano IS NULL AND (NOT s.is_error OR coalesce(s.input_tokens, s.output_tokens, "
    "s.cache_read_input_tokens, s.cache_creation_input_tokens, s.reasoning_output_tokens) IS NOT NULL))"
)
#: What one span ``s`` adds to each measure; the same as ``booking.measures_of``. Only for ``COUNTED`` spans.
SPAN_MEASURES = {
    "cost_nano": f"CASE WHEN {_IS_MODEL} THEN coalesce(s.cost_nano, 0) ELSE 0 END",
    "unpriced_calls": f"{_UNPRICED}::int",
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
#: Conditions as the indexes of runs serve them; the others compare ``SPAN_KEYS``.
_CONDITIONS = {
    "service": "r.service = %(service)s",
    "user": 'r."user" = %(user)s',
    "feature": "r.feature = %(feature)s",
    "session": "r.session = %(session)s",
    "release": "r.release = %(release)s",
    "environment": f"{SPAN_KEYS['environment']} = %(environment)s",
}
#: What charges are told apart by.
CHARGE_KEYS = {
    **{name: SPAN_KEYS[name] for name in ("environment", "service", "model")},
    "provider": "coalesce(s.provider, '')",
    **{name: SPAN_KEYS[name] for name in ("agent", "feature")},
    "is_unpriced": _UNPRICED,
}
_RUN_MEASURES = ", ".join(f"r.{m}" for m in MEASURES)
_SPAN_MEASURES = ", ".join(f"{SPAN_MEASURES[m]} AS {m}" for m in MEASURES)
_MEASURES = ", ".join(MEASURES)


@dataclass(frozen=True, slots=True)
class SpendFilters:
    """Which spend; empty means any. ``team`` is a team's slug."""

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
    owners: dict[str, Ownership],
    interval: Interval | None = None,
) -> Source:
    """The cells of ``[from_, until)``, whole hours, that an answer by ``by`` sums.

    ``interval`` is the finest at which they may be told apart; None for none at all.
    """
    other = [name for name in DIMENSIONS if name != by and getattr(filters, name)]
    if not other or (len(other) == 1 and by in _COLUMNS):
        source = _rollups(by, other[0] if other else by, filters, from_, until, owners, interval)
    elif by in _OF_RUNS and _OF_RUNS.issuperset(other):
        source = _runs(by, filters, from_, until, owners, interval)
    else:
        source = _spans(f"{_key(by)} AS key", filters, from_, until, owners)
    return source if by != "team" else _by_team(source, owners)


def floor_hour(moment: datetime) -> datetime:
    """The start of a moment's hour, UTC."""
    return truncate(moment.astimezone(UTC), "hour")


def ceil_hour(moment: datetime) -> datetime:
    """The end of a moment's hour, UTC; itself when it is one."""
    floor = floor_hour(moment)
    return floor if floor == moment else floor + HOUR


def truncate(moment: datetime, interval: Interval) -> datetime:
    """The start of the hour, day or month of a moment in UTC."""
    if interval == "month":
        return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return moment.replace(hour=moment.hour if interval == "hour" else 0, minute=0, second=0, microsecond=0)


def step(start: datetime, interval: Interval) -> datetime:
    """The start of the interval after the one that starts then."""
    if interval == "month":
        return truncate(start + 32 * DAY, "month")
    return start + (HOUR if interval == "hour" else DAY)


def _rollups(
    by: By,
    dimension: str,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    owners: dict[str, Ownership],
    interval: Interval | None,
) -> Source:
    """Days inside the range and hours at its edges; hours alone when they are to be told apart."""
    first_day, last_day = truncate(from_ + DAY - HOUR, "day"), truncate(until, "day")
    pieces = [("spend_hourly", from_, until)]
    if interval != "hour" and first_day < last_day:
        pieces = [("spend_hourly", from_, first_day), ("spend_daily", first_day, last_day)]
        pieces.append(("spend_hourly", last_day, until))
    value = getattr(filters, dimension) if dimension in DIMENSIONS else ""
    where, parameters = "dimension = %(dimension)s", _wanted(filters, owners)
    parameters["dimension"] = int(DIMENSIONS.get(dimension, Dimension.SERVICE))
    for condition, applies in (
        ("environment = %(environment)s", filters.environment),
        ("service = %(service)s", filters.service),
        ("service = ANY(%(services)s)", filters.team),
        ("key = %(value)s", value),
    ):
        where += f" AND {condition}" if applies else ""
    parameters["value"] = value
    selects = []
    for place, (table, begin, end) in enumerate(piece for piece in pieces if piece[1] < piece[2]):
        parameters |= {f"begin{place}": begin, f"end{place}": end}
        selects.append(
            f"SELECT start, {_COLUMNS.get(by, 'key')} AS key, {_MEASURES} FROM {table}"
            f" WHERE {where} AND start >= %(begin{place})s AND start < %(end{place})s"
        )
    return Source(" UNION ALL ".join(selects), parameters, "rollups")


def _runs(
    by: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    owners: dict[str, Ownership],
    interval: Interval | None,
) -> Source:
    """Totals of runs that lie inside the range, and inside one interval; the spans of the others."""
    inside = "(r.started_at >= %(from)s AND r.latest_at < %(until)s)"
    if interval:
        one = f"date_trunc('{interval}', r.started_at, 'UTC') = date_trunc('{interval}', r.latest_at, 'UTC')"
        inside = f"({inside} AND {one})"
    crossing = _spans(f"{_key(by)} AS key", filters, from_, until, owners, extra=f"AND NOT {inside}")
    whole = f"""SELECT r.started_at AS start, {_key(by)} AS key, {_RUN_MEASURES} FROM runs r
        WHERE {inside} AND r.started_at < %(until)s {_matching(filters)}"""
    return Source(f"{whole} UNION ALL {crossing.sql}", crossing.parameters, "runs")


def charges(
    filters: SpendFilters, from_: datetime, until: datetime, *, kept_since: datetime, owners: dict[str, Ownership]
) -> Source:
    """Model calls of whole days by day and all of ``CHARGE_KEYS``, priced and unpriced ones apart.

    Days before ``kept_since`` have no spans any more: there the rollup of models answers, with agent,
    feature and provider empty and unpriced calls among the others; not at all when the filters ask for more.
    """
    begin, end = truncate(floor_hour(from_), "day"), truncate(ceil_hour(until) + DAY - HOUR, "day")
    kept_since = min(max(begin, kept_since), end)
    keys = ", ".join(f"{expression} AS {name}" for name, expression in CHARGE_KEYS.items())
    source = _spans(keys, filters, kept_since, end, owners, extra=f"AND {_IS_MODEL}")
    sql, parameters = source.sql, source.parameters
    if begin < kept_since and not any(getattr(filters, name) for name in DIMENSIONS if name != "model"):
        rolled = _rollups("model", "model", filters, begin, kept_since, owners, "day")
        named = {"environment": "environment", "service": "service", "model": "key"}
        columns = ", ".join(f"{named.get(name, repr(''))} AS {name}" for name in CHARGE_KEYS if name != "is_unpriced")
        old = rolled.sql.replace("key AS key,", f"{columns}, cost_nano = 0 AND unpriced_calls > 0 AS is_unpriced,")
        sql, parameters = f"{old} AND llm_calls > 0 UNION ALL {sql}", rolled.parameters | parameters
    return Source(
        f"""SELECT date_trunc('day', start, 'UTC') AS day, {", ".join(CHARGE_KEYS)},
            {", ".join(f"sum({m})" for m in MEASURES)} FROM ({sql}) AS c
            GROUP BY day, {", ".join(CHARGE_KEYS)} ORDER BY day, {", ".join(CHARGE_KEYS)}""",
        parameters,
        "spans",
    )


def _spans(
    keys: str, filters: SpendFilters, from_: datetime, until: datetime, owners: dict[str, Ownership], *, extra: str = ""
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
            extra += f" AND {SPAN_KEYS[name]} = %({name})s"
    # Narrows the runs to read: a run that has the agent says so, unless it has more than it can name.
    if filters.agent:
        extra += " AND (r.agents @> ARRAY[%(agent)s::text] OR cardinality(r.agents) >= 100)"
    if filters.model:
        extra += " AND r.llm_calls > 0"
    if filters.tool:
        extra += " AND r.tool_calls > 0"
    sql = f"""SELECT {SPAN_HOUR} AS start, {keys}, {_SPAN_MEASURES}
        FROM runs r JOIN spans s ON s.trace_id = r.trace_id AND s.service = r.service AND {RECEIVED}
        WHERE r.latest_at >= %(from)s AND r.started_at < %(until)s {_matching(filters)}
            AND s.received_on >= %(received_from)s AND s.start_ns >= %(from_ns)s AND s.start_ns < %(until_ns)s
            AND {COUNTED} {extra}"""
    return Source(sql, parameters, "spans")


def _matching(filters: SpendFilters) -> str:
    conditions = [condition for name, condition in _CONDITIONS.items() if getattr(filters, name)]
    if filters.team:
        conditions.append("r.service = ANY(%(services)s)")
    return "".join(f" AND {condition}" for condition in conditions)


def _key(by: By) -> str:
    return SPAN_KEYS["service" if by == "team" else by]


def _wanted(filters: SpendFilters, owners: dict[str, Ownership]) -> dict[str, Any]:
    wanted: dict[str, Any] = {name: getattr(filters, name) for name in ("service", "environment", *DIMENSIONS)}
    wanted["services"] = [o.service for o in owners.values() if o.team == filters.team] if filters.team else []
    return wanted


def _by_team(source: Source, owners: dict[str, Ownership]) -> Source:
    owned: Sequence[Ownership] = [o for o in owners.values() if o.team]
    sql = f"""SELECT c.start, coalesce(o.team, '') AS key, {", ".join(f"c.{m}" for m in MEASURES)}
        FROM ({source.sql}) AS c
        LEFT JOIN unnest(%(owned)s::text[], %(teams)s::text[]) AS o (service, team) ON o.service = c.key"""
    teams = {"owned": [o.service for o in owned], "teams": [o.team for o in owned]}
    return Source(sql, source.parameters | teams, source.reads)
