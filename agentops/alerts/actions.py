"""What people and the clock do to alerts; what detectors do stands in ``reports``.

Each action is one transaction with its record and its announcement. A move is made only from the state in which the
alert was read: of two people who acknowledge at once, one does, and the other is told who it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from agentops.accounts.models import User
from agentops.alerts import moves, queries, store
from agentops.alerts.announcements import announce
from agentops.alerts.models import MAX_REASON_CHARS, Alert, AlertMove, Note, Silence
from agentops.alerts.reports import ENDED, clear, report
from agentops.alerts.signals import Signal
from agentops.alerts.store import Mark
from agentops.domain import alerting
from agentops.domain.alerting import Move, State

__all__ = ["Signal", "announce", "clear", "report"]

#: How often a move is tried when others move the alert at the same time.
TRIES = 3
#: Alerts that one bulk move may name, and that the clock looks at in one go.
MAX_BULK = 1_000
MAX_NOTE_CHARS = 10_000


class NotAllowed(ValueError):
    """A move that is not allowed in the state an alert is in; ``alert`` is as it is now."""

    def __init__(self, alert: Alert) -> None:
        self.alert = alert
        super().__init__(_why_not(alert))

    @property
    def state(self) -> str:
        """The state that it is in."""
        return str(self.alert.state)

    @property
    def acknowledged_by(self) -> str | None:
        """Who has it, by name."""
        return self.alert.acknowledged_by.get_username() if self.alert.acknowledged_by else None


class EmptyNote(ValueError):
    """A note without a word."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a bulk move did: those that moved, and those that were not allowed to."""

    moved: list[Alert]
    refused: list[Alert]


def acknowledge(*, alert: Alert, by: User, now: datetime) -> Alert:
    """Take an alert on. Raises ``NotAllowed``."""
    return _move(alert, Move.ACKNOWLEDGE, by=by, now=now)


def unacknowledge(*, alert: Alert, by: User, now: datetime) -> Alert:
    """Give it back: it fires again. Raises ``NotAllowed``."""
    return _move(alert, Move.UNACKNOWLEDGE, by=by, now=now)


def resolve(*, alert: Alert, by: User, now: datetime, reason: str = "") -> Alert:
    """Say that it is over; the same stays quiet for a while. Raises ``NotAllowed``."""
    return _move(alert, Move.RESOLVE, by=by, now=now, reason=reason)


def snooze(*, alert: Alert, until: datetime, by: User, now: datetime, reason: str = "") -> Alert:
    """Let it be quiet until a moment. Raises ``UnsoundMoment`` and ``NotAllowed``."""
    alerting.check_snooze(until, now=now)
    return _move(alert, Move.SNOOZE, by=by, now=now, reason=reason, until=until)


def wake(*, alert: Alert, by: User, now: datetime) -> Alert:
    """Let it fire again before its snooze ends. Raises ``NotAllowed``."""
    return _move(alert, Move.WAKE, by=by, now=now)


@transaction.atomic
def move_all(
    *, ids: Iterable[int], move: Move, by: User, now: datetime, reason: str = "", until: datetime | None = None
) -> Outcome:
    """Move several alerts, ``MAX_BULK`` at most, each if it is allowed. Raises ``UnsoundMoment``."""
    if move is Move.SNOOZE:
        alerting.check_snooze(until or now, now=now)
    asked = list(Alert.objects.filter(pk__in=sorted(set(ids))[:MAX_BULK]))
    moved = _move_those(asked, move, by=by, now=now, reason=reason, until=until)
    announce(moved)
    done = {alert.pk for alert in moved}
    return Outcome(moved, [alert for alert in asked if alert.pk not in done])


@transaction.atomic
def add_note(*, alert: Alert, text: str, by: User, now: datetime) -> Note:
    """Write something about an alert. Raises ``EmptyNote``."""
    if not (text := text.replace("\0", "").strip()):
        message = "A note needs words."
        raise EmptyNote(message)
    note = Note.objects.create(alert=alert, at=now, by=by, text=text[:MAX_NOTE_CHARS])
    alert.change = moves.NOTED
    announce([alert])
    return note


@transaction.atomic
def create_silence(
    *,
    matchers: Mapping[str, str],
    starts_at: datetime | None = None,
    ends_at: datetime,
    comment: str = "",
    by: User,
    now: datetime,
) -> Silence:
    """Keep alerts quiet for some time, those that fire already among them.

    Raises ``UnsoundMatchers`` and ``UnsoundMoment``.
    """
    matchers, starts_at = alerting.check_matchers(matchers), starts_at or now
    alerting.check_silence(starts_at, ends_at, now=now)
    silence = Silence.objects.create(
        matchers=matchers,
        starts_at=starts_at,
        ends_at=ends_at,
        comment=comment.replace("\0", "").strip()[:MAX_REASON_CHARS],
        created_by=by,
        created_at=now,
    )
    fitting: list[Alert] = []
    if starts_at <= now:
        firing = Alert.objects.filter(state=State.FIRING)
        fitting = [alert for alert in firing if queries.is_covered(alert, [silence])]
    announce(_move_those(fitting, Move.SILENCE, by=by, now=now, reason=f"silence #{silence.pk}"), always=True)
    return silence


@transaction.atomic
def end_silence(*, silence: Silence, by: User, now: datetime) -> Silence:
    """End a silence before its time; what nothing else keeps quiet fires again. Ending twice changes nothing."""
    changed = Silence.objects.filter(pk=silence.pk, ended_at=None, ends_at__gt=now).update(ended_at=now, ended_by=by)
    if changed:
        announce(_wake_unsilenced(now), always=True)
    silence.refresh_from_db()
    return silence


@transaction.atomic
def settle(*, now: datetime) -> list[Alert]:
    """What time does: resolve what is over, wake what is quiet no longer, silence what is to be; those that moved.

    It may run at any time, and twice at once.
    """
    settled = _claim(
        state__in=(State.FIRING, State.ACKNOWLEDGED, State.SILENCED), cleared_at__lte=now - alerting.HYSTERESIS
    )
    moved = _move_those(settled, Move.RESOLVE, now=now, reason=lambda alert: alert.cleared_reason or ENDED)
    moved += _wake_snoozed(now)
    moved += _wake_unsilenced(now)
    moved += _silence_covered(now)
    announce(moved)
    return moved


def _claim(**wanted: object) -> list[Alert]:
    """Alerts that nobody else is at just now."""
    return list(Alert.objects.select_for_update(skip_locked=True).filter(**wanted).order_by("fingerprint")[:MAX_BULK])


def _wake_snoozed(now: datetime) -> list[Alert]:
    """Let fire what was snoozed until now; a silence may keep it quiet still."""
    due = _claim(state=State.SILENCED, snoozed_until__lte=now)
    if not due:
        return []
    silences = queries.active_silences(now=now)
    covered = [alert for alert in due if queries.is_covered(alert, silences)]
    Alert.objects.filter(pk__in=[alert.pk for alert in covered]).update(snoozed_until=None)
    return _move_those([a for a in due if a not in covered], Move.WAKE, now=now, reason="its snooze ended")


def _wake_unsilenced(now: datetime) -> list[Alert]:
    """Let fire what a silence kept quiet that is not in force any more."""
    quiet = list(Alert.objects.filter(state=State.SILENCED, snoozed_until=None))
    if not quiet:
        return []
    silences = queries.active_silences(now=now)
    free = [alert for alert in quiet if not queries.is_covered(alert, silences)]
    return _move_those(free, Move.WAKE, now=now, reason="its silence ended")


def _silence_covered(now: datetime) -> list[Alert]:
    """Keep quiet what fired before the silence that covers it began."""
    silences = queries.active_silences(now=now)
    firing = Alert.objects.filter(state=State.FIRING) if silences else []
    covered = [alert for alert in firing if queries.is_covered(alert, silences)]
    return _move_those(covered, Move.SILENCE, now=now, reason="a silence covers it")


def _move(
    alert: Alert, move: Move, *, by: User, now: datetime, reason: str = "", until: datetime | None = None
) -> Alert:
    """Move an alert from the state that it is in now."""
    for _ in range(TRIES):
        with transaction.atomic():
            found = Alert.objects.select_related("acknowledged_by", "resolved_by").get(pk=alert.pk)
            if alerting.target(State(found.state), move) is None:
                raise NotAllowed(found)
            if moved := _move_those([found], move, by=by, now=now, reason=reason, until=until):
                announce(moved)
                return moved[0]
    raise NotAllowed(Alert.objects.select_related("acknowledged_by", "resolved_by").get(pk=alert.pk))


def _move_those(
    alerts: Sequence[Alert],
    move: Move,
    *,
    now: datetime,
    by: User | None = None,
    reason: str | Callable[[Alert], str] = "",
    until: datetime | None = None,
) -> list[Alert]:
    """Move those that are allowed to, unless somebody has moved them since they were read; two statements."""
    allowed = [alert for alert in alerts if alerting.target(State(alert.state), move) is not None]
    marks = {alert.pk: Mark.of(alert) for alert in allowed}
    records: dict[int, AlertMove] = {}
    for alert in allowed:
        why = reason if isinstance(reason, str) else reason(alert)
        records[alert.pk] = moves.take(alert, move, at=now, by=by, reason=why, until=until)
    written = store.write(allowed, marks)
    store.record([record for pk, record in records.items() if pk in written])
    return [alert for alert in allowed if alert.pk in written]


def _why_not(alert: Alert) -> str:
    """What an alert is, in a sentence, to somebody who wanted something else of it."""
    if alert.state == State.ACKNOWLEDGED:
        who = alert.acknowledged_by.get_username() if alert.acknowledged_by else "Somebody"
        return f"{who} has acknowledged it already."
    if alert.state == State.RESOLVED:
        return f"{alert.resolved_by.get_username()} has resolved it." if alert.resolved_by else "It resolved by itself."
    if alert.state == State.SILENCED:
        return "It is silenced."
    return "It is firing, and nobody has acknowledged it."
