"""Monthly statements: what each team is charged, in cents that add up, and what changed of months that are closed.

Months are those of UTC, as the books are. Months are closed in order. What changes of a closed month afterwards (late
spans, corrected prices or attribution) is charged with the next one: it shows there as an adjustment as soon as it is
booked, and is recognised when that month is closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import connection, transaction

from agentops.billing.charges import CHANGED, CLOSED, LINES, MONTHS, OWNED, PENDING
from agentops.billing.models import Closing
from agentops.catalog.queries import ownership
from agentops.costs.queries import LONG_TIMEOUT
from agentops.domain.periods import DAY, add_months, midnight
from agentops.domain.statements import apportion, to_cents

State = Literal["running", "open", "closed"]


@dataclass(frozen=True, slots=True)
class Sums:
    """What a line adds up."""

    cost_nano: int = 0
    unpriced_calls: int = 0
    llm_calls: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    reasoning_output_tokens: int = 0


@dataclass(slots=True)
class Line:
    """What a team is charged for one service, feature and model; ``month`` is the one that is charged for."""

    month: date
    service: str
    feature: str
    model: str
    tool: str
    sums: Sums
    cents: int = 0

    @property
    def is_unpriced(self) -> bool:
        """Whether nobody knows what any of it costs."""
        return self.sums.unpriced_calls > 0 and not self.sums.cost_nano

    @property
    def known_cost_nano(self) -> int | None:
        """Exactly what it costs, as far as anybody knows; ``None`` when nobody knows anything."""
        return None if self.is_unpriced else self.sums.cost_nano


@dataclass(slots=True)
class TeamStatement:
    """What one team is charged; ``team`` is a slug, empty for services that belong to none."""

    team: str
    name: str
    lines: list[Line] = field(default_factory=list)
    adjustments: list[Line] = field(default_factory=list)
    cents: int = 0

    @property
    def all_lines(self) -> list[Line]:
        """The month's own lines, then the adjustments."""
        return self.lines + self.adjustments

    @property
    def cost_nano(self) -> int:
        """Exactly what it is charged."""
        return sum(line.sums.cost_nano for line in self.all_lines)

    @property
    def adjustments_cents(self) -> int:
        """How much of it is for earlier months."""
        return sum(line.cents for line in self.adjustments)

    @property
    def unpriced_calls(self) -> int:
        """Calls whose price nobody knows: they are charged nothing so far."""
        return sum(line.sums.unpriced_calls for line in self.all_lines)


@dataclass(frozen=True, slots=True)
class Statement:
    """A month and all teams; each team's lines add up to its cents, and the teams to the total."""

    month: date
    state: State
    closing: Closing | None
    teams: list[TeamStatement]
    total_nano: int
    cents: int

    @property
    def adjustments_cents(self) -> int:
        """How much of the total is for earlier months."""
        return sum(team.adjustments_cents for team in self.teams)

    @property
    def unpriced_calls(self) -> int:
        """Calls whose price nobody knows."""
        return sum(team.unpriced_calls for team in self.teams)

    @property
    def until(self) -> date:
        """The first day of the month after it."""
        return add_months(self.month, 1)


@dataclass(frozen=True, slots=True)
class Month:
    """A month in the list; the total of an open one is so far, with the adjustments that it will charge."""

    month: date
    state: State
    closing: Closing | None
    total_nano: int
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which months there are: those with spend until now, the first of them that is not closed, those that may be."""

    spend: dict[date, tuple[int, int]]
    closings: dict[date, Closing]
    now: datetime

    @property
    def last_closed(self) -> date | None:
        """The latest closed month; every one before counts as closed."""
        return max(self.closings, default=None)

    @property
    def next_open(self) -> date:
        """The month that charges what changes of the closed ones: the first with spend after them, else this one."""
        last = self.last_closed
        after = (month for month in sorted(self.spend) if last is None or month > last)
        return next(after, self.current if last is None else max(self.current, add_months(last, 1)))

    @property
    def current(self) -> date:
        """The month that is running."""
        return self.now.date().replace(day=1)

    def state(self, month: date) -> State:
        """Closed, open, or not over yet."""
        if self.last_closed is not None and month <= self.last_closed:
            return "closed"
        return "running" if month >= self.current else "open"

    def to_close(self, through: date) -> list[date]:
        """The open months up to one, in order."""
        last = self.last_closed
        return [month for month in sorted(self.spend) if month <= through and (last is None or month > last)]


def calendar(*, now: datetime) -> Calendar:
    """The months of the books. Two statements."""
    closings = {closing.month: closing for closing in Closing.objects.select_related("closed_by")}
    with connection.cursor() as cursor:
        cursor.execute(MONTHS)
        spend = {month: (int(cost), int(unpriced)) for month, cost, unpriced in cursor.fetchall()}
    return Calendar(spend, closings, now)


def closable(*, now: datetime) -> list[date]:
    """The months that may be closed: over, open, with spend; in order."""
    known = calendar(now=now)
    return [month for month in known.to_close(known.current) if month < known.current]


def list_months(*, now: datetime) -> list[Month]:
    """Every month with spend or a closing, and the one that is running, the latest first."""
    known = calendar(now=now)
    pending = _pending(known)
    months = []
    for month in sorted({*known.spend, *known.closings, known.current}, reverse=True):
        closing = known.closings.get(month)
        total, unpriced = known.spend.get(month, (0, 0))
        if closing is not None:
            total = int(closing.total_nano)
        elif known.state(month) == "closed":
            continue  # nothing was booked for it when it could have been closed: what came since is adjusted later
        elif month == known.next_open:
            total += pending
        months.append(Month(month, known.state(month), closing, total, unpriced))
    return months


def _pending(known: Calendar) -> int:
    """What changed of the closed months, in nano-dollars."""
    with connection.cursor() as cursor:
        cursor.execute(PENDING, of_days(changed_days(known)))
        return int(cursor.fetchone()[0])


def statement(month: date, *, now: datetime) -> Statement:
    """What every team is charged for a month: as it was closed, or as it would be now."""
    known = calendar(now=now)
    teams: dict[str, TeamStatement] = {}
    for team, name, line in _lines(known, month):
        of_team = teams.setdefault(team, TeamStatement(team, name))
        of_team.name = max(of_team.name, name)
        (of_team.lines if line.month == month else of_team.adjustments).append(line)
    ordered = sorted(teams.values(), key=lambda one: (one.team == "", one.name, one.team))
    return Statement(month, known.state(month), known.closings.get(month), ordered, *_round(ordered))


def _round(teams: list[TeamStatement]) -> tuple[int, int]:
    """Give every team and line its cents; the total, exactly and in cents."""
    total = sum(team.cost_nano for team in teams)
    cents = to_cents(total)
    for team, of_team in zip(teams, apportion([team.cost_nano for team in teams], cents), strict=True):
        team.cents = of_team
        team.lines.sort(key=lambda line: (-line.sums.cost_nano, line.service, line.feature, line.model, line.tool))
        team.adjustments.sort(
            key=lambda line: (line.month, -line.sums.cost_nano, line.service, line.feature, line.model, line.tool)
        )
        lines = team.all_lines
        for line, of_line in zip(lines, apportion([line.sums.cost_nano for line in lines], of_team), strict=True):
            line.cents = of_line
    return total, cents


def _lines(known: Calendar, month: date) -> Iterable[tuple[str, str, Line]]:
    """Slug and name of a team, and a line of it, of a month."""
    closing = known.closings.get(month)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LONG_TIMEOUT)
        if closing is not None:
            cursor.execute(LINES.format(charges=CLOSED), {"closing": closing.pk})
        elif known.state(month) == "closed":
            return
        else:
            cursor.execute(LINES.format(charges=OWNED), scope(known, month))
        for team, name, of_month, service, feature, model, tool, *sums in cursor.fetchall():
            yield team, name, Line(of_month, service, feature, model, tool, Sums(*(int(value) for value in sums)))


def scope(known: Calendar, month: date) -> dict[str, Any]:
    """The parameters of ``charges.OWNED`` for an open month: its days and, if it is the next, those that changed."""
    owned = [owner for owner in ownership().values() if owner.team]
    days = [month + DAY * place for place in range((add_months(month, 1) - month).days)]
    return of_days(days + (changed_days(known) if month == known.next_open else [])) | {
        "services": [owner.service for owner in owned],
        "teams": [owner.team for owner in owned],
        "team_names": [owner.team_name for owner in owned],
    }


def of_days(days: list[date]) -> dict[str, Any]:
    """The parameters of statements about days."""
    return {"days": days, "starts": [midnight(day, UTC) for day in days]}


def changed_days(known: Calendar) -> list[date]:
    """The days of closed months of which something else is booked now than when it was closed."""
    if known.last_closed is None:
        return []
    with connection.cursor() as cursor:
        cursor.execute(CHANGED, {"since": _horizon(known.now), "until": add_months(known.last_closed, 1)})
        return [day for (day,) in cursor.fetchall()]


def _horizon(now: datetime) -> date:
    """The first month that can still change: spans are booked, and kept, for so many days back."""
    days = max(settings.CLOCK_PAST_DAYS, settings.SPAN_RETENTION_DAYS)
    return (now - timedelta(days=days + 1)).date().replace(day=1)
