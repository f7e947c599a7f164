"""What a budget is: what it counts, in which windows, how much it lets through, and the words in which it says no.

Amounts are dollars in nano, tokens and steps together: a budget may limit any of them. Windows count by the moment at
which we learnt of something, never by what its sender's clock says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from functools import cache, lru_cache
from typing import Literal, NamedTuple, cast
from zoneinfo import ZoneInfo

from agentops.domain import periods

NANO = 10**9
#: What is apart: it counts in budgets that name its environment, and in no other.
APART = frozenset({"shadow", "eval"})
#: When windows begin that have no beginning.
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
#: Between the values that a member is made of.
JOIN = "\x1f"


class Period(StrEnum):
    """How long a window lasts: what is spent begins anew with the next."""

    RUN = "run"
    SESSION = "session"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


#: Periods of the calendar.
CALENDAR = frozenset({Period.HOUR, Period.DAY, Period.WEEK, Period.MONTH})


class Each(StrEnum):
    """Whose window it is, where everybody has one."""

    USER = "user"
    FEATURE = "feature"
    SESSION = "session"
    RUN = "run"


class Action(StrEnum):
    """What happens at the limit."""

    WARN = "warn"
    STOP = "stop"


class Unit(StrEnum):
    """What is limited."""

    USD = "usd"
    TOKENS = "tokens"
    STEPS = "steps"


class Amounts(NamedTuple):
    """So much of each unit: nano-dollars, tokens, steps."""

    nano: int = 0
    tokens: int = 0
    steps: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """Both together."""
        return Amounts(self.nano + other.nano, self.tokens + other.tokens, self.steps + other.steps)

    def minus(self, other: Amounts) -> Amounts:
        """This without the other."""
        return Amounts(self.nano - other.nano, self.tokens - other.tokens, self.steps - other.steps)


NOTHING = Amounts()
UNITS: tuple[Unit, ...] = tuple(Unit)


class Limits(NamedTuple):
    """The most of each unit, in the order of ``Amounts``; ``None``: unlimited."""

    nano: int | None = None
    tokens: int | None = None
    steps: int | None = None

    def plus(self, extra: Amounts) -> Limits:
        """Raised by so much, where there is a limit."""
        return Limits(*(None if limit is None else limit + more for limit, more in zip(self, extra, strict=True)))


class Facts(NamedTuple):
    """What is known of a step that budgets look at. Empty: unknown. ``run`` is the trace id in hex."""

    service: str
    environment: str = ""
    user: str = ""
    feature: str = ""
    session: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a budget counts: everything that fits all that is named. ``services`` are several that share it."""

    services: frozenset[str] = frozenset()
    team: str = ""
    feature: str = ""
    user: str = ""
    session: str = ""
    run: str = ""
    environment: str = ""

    def fits_service(self, service: str, team: str) -> bool:
        """Whether any step of a service is counted; its team is the catalog's to say."""
        return (not self.services or service in self.services) and (not self.team or team == self.team)

    def fits_run(self, facts: Facts) -> bool:
        """Whether a step is counted, if its service is; what is ``APART`` only where its environment is named."""
        return (
            (facts.environment == self.environment if self.environment else facts.environment not in APART)
            and (not self.feature or facts.feature == self.feature)
            and (not self.user or facts.user == self.user)
            and (not self.session or facts.session == self.session)
            and (not self.run or facts.run == self.run)
        )

    @property
    def names_services_alone(self) -> bool:
        """Whether it is about services as a whole, and nothing narrower."""
        return bool(self.services) and self == Scope(self.services)


@dataclass(frozen=True, slots=True)
class Raise:
    """A limit raised for some time: of one member, or (empty) of all."""

    member: str
    extra: Amounts
    starts_at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """A ceiling. It counts what came in ``[counts_from, expires_at)``.

    ``thresholds`` are shares of the limit, ascending. ``kept_nano`` of its dollars are kept for final answers.
    A default holds where a service has no ceiling of its own of the same period.
    """

    id: int
    name: str
    scope: Scope
    each: Each | None
    period: Period
    zone: str
    limits: Limits
    thresholds: tuple[float, ...]
    action: Action
    counts_from: datetime
    expires_at: datetime | None = None
    kept_nano: int = 0
    is_default: bool = False
    raises: tuple[Raise, ...] = ()
    #: Who made it, by name.
    set_by: str = ""

    @property
    def parts(self) -> tuple[Each, ...]:
        """What a member is made of: whose window it is, and of which run or session."""
        return _parts(self.each, self.period)

    def is_on(self, at: datetime) -> bool:
        """Whether it counts what comes at a moment."""
        return self.counts_from <= at and (self.expires_at is None or at < self.expires_at)

    def member(self, facts: Facts) -> str | None:
        """Whose window a step counts in; ``None`` when it does not say, and so has none."""
        # Values are what senders say: none may pass for two of them.
        values = [cast("str", getattr(facts, part)) for part in _names(self.each, self.period)]
        if not all(values):
            return None
        return JOIN.join(value.replace(JOIN, "\ufffd") if JOIN in value else value for value in values)

    def window(self, at: datetime) -> tuple[datetime, datetime | None]:
        """The window at a moment: its start, and its end unless it has none, in UTC."""
        return window(self.period, self.zone, at)

    def limits_at(self, member: str, at: datetime) -> Limits:
        """What a member may use at a moment, raises included."""
        limits = self.limits
        for one in self.raises:
            if one.member in ("", member) and one.starts_at <= at < one.until:
                limits = limits.plus(one.extra)
        return limits


_LIVES = frozenset({Period.RUN, Period.SESSION})


@lru_cache(maxsize=4_096)
def _window(period: Period, zone: str, hour: datetime) -> tuple[datetime, datetime]:
    tz = ZoneInfo(zone)
    interval = cast("Literal['hour', 'day', 'week', 'month']", period.value)
    start = periods.truncate(hour, interval, tz)
    return start, periods.step(start, interval, tz)


def window(period: Period, zone: str, at: datetime) -> tuple[datetime, datetime | None]:
    """The window of a period at a moment in a time zone, in UTC; hours are those of UTC everywhere."""
    if period not in CALENDAR:
        return ALWAYS, None
    found = _window(period, zone, at.replace(minute=0, second=0, microsecond=0))
    # Midnight is not always at a full hour of UTC.
    return found if at < found[1] else _window(period, zone, found[1])


class Replaced(NamedTuple):
    """Services that have a ceiling of their own, by the period of it; ``own`` are these ceilings."""

    run: frozenset[str]
    session: frozenset[str]
    own: tuple[Budget, ...] = ()

    def holds(self, budget: Budget, service: str, at: datetime | None = None) -> bool:
        """Whether a budget binds a service: a default does not bind one that has its own.

        At a moment, if one is given: one's own that has expired, or counts only later, is none then.
        """
        if not budget.is_default:
            return True
        life = _life(budget)
        if life is None or service not in (self.run if life is Period.RUN else self.session):
            return True
        return at is not None and not any(
            one.is_on(at) and service in one.scope.services for one in self.own if _life(one) is life
        )


@cache
def _parts(each: Each | None, period: Period) -> tuple[Each, ...]:
    own = Each(period.value) if period in _LIVES else None
    return tuple(part for part in dict.fromkeys((each, own)) if part is not None)


@cache
def _names(each: Each | None, period: Period) -> tuple[str, ...]:
    return tuple(part.value for part in _parts(each, period))


def _life(budget: Budget) -> Period | None:
    """Whether every run, or every session, has a window of its own, and no other."""
    if budget.period in _LIVES and (budget.each is None or budget.each.value == budget.period.value):
        return budget.period
    if budget.period is Period.TOTAL and budget.each in (Each.RUN, Each.SESSION):
        return Period(budget.each.value)
    return None


def replaced(budgets: Iterable[Budget]) -> Replaced:
    """Which services have ceilings in place of the defaults: budgets of dollars that stop, of whole services."""
    services: dict[Period, set[str]] = {Period.RUN: set(), Period.SESSION: set()}
    own: list[Budget] = []
    for budget in budgets:
        is_own = not budget.is_default and budget.action is Action.STOP and budget.limits.nano is not None
        life = _life(budget)
        if is_own and life is not None and budget.scope.names_services_alone:
            services[life] |= budget.scope.services
            own.append(budget)
    return Replaced(frozenset(services[Period.RUN]), frozenset(services[Period.SESSION]), tuple(own))


class Line(NamedTuple):
    """Where a window stands by one of its limits."""

    unit: Unit
    limit: int
    spent: int
    reserved: int

    @property
    def share(self) -> float:
        """How much of the limit is spent or held; all of it where it is nothing."""
        return (self.spent + self.reserved) / self.limit if self.limit else 1.0

    @property
    def remaining(self) -> int:
        """What is neither spent nor held: never less than nothing."""
        return max(self.limit - self.spent - self.reserved, 0)


@dataclass(slots=True)
class Position:
    """Where a window stands: its limits (with raises), what is spent and what is held for calls under way."""

    budget: Budget
    member: str
    starts_at: datetime
    ends_at: datetime | None
    limits: Limits
    spent: Amounts = NOTHING
    reserved: Amounts = NOTHING

    @property
    def used(self) -> Amounts:
        """Spent and reserved."""
        return self.spent.plus(self.reserved)

    @property
    def lines(self) -> list[Line]:
        """Each of its limits, the tightest first; of equals dollars, then tokens, then steps."""
        rows = zip(UNITS, self.limits, self.spent, self.reserved, strict=True)
        lines = [Line(unit, limit, spent, reserved) for unit, limit, spent, reserved in rows if limit is not None]
        return sorted(lines, key=lambda line: -line.share)

    @property
    def share(self) -> float:
        """How much of the tightest limit is spent; 0 without any."""
        return self._share_of(self.spent)

    @property
    def used_share(self) -> float:
        """How much of the tightest limit is spent or held."""
        return self._share_of(self.used)

    def _share_of(self, amounts: Amounts) -> float:
        pairs = zip(self.limits, amounts, strict=True)
        return max((_share(amount, limit) for limit, amount in pairs if limit is not None), default=0.0)


def _share(used: int, limit: int) -> float:
    if limit > 0:
        return used / limit
    return float("inf") if used > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a step does not fit: of what there is too little, in the order of magnitude of ``Amounts``."""

    unit: Unit
    limit: int
    spent: int
    reserved: int
    asked: int
    kept: int = 0

    @property
    def remaining(self) -> int:
        """What a step may still use: never less than nothing."""
        return max(self.limit - self.kept - self.spent - self.reserved, 0)


def shortages(position: Position, asked: Amounts, *, is_final: bool = False) -> list[Shortage]:
    """Of what there is too little for a step. A limit that is reached lets nothing through, not even what is free.

    What is kept for final answers is there for those alone.
    """
    found = []
    for unit, limit, spent, held, wanted in zip(
        UNITS, position.limits, position.spent, position.reserved, asked, strict=True
    ):
        if limit is None:
            continue
        kept = position.budget.kept_nano if unit is Unit.USD and not is_final else 0
        left = limit - kept - spent - held
        if wanted > left or left <= 0:
            found.append(Shortage(unit, limit, spent, held, wanted, kept))
    return found


def crossed(position: Position, fired: float) -> list[float]:
    """The thresholds that what is spent has reached and that have not fired in this window, ascending."""
    share = position.share
    return [threshold for threshold in position.budget.thresholds if fired < threshold <= share]


def next_amounts(budget: Budget, limits: Limits, fired: float) -> tuple[int | None, int | None, int | None]:
    """From which amounts on the next threshold has been reached; ``None`` where there is none to come."""
    coming = next((threshold for threshold in budget.thresholds if threshold > fired), None)
    if coming is None:
        return (None, None, None)
    nano, tokens, steps = (None if limit is None else _reaching(limit, coming) for limit in limits)
    return nano, tokens, steps


@lru_cache(maxsize=4_096)
def _reaching(limit: int, threshold: float) -> int:
    """The smallest amount whose share of a limit is not below a threshold, to the float's last bit."""
    if limit <= 0:
        return 0 if threshold <= 1.0 else 1
    # Shares round to the nearest float: from half-way on to the threshold, or at half-way to the one below.
    half_way = (Fraction(threshold) + Fraction(math.nextafter(threshold, 0.0))) / 2
    amount = max(math.ceil(half_way * limit), 0)
    return amount if _share(amount, limit) >= threshold else amount + 1


def sum_of(amounts: Iterable[Amounts]) -> Amounts:
    """All together."""
    total = NOTHING
    for one in amounts:
        total = total.plus(one)
    return total


def amount_words(unit: Unit, amount: int) -> str:
    """An amount for people: ``$12.50``, ``61,900 tokens``, ``40 steps``."""
    if unit is Unit.USD:
        return usd_words(amount)
    return f"{amount:,} {unit.value if amount != 1 else unit.value[:-1]}"


def usd_words(nano: int) -> str:
    """Dollars for people, with enough digits to be other than zero."""
    sign, size = ("-" if nano < 0 else ""), abs(nano)
    if size == 0 or size >= NANO:
        return f"{sign}${size / NANO:,.2f}"
    digits = 2
    while digits < 9 and size < 100 * 10 ** (9 - digits) // 10:
        digits += 1
    return f"{sign}${size / NANO:.{digits}f}"


def scope_words(scope: Scope) -> str:
    """What is counted, in words."""
    parts = []
    if scope.services:
        parts.append(" and ".join(sorted(scope.services)))
    parts += [
        f"{name} {value}" for name in ("team", "feature", "user", "session", "run") if (value := getattr(scope, name))
    ]
    if scope.environment:
        parts.append(f"in {scope.environment}")
    return ", ".join(parts) or "all services"


PERIOD_WORDS = {
    Period.RUN: "per run",
    Period.SESSION: "per session",
    Period.HOUR: "an hour",
    Period.DAY: "a day",
    Period.WEEK: "a week",
    Period.MONTH: "a month",
    Period.TOTAL: "in total",
}


def title_of(budget: Budget) -> str:
    """A budget by its name, or by what it counts: ``research-assistant, each user, a day``."""
    if budget.name:
        return budget.name
    each = f", each {budget.each.value}" if budget.each and budget.each.value != budget.period.value else ""
    return f"{scope_words(budget.scope)}{each}, {PERIOD_WORDS[budget.period]}"


def member_words(budget: Budget, member: str) -> str:
    """Whose window it is: ``user alice``; empty where there is one for all."""
    values: Sequence[str] = member.split(JOIN) if member else ()
    return ", ".join(f"{part.value} {value}" for part, value in zip(budget.parts, values, strict=False))
