"""Spend as spans tell it, for what only spans know: where a price came from, and what a provider charges for.

They go when their retention ends; of earlier days the details answer, as far as they can.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from agentops.catalog.queries import Ownership
from agentops.costs.models import MEASURES
from agentops.costs.sources import Source, SpendFilters, filter_parameters, steps
from agentops.domain.periods import DAY, HOUR, ceil_hour, floor_hour, truncate
from agentops.domain.spans import DEFAULT_ENVIRONMENT
from agentops.runs.store import IS_MODEL, IS_STEP

#: Spans are dated at most so long after their receipt; see ``CLOCK_FUTURE_SECONDS``.
_AHEAD = timedelta(days=1)

#: A model call without a known price: it told its usage, or it succeeded and told none.
UNPRICED = (
    f"({IS_MODEL} AND s.cost_nano IS NULL AND (NOT s.is_error OR coalesce(s.input_tokens, s.output_tokens, "
    "s.cache_read_input_tokens, s.cache_creation_input_tokens, s.reasoning_output_tokens) IS NOT NULL))"
)
#: What one span ``s`` adds to each measure; the same as ``cells.measures_of``. Only for ``COUNTED`` spans.
SPAN_MEASURES = {
    "cost_nano": "coalesce(s.cost_nano, 0)",
    "unpriced_calls": f"{UNPRICED}::int",
    "llm_calls": f"({IS_MODEL})::int",
    "tool_calls": "(s.kind = 5)::int",
    "steps": "1",
    "errors": "s.is_error::int",
    **{m: f"CASE WHEN {IS_MODEL} THEN coalesce(s.{m}, 0) ELSE 0 END" for m in MEASURES[6:]},
}
#: Spans that count at all.
COUNTED = f"{IS_STEP} AND s.merged_into IS NULL"
#: Each dimension's key, as it follows from a span ``s`` and its run ``r``.
SPAN_KEYS = {
    "service": "r.service",
    "environment": f"coalesce(r.environment, '{DEFAULT_ENVIRONMENT}')",
    "user": "coalesce(r.\"user\", '')",
    "feature": "coalesce(r.feature, '')",
    "session": "coalesce(r.session, '')",
    "release": "coalesce(r.release, '')",
    "agent": "coalesce(s.agent, '')",
    "model": f"CASE WHEN {IS_MODEL} THEN coalesce(nullif(s.response_model, ''), s.request_model, '') ELSE '' END",
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
_SPAN_MEASURES = ", ".join(f"{SPAN_MEASURES[m]} AS {m}" for m in MEASURES)
#: What the details know nothing of, of the keys of charges.
_ABSENT = {"provider": "''", "price_source": "0", "price_id": "''", "tier": "''", "is_estimate": "false"}


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
        told = ", ".join(_ABSENT.get(name, f'u."{name}"') + f' AS "{name}"' for name in CHARGE_KEYS)
        gone = steps(told, filters, "u.start >= %(begin)s AND u.start < %(kept_since)s")
        sql = f"{grouped.format(cells=gone)} HAVING {known} UNION ALL {sql}"
    return Source(sql, parameters)


def charge_days(from_: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The days (UTC) that a range touches, half-open."""
    return truncate(floor_hour(from_), "day"), truncate(ceil_hour(until) + DAY - HOUR, "day")


def _spans(
    keys: str, filters: SpendFilters, from_: datetime, until: datetime, owners: dict[str, Ownership], *, extra: str
) -> Source:
    """The counted spans of runs that match, those that match themselves and start in the range."""
    parameters = filter_parameters(filters, owners) | {
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
    apart = "OFFSET 0" if filters.has_only_named("user") or filters.has_only_named("session") else ""
    sql = f"""SELECT {SPAN_HOUR} AS start, {keys}, {_SPAN_MEASURES}
        FROM runs r CROSS JOIN LATERAL (
            SELECT * FROM spans s WHERE s.trace_id = r.trace_id AND s.service = r.service AND {RECEIVED} {apart}
        ) AS s
        WHERE r.latest_at >= %(from)s AND r.started_at < %(until)s {matching_runs(filters)}
            AND s.received_on >= %(received_from)s AND s.start_ns >= %(from_ns)s AND s.start_ns < %(until_ns)s
            AND {COUNTED} {extra}"""
    return Source(sql, parameters)


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
