"""How fast a window is used up: its burn rate, the alerts that follow from it, and what it will have spent at its end.

A burn rate of 1 uses up exactly the limit by the end of the window. Spend is known by *samples*, one a minute at most
and only where it changed: between two of them it is what the earlier one says, so it is a step function, and a line
between them would tell of spend that nobody has seen. A window begins with nothing. Amounts are of any one unit.

Alerts are those of error budgets (multi-window, multi-burn-rate): a share of the limit went within a *long look-back*,
and the rate still holds over a short one, so that an alert ends soon after its cause. ``SHARES`` has them by the length
of the window. A month has the shares that are usual for error budgets. Scaled down as they are, a day would be looked
at for two minutes and an hour for five seconds, where a single run is a burst and nobody is told anything of use. So
look-backs shrink less than windows do, and the share that is worth a word grows instead:

======  ==============  =====  ============  ==============  =====  ============
window  fast                   all gone in   slow                   all gone in
======  ==============  =====  ============  ==============  =====  ============
month   2 % in 1 h      14.4   50 hours      5 % in 6 h      6      5 days
week    3 % in 30 min   10.1   17 hours      9 % in 3 h      5      33 hours
day     10 % in 15 min  9.6    2½ hours      15 % in 1 h     3.6    7 hours
hour    25 % in 5 min   3      20 minutes    40 % in 15 min  1.6    38 minutes
======  ==============  =====  ============  ==============  =====  ============

Each leaves more time to act than it took to notice. Who spends in office hours alone (8 of 24, 40 of
168) has rates of 3 and 4.2 on a good day, which is below the slow ones of days, weeks and months. All of this is closed
arithmetic: the same samples, the same answer.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from statistics import mean, median, variance
from typing import NamedTuple

#: The short look-back is this part of the long one. One minute may hold no sample, two hold one.
PART, SHORTEST = 12, timedelta(minutes=2)
#: What is spent of the limit before anything burns: the first cents of a window are no pace.
LEAST_SHARE = 0.02
#: One step is no pace either: no single one may be more than this share of what went in the long look-back. What
#: doubles every minute stays below it.
LARGEST_STEP = 2 / 3

#: Slots that the elapsed part of a window is cut into: at most, at least for a pace, and how short they may be.
MOST_SLOTS, FEWEST_SLOTS, SHORTEST_SLOT = 24, 3, timedelta(minutes=2)
#: No slot counts for more than so many times what the others do on average: what was once is no pace. It may lie in
#: two of them, so that where there are more than a few neighbours do not vouch for each other.
OUTSTANDING, FEW_SLOTS = 5.0, 6
#: So many parts of what has passed are compared: where they differ by more than their slots do, the pace drifts.
PARTS = 3
#: The share of windows that end inside the band, and that many standard deviations to each side; so much wider where
#: they are told from few.
CONFIDENCE, REACH, OF_FEW = 0.8, 1.2816, 0.75
#: Earlier windows that tell of this one, and what is believed of how they vary: as one more of them.
MOST_BEFORE, BEFORE_VARY = 8, 0.4
#: The pace of a part of a window is so far off that of the whole, as a share, as long as nearly all is to come: spend
#: has its hours.
SHAPE = 0.5
MEDIAN_TO_SD = 1.4826


class Sample(NamedTuple):
    """What had been spent in a window by a moment."""

    at: datetime
    spent: int


class Burn(StrEnum):
    """How badly a window burns."""

    FAST = "fast"
    SLOW = "slow"


class Rule(NamedTuple):
    """A share of the limit within a long look-back is too much."""

    burn: Burn
    share: float
    over: timedelta

    @property
    def short(self) -> timedelta:
        """The short look-back, over which the rate has to hold as well."""
        return max(self.over / PART, SHORTEST)

    def rate(self, length: timedelta) -> float:
        """The burn rate that this is in a window of some length."""
        return self.share * (length / self.over)


_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: The rules by how long a window is at least: of months, weeks, days and hours, whatever the clock does in them.
SHARES: tuple[tuple[timedelta, tuple[Rule, Rule]], ...] = (
    (20 * _DAY, (Rule(Burn.FAST, 0.02, _HOUR), Rule(Burn.SLOW, 0.05, 6 * _HOUR))),
    (4 * _DAY, (Rule(Burn.FAST, 0.03, _HOUR / 2), Rule(Burn.SLOW, 0.09, 3 * _HOUR))),
    (12 * _HOUR, (Rule(Burn.FAST, 0.10, _HOUR / 4), Rule(Burn.SLOW, 0.15, _HOUR))),
    (timedelta(), (Rule(Burn.FAST, 0.25, _HOUR / 12), Rule(Burn.SLOW, 0.40, _HOUR / 4))),
)


class Burning(NamedTuple):
    """A window that burns: by which rule, and that it spent so much in the long look-back ``over``.

    ``rate`` is the burn rate of that time, and at ``exhausted_at`` the limit is used up if it stays so.
    """

    rule: Burn
    rate: float
    over: timedelta
    exhausted_at: datetime
    spent: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will have been spent at the end of a window, and the band in which it ends with ``CONFIDENCE``.

    ``exhausted_at`` is when the limit will have been used up, or was; ``None``: it is expected to last.
    """

    expected: int
    low: int
    high: int
    exhausted_at: datetime | None


def spent_at(samples: Sequence[Sample], at: datetime) -> int:
    """What had been spent by a moment: what the last sample until then says."""
    place = _place(samples, at)
    return samples[place - 1].spent if place else 0


def _place(samples: Sequence[Sample], at: datetime) -> int:
    """How many samples there are until a moment, that moment included."""
    return bisect_right(samples, at, key=lambda sample: sample.at)


def rules_of(length: timedelta) -> tuple[Rule, Rule]:
    """The rules of a window of some length, the fast one first."""
    return next(rules for least, rules in SHARES if length >= least)


# Burning


def burn_rate(
    samples: Sequence[Sample],
    *,
    limit: int,
    start: datetime,
    end: datetime | None,
    now: datetime,
    over: timedelta,
) -> float | None:
    """How fast the limit is used up, by what went in the time ``over`` until now; 1 uses up exactly the limit.

    What came before the start counts in another window, and here as nothing. ``None`` where the window has no end or
    the limit is nothing.
    """
    if end is None or limit <= 0:
        return None
    went = _went(samples, start=start, now=now, over=over)
    return went / limit * ((end - start) / over)


def _went(samples: Sequence[Sample], *, start: datetime, now: datetime, over: timedelta) -> int:
    """What was spent in the time until now; nothing where more was taken back."""
    from_ = now - over
    return max(spent_at(samples, now) - (spent_at(samples, from_) if from_ >= start else 0), 0)


def burning(
    samples: Sequence[Sample], *, limit: int, start: datetime, end: datetime | None, now: datetime
) -> list[Burning]:
    """By which rules a window burns now, the fast one first.

    It burns by a rule whose rate is reached over both look-backs, at which the rest of the limit is gone before the
    window ends. What is used up does not burn any more, and of a window without an end nothing can be said.
    """
    spent = spent_at(samples, now)
    if end is None or not start <= now < end or not LEAST_SHARE * limit <= spent < limit:
        return []
    found = []
    for rule in rules_of(end - start):
        long, short = (
            burn_rate(samples, limit=limit, start=start, end=end, now=now, over=over) or 0.0
            for over in (rule.over, rule.short)
        )
        # A rate that is reached exactly is reached, whatever the float's last bit says.
        least = rule.rate(end - start) * (1 - 1e-9)
        if long < least or short < least:
            continue
        exhausted_at = now + (end - start) * ((limit - spent) / limit / long)
        went = _went(samples, start=start, now=now, over=rule.over)
        if exhausted_at < end and _largest_step(samples, now - rule.over, now) <= LARGEST_STEP * went:
            found.append(Burning(rule.burn, long, rule.over, exhausted_at, went))
    return found


def _largest_step(samples: Sequence[Sample], after: datetime, until: datetime) -> int:
    """The most that came at once between two moments."""
    first, last = _place(samples, after), _place(samples, until)
    values = [samples[first - 1].spent if first else 0, *(sample.spent for sample in samples[first:last])]
    return max((late - early for early, late in pairwise(values)), default=0)


# The forecast


def forecast(
    samples: Sequence[Sample],
    *,
    limit: int,
    start: datetime,
    end: datetime | None,
    now: datetime,
    before: Sequence[int] = (),
) -> Forecast | None:
    """What will have been spent when the window ends: never less than is spent now.

    It goes on at its own pace, as far as that is known. ``before`` are the totals of earlier windows, the newest last:
    they tell of a window that has just begun, and the less the more of it is over. ``None`` without an end, or where
    there is neither a pace nor anything before.
    """
    if end is None:
        return None
    spent = spent_at(samples, now)
    passed = min(max((now - start) / (end - start), 0.0), 1.0)
    if passed == 1.0:
        return Forecast(spent, spent, spent, _exhausted_at(samples, limit=limit, now=now, end=end, total=spent))
    own = _own(samples, start=start, now=now, passed=passed) if passed else None
    usual = _usual(before)
    total = _blend(own, usual, passed) if own and usual else own or usual
    if total is None:
        return None
    expected = max(round(total.mean), spent)
    reach = REACH * total.sd
    return Forecast(
        expected=expected,
        low=min(max(math.floor(total.mean - reach), spent), expected),
        high=max(math.ceil(total.mean + reach), expected),
        exhausted_at=_exhausted_at(samples, limit=limit, now=now, end=end, total=expected),
    )


class _Total(NamedTuple):
    """What a window comes to, and how sure that is."""

    mean: float
    sd: float


def _own(samples: Sequence[Sample], *, start: datetime, now: datetime, passed: float) -> _Total | None:
    """What the window comes to at its own pace; ``None`` while it has none.

    The elapsed part is cut into equal slots, of which each holds about one step at least.
    """
    values = [0, *(sample.spent for sample in samples[: _place(samples, now)])]
    steps = sum(late > early for early, late in pairwise(values))
    count = min(MOST_SLOTS, steps, (now - start) // SHORTEST_SLOT)
    if count < FEWEST_SLOTS:
        return None
    known = [0, *(spent_at(samples, start + (now - start) * (n / count)) for n in range(1, count)), values[-1]]
    slots = [late - early for early, late in pairwise(known)]
    to_come = count * (1 - passed) / passed
    # Each slot to come varies, and all of them together by how little is known of the pace, which was another one in
    # the middle of what has passed and will be another one in the middle of what is to come.
    apart = variance(slots) * (to_come + to_come**2 / count)
    drift = _drift(slots) * to_come**2 * (count + to_come) / 3
    sd = math.sqrt(apart + drift) * (1 + OF_FEW / (count - 1))
    return _Total(values[-1] + to_come * _pace(slots), sd)


def _pace(slots: Sequence[int]) -> float:
    """What a slot costs: the mean, in which none stands out from the others."""
    total, count = sum(slots), len(slots)
    reach = 1 if count > FEW_SLOTS else 0
    counted = []
    for place, slot in enumerate(slots):
        near = slots[max(place - reach, 0) : place + reach + 1]
        usual = (total - sum(near)) / (count - len(near))
        counted.append(min(float(slot), max(OUTSTANDING * usual, 0.0)))
    return mean(counted)


def _drift(slots: Sequence[int]) -> float:
    """The variance by which the pace moves from each slot to the next, if it is a random walk."""
    size = len(slots) // PARTS
    if size < 2:
        return 0.0
    parts = [mean(slots[end - size : end]) for end in range(len(slots), len(slots) - size * PARTS, -size)]
    # Neither kind of difference shows the noise of slots apart from the walk; both together do.
    between_slots, between_parts = _squares(slots), _squares(parts)
    return max(0.0, (between_parts - between_slots / size) * 3 * size / (2 * size**2 - 2))


def _squares(values: Sequence[float]) -> float:
    """The mean square of the differences between neighbours."""
    return float(mean((late - early) ** 2 for early, late in pairwise(values)))


def _usual(before: Sequence[int]) -> _Total | None:
    """What the windows before came to; ``None`` where nothing was ever spent."""
    known = before[-MOST_BEFORE:]
    if not any(known):
        return None
    level = float(median(known))
    spread = MEDIAN_TO_SD * median(abs(total - level) for total in known)
    believed = BEFORE_VARY * max(level, mean(known))
    return _Total(level, math.sqrt(((len(known) - 1) * spread**2 + believed**2) / len(known)))


def _blend(own: _Total, usual: _Total, passed: float) -> _Total:
    """Both as far as they are to be believed: the more varied the less.

    The own pace is not that of the whole window, for spend has its hours; the windows before are no guide where this
    one has come to something else already. Where the two disagree the band reaches from the one to the other.
    """
    apart = own.mean - usual.mean
    of_own = own.sd**2 + (SHAPE * (1 - passed) * max(own.mean, usual.mean)) ** 2
    of_usual = usual.sd**2 + (passed * apart) ** 2
    if not of_own + of_usual:
        return own
    trust = of_usual / (of_own + of_usual)
    return _Total(
        usual.mean + trust * apart,
        math.sqrt(trust * own.sd**2 + (1 - trust) * of_usual + trust * (1 - trust) * apart**2),
    )


def _exhausted_at(
    samples: Sequence[Sample], *, limit: int, now: datetime, end: datetime, total: int
) -> datetime | None:
    """When the limit was reached, or will be if what is to come is spread evenly; ``None``: it lasts."""
    spent = spent_at(samples, now)
    if spent >= limit:
        reached = (sample.at for sample in samples[: _place(samples, now)] if sample.spent >= limit)
        return next(reached, now)
    if total < limit:
        return None
    return now + (end - now) * ((limit - spent) / (total - spent))
