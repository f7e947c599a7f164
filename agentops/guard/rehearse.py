"""What a proposed ceiling would have done in the last days, by the runs of these days.

A run counts in the hour in which it began, with all that it spent: what is asked is how large windows are, not when
exactly each was full.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import transaction

from agentops.budgets import recount
from agentops.columns import books_cursor
from agentops.domain.budgets import JOIN, Amounts, Budget
from agentops.domain.rehearsal import Rehearsal, Spell, rehearse
from agentops.guard import queries

DAYS = 30
#: Hours of members that are read at most, and how long that may take.
MAX_SPELLS, TIMEOUT = 400_000, "SET LOCAL statement_timeout = '8s'"
_NAMES = {"user": 'r."user"', "feature": "r.feature", "session": "r.session", "run": "encode(r.trace_id, 'hex')"}


def rehearsal_of(budget: Budget, *, now: datetime) -> Rehearsal:
    """What a budget would have done since ``DAYS`` ago. Raises ``DatabaseError`` when that takes too long."""
    from_ = (now - timedelta(days=DAYS)).replace(minute=0, second=0, microsecond=0)
    return rehearse(_spells(budget, from_, now), budget, from_, now)


def _spells(budget: Budget, from_: datetime, until: datetime) -> Iterator[Spell]:
    parameters = recount.scope_of(budget, queries.current().teams)
    if parameters is None:
        return
    names = [_NAMES[part.value] for part in budget.parts]
    known = "".join(f" AND {name} <> ''" for name in names)
    columns = "".join(f", {name}" for name in names)
    places = ", ".join(str(n) for n in range(1, len(names) + 2))
    statement = f"""
SELECT date_trunc('hour', r.started_at, 'UTC'){columns}, sum(r.cost_nano)::bigint,
    sum(r.input_tokens + r.output_tokens)::bigint, sum(r.steps)::bigint, count(*)
FROM runs r WHERE r.started_at >= %(from)s AND r.started_at < %(until)s AND {recount.FITS}{known}
GROUP BY {places} ORDER BY 1 LIMIT {MAX_SPELLS}
"""
    with transaction.atomic(), books_cursor() as cursor:
        cursor.execute(TIMEOUT)
        cursor.execute(statement, {**parameters, "from": from_, "until": until})
        for at, *rest in cursor:
            members, (nano, tokens, steps, runs) = rest[: len(names)], rest[len(names) :]
            yield Spell(at, JOIN.join(members), Amounts(nano, tokens, steps), runs)
