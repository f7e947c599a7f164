"""Days, weeks and months of every time zone, held against the clock itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.periods import (
    DAY,
    HOUR,
    add_months,
    buckets,
    ceil_hour,
    midnight,
    months_before,
    step,
    truncate,
)

#: Clocks that change at midnight, by half an hour, that skip a whole day, and that are off by a quarter.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Africa/Cairo", "Asia/Kolkata", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo",
)  # fmt: skip
MOMENTS = st.integers(1_104_537_600, 1_798_761_600).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def first_local_hour(moment: datetime, zone: ZoneInfo) -> datetime:
    """The earliest quarter of an hour of a moment's local date, found by walking back."""
    here = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
    while (here - timedelta(minutes=15)).astimezone(zone).date() == moment.astimezone(zone).date():
        here -= timedelta(minutes=15)
    return here


@pytest.mark.parametrize("zone", ZONES)
@given(moment=MOMENTS)
def test_a_day_begins_when_its_date_first_shows(zone: str, moment: datetime) -> None:
    place = ZoneInfo(zone)
    assert truncate(moment, "day", place) == first_local_hour(moment, place)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
@given(moment=MOMENTS)
def test_every_moment_is_in_one_bucket_and_buckets_follow_each_other(
    zone: str, interval: Any, moment: datetime
) -> None:
    place = ZoneInfo(zone)
    start = truncate(moment, interval, place)
    end = step(start, interval, place)
    assert start <= moment < end
    assert truncate(end, interval, place) == end
    assert truncate(end - timedelta(microseconds=1), interval, place) == start
    if interval != "hour":
        assert end.astimezone(place).date() > start.astimezone(place).date()


@pytest.mark.parametrize("zone", ZONES)
@given(moment=MOMENTS, days=st.integers(1, 60))
def test_cut_days_are_those_in_which_a_bucket_begins_after_midnight(zone: str, moment: datetime, days: int) -> None:
    from_, until = truncate(moment, "hour"), truncate(moment, "hour") + days * DAY
    told = buckets(from_, until, "week", ZoneInfo(zone))
    assert told.starts[0] <= from_
    assert all(a < b for a, b in pairwise(told.starts))
    assert {truncate(start, "day") for start in told.starts if (start - truncate(start, "day"))} == set(told.cut_days)
    assert told.start_of(from_) == told.starts[0]
    assert told.start_of(until - HOUR) == truncate(until - HOUR, "week", ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00+00:00"),
        ("Europe/Berlin", date(2026, 3, 30), "2026-03-29T22:00+00:00"),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00+00:00"),  # the clock goes from 23:59 to 01:00
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00+00:00"),  # midnight comes twice
        ("Asia/Kolkata", date(2026, 1, 1), "2025-12-31T18:30+00:00"),
    ],
)
def test_midnight_is_the_first_one_and_comes_after_a_gap(zone: str, day: date, begins: str) -> None:
    assert midnight(day, ZoneInfo(zone)) == datetime.fromisoformat(begins)


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2026, 3, 31), -1, date(2026, 2, 28)),
        (date(2024, 3, 31), -1, date(2024, 2, 29)),
        (date(2026, 1, 15), -1, date(2025, 12, 15)),
        (date(2026, 11, 30), 3, date(2027, 2, 28)),
        (date(2026, 5, 5), -12, date(2025, 5, 5)),
        (date(2024, 2, 29), -12, date(2023, 2, 28)),
    ],
)
def test_the_same_day_of_another_month(day: date, months: int, expected: date) -> None:
    assert add_months(day, months) == expected


def test_the_same_time_of_an_earlier_month_is_that_of_the_clock_on_the_wall() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    april = datetime(2026, 4, 10, 22, tzinfo=UTC)  # midnight of the 11th, in summer time
    assert months_before(april, 1, berlin) == datetime(2026, 3, 10, 23, tzinfo=UTC)
    assert months_before(april, 12, berlin) == datetime(2025, 4, 10, 22, tzinfo=UTC)


def test_hours_round_up_to_whole_ones() -> None:
    assert ceil_hour(datetime(2026, 1, 1, 18, 30, tzinfo=UTC)) == datetime(2026, 1, 1, 19, tzinfo=UTC)
    assert ceil_hour(datetime(2026, 1, 1, 18, tzinfo=UTC)) == datetime(2026, 1, 1, 18, tzinfo=UTC)
