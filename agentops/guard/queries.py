"""What is asked of ceilings: where each stands, whose windows are fullest, what it did, and who decided what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Q
from psycopg import Cursor

from agentops.budgets import ceilings
from agentops.budgets.ceilings import Ceilings
from agentops.budgets.definitions import definition_of
from agentops.budgets.models import Budget, Change, Raise, Stop
from agentops.budgets.store import WindowKey
from agentops.columns import books_cursor
from agentops.domain import budgets as rules
from agentops.domain.budgets import NOTHING, UNITS, Amounts, Position, Unit
from agentops.domain.burn import Burning, Forecast, Sample, burn_rate, burning, forecast
from agentops.guard.models import Reconciliation

#: How long reservations are kept: spans that come later find none.
KEPT = timedelta(days=35)
#: Windows of one budget that a list shows, of one member that are read, and by which the next is foreseen.
MAX_MEMBERS, MAX_HISTORY, MAX_LATEST = 200, 90, 30
#: How far back the rate of a window's burn looks: this share of it, and at least so long.
RATE_SHARE, SHORTEST_RATE = 24, timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Standing:
    """A window as it stands: its position, what was refused in it, and how fast it is used up."""

    position: Position
    refused: int = 0
    refused_nano: int = 0
    touched_at: datetime | None = None
    samples: tuple[Sample, ...] = ()

    @property
    def key(self) -> WindowKey:
        """Which window it is."""
        return WindowKey(self.position.budget.id, self.position.member, self.position.starts_at)

    @property
    def unit(self) -> Unit:
        """The unit of its tightest limit; dollars before others when nothing is used."""
        position = self.position
        pairs = [
            (used / limit if limit else 1.0, -place, unit)
            for place, (unit, limit, used) in enumerate(zip(Unit, position.limits, position.used, strict=True))
            if limit is not None
        ]
        return max(pairs)[2]

    @property
    def limit(self) -> int:
        """The most of that unit."""
        return self._of(self.position.limits) or 0

    @property
    def spent(self) -> int:
        """What is spent of it."""
        return self._of(self.position.spent) or 0

    @property
    def reserved(self) -> int:
        """What is held for steps under way."""
        return self._of(self.position.reserved) or 0

    @property
    def remaining(self) -> int:
        """What is left; never less than nothing."""
        return max(self.limit - self.spent - self.reserved, 0)

    @property
    def share(self) -> float:
        """How much of the limit is spent or held."""
        return self.position.used_share

    def _of(self, amounts: Sequence[int | None]) -> int | None:
        return amounts[list(Unit).index(self.unit)]


@dataclass(frozen=True, slots=True)
class Row:
    """A budget, and where its windows stand: the one that it has, or the fullest of many."""

    budget: Budget
    rules: rules.Budget
    worst: Standing | None
    members: int = 0
    over: int = 0
    refused: int = 0
    refused_nano: int = 0
    raises: tuple[Raise, ...] = ()
    replaced: frozenset[str] = frozenset()


def current() -> Ceilings:
    """The ceilings in force."""
    with books_cursor() as cursor:
        return ceilings.look(cursor).ceilings


def rules_of(budget: Budget, held: Ceilings) -> rules.Budget:
    """A budget as the rules read it, also one that is switched off."""
    known = held.by_id.get(budget.pk)
    if known is not None:
        return known
    by = budget.created_by.get_username() if budget.created_by else ""
    return definition_of(budget).as_budget(pk=budget.pk, counts_from=budget.counts_from, set_by=by)


def find_budgets(*, service: str = "", include_off: bool = True) -> list[Budget]:
    """Every budget, or those that may count a service; defaults come late, and what is off last."""
    budgets = Budget.objects.select_related("created_by").order_by("is_off", "is_default", "id")
    if not include_off:
        budgets = budgets.filter(is_off=False)
    if service:
        budgets = budgets.filter(Q(services=[]) | Q(services__contains=[service]))
    return list(budgets)


def list_budgets(held: Ceilings, *, now: datetime, service: str = "", include_off: bool = True) -> list[Row]:
    """Budgets as ``find_budgets`` does, each with its fullest window. A constant number of statements."""
    found = [(budget, rules_of(budget, held)) for budget in find_budgets(service=service, include_off=include_off)]
    tops = _tops([known for _, known in found], now)
    raises: dict[int, list[Raise]] = defaultdict(list)
    for raised in Raise.objects.filter(ended_at=None, until__gt=now).select_related("raised_by"):
        raises[raised.budget_id].append(raised)
    return [_row(budget, known, tops, raises, held) for budget, known in found]


def _row(
    budget: Budget,
    known: rules.Budget,
    tops: dict[int, tuple[Standing, int, int, int, int]],
    raises: dict[int, list[Raise]],
    held: Ceilings,
) -> Row:
    standing, members, over, refused, refused_nano = tops.get(budget.pk, (None, 0, 0, 0, 0))
    gone = frozenset[str]()
    if budget.is_default:
        gone = held.replaced.run if known.period is rules.Period.RUN else held.replaced.session
    return Row(budget, known, standing, members, over, refused, refused_nano, tuple(raises[budget.pk]), gone)


_SHARE = """GREATEST((w.spent_nano + w.reserved_nano)::float8 / nullif(b.limit_nano, 0),
    (w.spent_tokens + w.reserved_tokens)::float8 / nullif(b.limit_tokens, 0),
    (w.spent_steps + w.reserved_steps)::float8 / nullif(b.limit_steps, 0), 0)"""
# What a budget has refused counts for good, in whatever window it was. Of runs and sessions, which have a window for
# ever, those that have begun lately are looked at.
TOPS = f"""
WITH w AS (
    SELECT w.*, {_SHARE} AS share,
        row_number() OVER (PARTITION BY w.budget_id ORDER BY {_SHARE} DESC, w.touched_at DESC) AS place,
        count(*) OVER (PARTITION BY w.budget_id) AS members,
        count(*) FILTER (WHERE {_SHARE} >= 1) OVER (PARTITION BY w.budget_id) AS over
    FROM (
        SELECT w.* FROM unnest(%b::bigint[], %b::timestamptz[]) AS k (budget_id, starts_at)
        JOIN budget_window w USING (budget_id, starts_at) WHERE w.ends_at IS NOT NULL
        UNION ALL SELECT w.* FROM unnest(%b::bigint[]) AS k (budget_id) JOIN budget_window w USING (budget_id)
        WHERE w.ends_at IS NULL AND w.began_at > now() - interval '2 days'
        UNION ALL SELECT w.* FROM unnest(%b::bigint[]) AS k (budget_id) JOIN budget_window w USING (budget_id)
        WHERE w.ends_at IS NULL AND w.member = '' AND w.began_at <= now() - interval '2 days'
    ) AS w JOIN budgets_budget b ON b.id = w.budget_id
), refused AS (
    SELECT budget_id, sum(refused) AS refused, sum(refused_nano) AS refused_nano FROM budget_window
    WHERE refused > 0 GROUP BY budget_id
)
SELECT k.budget_id, w.member, w.starts_at, w.spent_nano, w.spent_tokens, w.spent_steps, w.reserved_nano,
    w.reserved_tokens, w.reserved_steps, w.refused, w.refused_nano, w.touched_at,
    coalesce(w.members, 0), coalesce(w.over, 0), coalesce(r.refused, 0)::bigint, coalesce(r.refused_nano, 0)::bigint
FROM unnest(%b::bigint[]) AS k (budget_id) LEFT JOIN w ON w.budget_id = k.budget_id AND w.place = 1
LEFT JOIN refused r ON r.budget_id = k.budget_id
"""


def _tops(found: Sequence[rules.Budget], now: datetime) -> dict[int, tuple[Standing, int, int, int, int]]:
    by_id = {budget.id: budget for budget in found}
    ids, starts = list(by_id), [budget.window(now)[0] for budget in found]
    if not ids:
        return {}
    with books_cursor() as cursor:
        cursor.execute(TOPS, [ids, starts, ids, ids, ids])
        rows = cursor.fetchall()
        found_ = _with_courses(cursor, [_standing(by_id[row[0]], row[1:12], now) for row in rows])
    return {row[0]: (one, *row[12:]) for row, one in zip(rows, found_, strict=True)}


COURSES = """
SELECT s.budget_id, s.at, s.spent_nano, s.spent_tokens, s.spent_steps
FROM unnest(%b::bigint[], %b::text[], %b::timestamptz[]) AS k (budget_id, member, starts_at)
JOIN budget_sample s USING (budget_id, member, starts_at) ORDER BY s.budget_id, s.at
"""


def _with_courses(cursor: Cursor[Any], found: Sequence[Standing]) -> list[Standing]:
    """Windows with their courses; one of each budget."""
    cursor.execute(COURSES, _columns([one.key for one in found]))
    courses: dict[int, list[tuple[datetime, Sequence[int]]]] = defaultdict(list)
    for budget_id, at, *spent in cursor.fetchall():
        courses[budget_id].append((at, spent))
    return [
        replace(
            one, samples=tuple(Sample(at, spent[UNITS.index(one.unit)]) for at, spent in courses[one.key.budget_id])
        )
        for one in found
    ]


def _columns(keys: Sequence[WindowKey]) -> list[list[Any]]:
    return [[key[place] for key in keys] for place in range(3)]


def _standing(budget: rules.Budget, row: Sequence[Any], now: datetime) -> Standing:
    """A window as a row tells it; of none, the empty one that there would be."""
    member, start, *amounts = row[:8]
    refused, refused_nano, touched_at = row[8:11]
    begin, end = budget.window(now if start is None else start)
    limits = budget.limits_at(member or "", now)
    spent, reserved = (NOTHING, NOTHING) if start is None else (Amounts(*amounts[:3]), Amounts(*amounts[3:]))
    position = Position(budget, member or "", begin, end, limits, spent, reserved)
    return Standing(position, refused or 0, refused_nano or 0, touched_at)


#: What a row tells after its key, of a window that is not there.
_UNTOUCHED = (*([0] * 8), None)
_WINDOW = """w.member, w.starts_at, w.spent_nano, w.spent_tokens, w.spent_steps, w.reserved_nano,
    w.reserved_tokens, w.reserved_steps, w.refused, w.refused_nano, w.touched_at"""
WINDOWS = f"""
SELECT w.budget_id, {_WINDOW}
FROM unnest(%b::bigint[], %b::text[], %b::timestamptz[]) AS k (budget_id, member, starts_at)
JOIN budget_window w USING (budget_id, member, starts_at)
"""


def list_standings(windows: Sequence[tuple[rules.Budget, WindowKey]], *, now: datetime) -> list[Standing]:
    """Where windows stand, in their order, without their courses. One statement."""
    with books_cursor() as cursor:
        cursor.execute(WINDOWS, _columns([key for _, key in windows]))
        rows = {WindowKey(*row[:3]): row[1:] for row in cursor.fetchall()}
    return [_standing(budget, rows.get(key, (*key[1:], *_UNTOUCHED)), now) for budget, key in windows]


def standing(budget: rules.Budget, member: str, *, now: datetime, start: datetime | None = None) -> Standing:
    """Where one member's window stands, with its course; the present one unless another start is given."""
    key = WindowKey(budget.id, member, budget.window(now)[0] if start is None else start)
    found = list_standings([(budget, key)], now=now)
    with books_cursor() as cursor:
        return _with_courses(cursor, found)[0]


class Pace(NamedTuple):
    """How fast a window is used up: 1.0 uses up exactly the limit; which alarms that is, and where it leads."""

    rate: float | None
    alarms: list[Burning]
    forecast: Forecast | None


def rate_over(position: Position) -> timedelta:
    """How far back a window's burn rate looks."""
    if position.ends_at is None:
        return SHORTEST_RATE
    return max((position.ends_at - position.starts_at) / RATE_SHARE, SHORTEST_RATE)


def pace(found: Standing, *, now: datetime, history: Sequence[Standing] = ()) -> Pace:
    """How fast a window is used up, foreseen by the windows of ``list_latest``; nothing of one that has no end."""
    position = found.position
    start, end = position.starts_at, position.ends_at
    if end is None or not found.limit or now >= end:
        return Pace(None, [], None)
    place = UNITS.index(found.unit)
    before = [one.position.spent[place] for one in reversed(history) if one.position.starts_at < start]
    samples = (*found.samples, Sample(now, found.spent))
    return Pace(
        burn_rate(samples, limit=found.limit, start=start, end=end, now=now, over=rate_over(position)),
        burning(samples, limit=found.limit, start=start, end=end, now=now),
        forecast(samples, limit=found.limit, start=start, end=end, now=now, before=before),
    )


MEMBERS = f"""
SELECT {_WINDOW} FROM budget_window w JOIN budgets_budget b ON b.id = w.budget_id
WHERE w.budget_id = %b AND w.starts_at = %b AND (%b::text = '' OR strpos(lower(w.member), lower(%b::text)) > 0)
    AND (w.ends_at IS NOT NULL OR w.member = '' OR w.began_at > now() - interval '30 days')
ORDER BY {_SHARE} DESC, w.touched_at DESC LIMIT %b OFFSET %b
"""


def list_members(
    budget: rules.Budget, *, now: datetime, search: str = "", limit: int = MAX_MEMBERS, offset: int = 0
) -> list[Standing]:
    """The windows of a budget that are open, the fullest first."""
    start = budget.window(now)[0]
    with books_cursor() as cursor:
        cursor.execute(MEMBERS, [budget.id, start, search, search, limit, offset])
        return [_standing(budget, row, now) for row in cursor.fetchall()]


HISTORY = f"""
SELECT {_WINDOW} FROM budget_window w WHERE w.budget_id = %b AND w.member = %b ORDER BY w.starts_at DESC LIMIT %b
"""


def list_history(budget: rules.Budget, member: str, *, now: datetime, limit: int = MAX_HISTORY) -> list[Standing]:
    """The windows of one member, the latest first; limits are those of today."""
    with books_cursor() as cursor:
        cursor.execute(HISTORY, [budget.id, member, limit])
        return [_standing(budget, row, now) for row in cursor.fetchall()]


def list_latest(found: Standing, *, now: datetime) -> list[Standing]:
    """The latest windows of a window's member, the latest first; none of what never resets, and no statement."""
    position = found.position
    if position.ends_at is None:
        return []
    return list_history(position.budget, position.member, now=now, limit=MAX_LATEST)


@dataclass(frozen=True, slots=True)
class Refused:
    """Steps that were refused in a minute for one reason: the same step of the same run is one of these."""

    minute: datetime
    cause: str
    cause_id: int
    service: str
    run: str
    session: str
    user: str
    feature: str
    agent: str
    what: str
    count: int
    estimate_nano: int
    message: str
    latest_at: datetime


REFUSALS = """
SELECT minute, cause, cause_id, service, run, session, "user", feature, agent, what, count, estimate_nano,
    message, latest_at
FROM budget_refusal WHERE (%b::text = '' OR (cause = %b AND (%b::bigint = 0 OR cause_id = %b)))
    AND (%b::text = '' OR service = %b)
ORDER BY minute DESC, latest_at DESC LIMIT %b
"""


def list_refusals(*, cause: str = "", cause_id: int = 0, service: str = "", limit: int = 100) -> list[Refused]:
    """What was refused last: by a budget, by a kill switch (one or all), or anything."""
    with books_cursor() as cursor:
        cursor.execute(REFUSALS, [cause, cause, cause_id, cause_id, service, service, limit])
        return [Refused(*row) for row in cursor.fetchall()]


def list_changes(*, budget: Budget | None = None, limit: int = 100) -> list[Change]:
    """Who decided what, the latest first; of one budget, or about kill switches."""
    rows = Change.objects.select_related("by").order_by("-id")
    rows = rows.filter(subject=Change.Subject.STOP) if budget is None else rows.filter(budget=budget)
    return list(rows[:limit])


def list_stops(*, active: bool = True, limit: int = 200) -> list[Stop]:
    """Kill switches that are on, or were."""
    rows = Stop.objects.select_related("stopped_by", "lifted_by").filter(lifted_at__isnull=active)
    return list(rows.order_by("-id")[:limit])


class RefusedSince(NamedTuple):
    """What a kill switch has refused: steps, what they might have cost, the last one."""

    steps: int
    estimate_nano: int
    latest_at: datetime


BY_STOPS = """
SELECT cause_id, sum(count)::bigint, sum(estimate_nano)::bigint, max(latest_at)
FROM budget_refusal WHERE cause = 'kill_switch' AND cause_id = ANY(%b::bigint[]) GROUP BY cause_id
"""


def refused_by_stops(ids: Sequence[int]) -> dict[int, RefusedSince]:
    """What kill switches have refused, by their ids; those that have not are left out."""
    if not ids:
        return {}
    with books_cursor() as cursor:
        cursor.execute(BY_STOPS, [list(ids)])
        return {pk: RefusedSince(*rest) for pk, *rest in cursor.fetchall()}


LATELY = """
SELECT coalesce(sum(count), 0)::bigint, coalesce(sum(estimate_nano), 0)::bigint
FROM budget_refusal WHERE minute > now() - interval '24 hours'
"""


def refused_lately() -> tuple[int, int]:
    """Steps refused in the last 24 hours, and what they might have cost, each step of a run once a minute."""
    with books_cursor() as cursor:
        cursor.execute(LATELY)
        refused, nano = cursor.fetchall()[0]
        return refused, nano


def latest_reconciliation() -> Reconciliation | None:
    """What the last comparison of windows with the books found."""
    return Reconciliation.objects.first()


def prune(*, now: datetime, days: int) -> None:
    """Forget windows, reservations, refusals and courses that are long over, and thin out courses."""
    before = now - timedelta(days=days)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM budget_reservation WHERE granted_at < %s AND state <> 0", [now - KEPT])
        cursor.execute("DELETE FROM guard_reconciliation WHERE at < %s", [now - timedelta(days=7)])
        cursor.execute("DELETE FROM guard_missed WHERE minute < %s", [now - timedelta(days=7)])
        cursor.execute("DELETE FROM budget_refusal WHERE minute < %s", [before])
        cursor.execute(OVER, {"before": before})
        cursor.execute("DELETE FROM budget_sample WHERE at < %s", [before])
        cursor.execute(THIN, [now - timedelta(days=2)])


# What is spent in total is not forgotten because nobody asks any more, nor is a month that is not over.
OVER = """
DELETE FROM budget_window AS w WHERE w.touched_at < %(before)s AND coalesce(w.ends_at < %(before)s, NOT EXISTS (
    SELECT FROM budgets_budget b WHERE b.id = w.budget_id AND b.period = 'total' AND b.each NOT IN ('run', 'session')))
"""
# Of each hour that is long past the last sample tells enough.
THIN = """
DELETE FROM budget_sample AS s WHERE at < %s AND EXISTS (
    SELECT FROM budget_sample o WHERE o.budget_id = s.budget_id AND o.member = s.member AND o.starts_at = s.starts_at
        AND o.at > s.at AND date_trunc('hour', o.at) = date_trunc('hour', s.at))
"""
