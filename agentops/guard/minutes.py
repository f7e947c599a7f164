"""What is looked at once a minute: how fast windows are used up, which alerts are over, which clients could not ask."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from psycopg import Cursor

from agentops.alerts.actions import Signal, announce, clear, report
from agentops.alerts.models import Alert
from agentops.budgets import actions, ceilings
from agentops.budgets.ceilings import Ceilings, Moment
from agentops.budgets.store import spent_share
from agentops.columns import books_cursor
from agentops.domain.alerting import Severity, State, fingerprint
from agentops.domain.budgets import CALENDAR, JOIN, Action, Amounts, Budget, Position, Unit, member_words
from agentops.domain.burn import LEAST_SHARE, Burn, Burning, Sample, burning
from agentops.guard.alarms import (
    COLUMNS,
    EXHAUSTED,
    THRESHOLD,
    Due,
    evidence,
    look,
    name_of,
    read_due,
    signal_of,
    topic_of,
)
from agentops.guard.shapes import moment_text

BURN, UNREACHABLE = "budget.burn_rate", "guard.unreachable"
#: How far back settlements are looked through, once a minute, for spans that came before them.
WHILE = timedelta(hours=2)
#: A window without an end of which nothing was said so long is over.
IDLE = timedelta(hours=1)
#: Windows whose course is kept, and that are looked at for how they burn.
MAX_SAMPLED = 2_000


def minute() -> bool:
    """Keep the course of windows, say which burn, end what is over, and say which clients could not ask.

    All of it at once: there is never more to look at.
    """
    with transaction.atomic(), books_cursor() as cursor:
        moment = ceilings.share(cursor)
        _sample(cursor, moment)
        signals, over = _burns(cursor, moment)
        signals += _unreachable(cursor, moment)
        told = report(signals, now=moment.at)
        told += clear(over, now=moment.at, reason="it burns as fast no more")
        told += clear(_ended(cursor, moment), now=moment.at, reason="its window is over, or there is room again")
        announce(told)
    actions.end_raises_due(now=moment.at)
    look(within=WHILE)
    return False


SHARE = spent_share("b.limit_nano", "b.limit_tokens", "b.limit_steps")
SAMPLE = f"""
WITH w AS (
    SELECT w.*, {SHARE} AS share FROM unnest(%b::bigint[], %b::timestamptz[]) AS k (budget_id, starts_at)
    JOIN budget_window w USING (budget_id, starts_at) JOIN budgets_budget b ON b.id = w.budget_id
    WHERE w.touched_at > %b - interval '3 minutes'
)
INSERT INTO budget_sample (budget_id, member, starts_at, at, spent_nano, spent_tokens, spent_steps)
SELECT budget_id, member, starts_at, %b, spent_nano, spent_tokens, spent_steps FROM w
WHERE member = '' OR share >= {LEAST_SHARE} ORDER BY share DESC LIMIT {MAX_SAMPLED}
ON CONFLICT DO NOTHING
"""


def _sample(cursor: Cursor[Any], moment: Moment) -> None:
    """Keep how much is spent now in windows that somebody has touched."""
    found = [budget for budget in moment.ceilings.budgets if budget.period in CALENDAR or not budget.parts]
    if found:
        starts = [budget.window(moment.at)[0] for budget in found]
        cursor.execute(SAMPLE, [[budget.id for budget in found], starts, moment.at, moment.at])


BURNS = f"""
WITH w AS (
    SELECT w.* FROM unnest(%b::bigint[], %b::timestamptz[]) AS k (budget_id, starts_at)
    JOIN budget_window w USING (budget_id, starts_at) JOIN budgets_budget b ON b.id = w.budget_id
    WHERE w.fast_burn_at IS NOT NULL OR w.slow_burn_at IS NOT NULL OR (w.touched_at > %b - interval '5 minutes'
        AND {SHARE} >= {LEAST_SHARE})
    ORDER BY w.touched_at DESC LIMIT {MAX_SAMPLED}
)
SELECT {COLUMNS}, w.fast_burn_at, w.slow_burn_at,
    ARRAY(SELECT s.at FROM budget_sample s WHERE s.budget_id = w.budget_id AND s.member = w.member
        AND s.starts_at = w.starts_at ORDER BY s.at),
    ARRAY(SELECT CASE %b::int WHEN 0 THEN s.spent_nano WHEN 1 THEN s.spent_tokens ELSE s.spent_steps END
        FROM budget_sample s WHERE s.budget_id = w.budget_id AND s.member = w.member
        AND s.starts_at = w.starts_at ORDER BY s.at)
FROM w
"""
BURNT = """
UPDATE budget_window SET fast_burn_at = %b, slow_burn_at = %b WHERE budget_id = %b AND member = %b AND starts_at = %b
"""


def _burns(cursor: Cursor[Any], moment: Moment) -> tuple[list[Signal], list[str]]:
    """Windows that burn too fast, and the fingerprints of those that do so no more."""
    signals: list[Signal] = []
    over: list[str] = []
    found = [budget for budget in moment.ceilings.budgets if budget.period in CALENDAR]
    marks = []
    for place, unit in enumerate(Unit):
        some = [budget for budget in found if _unit_of(budget) is unit]
        if not some:
            continue
        starts = [budget.window(moment.at)[0] for budget in some]
        cursor.execute(BURNS, [[budget.id for budget in some], starts, moment.at, place])
        for row in cursor.fetchall():
            due = read_due(row, moment)
            if due is None or due.position.ends_at is None:
                continue
            samples = [Sample(at, spent) for at, spent in zip(row[17], row[18], strict=True)]
            samples.append(Sample(moment.at, due.position.spent[place]))
            limit = due.position.limits[place] or 0
            start, end = due.position.starts_at, due.position.ends_at
            burns = {one.rule: one for one in burning(samples, limit=limit, start=start, end=end, now=moment.at)}
            since = dict(zip(Burn, row[15:17], strict=True))
            # One window is one alert, which the fast rule tells where both hold.
            if (one := next(iter(burns.values()), None)) is not None:
                signals.append(_burn_signal(due, one, moment))
            elif any(since.values()):
                over.append(fingerprint(BURN, "", topic=topic_of(due)))
            now = {rule: (since[rule] or moment.at) if rule in burns else None for rule in Burn}
            if now != since:
                marks.append((now[Burn.FAST], now[Burn.SLOW], *row[:3]))
    if marks:
        cursor.executemany(BURNT, marks)
    return signals, over


def _unit_of(budget: Budget) -> Unit:
    """In what a budget's burn is told: dollars before tokens before steps."""
    return next(unit for unit, limit in zip(Unit, budget.limits, strict=True) if limit is not None)


def _burn_signal(due: Due, burns: Burning, moment: Moment) -> Signal:
    position, budget = due.position, due.position.budget
    left = _length(burns.exhausted_at - moment.at)
    is_page = burns.rule is Burn.FAST and budget.action is Action.STOP and not member_words(budget, position.member)
    severity = Severity.PAGE if is_page else Severity.WARN
    title = f"{name_of(position)} burns {burns.rate:.1f} times too fast: used up in {left}"
    told = evidence(due, position.share) | {
        "burn_rate": round(burns.rate, 2),
        "rule": burns.rule.value,
        "over_seconds": int(burns.over.total_seconds()),
        "exhausted_at": moment_text(burns.exhausted_at),
    }
    return signal_of(due, moment, BURN, severity, title, told, topic_of(due))


def _length(length: timedelta) -> str:
    minutes = max(int(length.total_seconds() // 60), 1)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


MISSED = """
SELECT service, sum(closed)::bigint, sum(open)::bigint FROM guard_missed
WHERE minute > %b - interval '10 minutes' GROUP BY service
"""


def _unreachable(cursor: Cursor[Any], moment: Moment) -> list[Signal]:
    """Services whose agents could not ask lately."""
    cursor.execute(MISSED, [moment.at])
    return [
        Signal(
            kind=UNREACHABLE,
            severity=Severity.PAGE if open_ else Severity.WARN,
            service=service,
            title=f"Agents could not ask the guard: {closed:,} steps were not made, {open_:,} were made unasked",
            seen_at=moment.at,
            evidence={"closed": closed, "open": open_},
            topic=f"guard/{service}",
        )
        for service, closed, open_ in cursor.fetchall()
        if closed or open_
    ]


STANDS = """
SELECT spent_nano, spent_tokens, spent_steps, exhausted_at FROM budget_window
WHERE budget_id = %b AND member = %b AND starts_at = %b
"""


def _ended(cursor: Cursor[Any], moment: Moment) -> list[str]:
    """The fingerprints of open alerts whose window is over, or has room again because its limit was raised."""
    opened = Alert.objects.filter(kind__in=(THRESHOLD, EXHAUSTED, UNREACHABLE, BURN), cleared_at=None)
    ended = []
    for alert in opened.exclude(state=State.RESOLVED)[:1_000]:
        if alert.kind == UNREACHABLE:
            if alert.last_seen_at < moment.at - timedelta(minutes=2):
                ended.append(alert.fingerprint)
        elif _is_over(cursor, alert, moment.ceilings, moment.at):
            ended.append(alert.fingerprint)
    return ended


def _is_over(cursor: Cursor[Any], alert: Alert, held: Ceilings, now: datetime) -> bool:
    """Whether there is nothing left to say of an alert's window."""
    said = alert.evidence
    if alert.is_storm:
        return alert.last_seen_at < now - IDLE
    budget = held.by_id.get(said["budget"]) if isinstance(said.get("budget"), int) else None
    ends = said.get("resets_at")
    is_past = datetime.fromisoformat(ends) <= now if ends else alert.last_seen_at < now - IDLE
    if budget is None or is_past:
        return True
    return alert.kind != BURN and _has_room(cursor, alert, budget, now)


def _has_room(cursor: Cursor[Any], alert: Alert, budget: Budget, now: datetime) -> bool:
    """Whether what was said of a window is true no more."""
    said, member = alert.evidence, _member_of(alert, budget)
    start = datetime.fromisoformat(said["window"]) if said.get("window") else budget.window(now)[0]
    cursor.execute(STANDS, [budget.id, member, start])
    if (row := cursor.fetchone()) is None:
        return True
    position = Position(budget, member, start, None, budget.limits_at(member, now), Amounts(*row[:3]))
    if alert.kind == EXHAUSTED:
        return row[3] is None and position.share < 1
    return position.share < float(said.get("threshold", 1.0))


def _member_of(alert: Alert, budget: Budget) -> str:
    values = {"run": alert.run_hex, "session": alert.session, "user": alert.user, "feature": alert.feature}
    return JOIN.join(values.get(part.value) or "" for part in budget.parts)
