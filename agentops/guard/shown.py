"""Ceilings as pages show them: bars, amounts in their unit, and what a ceiling's promise is worth, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from agentops.budgets.models import Budget, Change, Raise
from agentops.budgets.reservations import is_trace_id
from agentops.domain.budgets import (
    JOIN,
    PERIOD_WORDS,
    Action,
    Each,
    Period,
    Unit,
    amount_words,
    member_words,
    scope_words,
    title_of,
)
from agentops.domain.budgets import Budget as Rules
from agentops.domain.burn import Burning
from agentops.guard.coverage import Passed
from agentops.guard.queries import Pace, Row, Standing, rate_over

#: How far a bar reaches beyond what is largest on it, and into how many parts it is cut.
BEYOND, PARTS = 1.02, 1_000
LONG = PERIOD_WORDS | {Period.RUN: "each run", Period.SESSION: "each session"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A window as places on a line, 0 to ``PARTS``; ``words`` say the same."""

    spent: float
    held: float
    limit: float
    low: float | None
    expected: float | None
    high: float | None
    tone: str
    words: str

    @property
    def band(self) -> float:
        """How wide the forecast's band is."""
        return 0.0 if self.low is None or self.high is None else max(self.high - self.low, 0.0)


def bar_of(found: Standing, pace: Pace | None = None) -> Bar:
    """The bar of a window."""
    outlook = pace.forecast if pace else None
    used = found.spent + found.reserved
    whole = max(found.limit, used, min(outlook.high, 2 * found.limit) if outlook else 0, 1) * BEYOND

    def place(amount: int) -> float:
        return round(min(PARTS * max(amount, 0) / whole, PARTS), 1)

    unit = found.unit
    held = f", {amount_words(unit, found.reserved)} held" if found.reserved else ""
    words = f"{amount_words(unit, found.spent)} of {amount_words(unit, found.limit)} spent{held}"
    if outlook:
        words += f"; {amount_words(unit, outlook.expected)} expected by the end"
    return Bar(
        spent=place(found.spent),
        held=round(place(used) - place(found.spent), 1),
        limit=place(found.limit),
        low=place(outlook.low) if outlook else None,
        expected=place(outlook.expected) if outlook else None,
        high=place(outlook.high) if outlook else None,
        tone=tone_of(found),
        words=words,
    )


def tone_of(found: Standing) -> str:
    """How bad it is: used up, or beyond the last threshold below that."""
    if found.share >= 1:
        return "critical" if found.position.budget.action is Action.STOP else "warning"
    below = [threshold for threshold in found.position.budget.thresholds if threshold < 1]
    return "warning" if below and found.share >= below[-1] else ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A window with everything that a page says of it."""

    found: Standing
    pace: Pace
    bar: Bar

    @property
    def spent(self) -> str:
        """What is spent, in words."""
        return amount_words(self.found.unit, self.found.spent)

    @property
    def reserved(self) -> str:
        """What is held, in words; empty for nothing."""
        return amount_words(self.found.unit, self.found.reserved) if self.found.reserved else ""

    @property
    def remaining(self) -> str:
        """What is left, in words."""
        return amount_words(self.found.unit, self.found.remaining)

    @property
    def limit(self) -> str:
        """The limit, in words."""
        return amount_words(self.found.unit, self.found.limit)

    @property
    def whose(self) -> str:
        """Whose window it is, in words."""
        return member_words(self.found.position.budget, self.found.position.member)

    @property
    def member(self) -> str:
        """The member as an address has it."""
        return self.found.position.member

    @property
    def resets(self) -> str:
        """When it resets, by the clocks of its time zone; empty where it does not."""
        end, zone = self.found.position.ends_at, self.found.position.budget.zone
        return f"{end.astimezone(ZoneInfo(zone)):%d %b %H:%M}" if end else ""

    @property
    def resets_in(self) -> timedelta | None:
        """How long it is until then."""
        end = self.found.position.ends_at
        return max(end - timezone.now(), timedelta(0)) if end else None

    @property
    def burn(self) -> Burning | None:
        """The alarm by which it is used up first, if it burns."""
        return min(self.pace.alarms, key=lambda one: one.exhausted_at, default=None)

    @property
    def rate(self) -> float | None:
        """How fast it is used up: that of its alarm if it burns, so that the rate and the moment tell the same."""
        return self.burn.rate if self.burn else self.pace.rate

    @property
    def rate_over(self) -> timedelta:
        """Over how long that rate was."""
        return self.burn.over if self.burn else rate_over(self.found.position)

    @property
    def exhausted_at(self) -> datetime | None:
        """When it will be used up, where that is before its end."""
        outlook, end = self.pace.forecast, self.found.position.ends_at
        if self.burn:
            return self.burn.exhausted_at
        at = outlook.exhausted_at if outlook else None
        return at if at is not None and end is not None and at < end and self.found.share < 1 else None

    @property
    def run(self) -> str:
        """The trace id of the run that it is of, if it is of one."""
        budget, values = self.found.position.budget, self.found.position.member.split(JOIN)
        run = values[budget.parts.index(Each.RUN)] if self.found.position.member and Each.RUN in budget.parts else ""
        return run if is_trace_id(run) else ""

    @property
    def excess(self) -> str:
        """What is spent above the limit, in words; empty for nothing."""
        more = self.found.spent - self.found.limit
        return amount_words(self.found.unit, more) if more > 0 else ""

    @property
    def other_limits(self) -> list[str]:
        """Its limits besides the tightest, in words."""
        position = self.found.position
        return [
            f"{amount_words(unit, used)} of {amount_words(unit, limit)}"
            for unit, limit, used in zip(Unit, position.limits, position.used, strict=True)
            if limit is not None and unit is not self.found.unit
        ]


def shown(found: Standing, pace: Pace | None = None) -> Shown:
    """A window for a page."""
    pace = pace or Pace(None, [], None)
    return Shown(found, pace, bar_of(found, pace))


def scope_line(rules: Rules) -> str:
    """What a budget counts, in a line: ``research-assistant, each user, a day``."""
    each = f", each {rules.each.value}" if rules.each and rules.each.value != rules.period.value else ""
    zone = f" ({rules.zone})" if rules.zone != "UTC" and rules.period in (Period.DAY, Period.WEEK, Period.MONTH) else ""
    return f"{scope_words(rules.scope)}{each}, {LONG[rules.period]}{zone}"


def overshoot(rules: Rules) -> str:
    """By how much what is spent can pass the limit, in words."""
    if rules.action is Action.WARN:
        return "It warns and stops nothing."
    return (
        "$0 while estimates hold: every step is held before it is made. Beyond that, exactly what steps cost more than "
        "their estimates, what is settled after its time, and what agents spend that do not ask."
    )


def passed_words(found: Standing, passed: Passed) -> list[tuple[str, str, str]]:
    """What is spent in a window by how it came there: name, amount, and what that means."""
    amounts = (
        ("By steps that asked", passed.asked, "Each was held before it was made."),
        ("Beyond their estimates", passed.beyond, "Of that: what steps cost more than was held for them."),
        ("Settled late", passed.late, "Of that: told after it was held no longer."),
        ("By agents that did not ask", passed.unasked, "Spans without a reservation: counted, and held by nothing."),
    )
    return [(name, amount_words(found.unit, amount), words) for name, amount, words in amounts]


def raise_words(raised: Raise) -> str:
    """By how much a limit is raised."""
    extra = (raised.extra_nano, raised.extra_tokens, raised.extra_steps)
    return ", ".join(amount_words(unit, amount) for unit, amount in zip(Unit, extra, strict=True) if amount)


def state_of(row: Row, found: Shown | None) -> str:
    """By what a list of budgets can be narrowed."""
    if row.budget.is_off:
        return "off"
    if row.over or (found is not None and found.found.share >= 1):
        return "over"
    return "burning" if found is not None and found.exhausted_at is not None else "fine"


def title(budget: Budget, rules: Rules) -> str:
    """What a budget is called."""
    return budget.name or title_of(rules)


#: Fields of a record that are told in words of their own.
_FIELDS = {
    "limit_nano": "Limit in dollars",
    "limit_tokens": "Limit in tokens",
    "limit_steps": "Limit in steps",
    "kept_nano": "Kept for final answers",
    "is_off": "Off",
    "counts_from": "Counts since",
    "effective_from": "Effective from",
    "expires_at": "Expires",
    "timezone": "Time zone",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a decision changed."""

    name: str
    before: str
    after: str


def differences(change: Change) -> list[Difference]:
    """What a decision changed, in words; of what was made, what was said of it."""
    before, after = change.before or {}, change.after or {}
    found = []
    for name in dict.fromkeys((*after, *before)):
        was, now = before.get(name), after.get(name)
        if was != now and (change.before is not None or now not in (None, "", [], 0, False)):
            words = _FIELDS.get(name, name.replace("_", " ").capitalize())
            found.append(Difference(words, _said(name, was), _said(name, now)))
    return found


def _said(name: str, value: Any) -> str:
    if value in (None, "", []):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_nano") and isinstance(value, int):
        return amount_words(Unit.USD, value)
    if isinstance(value, list):
        return ", ".join(_parts(name, value))
    return _moment(value) if name.endswith(("_at", "_from", "until")) else str(value)[:120]


def _moment(value: Any) -> str:
    try:
        return f"{datetime.fromisoformat(str(value)).astimezone(UTC):%d %b %Y %H:%M} UTC"
    except ValueError:
        return str(value)[:120]


def _parts(name: str, values: list[Any]) -> list[str]:
    if name == "thresholds":
        return [f"{one:.0%}" for one in values]
    if name == "extra":
        return [amount_words(unit, amount) for unit, amount in zip(Unit, values, strict=False) if amount]
    return list(map(str, values))
