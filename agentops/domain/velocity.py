"""A service that spends faster than it ever did at that hour: found in minutes, before a day's total shows it.

Five minutes are compared with what is usual for that hour of the week, on the scale of ``baseline``, and what stands
out adds up (CUSUM). A service that is too young to have anything usual has a cap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agentops.domain.baseline import HOURS_A_WEEK, Baseline, hour_of_week

#: What is added up, and over how many of them.
LENGTH = timedelta(minutes=5)
LOOKED_AT = 12
_PER_HOUR = timedelta(hours=1) // LENGTH
#: Standard deviations that are taken off each five minutes, and the sum that is too much.
SLACK, TOO_MUCH = 1.0, 8.0
#: Five minutes vary more than the hour of which they are a part.
_RESTLESS = 2.0
#: What is not worth a word: an excess below it, in nano-dollars.
LEAST_EXCESS_NANO = 1_000_000_000
#: In a quarter of an hour any service may spend so much; one without a past some times what its own last day knows,
#: any other so many of its most expensive hours: sums take longer to be sure of a service that is restless.
COLD_CAP_NANO, COLD_LENGTHS, COLD_TIMES, HOURS_AT_ONCE = 4_000_000_000, 3, 4, 2


@dataclass(frozen=True, slots=True)
class Speeding:
    """A service that spends too fast since ``since``; money is nano-dollars, ``usual_nano`` is of an hour.

    ``spent_nano`` went since then. ``is_cold``: it was judged by the cap.
    """

    since: datetime
    spent_nano: int
    per_hour_nano: int
    usual_nano: int
    score: float
    is_cold: bool


def floor(moment: datetime) -> datetime:
    """The start of the five minutes that a moment is in."""
    return moment - timedelta(minutes=moment.minute % 5, seconds=moment.second, microseconds=moment.microsecond)


def judge(
    spent: Mapping[datetime, int], baseline: Baseline, *, now: datetime, cold_cap_nano: int = COLD_CAP_NANO,
    too_much: float = TOO_MUCH,
) -> Speeding | None:  # fmt: skip
    """Whether a service spends too fast now. ``spent`` is by the start of five minutes; missing ones cost nothing.

    The present five minutes are not over: they count with what they have already.
    """
    latest = floor(now)
    starts = [latest - LENGTH * back for back in range(LOOKED_AT - 1, -1, -1)]
    costs = [spent.get(start, 0) for start in starts]
    if baseline.is_cold:
        return _judge_cold(spent, starts, costs, cap_nano=cold_cap_nano)
    total, since = 0.0, None
    usual = 0
    for start, cost in zip(starts, costs, strict=True):
        hour = hour_of_week(start)
        if start == latest and cost * _PER_HOUR <= baseline.usual_nano(hour):
            continue  # it is not over: that it has spent little so far says nothing
        total = max(0.0, total + baseline.score(hour, cost * _PER_HOUR) / _RESTLESS - SLACK)
        if total == 0.0:
            since = None
        elif since is None:
            since = start
        usual = baseline.usual_nano(hour)
    if since is None:
        return None
    dearest = max(baseline.usual_nano(hour) for hour in range(HOURS_A_WEEK))
    if total < too_much and sum(costs[-COLD_LENGTHS:]) < max(cold_cap_nano, HOURS_AT_ONCE * dearest):
        return None
    went = [cost for start, cost in zip(starts, costs, strict=True) if start >= since]
    if sum(went) - usual * len(went) // _PER_HOUR < LEAST_EXCESS_NANO:
        return None
    return Speeding(since, sum(went), _pace(went), usual, total, is_cold=False)


def _judge_cold(
    spent: Mapping[datetime, int], starts: Sequence[datetime], costs: Sequence[int], *, cap_nano: int
) -> Speeding | None:
    went = sum(costs[-COLD_LENGTHS:])
    before = sorted(cost for start, cost in spent.items() if start < starts[-COLD_LENGTHS] and cost)
    usual = before[len(before) // 2] * COLD_LENGTHS if len(before) >= LOOKED_AT else 0
    cap = max(cap_nano, COLD_TIMES * usual)
    if went < cap:
        return None
    first = next(start for start, cost in zip(starts[-COLD_LENGTHS:], costs[-COLD_LENGTHS:], strict=True) if cost)
    usual_hour = usual * _PER_HOUR // COLD_LENGTHS
    return Speeding(first, went, _pace(costs[-COLD_LENGTHS:]), usual_hour, went / cap, is_cold=True)


def _pace(costs: Sequence[int]) -> int:
    """What an hour costs at the speed of the latest five minutes that are over, or of those under way if more."""
    return max(costs[-2:]) * _PER_HOUR
