"""Hours that cost unusually much or little: how much, how sure, and how much money is at stake.

Each hour is scored against the baseline of its hour of the week; neighbouring hours that stand out together are one
anomaly (a cumulative sum), so that two hours that are each only suspicious can be a certainty. Nothing is an anomaly
that is worth less than a dollar.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate, combinations
from typing import Literal, NamedTuple

from agentops.domain.baseline import DAYS_A_WEEK, HOURS_A_DAY, OWN_WEEKS, Baseline, History, Hours
from agentops.domain.periods import HOUR

Kind = Literal["spike", "drop"]
#: Scores add up to an anomaly as far as they exceed this, and until the sum has fallen so far from its highest.
SLACK, FALLEN = 1.0, 3.0
#: Standard deviations that an anomaly must have: the sum of its hours' over the square root of their number.
CERTAIN = 4.5
#: Of more hours that stand out together it does not matter whether some at the ends belong to them.
LONG = 72
#: Less than this is no news, however unusual: a dollar.
LEAST_NANO = 10**9


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Hours from ``start`` to ``end`` that cost ``observed_nano`` where ``expected_nano`` is usual.

    ``score`` is in standard deviations, always positive; so is ``excess_nano``, of a drop what is missing.
    """

    kind: Kind
    start: datetime
    end: datetime
    expected_nano: int
    observed_nano: int
    score: float

    @property
    def excess_nano(self) -> int:
        """How much more than usual, or less of a drop."""
        return abs(self.observed_nano - self.expected_nano)


class _Judged(NamedTuple):
    """An hour of a history, how far it lies above what is usual, and what is."""

    place: int
    score: float
    usual: Baseline


def find_anomalies(
    hours: Hours, from_: datetime, until: datetime, *, least_nano: int = LEAST_NANO, with_drops: bool = False
) -> list[Anomaly]:
    """The anomalies among the hours of ``[from_, until)``, in order of time, each judged by the weeks before its own.

    The last of ``hours`` may still be running: it can be a spike already, and is no drop yet. Nor is anything while
    the weekdays are not known: it may be the first Sunday.
    """
    history = History(hours)
    judged = list(_judge(history, from_, until))
    found = list(_anomalies("spike", history, judged, least_nano))
    if with_drops:
        last = len(history.costs) - 1
        over = [hour for hour in judged if hour.place < last and hour.usual.knows_weekdays]
        found += _anomalies("drop", history, over, least_nano)
    return sorted(found, key=lambda anomaly: (anomaly.start, anomaly.kind))


def _judge(history: History, from_: datetime, until: datetime) -> Iterator[_Judged]:
    """The hours of the range that a baseline can judge.

    Baselines are made on Mondays; while they do not know the weekdays every day, because each tells so much more.
    """
    first = max(0, -((history.midnight - from_) // HOUR))
    last = min(len(history.costs), -((history.midnight - until) // HOUR))
    made_on, baseline = -1, Baseline(0.0, (), (), 0)
    for day in range(first // HOURS_A_DAY, -(-last // HOURS_A_DAY)):
        monday = day - history.hour_of_week(day * HOURS_A_DAY) // HOURS_A_DAY
        makes_on = monday if history.days_before(monday) >= OWN_WEEKS * DAYS_A_WEEK else day
        if makes_on != made_on:
            made_on, baseline = makes_on, history.at(makes_on)
        if baseline.is_cold:
            continue
        usual = replace(baseline, level_nano=history.levels[day])
        for index in range(max(first, day * HOURS_A_DAY), min(last, (day + 1) * HOURS_A_DAY)):
            hour = history.hour_of_week(index)
            yield _Judged(index, (history.logs[index] - usual.means[hour]) / usual.sds[hour], usual)


def _anomalies(kind: Kind, history: History, judged: Sequence[_Judged], least_nano: int) -> Iterator[Anomaly]:
    sign = 1 if kind == "spike" else -1
    for group in _groups(judged, sign):
        score, begin, end = _surest([sign * hour.score for hour in group])
        hours = group[begin:end]
        observed = sum(history.costs[hour.place] for hour in hours)
        expected = sum(hour.usual.usual_nano(history.hour_of_week(hour.place)) for hour in hours)
        if score >= CERTAIN and sign * (observed - expected) >= least_nano:
            start, last = (history.midnight + hour.place * HOUR for hour in (hours[0], hours[-1]))
            yield Anomaly(kind, start, last + HOUR, expected, observed, score)


def _surest(scores: Sequence[float]) -> tuple[float, int, int]:
    """The neighbours that together are the surest: how sure, the first, and the one after the last."""
    sums = [0.0, *accumulate(scores)]
    if len(scores) > LONG:
        return sums[-1] / math.sqrt(len(scores)), 0, len(scores)
    places = combinations(range(len(sums)), 2)
    return max(((sums[end] - sums[begin]) / math.sqrt(end - begin), begin, end) for begin, end in places)


def _groups(judged: Sequence[_Judged], sign: int) -> Iterator[Sequence[_Judged]]:
    """Hours that stand out together: from where the sum of scores beyond ``SLACK`` rises to where it is highest."""
    begin = end = 0
    total = highest = 0.0
    for place, hour in enumerate(judged):
        if not total:
            begin = place
        total += sign * hour.score - SLACK
        if total > highest:
            end, highest = place + 1, total
        if total <= max(0.0, highest - FALLEN):
            if highest:
                yield judged[begin:end]
            total = highest = 0.0
    if highest:
        yield judged[begin:end]
