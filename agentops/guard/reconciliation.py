"""Whether windows agree with the books: everything that a window holds is a span, or a reservation, that counts in it.

One snapshot of the database is compared with itself: whatever is booked or granted meanwhile is in none of it, or in
all of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from psycopg import Cursor

from agentops.budgets import ceilings, recount
from agentops.budgets.ceilings import Moment
from agentops.budgets.reservations import COLUMNS, HELD, SETTLED, read, stays
from agentops.budgets.store import WindowKey
from agentops.columns import books_cursor
from agentops.domain.budgets import CALENDAR, NOTHING, Amounts, Budget
from agentops.guard.models import Reconciliation

#: Windows that are compared of budgets with very many.
MAX_WINDOWS, MAX_TOLD = 20_000, 20
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
WINDOWS = f"""
SELECT member, starts_at, spent_nano, spent_tokens, spent_steps, reserved_nano, reserved_tokens, reserved_steps
FROM budget_window WHERE budget_id = %b AND starts_at = %b ORDER BY touched_at DESC LIMIT {MAX_WINDOWS}
"""
OPEN = f"""
SELECT {COLUMNS} FROM budget_reservation r
WHERE r.granted_at >= %b AND (r.state = {HELD} OR r.state = {SETTLED}) ORDER BY r.id
"""


@dataclass(frozen=True, slots=True)
class Off:
    """A window that holds something else than its rows."""

    budget: int
    member: str
    held: tuple[Amounts, Amounts]
    rows: tuple[Amounts, Amounts]


def reconcile() -> Reconciliation:
    """Compare the open windows of every budget, of one snapshot, and keep what was found."""
    windows, off = compare()
    detail = [
        {
            "budget": one.budget,
            "member": one.member,
            "spent": [list(one.held[0]), list(one.rows[0])],
            "reserved": [list(one.held[1]), list(one.rows[1])],
        }
        for one in off[:MAX_TOLD]
    ]
    return Reconciliation.objects.create(windows=windows, off=len(off), detail=detail)


def compare() -> tuple[int, list[Off]]:
    """How many windows there are, and those that do not agree with their rows."""
    with transaction.atomic(), books_cursor() as cursor:
        if not connection.savepoint_ids:  # a test's own transaction has begun already
            cursor.execute(SNAPSHOT)
        moment = ceilings.look(cursor)
        windows, off = 0, []
        for budget in moment.ceilings.budgets:
            if budget.period in CALENDAR or not budget.parts:
                compared, differing = _compare(cursor, moment, budget)
                windows += compared
                off += differing
    return windows, off


def _compare(cursor: Cursor[Any], moment: Moment, budget: Budget) -> tuple[int, list[Off]]:
    start = budget.window(moment.at)[0]
    begin = recount.since(budget, moment.at)
    cursor.execute(WINDOWS, [budget.id, start])
    held = {WindowKey(budget.id, row[0], row[1]): (Amounts(*row[2:5]), Amounts(*row[5:8])) for row in cursor.fetchall()}
    spent = recount.sums(cursor, moment, budget, moment.at)
    reserved: dict[WindowKey, Amounts] = defaultdict(lambda: NOTHING)
    cursor.execute(OPEN, [begin])
    for row in cursor.fetchall():
        reservation = read(row)
        for key in reservation.windows:
            if key.budget_id != budget.id or key.starts_at != start:
                continue
            if reservation.is_open:
                reserved[key] = reserved[key].plus(reservation.held)
            elif not reservation.is_counted or stays(reservation, key, moment.ceilings):
                spent[key] = spent.get(key, NOTHING).plus(reservation.spent or NOTHING)
    off = []
    for key in held.keys() | spent.keys() | reserved.keys():
        there = held.get(key, (NOTHING, NOTHING))
        rows = (spent.get(key, NOTHING), reserved[key])
        if there != rows and (key in held or len(held) < MAX_WINDOWS):
            off.append(Off(budget.id, key.member, there, rows))
    return len(held), off
