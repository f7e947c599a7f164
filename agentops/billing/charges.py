"""What a month charges, in SQL: spend by day and all that a line names, less what closed months charged for it.

The one relation is the *difference*: for each key, what is booked now minus what is recognised. Of a month that was
never closed nothing is recognised, and the difference is its spend; of a closed one it is what changed since. It is
worked out for ``days`` (and ``starts``, the moments when these begin) alone: those of an open month, and the closed
ones that ``CHANGED``.
"""

from __future__ import annotations

from agentops.costs.fold import number
from agentops.costs.models import MEASURES as SPEND_MEASURES
from agentops.costs.models import Dimension

#: What a charge adds up, of the measures of spend.
MEASURES = (
    "cost_nano",
    "unpriced_calls",
    "llm_calls",
    "tool_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)
KEYS = ("environment", "service", "feature", "model", "tool")
_KEYS = ", ".join(KEYS)
_MEASURES = ", ".join(MEASURES)
_SUMS = ", ".join(f"sum({m}) AS {m}" for m in MEASURES)
_LESS = ", ".join(f"-{m}" for m in MEASURES)
_LESS_SUMS = ", ".join(f"-sum({m})" for m in MEASURES)
#: Steps that cost nothing and are no model calls are no charges: tools without a price, retrievals.
_ANY = " OR ".join(f"sum({m}) <> 0" for m in ("cost_nano", "unpriced_calls", "llm_calls", *MEASURES[4:]))

_DAY = "(start AT TIME ZONE 'UTC')::date AS day"
_PAIRS = "FROM spend_pairs WHERE days = 1 AND start = ANY(%(starts)s::timestamptz[]) AND pair ="
_MODELS = f"{_PAIRS} {number(Dimension.FEATURE, Dimension.MODEL)}"
_TOOLS = f"{_PAIRS} {number(Dimension.FEATURE, Dimension.TOOL)} AND other_key <> '' AND cost_nano <> 0"
_UNFOLDED = """FROM (
        SELECT date_trunc('day', to_timestamp(hour * 3600.0), 'UTC') AS start, * FROM spend_journal
    ) AS j WHERE start = ANY(%(starts)s::timestamptz[])"""
#: Spend as it is booked now: by feature and model; of what has no model, priced tools by their names; and by feature
#: alone what nobody knows better, so that nothing is missing.
_BOOKED = f"""
SELECT {_DAY}, environment, service, key AS feature, other_key AS model, '' AS tool, {_MEASURES} {_MODELS}
UNION ALL SELECT {_DAY}, environment, service, key, '', other_key, {_MEASURES} {_TOOLS}
UNION ALL SELECT {_DAY}, environment, service, key, '', '', {_LESS} {_TOOLS}
UNION ALL SELECT {_DAY}, environment, service, feature, model, tool, {_MEASURES} {_UNFOLDED}
UNION ALL SELECT {_DAY}, environment, service, key, '', '', {_MEASURES}
    FROM spend_days WHERE dimension = {int(Dimension.FEATURE)} AND start = ANY(%(starts)s::timestamptz[])
UNION ALL SELECT {_DAY}, environment, service, key, '', '', {_LESS_SUMS}
    {_MODELS} GROUP BY start, environment, service, key
UNION ALL SELECT {_DAY}, environment, service, feature, '', '', {_LESS} {_UNFOLDED}
"""
DIFFERENCES = f"""
SELECT day, {_KEYS}, {_SUMS} FROM (
    {_BOOKED}
    UNION ALL SELECT day, {_KEYS}, {_LESS} FROM billing_charge WHERE day = ANY(%(days)s::date[])
) AS c GROUP BY day, {_KEYS} HAVING {_ANY}
"""
#: The same with the team that each charge goes to: the one that was charged for the service and month before, else the
#: one that owns the service now. ``services``, ``teams`` and ``team_names`` say who does.
OWNED = f"""
SELECT d.*, coalesce(k.team, o.team, '') AS team, coalesce(k.team_name, o.team_name, '') AS team_name
FROM ({DIFFERENCES}) AS d
LEFT JOIN billing_chargedteam AS k ON k.month = date_trunc('month', d.day::timestamp)::date AND k.service = d.service
LEFT JOIN unnest(%(services)s::text[], %(teams)s::text[], %(team_names)s::text[]) AS o (service, team, team_name)
    ON o.service = d.service
"""
_HASHED = ", ".join(("dimension", "environment", "service", "key", *SPEND_MEASURES))
#: A number for each of some days that is another one when anything booked for it changes: costs, counts, attribution.
#: Features and models are hashed apart: no correction leaves both as they were.
_DIGESTS = f"""
SELECT {_DAY}, sum(hashtextextended(concat_ws(E'\\x1f', {_HASHED}), 0)) AS digest FROM spend_days
WHERE dimension = ANY(ARRAY[{int(Dimension.FEATURE)}, {int(Dimension.MODEL)}]) AND (steps <> 0 OR cost_nano <> 0)
    AND {{condition}} GROUP BY day
"""
_SINCE = "start >= %(since)s::timestamp AT TIME ZONE 'UTC' AND start < %(until)s::timestamp AT TIME ZONE 'UTC'"
#: The days from ``since`` until before ``until`` of which something else is booked than when they were charged for.
CHANGED = f"""
SELECT coalesce(c.day, d.day) FROM ({_DIGESTS.format(condition=_SINCE)}) AS d
FULL JOIN (SELECT * FROM billing_closedday WHERE day >= %(since)s AND day < %(until)s) AS c ON c.day = d.day
WHERE c.digest IS DISTINCT FROM d.digest
"""
FORGET = "DELETE FROM billing_closedday WHERE day = ANY(%(days)s::date[])"
# Before the charges: what is booked in between is charged, and makes the day one to look at again.
REMEMBER = f"""
INSERT INTO billing_closedday (day, digest) {_DIGESTS.format(condition="start = ANY(%(starts)s::timestamptz[])")}
"""
CLOSE = f"""
INSERT INTO billing_charge (closing_id, day, {_KEYS}, {_MEASURES}, team, team_name)
SELECT %(closing)s, day, {_KEYS}, {_MEASURES}, team, team_name FROM ({OWNED}) AS o ORDER BY day, {_KEYS}
"""
TEAMS = """
INSERT INTO billing_chargedteam (month, service, team, team_name)
SELECT date_trunc('month', day::timestamp)::date AS month, service, max(team), max(team_name) FROM billing_charge
WHERE closing_id = %(closing)s GROUP BY month, service ON CONFLICT (month, service) DO NOTHING
"""
CLOSED = "SELECT * FROM billing_charge WHERE closing_id = %(closing)s"
#: Lines of a statement, from either of the two: a line for each month that is charged for and all that it names.
LINES = f"""
SELECT team, max(team_name), date_trunc('month', day::timestamp)::date AS month, service, feature, model, tool, {_SUMS}
FROM ({{charges}}) AS c GROUP BY team, month, service, feature, model, tool
"""
#: What corrections of closed days would charge, in sum.
PENDING = f"""
SELECT (SELECT coalesce(sum(cost_nano), 0) FROM spend_days
        WHERE dimension = {int(Dimension.SERVICE)} AND start = ANY(%(starts)s::timestamptz[]))
    - (SELECT coalesce(sum(cost_nano), 0) FROM billing_charge WHERE day = ANY(%(days)s::date[]))
"""
MONTHS = f"""
SELECT date_trunc('month', start AT TIME ZONE 'UTC')::date AS month, sum(cost_nano), sum(unpriced_calls)
FROM spend_days WHERE dimension = {int(Dimension.SERVICE)} AND (steps <> 0 OR cost_nano <> 0)
GROUP BY month ORDER BY month
"""
