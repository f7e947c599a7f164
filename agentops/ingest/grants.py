"""Spans of steps that the guard has granted: known again, attributed as the guard was asked, counted once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Cursor

from agentops.budgets import reservations
from agentops.budgets.ceilings import Moment
from agentops.budgets.reservations import Claim, Ids, Reservation
from agentops.budgets.store import Deltas, amounts_of
from agentops.domain.budgets import Amounts
from agentops.domain.spans import RANK_GUARD, STEP_KINDS
from agentops.ingest.entry import Entry, answer_key

#: What a check may state of a run, in the order in which a reservation keeps it.
_STATED = ("environment", "user", "session", "feature")


def meet(cursor: Cursor[Any], moment: Moment, fresh: Sequence[Entry], windows: Deltas) -> None:
    """Settle the reservations whose spans these are; each such span counts from the moment at which it was granted."""
    steps = [entry for entry in fresh if entry.span.kind in STEP_KINDS]
    if not steps:
        return
    found = reservations.find(cursor, [_claim(entry) for entry in steps])
    settled: dict[UUID, tuple[Reservation, Ids]] = {}
    for place, reservation in found:
        entry = steps[place]
        span = entry.span
        span.attribution |= {
            name: (value, RANK_GUARD) for name, value in zip(_STATED, reservation.stated, strict=True) if value
        }
        if moment.at - reservation.granted_at < reservations.REMEMBERED:
            entry.counted_at = reservation.granted_at
        if not reservation.is_counted:
            amounts = Amounts(*amounts_of(entry.measures))
            reservations.count(reservation, amounts, moment.ceilings, windows, service=span.service)
            settled[reservation.id] = (reservation, Ids(trace_id=span.trace_id, span_id=span.span_id))
    reservations.save(cursor, settled.values())


def _claim(entry: Entry) -> Claim:
    span = entry.span
    return Claim(*entry.key, _uuid(span.reservation_id), answer_key(span))


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
