"""What the windows of ceilings must hold, in plain Python: steps, spans, raises and switches, and no product code.

A window's ``excess`` is by how much it may be above its limit: what steps cost beyond what was held for them, what was
settled after its time, spans that nobody had asked for, and what was in it when its limit was lowered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

Sum = tuple[int, int, int]
ZERO: Sum = (0, 0, 0)
EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Key(NamedTuple):
    """A window: which ceiling, whose, since when."""

    ceiling: int
    member: str
    starts_at: datetime


class Who(NamedTuple):
    """Of what a step says whose it is; ``run`` may be any name."""

    service: str
    user: str
    run: str


@dataclass
class Ceiling:
    """As it was decided."""

    id: int
    limits: list[int | None]
    period: str
    zone: str
    each: str
    services: tuple[str, ...]
    stops: bool
    is_off: bool = False
    counts_from: datetime = EVER
    #: Member, what is added, since when, until when.
    raises: list[tuple[str, Sum, datetime, datetime]] = field(default_factory=list)

    def is_on(self, at: datetime) -> bool:
        """Whether it counts, by what is decided now, what comes at a moment."""
        return not self.is_off and self.counts_from <= at

    def window(self, at: datetime) -> tuple[datetime, datetime | None]:
        """By the clock on the wall; hours are those of UTC."""
        if self.period == "total":
            return EVER, None
        if self.period == "hour":
            start = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            return start, start + timedelta(hours=1)
        day = at.astimezone(ZoneInfo(self.zone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.period == "week":
            day -= timedelta(days=day.weekday())
        after = day + timedelta(days=7 if self.period == "week" else 1)
        return day.astimezone(UTC), after.astimezone(UTC)

    def limits_at(self, member: str, at: datetime) -> list[int | None]:
        """With its raises."""
        limits = list(self.limits)
        for whose, extra, begins, ends in self.raises:
            if whose in ("", member) and begins <= at < ends:
                limits = [None if one is None else one + more for one, more in zip(limits, extra, strict=True)]
        return limits


@dataclass
class Step:
    """A step that was granted."""

    id: str
    who: Who
    held: Sum
    granted_at: datetime
    expires_at: datetime
    windows: list[Key]
    state: str = "held"
    spent: Sum = ZERO
    is_late: bool = False
    #: Its span has come, and counts in its stead.
    is_counted: bool = False
    #: What ties it to its span: the span's number, and whether by the model's answer.
    told: tuple[int, str] | None = None


@dataclass
class Told:
    """A span that is booked."""

    number: int
    who: Who
    at: datetime
    amounts: Sum


@dataclass
class Model:
    """Everything that was granted, settled and told."""

    now: datetime
    ceilings: dict[int, Ceiling] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    spans: list[Told] = field(default_factory=list)
    stopped: set[tuple[str, str]] = field(default_factory=set)
    #: Of whom runs are known to be, since their telemetry said so.
    known: dict[str, str] = field(default_factory=dict)
    excess: dict[Key, Sum] = field(default_factory=lambda: defaultdict(lambda: ZERO))

    def windows_of(self, who: Who, at: datetime, only: int | None = None) -> list[Key]:
        """The windows that count what comes at a moment, by what is decided now."""
        found = []
        for one in self.ceilings.values():
            member = getattr(who, one.each) if one.each else ""
            fits = (not one.services or who.service in one.services) and (member or not one.each)
            if fits and one.is_on(at) and only in (None, one.id):
                found.append(Key(one.id, member, one.window(at)[0]))
        return found

    def complete(self, who: Who) -> Who:
        """With what is known of its run."""
        return who if who.user else who._replace(user=self.known.get(who.run, ""))

    def used(self, key: Key) -> tuple[Sum, Sum]:
        """What is spent and held in a window."""
        spent, held = ZERO, ZERO
        for step in self.steps:
            if key in step.windows:
                if step.state == "held":
                    held = add(held, step.held)
                elif step.state == "settled" and (not step.is_counted or self.stays(step, key)):
                    spent = add(spent, step.spent)
        for span in self.spans:
            if key in self.windows_of(self.complete(span.who), span.at, key.ceiling):
                spent = add(spent, span.amounts)
        return spent, held

    def stays(self, step: Step, key: Key) -> bool:
        """Whether a window is of a run that is named otherwise than its trace: no span tells of it."""
        return self.ceilings[key.ceiling].each == "run" and len(step.who.run) != 32

    def all_windows(self) -> set[Key]:
        """Every window that something counts in, or did."""
        found = {key for step in self.steps for key in step.windows} | self.excess.keys()
        return found | {key for s in self.spans for key in self.windows_of(self.complete(s.who), s.at)}

    def is_judged(self, key: Key) -> bool:
        """Whether a window must agree: of a ceiling that is on, and that counted in it to the end."""
        one = self.ceilings[key.ceiling]
        if one.is_off:
            return False
        end = one.window(key.starts_at)[1]
        return end is None or end > one.counts_from

    def lacking(self, who: Who, asked: Sum) -> set[int]:
        """The ceilings that a step does not fit into."""
        found = set()
        for key in self.windows_of(who, self.now):
            spent, held = self.used(key)
            limits = self.ceilings[key.ceiling].limits_at(key.member, self.now)
            for limit, used, wanted in zip(limits, add(spent, held), asked, strict=True):
                if limit is not None and (used + wanted > limit or used >= limit):
                    found.add(key.ceiling)
        return found

    def decision(self, who: Who, lacking: Iterable[int]) -> str:
        """What the guard must say."""
        halted = {("service", who.service), ("user", who.user), ("run", who.run)} & self.stopped
        if halted or any(self.ceilings[one].stops for one in lacking):
            return "stop"
        return "warn" if set(lacking) else "allow"

    def expire(self) -> None:
        """Let go of what nobody settled in time."""
        for step in self.steps:
            if step.state == "held" and step.expires_at <= self.now:
                step.state = "expired"

    def settle(self, step: Step, amounts: Sum, told: tuple[int, str] | None) -> None:
        """A client says what its step has spent: the first time counts."""
        if step.state == "settled":
            return
        step.is_late = step.state == "expired"
        self.may_pass(step.windows, amounts if step.is_late else beyond(amounts, step.held))
        step.state, step.spent, step.told = "settled", amounts, told or step.told

    def tell(self, span: Told, steps: Iterable[Step]) -> None:
        """A span comes, which may be that of steps."""
        steps = [step for step in steps if not step.is_counted]
        for key in self.windows_of(self.complete(span.who), span.at):
            mine = next((step for step in steps if key in step.windows), None)
            there = ZERO if mine is None else mine.held if mine.state == "held" else mine.spent
            self.may_pass([key], beyond(span.amounts, there))
        for step in steps:
            for key in step.windows:
                if self.stays(step, key):
                    self.may_pass([key], beyond(span.amounts, step.held if step.state == "held" else step.spent))
            step.is_late = step.is_late or step.state == "expired"
            step.state, step.spent, step.is_counted = "settled", span.amounts, True
            if step.told and "ids" in step.told[1]:  # it is known by this span's from now on
                step.told = (span.number, "ids")
        self.spans.append(span)

    def match(self) -> None:
        """Spans that were there before the settlements that name them count in their stead."""
        booked = {span.number for span in self.spans}
        for step in self.steps:
            if step.state == "settled" and not step.is_counted and step.told and step.told[0] in booked:
                step.is_counted = True

    def know(self, run: str, user: str) -> None:
        """Whose a run is becomes known: what it has spent goes there, and nobody had held it there."""
        if run in self.known:
            return
        self.known[run] = user
        for span in self.spans:
            if span.who.run == run and not span.who.user:
                of_user = [k for k in self.windows_of(self.complete(span.who), span.at) if self._is_users(k)]
                self.may_pass(of_user, span.amounts)

    def _is_users(self, key: Key) -> bool:
        return self.ceilings[key.ceiling].each == "user"

    def begin_anew(self, ceiling: Ceiling) -> None:
        """The open windows of a ceiling are counted from what there is, since it counts."""
        start = ceiling.window(self.now)[0]
        for step in self.steps:
            is_open = step.granted_at >= start
            if not is_open or (step.is_counted and not (ceiling.each == "run" and len(step.who.run) != 32)):
                continue
            others = [key for key in step.windows if key.ceiling != ceiling.id]
            mine = [key for key in step.windows if key.ceiling == ceiling.id]
            if step.granted_at < ceiling.counts_from:
                mine = []
            elif step.state != "expired":
                mine = self.windows_of(self.complete(step.who), self.now, ceiling.id)
            step.windows = others + mine
        self.allow_what_is_there(ceiling)

    def allow_what_is_there(self, ceiling: Ceiling) -> None:
        """A limit was lowered, or counts something else: what is there above it now may be."""
        for key in self.all_windows():
            if key.ceiling == ceiling.id:
                spent, held = self.used(key)
                limits = ceiling.limits_at(key.member, self.now)
                over = zip(add(spent, held), limits, self.excess[key], strict=True)
                one, two, three = (known if limit is None else max(known, used - limit) for used, limit, known in over)
                self.excess[key] = (one, two, three)

    def may_pass(self, keys: Iterable[Key], amounts: Sum) -> None:
        """Windows may be passed by so much more."""
        for key in keys:
            self.excess[key] = add(self.excess[key], amounts)


def add(one: Sum, other: Sum) -> Sum:
    """Both together."""
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def beyond(amounts: Sum, held: Sum) -> Sum:
    """What is more than was held."""
    return (max(amounts[0] - held[0], 0), max(amounts[1] - held[1], 0), max(amounts[2] - held[2], 0))
