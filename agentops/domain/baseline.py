"""What an hour of the week usually costs, told from the weeks before it.

Robust: medians, so that an incident in the history hardly moves what is usual. Seasonal: by hour of the week in UTC,
where a day always has 24 hours; a zone's clock change moves its people by one hour once, and is learnt like any other
change. On a log scale, where a doubling is as large at night as at noon: of ``FLOOR`` + the share that the hour has of
its *level*, what an hour with any spend cost on a typical one of the seven days before. So slow growth is no surprise,
what is nothing beside a usual hour counts as nothing, and dollars or cents make no difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from statistics import median

HOURS_A_DAY, HOURS_A_WEEK, DAYS_A_WEEK = 24, 168, 7
#: How far back a baseline looks, and days without which nothing is usual yet.
DAYS_LOOKED_AT, FEWEST_DAYS = 56, 7
#: Weeks from which on an hour of the week speaks for itself; before, the hour of the day does, of busy or quiet days.
OWN_WEEKS = 3
#: Weekdays that cost less than this share of the middle one are quiet.
QUIET = 0.5
#: Added to each share of the level before the logarithm: what is small beside it makes no difference.
FLOOR = 0.5
#: Hours that usually have a smaller share are idle.
IDLE_SHARE = 0.05
#: No hour is surer than this, however regular its past; and no idle one so sure that what a usual hour costs is one.
SMALLEST_SD, SMALLEST_IDLE_SD = 0.15, 0.35
#: Fewer residuals than this tell no spread.
FEWEST_RESIDUALS = 20
#: A quantile tells the spread of what lies on this side of it, if so many residuals lie beyond: one incident does not.
QUANTILES = ((0.95, 1.645), (0.975, 1.96), (0.99, 2.326))
BEYOND = 4
#: Spreads count double at so many days of history, and by a tenth more at ten times as many.
CAUTIOUS_DAYS = 5
MEDIAN_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class Hours:
    """What consecutive hours cost, in nano-dollars; the first starts at ``start``, a whole hour in UTC."""

    start: datetime
    costs: Sequence[int]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What each hour of the week, from Monday 00:00 UTC on, usually costs.

    ``means`` and ``sds`` are of ``log(FLOOR + cost / level_nano)``; ``days`` of history are behind them. A cold one
    has none of them: it knows too little to judge anything.
    """

    level_nano: float
    means: tuple[float, ...]
    sds: tuple[float, ...]
    days: int

    @property
    def is_cold(self) -> bool:
        """Whether there is too little history to judge anything by."""
        return not self.means

    @property
    def knows_weekdays(self) -> bool:
        """Whether each hour of the week speaks for itself; else each hour of the day does, of busy or quiet days."""
        return self.days >= OWN_WEEKS * DAYS_A_WEEK

    def score(self, hour: int, nano_per_hour: float) -> float:
        """How many standard deviations a rate lies above the usual one of an hour of the week."""
        return (math.log(FLOOR + max(0.0, nano_per_hour) / self.level_nano) - self.means[hour]) / self.sds[hour]

    def usual_nano(self, hour: int) -> int:
        """What an hour of the week usually costs."""
        return max(0, round((math.exp(self.means[hour]) - FLOOR) * self.level_nano))


def hour_of_week(moment: datetime) -> int:
    """0 for Monday 00:00 to 167 for Sunday 23:00, UTC."""
    utc = moment.astimezone(UTC)
    return utc.weekday() * HOURS_A_DAY + utc.hour


class History:
    """Hours, and what was usual at any day of them; days count from ``midnight``, the start of the first.

    ``costs`` are those of each hour from ``midnight`` on; ``logs`` what baselines compare, at the days' ``levels``.
    What is missing before the first hour with any spend was never there; what is missing after it cost nothing.
    """

    def __init__(self, hours: Hours) -> None:
        begin = hours.start.astimezone(UTC)
        self.midnight = begin.replace(hour=0)
        self._turn = hour_of_week(self.midnight)
        self.costs = [0] * begin.hour + list(hours.costs)
        spent = next((index for index, cost in enumerate(self.costs) if cost > 0), len(self.costs))
        self._first_day = -(-spent // HOURS_A_DAY)
        self.levels = self._levels(spent // HOURS_A_DAY)
        nothing = math.log(FLOOR)
        self.logs = [
            math.log(FLOOR + cost / self.levels[place // HOURS_A_DAY]) if cost > 0 else nothing
            for place, cost in enumerate(self.costs)
        ]

    def _levels(self, first_day: int) -> list[float]:
        """The level of each day and of the one after the last; of the first seven with spend that of all of them."""
        active = []
        for begin in range(0, len(self.costs), HOURS_A_DAY):
            spent = [cost for cost in self.costs[begin : begin + HOURS_A_DAY] if cost > 0]
            active.append(sum(spent) / len(spent) if spent else 0.0)
        levels = [0.0] * min(first_day, len(active) + 1)
        for day in range(len(levels), len(active) + 1):
            week = max(first_day, day - DAYS_A_WEEK)
            known = [level for level in active[week : week + DAYS_A_WEEK] if level]
            levels.append(median(known or levels[-1:] or [0.0]))
        return levels

    def hour_of_week(self, place: int) -> int:
        """The hour of the week of one of ``costs``."""
        return (self._turn + place) % HOURS_A_WEEK

    def days_before(self, day: int) -> int:
        """How many days a baseline can be told from when a day begins."""
        return max(0, min(DAYS_LOOKED_AT, day - self._first_day))

    def at(self, day: int) -> Baseline:
        """What was usual when a day began, by the ``DAYS_LOOKED_AT`` days before it."""
        days = self.days_before(day)
        first = day - days
        if days < FEWEST_DAYS:
            return Baseline(0.0, (), (), days)
        logs = self.logs[first * HOURS_A_DAY : day * HOURS_A_DAY]
        turn = self.hour_of_week(first * HOURS_A_DAY)
        groups = list(range(HOURS_A_WEEK)) if days >= OWN_WEEKS * DAYS_A_WEEK else self._kinds_of_days(first, day)
        alike: list[list[float]] = [[] for _ in range(max(groups) + 1)]
        for hour, group in enumerate(groups):
            alike[group] += logs[(hour - turn) % HOURS_A_WEEK :: HOURS_A_WEEK]
        ordered = [sorted(values) for values in alike]
        means = [_middle(values) for values in ordered]
        sds = _sds([_residuals(values) for values in ordered], means, CAUTIOUS_DAYS / days)
        return Baseline(self.levels[day], tuple(means[g] for g in groups), tuple(sds[g] for g in groups), days)

    def _kinds_of_days(self, first: int, day: int) -> list[int]:
        """The hours of the day, those of quiet weekdays apart: a number for each hour of the week."""
        seen: list[list[float]] = [[] for _ in range(DAYS_A_WEEK)]
        for place in range(first, day):
            spent = sum(self.costs[place * HOURS_A_DAY : (place + 1) * HOURS_A_DAY])
            seen[self.hour_of_week(place * HOURS_A_DAY) // HOURS_A_DAY].append(spent / self.levels[place])
        usual = [median(shares) for shares in seen]
        is_quiet = [share < QUIET * median(usual) for share in usual]
        return [quiet * HOURS_A_DAY + hour for quiet in is_quiet for hour in range(HOURS_A_DAY)]


def _middle(values: Sequence[float]) -> float:
    """The median of sorted values."""
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def _residuals(values: Sequence[float]) -> list[float]:
    """How far each of some sorted values lies from the median of the others, as the next one will."""
    if len(values) == 1:
        return []
    half, odd = divmod(len(values), 2)
    if not odd:
        return [v - values[half] for v in values[:half]] + [v - values[half - 1] for v in values[half:]]
    below, middle, above = values[half - 1 : half + 2]
    lower, upper = (below + middle) / 2, (middle + above) / 2
    return [
        *(v - upper for v in values[:half]),
        middle - (below + above) / 2,
        *(v - lower for v in values[half + 1 :]),
    ]


def _sds(residuals: Sequence[Sequence[float]], means: Sequence[float], caution: float) -> list[float]:
    """The spread of each hour of one or several days, from its neighbours on all of them; idle hours share one."""
    idle_below = math.log(FLOOR + IDLE_SHARE)
    is_idle = [mean < idle_below for mean in means]
    idle = _spread(list(chain.from_iterable(r for r, i in zip(residuals, is_idle, strict=True) if i)))
    busy_hours = [[] if i else r for r, i in zip(residuals, is_idle, strict=True)]
    busy = _spread(list(chain.from_iterable(busy_hours)))
    by_hour_of_day = []
    for hour in range(HOURS_A_DAY):
        near = [(hour + shift) % HOURS_A_DAY for shift in (-1, 0, 1)]
        pool = chain.from_iterable(chain.from_iterable(busy_hours[h::HOURS_A_DAY]) for h in near)
        by_hour_of_day.append(_spread(list(pool)) or busy or idle)
    return [
        max(SMALLEST_IDLE_SD, (1 + caution) * (idle or busy))
        if idles
        else max(SMALLEST_SD, (1 + caution) * by_hour_of_day[hour % HOURS_A_DAY])
        for hour, idles in enumerate(is_idle)
    ]


def _spread(residuals: list[float]) -> float:
    """A robust standard deviation, that of the upper tail if it is wider; 0 of too few."""
    count = len(residuals)
    if count < FEWEST_RESIDUALS:
        return 0.0
    spread = MEDIAN_TO_SD * _middle(sorted(map(abs, residuals)))
    residuals.sort()
    for share, normal in QUANTILES:
        if count * (1 - share) >= BEYOND:
            spread = max(spread, residuals[math.floor(count * share)] / normal)
    return spread
