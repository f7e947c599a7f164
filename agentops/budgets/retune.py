"""When limits change, so do the amounts at which somebody has to look: those of open windows are worked out anew.

A threshold that what is spent no longer reaches can fire again; one that it reaches now fires at the next look.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import Cursor

from agentops.budgets import ceilings
from agentops.budgets.store import HIGHEST_REACHED, SPENT_SHARE
from agentops.columns import Texts

RETUNE = f"""
WITH stood AS (
    SELECT w.budget_id, w.member, w.starts_at, {SPENT_SHARE} AS share
    FROM budget_window w
    WHERE w.budget_id = %(budget)b::bigint AND (w.ends_at IS NULL OR w.ends_at > %(at)b)
        AND (cardinality(%(only)b::text[]) = 0 OR w.member = ANY(%(only)b)) AND w.member <> ALL(%(without)b::text[])
), tuned AS (
    SELECT s.*, {HIGHEST_REACHED} AS reached
    FROM stood s
)
UPDATE budget_window AS w SET
    fired = LEAST(w.fired, t.reached),
    next_nano = floor(%(nano)b::bigint * n.coming), next_tokens = floor(%(tokens)b::bigint * n.coming),
    next_steps = floor(%(steps)b::bigint * n.coming),
    told_refused = w.refused,
    exhausted_at = CASE WHEN t.share < 1 THEN NULL ELSE w.exhausted_at END,
    is_due = true
FROM tuned t
LEFT JOIN LATERAL (
    SELECT min(x) AS coming FROM unnest(%(thresholds)b::float8[]) AS x
    WHERE x > (SELECT LEAST(o.fired, t.reached) FROM budget_window o
        WHERE o.budget_id = t.budget_id AND o.member = t.member AND o.starts_at = t.starts_at)
) AS n ON true
WHERE w.budget_id = t.budget_id AND w.member = t.member AND w.starts_at = t.starts_at
"""


def retune(cursor: Cursor[Any], budget_id: int, at: datetime) -> None:
    """Work out anew when the open windows of a budget are to be looked at; all of them are once."""
    budget = ceilings.load(cursor, -1).by_id.get(budget_id)
    if budget is None:
        return
    raised = sorted({one.member for one in budget.raises if one.member})
    for only, without in (([], raised), *(([member], []) for member in raised)):
        limits = budget.limits_at(only[0] if only else "", at)
        cursor.execute(
            RETUNE,
            {
                "nano": limits.nano,
                "tokens": limits.tokens,
                "steps": limits.steps,
                "budget": budget_id,
                "at": at,
                "only": Texts(only),
                "without": Texts(without),
                "thresholds": list(budget.thresholds),
            },
        )
