"""What a proposed budget would have done in the past: where its limits would have been reached, and what came after.

The past is known by whole hours of UTC: an hour is counted in the window in which it begins, as everywhere that hours
are counted (see ``periods``). Of the hour in which a limit was reached that much came before as the limit let through,
and the rest after, in the same proportion for every unit. What came after is what the budget would have kept from being
spent at most: nobody knows what its users would have done instead.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from agentops.domain.budgets import NOTHING, UNITS, Amounts, Budget, Limits, Position, Unit, sum_of
from agentops.domain.periods import ceil_hour

#: Windows that are told one by one, the worst ones.
MOST_TOLD = 50
#: Windows without which nothing is suggested.
FEWEST_WINDOWS = 2
#: A suggestion leaves so much room above what nearly all windows used, and lets through all but so many of them, and
#: whatever came lately; but not what is so many times as much: that is what limits are for.
NEARLY_ALL, ROOM, ALL_BUT = 0.95, 1.5, 0.01
LATELY, OUTRAGEOUS = timedelta(days=7), 3.0
#: Its significant digits.
DIGITS = 2


class Spell(NamedTuple):
    """What a member used in an hour, from ``at`` on, and in how many runs. ``Budget.member`` says who that is."""

    at: datetime
    member: str
    amounts: Amounts
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A window in which something came after a limit had been reached.

    ``reached_at`` is the hour in which the first limit was, that of ``unit``; ``beyond`` what came after, which is of
    that unit just what exceeds the limit; ``runs`` those that came after, once for each hour they took.
    """

    member: str
    starts_at: datetime
    ends_at: datetime | None
    spent: Amounts
    limit: Limits
    reached_at: datetime
    beyond: Amounts
    unit: Unit
    runs: int


@dataclass(frozen=True, slots=True)
class Highest:
    """The window that came closest to its limit, or went furthest beyond."""

    member: str
    starts_at: datetime
    spent: Amounts


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a budget would have done, over all windows in which anything was used.

    ``exceeded`` are at most ``MOST_TOLD``, the worst first; ``exceeded_count``, ``beyond`` and ``runs_beyond`` are of
    all. ``thresholds`` says how many windows reached each. ``cut`` windows began before the range or end after it: what
    is known of them is less than they used, and ``median``, ``p95`` and ``suggestion`` are of the others where there
    are any. The medians and percentiles are each unit's own. ``course`` has of each time the window that came closest
    to its limit, in their order; where windows are not of the calendar a time is the day (UTC) on which they began.
    """

    windows: int
    cut: int
    members: int
    exceeded: tuple[Exceeded, ...]
    exceeded_count: int
    beyond: Amounts
    runs_beyond: int
    thresholds: dict[float, int]
    highest: Highest | None
    median: Amounts
    p95: Amounts
    suggestion: Limits | None
    course: tuple[Highest, ...] = ()


def rehearse(spells: Iterable[Spell], budget: Budget, from_: datetime, until: datetime) -> Rehearsal:
    """What a budget would have done in ``[from_, until)``. Spells come in the order of their hours, and fit its scope.

    It is asked what the budget will do from now on: when it begins and ends and whose limit is raised when makes no
    difference. Where its windows are not of the calendar, each member has one. ``ValueError``: not in order.
    """
    windows: dict[tuple[str, datetime], _Window] = {}
    latest = from_
    for spell in spells:
        if not from_ <= spell.at < until:
            continue
        if spell.at < latest:
            message = f"an hour at {spell.at:%F %H:%M} came after one at {latest:%F %H:%M}"
            raise ValueError(message)
        latest = spell.at
        starts_at, ends_at = budget.window(spell.at)
        window = windows.get((spell.member, starts_at))
        if window is None:
            window = windows[spell.member, starts_at] = _Window(spell.member, starts_at, ends_at, spell.at, spell.at)
        window.add(spell, budget.limits)
    return _sum_up(list(windows.values()), budget, from_, until)


@dataclass(slots=True)
class _Window:
    """One that fills up."""

    member: str
    starts_at: datetime
    ends_at: datetime | None
    first: datetime
    latest: datetime
    spent: Amounts = NOTHING
    beyond: Amounts = NOTHING
    runs: int = 0
    reached: tuple[datetime, Unit] | None = None

    def add(self, spell: Spell, limits: Limits) -> None:
        """Count an hour."""
        before, self.spent, self.latest = self.spent, self.spent.plus(spell.amounts), spell.at
        if self.reached is not None:
            self.beyond = self.beyond.plus(spell.amounts)
            self.runs += spell.runs
        elif (first := _first_reached(before, self.spent, limits)) is not None:
            (above, below), unit = first
            self.reached = spell.at, unit
            self.beyond = Amounts(*(amount * above // below for amount in spell.amounts))
            self.runs = -(-spell.runs * above // below)

    def is_cut(self, from_: datetime, until: datetime) -> bool:
        """Whether a part of it lies outside of the range. Of those without an end nobody knows."""
        return self.ends_at is not None and (ceil_hour(self.starts_at) < from_ or self.ends_at > until)

    def exceeded(self, limits: Limits) -> Exceeded | None:
        """What became of it, if anything came after a limit had been reached."""
        if self.reached is None or not any(amount > 0 for amount in self.beyond):
            return None
        at, unit = self.reached
        return Exceeded(self.member, self.starts_at, self.ends_at, self.spent, limits, at, self.beyond, unit, self.runs)


def _first_reached(before: Amounts, after: Amounts, limits: Limits) -> tuple[tuple[int, int], Unit] | None:
    """The limit that is reached first in an hour, and the share of the hour that comes after that, as a fraction."""
    found: list[tuple[tuple[int, int], Unit]] = []
    for unit, was, spent, limit in zip(UNITS, before, after, limits, strict=True):
        if limit is not None and spent >= limit:
            # A limit of nothing is reached before anything is used.
            found.append(((1, 1) if was >= limit else (spent - limit, spent - was), unit))
    return max(found, key=lambda one: one[0][0] / one[0][1], default=None)


def _sum_up(windows: Sequence[_Window], budget: Budget, from_: datetime, until: datetime) -> Rehearsal:
    limits = budget.limits
    exceeded = [found for window in windows if (found := window.exceeded(limits)) is not None]
    exceeded.sort(key=lambda one: (-one.beyond.nano, -_share(budget, one), one.starts_at, one.member))
    shares = [_share(budget, window) for window in windows]
    reached = Counter(threshold for share in shares for threshold in budget.thresholds if share >= threshold)
    whole = [window for window in windows if not window.is_cut(from_, until)]
    guides = whole or windows
    every = [sorted(window.spent[place] for window in guides) for place in range(len(UNITS))]
    return Rehearsal(
        windows=len(windows),
        cut=len(windows) - len(whole),
        members=len({window.member for window in windows}),
        exceeded=tuple(exceeded[:MOST_TOLD]),
        exceeded_count=len(exceeded),
        beyond=sum_of(one.beyond for one in exceeded),
        runs_beyond=sum(one.runs for one in exceeded),
        thresholds={threshold: reached[threshold] for threshold in budget.thresholds},
        highest=_highest(windows, shares),
        median=Amounts(*(quantile(values, 0.5) for values in every)),
        p95=Amounts(*(quantile(values, NEARLY_ALL) for values in every)),
        suggestion=_suggest(windows, every, limits, until),
        course=_course(windows, shares),
    )


def _share(budget: Budget, window: _Window | Exceeded) -> float:
    """How much of the tightest limit was used."""
    return Position(budget, window.member, window.starts_at, window.ends_at, budget.limits, window.spent).share


def _highest(windows: Sequence[_Window], shares: Sequence[float]) -> Highest | None:
    """By the tightest limit, then by dollars, tokens and steps; the earliest of equals."""
    pairs = sorted(zip(shares, windows, strict=True), key=lambda pair: (pair[1].starts_at, pair[1].member))
    _, window = max(pairs, key=lambda pair: (pair[0], pair[1].spent), default=(0.0, None))
    return None if window is None else Highest(window.member, window.starts_at, window.spent)


def _course(windows: Sequence[_Window], shares: Sequence[float]) -> tuple[Highest, ...]:
    """Of each time the window that came closest to its limit."""
    found: dict[datetime, tuple[float, Amounts, str]] = {}
    for share, window in zip(shares, windows, strict=True):
        at = window.starts_at if window.ends_at is not None else window.first.replace(hour=0)
        found[at] = max(found.get(at, (0.0, NOTHING, "")), (share, window.spent, window.member))
    return tuple(Highest(member, at, spent) for at, (_, spent, member) in sorted(found.items()))


def quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest of some ascending values that so large a share of them does not exceed; 0 of none."""
    return ordered[max(math.ceil(share * len(ordered) - 1e-9) - 1, 0)] if ordered else 0


def _suggest(
    windows: Sequence[_Window], every: Sequence[Sequence[int]], limits: Limits, until: datetime
) -> Limits | None:
    """Limits in place of those there are; ``None`` where too little is known."""
    if len(every[0]) < FEWEST_WINDOWS:
        return None
    late = [window.spent for window in windows if window.latest >= until - LATELY]
    found = [
        None if limit is None else _roomy(values, max((spent[place] for spent in late), default=0))
        for place, (limit, values) in enumerate(zip(limits, every, strict=True))
    ]
    return None if all(limit is None for limit in found) else Limits(*found)


def _roomy(ordered: Sequence[int], lately: int) -> int | None:
    """A limit that hinders nobody but runaways; ``None`` where nothing was used.

    Half as much again as what is usual, which is what 95 of 100 windows used: who grows has room, and a runaway is
    stopped early. Where a few use far more than most, that would stop honest windows. So it is also what 99 of 100
    used, that is the largest of less than a hundred, and the largest of the last week, which whoever sets the limit
    takes for right; but never more than three times what is usual. The largest of all does not tell what that is: of
    few windows it may be the very runaway.
    """
    usual = quantile(ordered[:-1], NEARLY_ALL) or ordered[-1]
    seen = max(quantile(ordered, 1 - ALL_BUT), lately)
    needed = max(math.ceil(usual * ROOM), min(seen, math.floor(usual * OUTRAGEOUS)))
    return rounded_up(needed) if needed > 0 else None


def rounded_up(amount: int) -> int:
    """The next larger number of two significant digits, or itself."""
    unit: int = 10 ** max(len(str(amount)) - DIGITS, 0)
    return -(-amount // unit) * unit
