"""What a ceiling would have been in the last days, beside its form, before anything is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST

from agentops.accounts.roles import require_role
from agentops.budgets import actions
from agentops.budgets.definitions import UnsoundBudget, check
from agentops.domain.budgets import CALENDAR, Action, Budget, Period, Unit, amount_words, member_words
from agentops.domain.rehearsal import Highest, Rehearsal
from agentops.guard import rehearse
from agentops.guard.forms import BudgetForm
from agentops.guard.rehearse import TooMuchError
from agentops.guard.shapes import amount_text
from agentops.guard.shown import scope_line

#: Windows that are named, and bars that are drawn.
NAMED, MOST_BARS = 6, 62
TOO_MUCH = "There are too many runs to go through while you wait: a narrower scope can be shown."
FIELDS = {Unit.USD: "limit_usd", Unit.TOKENS: "limit_tokens", Unit.STEPS: "limit_steps"}
#: The picture's size, and how far above the limit it reaches at most.
WIDTH, HEIGHT, HIGHEST = 1_000, 120, 3


@require_POST
@require_role(actions.WRITES)
def preview(request: HttpRequest) -> HttpResponse:
    """What the ceiling of the form would have done, as a region of it."""
    form = BudgetForm(request.POST)
    context: dict[str, Any] = {"days": rehearse.DAYS, "waits": True}
    if form.is_valid() and not form.definition().limits_nothing:
        try:
            budget = check(form.definition()).as_budget()
            found = rehearse.rehearsal_of(budget, now=timezone.now())
        except UnsoundBudget as error:
            context["problems"] = error.problems
        except TooMuchError:
            context["problems"] = {"": TOO_MUCH}
        else:
            context |= {"waits": False, "since": found.since} | _told(budget, found.rehearsal)
    return render(request, "guard/preview.html", context)


def _told(budget: Budget, found: Rehearsal) -> dict[str, Any]:
    unit = next(unit for unit, limit in zip(Unit, budget.limits, strict=True) if limit is not None)
    place = list(Unit).index(unit)
    suggested = None if found.suggestion is None else found.suggestion[place]
    zone = ZoneInfo(budget.zone)
    return {
        "found": found,
        "scope": scope_line(budget),
        "stops": budget.action is Action.STOP,
        "worst": [
            (
                member_words(budget, one.member),
                one.starts_at.astimezone(zone) if budget.period in CALENDAR else None,
                amount_words(one.unit, one.spent[list(Unit).index(one.unit)]),
                one.reached_at.astimezone(zone),
            )
            for one in found.exceeded[:NAMED]
        ],
        "zone": budget.zone,
        "each": budget.parts[0].value if budget.parts else "",
        "thresholds": [(share, count) for share, count in found.thresholds.items() if share < 1],
        "usual": amount_words(unit, found.median[place]) if found.windows else "",
        "high": amount_words(unit, found.p95[place]) if found.windows else "",
        "suggested": None if suggested is None else amount_words(unit, suggested),
        "suggestion": "" if suggested is None else amount_text(unit, suggested),
        "field": FIELDS[unit],
        "picture": picture(found.course, budget, unit, zone),
        "is_of_lives": budget.period not in CALENDAR,
    }


@dataclass(frozen=True, slots=True)
class Bar:
    """A window: its place in the picture, whether it came to the limit, and what it was, in words."""

    x: float
    y: float
    width: float
    height: float
    is_over: bool
    words: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Windows against the limit; ``limit`` is the height of its line, from the top."""

    bars: list[Bar]
    limit: float
    first: datetime
    last: datetime
    words: str


def picture(course: Sequence[Highest], budget: Budget, unit: Unit, zone: ZoneInfo) -> Picture | None:
    """The fullest window of each time as bars. Hours are too many: of them the fullest of each day."""
    place = list(Unit).index(unit)
    limit = budget.limits[place] or 0
    by_day = budget.period is Period.HOUR or len(course) > MOST_BARS
    fullest: dict[datetime, Highest] = {}
    for one in course:
        at = one.starts_at.astimezone(zone if budget.period in CALENDAR else ZoneInfo("UTC"))
        at = at.replace(hour=0, minute=0) if by_day else at
        if at not in fullest or one.spent[place] > fullest[at].spent[place]:
            fullest[at] = one
    if not fullest:
        return None
    most = max(one.spent[place] for one in fullest.values())
    top = max(min(most, limit * HIGHEST), limit, 1) * 1.06
    step = WIDTH / len(fullest)
    bars = []
    for n, (at, one) in enumerate(sorted(fullest.items())):
        amount = one.spent[place]
        height = round(min(amount / top, 1) * HEIGHT, 1)
        whose = member_words(budget, one.member)
        words = f"{at:%d %b}{f', {whose}' if whose else ''}: {amount_words(unit, amount)}"
        gap = min(step * 0.16, 6)
        bars.append(
            Bar(round(n * step + gap / 2, 1), HEIGHT - height, round(step - gap, 1), height, amount >= limit, words)
        )
    days = sorted(fullest)
    over = sum(bar.is_over for bar in bars)
    words = f"{len(bars)} windows against the limit of {amount_words(unit, limit)}; {over} reached it"
    return Picture(bars, round(HEIGHT - limit / top * HEIGHT, 1), days[0], days[-1], words)
