"""Hours, days, weeks and months as a time zone has them, cut out of the whole hours of UTC in which spend is booked.

An hour belongs to the day in which it begins. Where a zone is off by half an hour or a quarter, its midnight cuts an
hour, and that hour counts for the day before. Weeks begin on Monday.
"""

from __future__ import annotations

import calendar
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from typing import Literal

Interval = Literal["hour", "day", "week", "month"]
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
MONTHS = 12


@dataclass(frozen=True)
class Buckets:
    """The intervals that a range touches, by their starts in UTC, in order."""

    interval: Interval
    starts: tuple[datetime, ...]

    @cached_property
    def cut_days(self) -> tuple[datetime, ...]:
        """The days of UTC in which one begins later than at midnight: their hours have to be told apart."""
        return tuple(sorted({truncate(start, "day") for start in self.starts if start != truncate(start, "day")}))

    def start_of(self, moment: datetime) -> datetime:
        """The start of the one that a moment is in; of the first, when it comes before."""
        return self.starts[max(bisect_right(self.starts, moment) - 1, 0)]


def buckets(from_: datetime, until: datetime, interval: Interval, zone: tzinfo = UTC) -> Buckets:
    """The intervals of a zone that ``[from_, until)`` touches."""
    return Buckets(interval, tuple(_starts(from_, until, interval, zone)))


def _starts(from_: datetime, until: datetime, interval: Interval, zone: tzinfo) -> Iterator[datetime]:
    start = truncate(from_, interval, zone)
    while start < until:
        yield start
        start = step(start, interval, zone)


def truncate(moment: datetime, interval: Interval, zone: tzinfo = UTC) -> datetime:
    """The start, in UTC, of the interval that a moment is in; hours are those of UTC in every zone."""
    if interval == "hour":
        return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return midnight(_first_day(moment.astimezone(zone).date(), interval), zone)


def step(start: datetime, interval: Interval, zone: tzinfo = UTC) -> datetime:
    """The start of the interval after the one that starts then."""
    if interval == "hour":
        return start + HOUR
    day = start.astimezone(zone).date()
    return midnight(add_months(day, 1) if interval == "month" else day + (WEEK if interval == "week" else DAY), zone)


def midnight(day: date, zone: tzinfo) -> datetime:
    """When a day begins, in UTC: at the first of two midnights; after the gap, where the clock skips it."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _first_day(day: date, interval: Interval) -> date:
    if interval == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if interval == "week" else day


def add_months(day: date, months: int) -> date:
    """The same day so many months later, or the last one of a shorter month."""
    year, month = divmod(day.year * MONTHS + day.month - 1 + months, MONTHS)
    return day.replace(year=year, month=month + 1, day=min(day.day, calendar.monthrange(year, month + 1)[1]))


def months_before(moment: datetime, months: int, zone: tzinfo) -> datetime:
    """The same time of the same day of an earlier month in a zone, in UTC."""
    local = moment.astimezone(zone)
    return datetime.combine(add_months(local.date(), -months), local.time(), zone).astimezone(UTC)


def floor_hour(moment: datetime) -> datetime:
    """The start of a moment's hour, UTC."""
    return truncate(moment, "hour")


def ceil_hour(moment: datetime) -> datetime:
    """The end of a moment's hour, UTC; itself when it is one."""
    floor = floor_hour(moment)
    return floor if floor == moment else floor + HOUR
