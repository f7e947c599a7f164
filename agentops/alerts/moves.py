"""What a move does to an alert besides its state."""

from __future__ import annotations

from datetime import datetime

from agentops.accounts.models import User
from agentops.alerts.models import MAX_REASON_CHARS, Alert, AlertMove
from agentops.domain.alerting import MOVES, Move

#: What an alert forgets with a move.
FORGOTTEN: dict[Move, tuple[str, ...]] = {
    Move.ACKNOWLEDGE: ("snoozed_until",),
    Move.UNACKNOWLEDGE: ("acknowledged_by_id", "acknowledged_at"),
    Move.WORSEN: ("acknowledged_by_id", "acknowledged_at"),
    Move.SNOOZE: ("acknowledged_by_id", "acknowledged_at"),
    Move.WAKE: ("snoozed_until",),
    Move.RESOLVE: ("snoozed_until",),
    Move.REOPEN: ("resolved_by_id", "resolved_at", "cleared_at", "acknowledged_by_id", "acknowledged_at", "group_id"),
}
#: What has happened, in one word, to whoever hears of it.
CHANGES = {
    Move.OPEN: "opened",
    Move.ACKNOWLEDGE: "acknowledged",
    Move.UNACKNOWLEDGE: "unacknowledged",
    Move.SNOOZE: "snoozed",
    Move.SILENCE: "silenced",
    Move.WAKE: "woken",
    Move.WORSEN: "worsened",
    Move.RESOLVE: "resolved",
    Move.REOPEN: "reopened",
}
COUNTED, NOTED, CLEARED = "counted", "noted", "cleared"
#: What people should hear of, when the alert fires.
NEWS = frozenset(CHANGES[move] for move in (Move.OPEN, Move.REOPEN, Move.WORSEN, Move.WAKE))


def take(
    alert: Alert, move: Move, *, at: datetime, by: User | None = None, reason: str = "", until: datetime | None = None
) -> AlertMove:
    """Change an alert, in memory, by a move that is allowed; the record of it."""
    was, (_, alert.state) = alert.state, MOVES[move]
    for name in FORGOTTEN.get(move, ()):
        setattr(alert, name, None)
    alert.version += 1
    alert.change = CHANGES[move]
    reason = reason[:MAX_REASON_CHARS]
    if move is Move.ACKNOWLEDGE:
        alert.acknowledged_by, alert.acknowledged_at = by, at
    elif move is Move.SNOOZE:
        alert.snoozed_until = until
    elif move is Move.RESOLVE:
        alert.resolved_by, alert.resolved_at, alert.resolved_reason = by, at, reason
    elif move is Move.REOPEN:
        alert.resolved_reason, alert.reopened = "", alert.reopened + 1
    return AlertMove(alert=alert, at=at, by=by, move=move, from_state=was, to_state=alert.state, reason=reason)


def opening(alert: Alert, *, at: datetime) -> AlertMove:
    """The record that an alert was opened."""
    alert.change = CHANGES[Move.OPEN]
    return AlertMove(alert=alert, at=at, move=Move.OPEN, to_state=alert.state)
