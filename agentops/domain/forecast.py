"""What a month will have cost when it is over: what is booked, which is certain, and a band for the days to come.

A day to come costs the level of the last week, times what its weekday costs beside others, times a trend that fades.
Robust: a day far off what its week and weekday make usual, a runaway as well as an outage, is left out wherever the
future is told from the past; what it cost is booked, and counts as that alone. Four of the last seven days make a new
level. The band comes from how much days, weeks and trend have varied, and from what is believed of them before they
were seen, so that little history makes it wide. All of this is closed arithmetic: the same past, the same forecast.
"""

from __future__ import annotations

import math
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations, pairwise
from statistics import mean, median

from agentops.domain.periods import DAY

WEEK, HOURS_A_DAY = 7, 24
#: Whole days before which nothing is said, and of which a forecast is made.
FEWEST_DAYS, MOST_DAYS = 3, 56
#: The share of months that end inside the band, and that many standard deviations to each side.
CONFIDENCE, REACH = 0.8, 1.2816
#: Of less than a week the band goes from the cheapest day, divided by this, to the dearest, times this.
SHORT = 1.5
#: A weekday seen less than three times counts at most as so many usual days: its one day may have been an incident.
SEEN, MOST_UNSEEN = 3, 3.0
#: Weekdays that cost less than this share of a usual day tell nothing of the others.
LIGHT = 0.2
#: Days whose logarithm is further off than so many robust standard deviations, and at least this, are left out.
FAR, SMALLEST_FAR = 3.5, 0.35
#: Added before the logarithm, so that days without spend have one.
FLOOR = 0.25
#: The days left out: their logarithm is so many robust standard deviations from what is usual, but at least and at
#: most so far that the cut is between one and a half times and six times as much.
FAR, SMALLEST_FAR, LARGEST_FAR = 3.5, 0.35, 1.6
#: Added to a share before the logarithm, so that days without spend have one.
FLOOR = 0.25
#: How much of the trend is left a week later, and the weeks that tell it.
FADING, TREND_WEEKS = 0.8, 5
#: What is believed before anything is seen, and how many sightings that outweighs: the spread of days, of the steps
#: from week to week, of the trend. No spread of days is believed to be wider than the largest.
DAYS_VARY, AS_DAYS, MOST_DAYS_VARY = 0.4, 1, 2.0
WEEKS_DRIFT, AS_WEEKS = 0.08, 2
TREND_VARIES = 0.15
#: The level of a week with days left out varies so much more than a plain mean.
OF_ROBUST = 1.1
MEDIAN_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class DayForecast:
    """What one day will add; of today, what is still to come."""

    day: date
    expected_nano: int
    low_nano: int
    high_nano: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the month will have cost, and the band in which it ends with ``CONFIDENCE``; ``days`` are today and later.

    ``known_days`` of history are behind it, of which ``left_out`` are no guide to the future.
    """

    booked_nano: int
    expected_nano: int
    low_nano: int
    high_nano: int
    days: tuple[DayForecast, ...]
    known_days: int
    left_out: int


@dataclass(frozen=True, slots=True)
class NoForecast:
    """Why there is none."""

    reason: str


def forecast_month(
    days: Sequence[int], *, today: date, booked_nano: int, left_of_today: float
) -> Forecast | NoForecast:
    """How today's month will end; ``days`` is what whole days cost, the last of them yesterday.

    ``booked_nano`` is the month's cost up to now, today included; ``left_of_today`` the share of a usual day that is
    still to come. The first day with any spend may have begun late: it is not taken for a whole one.
    """
    begun = next((place for place, cost in enumerate(days) if cost > 0), len(days))
    known = [max(0, cost) for cost in days[max(begun + 1, len(days) - MOST_DAYS) :]]
    if begun == len(days):
        return NoForecast("nothing has been spent on a day that is over")
    if len(known) < FEWEST_DAYS:
        return NoForecast(f"it takes {FEWEST_DAYS} whole days after the first one, and there are {len(known)}")
    ahead = [today + n * DAY for n in range(monthrange(today.year, today.month)[1] - today.day + 1)]
    shares = [left_of_today, *(1.0 for _ in ahead[1:])]
    outlook = _of_days(known, shares) if len(known) < WEEK else _of_weeks(known, ahead, shares)
    return Forecast(
        booked_nano=booked_nano,
        expected_nano=booked_nano + round(outlook.rest),
        low_nano=booked_nano + math.floor(outlook.low),
        high_nano=booked_nano + math.ceil(outlook.high),
        days=tuple(
            DayForecast(day, round(mean), math.floor(low), math.ceil(high))
            for day, (low, mean, high) in zip(ahead, outlook.days, strict=True)
        ),
        known_days=len(known),
        left_out=outlook.left_out,
    )


def share_to_come(hours: Sequence[int], passed: float) -> float:
    """The share of a day's cost that comes after so many hours of it, as told by the hours of some whole days.

    Each hour of the day counts as much as the middle one of these days did; when nothing did, all count the same.
    """
    usual = [median(hours[hour::HOURS_A_DAY] or [0]) for hour in range(HOURS_A_DAY)]
    if not sum(usual):
        usual = [1] * HOURS_A_DAY
    return sum(cost * min(1.0, max(0.0, hour + 1 - passed)) for hour, cost in enumerate(usual)) / sum(usual)


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What is to come, in nano-dollars: the sum, its band, and low, mean and high of each day."""

    rest: float
    low: float
    high: float
    days: list[tuple[float, float, float]]
    left_out: int = 0


def _of_days(known: Sequence[int], shares: Sequence[float]) -> _Outlook:
    """From less than a week: any day like the middle one of those seen, as low and high as the extremes."""
    low, mean, high = min(known) / SHORT, median(known), max(known) * SHORT
    left = sum(shares)
    return _Outlook(
        mean * left, low * left, high * left, [(low * share, mean * share, high * share) for share in shares]
    )


#: What a day cost, and what its weekday costs beside a usual one.
Day = tuple[int, float]


def _of_weeks(known: Sequence[int], ahead: Sequence[date], shares: Sequence[float]) -> _Outlook:
    """From whole weeks."""
    weights = _weekday_weights(known, ahead[0])
    weighed = [(cost, weights[day.weekday()]) for day, cost in _dated(known, ahead[0])]
    past = _Past.of([weighed[end - WEEK : end] for end in range(len(weighed), WEEK - 1, -WEEK)])
    wanted = [weights[day.weekday()] * share for day, share in zip(ahead, shares, strict=True)]
    if not past.levels[0]:
        # It stopped. It may go on any day as it did before.
        before = median([level for level in past.levels if level] or [0.0])
        days = [(0.0, 0.0, before * weight) for weight in wanted]
        return _Outlook(0.0, 0.0, before * sum(wanted), days, past.left_out)
    means = [weight * level for weight, level in zip(wanted, past.levels_ahead(len(wanted)), strict=True)]
    rest, reach = sum(means), past.reach_of(means)
    apart = [past.reach_of([0.0] * place + [1.0]) for place in range(len(means))]
    days = [(mean * math.exp(-r), mean, mean * math.exp(r)) for mean, r in zip(means, apart, strict=True)]
    return _Outlook(rest, rest * math.exp(-reach), rest * math.exp(reach), days, past.left_out)


def _dated(known: Sequence[int], today: date) -> list[tuple[date, int]]:
    return [(today - (len(known) - place) * DAY, cost) for place, cost in enumerate(known)]


def _weekday_weights(known: Sequence[int], today: date) -> list[float]:
    """What each weekday, from Monday on, costs beside the middle day of the week around it."""
    ratios: list[list[float]] = [[] for _ in range(WEEK)]
    for place, (day, cost) in enumerate(_dated(known, today)):
        begin = min(max(0, place - WEEK // 2), len(known) - WEEK)
        if usual := median(known[begin : begin + WEEK]):
            ratios[day.weekday()].append(cost / usual)
    return [median(seen) if len(seen) >= SEEN else min(MOST_UNSEEN, median(seen or [1.0])) for seen in ratios]


@dataclass(frozen=True, slots=True)
class _Trend:
    """The growth of the level a week, its variance, and what it has in common with that of the latest level."""

    a_week: float
    variance: float
    covariance: float

    @classmethod
    def of(cls, logs: Sequence[tuple[int, float]], variance: float) -> _Trend:
        """What the logarithms of levels, each so many weeks back, tell by Theil and Sen, as far as a prior lets them.

        ``variance`` is that of one level.
        """
        slopes = [(late - early) / (back - now) for (now, late), (back, early) in combinations(logs, 2)]
        if not slopes:
            return cls(0.0, TREND_VARIES**2, 0.0)
        count = len(logs)
        error = variance * 12 / (count * (count**2 - 1))
        trust = TREND_VARIES**2 / (TREND_VARIES**2 + error)
        return cls(trust * median(slopes), trust * error, trust * variance * 6 / (count * (count + 1)))


@dataclass(frozen=True, slots=True)
class _Past:
    """What whole weeks tell, the latest first: levels, and variances relative to them."""

    levels: list[float]
    day_variance: float
    level_variance: float
    step_variance: float
    trend: _Trend
    student: float
    left_out: int

    @classmethod
    def of(cls, weeks: Sequence[Sequence[Day]]) -> _Past:
        """Read them."""
        levels, kept = _fit(weeks)
        # Levels and weekdays were told from the same days.
        freedom = (len(weeks) - 1) * (WEEK - 1)
        fitted = zip(kept, levels, strict=True)
        squares = [(_ratio(day, level) - 1) ** 2 for week, level in fitted if level for day in week]
        seen = freedom * mean(squares) * WEEK / (WEEK - 1) if squares else 0.0
        day_variance = min(MOST_DAYS_VARY**2, (seen + AS_DAYS * DAYS_VARY**2) / (freedom + AS_DAYS))
        level_variance = OF_ROBUST**2 * day_variance * max(map(_unevenness, weeks))
        logs = [(back, math.log(level)) for back, level in enumerate(levels) if level]
        trend = _Trend.of(logs[:TREND_WEEKS], level_variance)
        steps = [min(1.0, (late - early - trend.a_week) ** 2) for (_, late), (_, early) in pairwise(logs)]
        moved = max(0.0, sum(steps) - len(steps) * 2 * level_variance)
        return cls(
            levels=levels,
            day_variance=day_variance,
            level_variance=level_variance,
            step_variance=(moved + AS_WEEKS * WEEKS_DRIFT**2) / (len(steps) + AS_WEEKS),
            trend=trend,
            student=_student(freedom + AS_DAYS),
            left_out=sum(map(len, weeks)) - sum(map(len, kept)),
        )

    def levels_ahead(self, count: int) -> list[float]:
        """The level of each day from today on: the trend goes on from the middle of the last week, and fades."""
        return [self.levels[0] * math.exp(self.trend.a_week * _faded(_weeks_ahead(place))) for place in range(count)]

    def reach_of(self, means: Sequence[float]) -> float:
        """How far, as a logarithm, the band of the sum of days reaches, the first of them today."""
        total = sum(means)
        if not total:
            return 0.0
        apart = self.day_variance * sum((mean / total) ** 2 for mean in means)
        weeks = sum(mean / total * _weeks_ahead(place) for place, mean in enumerate(means))
        faded = _faded(weeks)
        level = self.level_variance + self.step_variance * (0.5 + weeks)
        trend = self.trend.variance * faded**2 + 2 * self.trend.covariance * faded
        # Nobody knows whether it fades.
        fading = (self.trend.a_week * (weeks - faded)) ** 2
        return self.student * math.sqrt(apart + level + trend + fading)


def _fit(weeks: Sequence[Sequence[Day]]) -> tuple[list[float], list[list[Day]]]:
    """The level of each week, and its days without those that are no guide."""
    levels = [_middle(week) for week in weeks]
    kept: list[list[Day]] = []
    for _ in range(3):
        seen = [_distance(day, level) for week, level in zip(weeks, levels, strict=True) if level for day in week]
        cut = min(LARGEST_FAR, max(SMALLEST_FAR, FAR * MEDIAN_TO_SD * median(seen or [0.0])))
        kept = [
            [day for day in week if not level or _distance(day, level) <= cut]
            for week, level in zip(weeks, levels, strict=True)
        ]
        levels = [sum(cost for cost, _ in week) / (sum(weight for _, weight in week) or 1.0) for week in kept]
    return levels, kept


def _middle(week: Sequence[Day]) -> float:
    least = max(weight for _, weight in week) * LIGHT
    return median([cost / weight for cost, weight in week if weight and weight >= least] or [0.0])


def _ratio(day: Day, level: float) -> float:
    """What a day cost beside what is usual for it, 1 for just that."""
    cost, weight = day
    return 1 + (cost - weight * level) / (max(weight, LIGHT) * level)


def _distance(day: Day, level: float) -> float:
    return abs(math.log((FLOOR + _ratio(day, level)) / (FLOOR + 1)))


def _unevenness(week: Sequence[Day]) -> float:
    """The variance of a week's level where that of a day is 1."""
    weights = [weight for _, weight in week]
    return sum(weight**2 for weight in weights) / (sum(weights) ** 2 or 1.0)


def _weeks_ahead(place: int) -> float:
    """How far a day is from the middle of the last week; today's place is 0."""
    return (place + (WEEK + 1) / 2) / WEEK


def _faded(weeks: float) -> float:
    """For how many weeks a trend that fades counts as a whole one."""
    return (math.pow(FADING, weeks) - 1) / math.log(FADING)


def _student(freedom: float) -> float:
    """The quantile of Student's distribution that ``REACH`` is of the normal one, by Cornish and Fisher."""
    z = REACH
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
