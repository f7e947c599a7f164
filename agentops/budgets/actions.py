"""What people decide about ceilings: each decision is one transaction, with its record, and binds the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from psycopg import Cursor

from agentops.accounts.models import Role, User
from agentops.budgets import ceilings
from agentops.budgets.ceilings import ALONE, DECIDED, Moment
from agentops.budgets.definitions import (
    MAX_COUNT,
    MAX_NANO,
    MAX_VALUE_CHARS,
    NARROWED,
    Definition,
    UnsoundBudget,
    check,
    definition_of,
)
from agentops.budgets.models import MAX_NOTE_CHARS, Budget, Change, Raise, Stop
from agentops.budgets.recount import recount, recount_past
from agentops.budgets.retune import retune
from agentops.columns import books_cursor
from agentops.domain.budgets import ALWAYS, CALENDAR, Amounts, window
from agentops.live.actions import publish

#: Who may decide.
WRITES = Role.ADMIN
#: Who may throw the kill switch: whoever answers alerts.
STOPS = Role.RESPONDER
TOPIC = "budgets"
#: What every page listens to: the desk tells of ``TOPIC`` whenever agents ask, of this only people's decisions do.
STOPPED = "stops"
LONGEST_RAISE = timedelta(days=92)


class UnsoundRaise(ValueError):
    """A raise that cannot be; the message is a sentence."""


class UnsoundStop(ValueError):
    """Something that cannot be stopped; the message is a sentence."""


@contextmanager
def _deciding(*told: str) -> Iterator[tuple[Cursor[Any], Moment]]:
    """Decide while nobody books or grants; afterwards everybody knows, and pages are told, of more topics too."""
    with transaction.atomic(), books_cursor() as cursor:
        cursor.execute(ALONE)
        yield cursor, ceilings.look(cursor)
        cursor.execute(DECIDED)
        publish([TOPIC, *told])


def create(*, wanted: Definition, by: User | None) -> Budget:
    """Make a budget. Raises ``UnsoundBudget``."""
    wanted = check(wanted)
    with _deciding() as (cursor, moment):
        effective = wanted.effective_from or moment.at
        budget = Budget(
            created_at=moment.at,
            created_by=by,
            counts_from=_counts_from(wanted, moment.at),
            **_fields(replace(wanted, effective_from=effective)),
        )
        budget.save(force_insert=True)
        _note(Change.Subject.BUDGET, budget.pk, "created", by, moment.at, budget=budget, after=_dump(budget))
        if wanted.count_past and not budget.is_off:
            _recount(cursor, budget, past=True)
    return budget


def change(*, budget: Budget, wanted: Definition, by: User | None, reason: str = "") -> Budget:
    """Change a budget; of what counts differently from now on the open windows are counted anew.

    Raises ``UnsoundBudget``.
    """
    wanted = check(wanted)
    with _deciding() as (cursor, moment):
        budget = Budget.objects.select_for_update().get(pk=budget.pk)
        before, was = _dump(budget), definition_of(budget)
        if wanted == was and not wanted.count_past:
            return budget
        if budget.is_default and wanted.counted != was.counted:
            raise UnsoundBudget({"period": "A default counts every run, or every session: make a budget of your own."})
        moved = wanted.counted != was.counted or wanted.is_off != was.is_off
        if wanted.effective_from != was.effective_from or wanted.count_past:
            budget.counts_from = _counts_from(wanted, moment.at)
            moved = True
        elif was.is_off and not wanted.is_off:
            budget.counts_from = moment.at
        for name, value in _fields(replace(wanted, effective_from=wanted.effective_from or was.effective_from)).items():
            setattr(budget, name, value)
        budget.version += 1
        budget.save()
        _note(Change.Subject.BUDGET, budget.pk, "changed", by, moment.at, budget, before, _dump(budget), reason)
        if moved and not budget.is_off:
            _recount(cursor, budget, past=wanted.count_past)
        else:
            retune(cursor, budget.pk, moment.at)
    return budget


def raise_limit(
    *, budget: Budget, extra: Amounts, until: datetime, reason: str, by: User | None, member: str = ""
) -> Raise:
    """Raise the limits of a budget, or of one member's, until a moment. Raises ``UnsoundRaise``."""
    reason = _words(reason)
    if not reason:
        message = "Say why: whoever reads the record has to understand it."
        raise UnsoundRaise(message)
    with _deciding() as (cursor, moment):
        _check_raise(extra, until, moment.at)
        raised = Raise.objects.create(
            budget=budget,
            member=member,
            extra_nano=extra.nano,
            extra_tokens=extra.tokens,
            extra_steps=extra.steps,
            starts_at=moment.at,
            until=until,
            reason=reason,
            raised_by=by,
        )
        after = {"extra": list(extra), "until": until.isoformat(), "member": member}
        _note(Change.Subject.RAISE, raised.pk, "raised", by, moment.at, budget=budget, after=after, reason=reason)
        retune(cursor, budget.pk, moment.at)
    return raised


def end_raise(*, raised: Raise, by: User | None, reason: str = "") -> Raise:
    """End a raise before its time; ending twice changes nothing."""
    with _deciding() as (cursor, moment):
        raised = Raise.objects.select_for_update().select_related("budget").get(pk=raised.pk)
        if raised.ended_at is None:
            raised.ended_at, raised.ended_by = min(moment.at, raised.until), by
            raised.save(update_fields=["ended_at", "ended_by"])
            before = {"until": raised.until.isoformat()}
            after = {"ended_at": raised.ended_at.isoformat()}
            subject = Change.Subject.RAISE
            _note(subject, raised.pk, "ended", by, moment.at, raised.budget, before, after, reason)
            retune(cursor, raised.budget_id, moment.at)
    return raised


def end_raises_due(*, now: datetime) -> int:
    """End the raises whose time is over, so that thresholds are as they were; how many there were."""
    due = list(Raise.objects.filter(ended_at=None, until__lte=now)[:100])
    for raised in due:
        end_raise(raised=raised, by=None, reason="its time is over")
    return len(due)


def stop(*, what: str, value: str, reason: str, by: User | None) -> Stop:
    """Throw the kill switch; thrown again, its reason is the new one. Raises ``UnsoundStop``."""
    value, reason = value.strip(), _words(reason)
    if what not in Stop.What.values:
        message = "A service, a session, a user or a run can be stopped."
        raise UnsoundStop(message)
    if not value or len(value) > MAX_VALUE_CHARS or "\0" in value:
        message = f"Say which {what}, in at most {MAX_VALUE_CHARS} characters."
        raise UnsoundStop(message)
    with _deciding(STOPPED) as (_, moment):
        thrown = Stop.objects.select_for_update().filter(what=what, value=value, lifted_at=None).first()
        before = None if thrown is None else {"reason": thrown.reason}
        if thrown is None:
            thrown = Stop(what=what, value=value, stopped_at=moment.at, stopped_by=by)
        thrown.reason = reason
        thrown.save()
        after = {"what": what, "value": value, "reason": reason}
        _note(Change.Subject.STOP, thrown.pk, "stopped", by, moment.at, before=before, after=after, reason=reason)
    return thrown


def lift(*, thrown: Stop, by: User | None, reason: str = "") -> Stop:
    """Let go on what was stopped; lifting twice changes nothing."""
    with _deciding(STOPPED) as (_, moment):
        thrown = Stop.objects.select_for_update().get(pk=thrown.pk)
        if thrown.lifted_at is None:
            thrown.lifted_at, thrown.lifted_by = moment.at, by
            thrown.lifted_reason = _words(reason)
            thrown.save()
            before = {"what": thrown.what, "value": thrown.value, "reason": thrown.reason}
            _note(Change.Subject.STOP, thrown.pk, "lifted", by, moment.at, before=before, reason=thrown.lifted_reason)
    return thrown


def _check_raise(extra: Amounts, until: datetime, now: datetime) -> None:
    message = ""
    if any(amount < 0 for amount in extra) or not any(extra):
        message = "Raise it by something: dollars, tokens or steps."
    elif extra.nano > MAX_NANO or max(extra.tokens, extra.steps) > MAX_COUNT:
        message = "That is no limit any more."
    elif until <= now:
        message = "That moment is past."
    elif until - now > LONGEST_RAISE:
        message = f"A raise lasts {LONGEST_RAISE.days} days at most: change the budget."
    if message:
        raise UnsoundRaise(message)


def _counts_from(wanted: Definition, now: datetime) -> datetime:
    """From when on spend counts: older spend only when that is asked for."""
    effective = wanted.effective_from or now
    if not wanted.count_past:
        return max(effective, now)
    if wanted.effective_from is not None:
        return effective
    return window(wanted.period, wanted.timezone, now)[0] if wanted.period in CALENDAR else ALWAYS


def _fields(wanted: Definition) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "services": list(wanted.services),
        **{name: getattr(wanted, name) for name in NARROWED},
        "each": wanted.each.value if wanted.each else "",
        "period": wanted.period.value,
        "timezone": wanted.timezone,
        "limit_nano": wanted.limit_nano,
        "limit_tokens": wanted.limit_tokens,
        "limit_steps": wanted.limit_steps,
        "thresholds": list(wanted.thresholds),
        "action": wanted.action.value,
        "kept_nano": wanted.kept_nano,
        "effective_from": wanted.effective_from,
        "expires_at": wanted.expires_at,
        "note": wanted.note,
        "is_off": wanted.is_off,
    }


def _dump(budget: Budget) -> dict[str, Any]:
    return definition_of(budget).dump() | {"counts_from": budget.counts_from.isoformat()}


def _recount(cursor: Cursor[Any], budget: Budget, *, past: bool) -> None:
    """Count the open windows anew, and those before, by the ceilings as they are with this decision."""
    fresh = ceilings.load(cursor, -1)
    moment = ceilings.look(cursor)._replace(ceilings=fresh)
    recount(cursor, moment, fresh.by_id[budget.pk])
    if past:
        recount_past(cursor, moment, fresh.by_id[budget.pk])


def _note(
    subject: Change.Subject,
    pk: int,
    what: str,
    by: User | None,
    at: datetime,
    budget: Budget | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> None:
    Change.objects.create(
        subject=subject,
        subject_id=pk,
        budget=budget,
        at=at,
        by=by,
        what=what,
        before=before,
        after=after,
        reason=_words(reason),
    )


def _words(text: str) -> str:
    """What somebody says, as it is kept."""
    return text.replace("\0", "").strip()[:MAX_NOTE_CHARS]
