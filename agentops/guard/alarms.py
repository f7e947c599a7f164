"""What is said of ceilings: thresholds that are reached, limits that are used up, windows that burn too fast.

Whoever books or refuses marks a window as due in its own transaction; a tick looks at what is due, says each threshold
once in each window, and marks that it has, all in one transaction. It may run at any time, and twice at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from psycopg import Cursor

from agentops.alerts.actions import Signal, announce, clear, report
from agentops.budgets import ceilings, reservations, store
from agentops.budgets.ceilings import Moment
from agentops.budgets.store import Deltas
from agentops.columns import books_cursor
from agentops.domain.alerting import Severity, fingerprint
from agentops.domain.budgets import (
    JOIN,
    Action,
    Amounts,
    Budget,
    Each,
    Position,
    amount_words,
    crossed,
    member_words,
    next_amounts,
    title_of,
)
from agentops.guard.shapes import moment_text, position_shapes
from agentops.runs.api import usd

THRESHOLD, EXHAUSTED = "budget.threshold", "budget.exhausted"
#: Windows that one tick looks at.
AT_ONCE = 500
#: How far back settlements are looked through, at every tick, for spans that came before them.
RECENT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Due:
    """A window that somebody has to look at."""

    position: Position
    service: str
    fired: float
    refused: int
    refused_nano: int
    exhausted_at: datetime | None
    told_refused: int

    @property
    def is_used_up(self) -> bool:
        """Whether nothing fits any more, or something was refused that nobody has been told of."""
        return self.position.share >= 1 or self.refused > self.told_refused


def look(*, within: timedelta = RECENT) -> bool:
    """Let go of what has expired, count what came in the wrong order, say what is due; whether there may be more."""
    with transaction.atomic(), books_cursor() as cursor:
        moment = ceilings.share(cursor)
        deltas = Deltas()
        reservations.expire(cursor, moment.at)(deltas)
        reservations.match_strays(cursor, moment, within, deltas)
        store.move(cursor, moment, deltas)
        due = _due(cursor, moment)
        signals, over = _say(due, moment)
        told = report(signals, now=moment.at) + clear(over, now=moment.at, reason="more is spent since")
        _mark(cursor, due)
        announce(told)
    return len(due) == AT_ONCE


#: What ``read_due`` reads of a window ``w``.
COLUMNS = """w.budget_id, w.member, w.starts_at, w.spent_nano, w.spent_tokens, w.spent_steps, w.reserved_nano,
    w.reserved_tokens, w.reserved_steps, w.service, w.fired, w.refused, w.refused_nano, w.exhausted_at,
    w.told_refused"""
DUE = f"""
SELECT {COLUMNS}
FROM budget_window w WHERE is_due ORDER BY budget_id, member, starts_at LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED
"""


def _due(cursor: Cursor[Any], moment: Moment) -> list[tuple[tuple[Any, ...], Due | None]]:
    """What is due, each with its key; ``None`` of budgets that are off, or do not bind this service."""
    cursor.execute(DUE)
    return [(row[:3], read_due(row, moment)) for row in cursor.fetchall()]


def read_due(row: Sequence[Any], moment: Moment) -> Due | None:
    """A window as ``COLUMNS`` tell of it; ``None`` of a budget that is off, or does not bind its service."""
    pk, member, start = row[:3]
    budget = moment.ceilings.by_id.get(pk)
    service, fired, refused, refused_nano, exhausted_at, told_refused = row[9:15]
    if budget is None or not moment.ceilings.replaced.holds(budget, service, moment.at):
        return None
    limits = budget.limits_at(member, moment.at)
    end = budget.window(start)[1]
    position = Position(budget, member, start, end, limits, Amounts(*row[3:6]), Amounts(*row[6:9]))
    return Due(position, service, fired, refused, refused_nano, exhausted_at, told_refused)


def _say(due: Sequence[tuple[tuple[Any, ...], Due | None]], moment: Moment) -> tuple[list[Signal], list[str]]:
    """What there is to say, and the fingerprints of what is said no more: a higher threshold speaks for a lower one."""
    signals: list[Signal] = []
    over: list[str] = []
    for _, one in due:
        if one is None or (one.position.ends_at is not None and one.position.ends_at <= moment.at):
            continue
        reached = crossed(one.position, one.fired)
        said = [threshold for threshold in reached if threshold != 1.0]
        signals += [_signal(THRESHOLD, one, moment, threshold) for threshold in said]
        if one.is_used_up and one.exhausted_at is None:
            signals.append(_signal(EXHAUSTED, one, moment, 1.0))
        highest = max((*reached, 1.0 if one.is_used_up else 0.0))
        if reached or one.is_used_up:
            lower = [threshold for threshold in one.position.budget.thresholds if threshold < highest]
            over += [fingerprint(THRESHOLD, "", topic=topic_of(one, threshold)) for threshold in lower]
    return signals, over


def _signal(kind: str, due: Due, moment: Moment, threshold: float) -> Signal:
    position = due.position
    line = position.lines[0]
    named = name_of(position)
    numbers = f"{amount_words(line.unit, line.spent)} of {amount_words(line.unit, line.limit)}"
    if kind == THRESHOLD:
        title = f"{threshold:.0%} of {named} is spent: {numbers}"
    elif line.spent >= line.limit:
        title = f"{named} is used up: {numbers}"
    else:
        title = f"{named} lets no more through: {numbers}, {amount_words(line.unit, line.reserved)} held"
    told = evidence(due, threshold) | {"threshold": threshold}
    severity = _severity(kind, position.budget)
    return signal_of(due, moment, kind, severity, title, told, topic_of(due, threshold))


def signal_of(
    due: Due, moment: Moment, kind: str, severity: Severity, title: str, told: Mapping[str, Any], topic: str
) -> Signal:
    """What is said of a window; ``told`` is its evidence."""
    position, scope = due.position, due.position.budget.scope
    return Signal(
        kind=kind,
        severity=severity,
        service=due.service or min(scope.services, default=""),
        title=title,
        seen_at=moment.at,
        evidence=told,
        topic=topic,
        environment=scope.environment or None,
        **_subjects(position.budget, position.member),
    )


def name_of(position: Position) -> str:
    """A window in a title: ``“Research” (user alice)``."""
    whose = member_words(position.budget, position.member)
    return f"“{title_of(position.budget)}”{f' ({whose})' if whose else ''}"


def evidence(due: Due, share: float) -> dict[str, Any]:
    """The numbers of a window, for an alert; ``share`` is told where its tightest limit is nothing."""
    position = due.position
    line = position.lines[0]
    return position_shapes(position)[0] | {
        "member": member_words(position.budget, position.member) or None,
        "window": moment_text(position.starts_at) if position.ends_at else None,
        "share": round(line.spent / line.limit, 4) if line.limit else share,
        "refused": due.refused,
        "refused_usd": usd(due.refused_nano),
        "cost_usd": usd(position.spent.nano),
        "action": position.budget.action.value,
        "set_by": position.budget.set_by or None,
    }


def _severity(kind: str, budget: Budget) -> Severity:
    """A ceiling that stops more than one person pages when it is used up; all else waits."""
    of_one_person = budget.each in (Each.USER, Each.FEATURE)
    pages = kind == EXHAUSTED and budget.action is Action.STOP and not of_one_person
    return Severity.PAGE if pages else Severity.WARN


def _subjects(budget: Budget, member: str) -> dict[str, Any]:
    """Whose window it is, for an alert."""
    values = {part.value: value for part, value in zip(budget.parts, member.split(JOIN), strict=False) if value}
    scope = budget.scope
    run = values.get("run") or scope.run
    return {
        "run": bytes.fromhex(run) if reservations.is_trace_id(run) else None,
        "session": values.get("session") or scope.session or None,
        "user": values.get("user") or scope.user or None,
        "feature": values.get("feature") or scope.feature or None,
    }


def topic_of(due: Due, *parts: object) -> str:
    """What an alert is about: a window, or a part of what there is to say of it."""
    position = due.position
    return "/".join(map(str, (position.budget.id, position.starts_at.isoformat(), *parts, position.member)))


MARK = """
UPDATE budget_window SET is_due = false, told_refused = refused, fired = %b,
    next_nano = %b, next_tokens = %b, next_steps = %b,
    exhausted_at = CASE WHEN %b::boolean THEN coalesce(exhausted_at, clock_timestamp()) ELSE exhausted_at END
WHERE budget_id = %b AND member = %b AND starts_at = %b
"""


def _mark(cursor: Cursor[Any], due: Sequence[tuple[tuple[Any, ...], Due | None]]) -> None:
    rows: list[tuple[Any, ...]] = []
    for key, one in due:
        if one is None:
            rows.append((0.0, None, None, None, False, *key))
            continue
        budget = one.position.budget
        fired = max((*crossed(one.position, one.fired), one.fired))
        coming = next_amounts(budget, one.position.limits, fired)
        rows.append((fired, *coming, one.is_used_up, *key))
    if rows:
        cursor.executemany(MARK, rows)
