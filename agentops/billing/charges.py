"""What a month charges, in SQL: spend by day and all that a line names, less what closed months charged for it.

The one relation is the *difference*: for each key, what is booked now minus what is recognised. Of a month that was
never closed nothing is recognised, and the difference is its spend; of a closed one it is what changed since.
"""

from __future__ import annotations

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
_ANY = " OR ".join(f"sum({m}) <> 0" for m in MEASURES)

#: Spend as it is booked now, of the days from ``from`` until before ``until``.
_BOOKED = f"""
SELECT (start AT TIME ZONE 'UTC')::date AS day, environment, service, key AS feature, '' AS model, '' AS tool,
    {_MEASURES}
FROM spend_days WHERE dimension = {int(Dimension.FEATURE)}
    AND start >= %(from)s::timestamp AT TIME ZONE 'UTC' AND start < %(until)s::timestamp AT TIME ZONE 'UTC'
"""
DIFFERENCES = f"""
SELECT day, {_KEYS}, {_SUMS} FROM (
    {_BOOKED}
    UNION ALL SELECT day, {_KEYS}, {_LESS} FROM billing_charge WHERE day >= %(from)s AND day < %(until)s
) AS c GROUP BY day, {_KEYS} HAVING {_ANY}
"""
#: The same with the team that each charge goes to: of a day that was charged for before, the team that was charged
#: first; else the one that owns the service now. ``services``, ``teams`` and ``team_names`` say who does.
OWNED = f"""
SELECT d.*, coalesce(k.team, o.team, '') AS team, coalesce(k.team_name, o.team_name, '') AS team_name
FROM ({DIFFERENCES}) AS d
LEFT JOIN (
    SELECT DISTINCT ON (month, service) month, service, team, team_name
    FROM (SELECT date_trunc('month', day::timestamp) AS month, * FROM billing_charge) AS b
    WHERE day >= %(from)s AND day < %(until)s ORDER BY month, service, closing_id
) AS k ON k.month = date_trunc('month', d.day::timestamp) AND k.service = d.service
LEFT JOIN unnest(%(services)s::text[], %(teams)s::text[], %(team_names)s::text[]) AS o (service, team, team_name)
    ON o.service = d.service
"""
CLOSE = f"""
INSERT INTO billing_charge (closing_id, day, {_KEYS}, {_MEASURES}, team, team_name)
SELECT %(closing)s, day, {_KEYS}, {_MEASURES}, team, team_name FROM ({OWNED}) AS o ORDER BY day, {_KEYS}
"""
CLOSED = "SELECT * FROM billing_charge WHERE closing_id = %(closing)s"
#: Lines of a statement, from either of the two: a line for each month that is charged for and all that it names.
LINES = f"""
SELECT team, max(team_name), date_trunc('month', day::timestamp)::date AS month, service, feature, model, tool, {_SUMS}
FROM ({{charges}}) AS c GROUP BY team, month, service, feature, model, tool
"""
MONTHS = f"""
SELECT date_trunc('month', start AT TIME ZONE 'UTC')::date AS month, sum(cost_nano), sum(unpriced_calls)
FROM spend_days WHERE dimension = {int(Dimension.SERVICE)} AND (steps <> 0 OR cost_nano <> 0)
GROUP BY month ORDER BY month
"""
