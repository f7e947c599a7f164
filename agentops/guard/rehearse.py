"""What a proposed ceiling would have done in the last days, by the runs of these days.

A run counts in the hour in which it began, with all that it spent: what is asked is how large windows are, not when
exactly each was full.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from psycopg import Cursor
from psycopg.errors import QueryCanceled

from agentops.budgets import recount
from agentops.columns import books_cursor
from agentops.domain.budgets import CALENDAR, JOIN, Amounts, Budget
from agentops.domain.rehearsal import Rehearsal, Spell, rehearse
from agentops.guard import queries

DAYS, HOUR = 30, timedelta(hours=1)
#: Hours of members that are read at most, the latest ones: of runs and sessions, each of which has a window of its own,
#: and of others; and how long that may take.
MAX_LIVES, MAX_SPELLS, TIMEOUT = 60_000, 150_000, "SET LOCAL statement_timeout = '8s'"
_NAMES = {"user": 'r."user"', "feature": "r.feature", "session": "r.session", "run": "encode(r.trace_id, 'hex')"}


class TooMuchError(Exception):
    """There is more than can be read while somebody waits."""


class Rehearsed(NamedTuple):
    """What a budget would have done; ``since`` when it was looked at, where that is not all of the days."""

    rehearsal: Rehearsal
    since: datetime | None = None


def rehearsal_of(budget: Budget, *, now: datetime) -> Rehearsed:
    """What a budget would have done since ``DAYS`` ago. Raises ``TooMuchError`` when that takes too long."""
    from_ = (now - timedelta(days=DAYS)).replace(minute=0, second=0, microsecond=0)
    parameters = recount.scope_of(budget, queries.current().teams)
    if parameters is None:
        return Rehearsed(rehearse((), budget, from_, now))
    try:
        with transaction.atomic(), books_cursor() as cursor:
            cursor.execute(TIMEOUT)
            most = MAX_SPELLS if budget.period in CALENDAR else MAX_LIVES
            cursor.execute(_statement(budget), {**parameters, "from": from_, "until": now, "most": most})
            if cursor.rowcount < most:
                return Rehearsed(rehearse(_spells(cursor, budget), budget, from_, now))
            # The first hour that was read may have had more.
            since = next(_spells(cursor, budget)).at + HOUR
            return Rehearsed(rehearse(_spells(cursor, budget), budget, since, now), since)
    except QueryCanceled as error:
        raise TooMuchError from error


def _statement(budget: Budget) -> str:
    names = [_NAMES[part.value] for part in budget.parts]
    known = "".join(f" AND {name} <> ''" for name in names)
    columns = "".join(f", {name}" for name in names)
    places = ", ".join(str(n) for n in range(1, len(names) + 2))
    return f"""
SELECT * FROM (
    SELECT date_trunc('hour', r.started_at, 'UTC') AS hour{columns}, sum(r.cost_nano)::bigint,
        sum(r.input_tokens + r.output_tokens)::bigint, sum(r.steps)::bigint, count(*)
    FROM runs r WHERE r.started_at >= %(from)s AND r.started_at < %(until)s AND {recount.FITS}{known}
    GROUP BY {places} ORDER BY 1 DESC LIMIT %(most)s
) AS latest ORDER BY hour
"""


def _spells(cursor: Cursor[Any], budget: Budget) -> Iterator[Spell]:
    parts = len(budget.parts)
    for at, *rest in cursor:
        nano, tokens, steps, runs = rest[parts:]
        yield Spell(at, JOIN.join(rest[:parts]), Amounts(nano, tokens, steps), runs)
