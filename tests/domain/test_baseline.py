"""What is usual: robust, seasonal by hour of the week, honest with little history."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain.baseline import FEWEST_DAYS, SMALLEST_IDLE_SD, SMALLEST_SD, Baseline, History, Hours, hour_of_week
from tests.domain.spending import MONDAY, NANO, OFFICE, spend_hours

DAY = timedelta(days=1)


def regular(days: int) -> list[int]:
    """The same week again and again, in dollars that tell the hour of the week."""
    return [(1 + hour % 168) * NANO for hour in range(days * 24)]


def at_end(costs: list[int], start: datetime = MONDAY) -> Baseline:
    return History(Hours(start, costs)).at(len(costs) // 24)


def test_a_week_that_repeats_is_known_to_the_hour() -> None:
    baseline = at_end(regular(56))
    assert [round(baseline.usual_nano(hour) / NANO) for hour in range(168)] == list(range(1, 169))
    assert set(baseline.sds) == {SMALLEST_SD, SMALLEST_IDLE_SD}
    assert baseline.sds.count(SMALLEST_IDLE_SD) == 4  # those below a twentieth of the level
    assert baseline.score(40, 41 * NANO) == pytest.approx(0, abs=1e-9)
    assert baseline.score(40, 82 * NANO) > 2.5
    assert baseline.score(40, 0) < -1


def test_an_incident_in_the_history_does_not_move_what_is_usual() -> None:
    costs = regular(56)
    for hour in range(30 * 24 + 9, 30 * 24 + 15):
        costs[hour] *= 50
    baseline = at_end(costs)
    assert [round(baseline.usual_nano(hour) / NANO) for hour in range(168)] == list(range(1, 169))
    assert max(baseline.sds[4:]) < 0.2


def test_hours_count_in_utc_from_monday_whatever_the_zone_they_are_given_in() -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    assert hour_of_week(MONDAY) == 0
    assert hour_of_week(datetime(2026, 3, 2, 5, 30, tzinfo=kolkata)) == 0
    assert hour_of_week(datetime(2026, 3, 8, 23, tzinfo=UTC)) == 167


def test_a_series_may_start_at_any_hour() -> None:
    whole, cut = regular(35), regular(35)[9:]
    baseline = History(Hours(MONDAY + timedelta(hours=9), cut)).at(35)
    assert baseline.means == pytest.approx(at_end(whole).means, abs=0.05)


@pytest.mark.parametrize("days", range(1, 30, 4))
def test_with_little_history_the_hours_of_the_day_stand_for_those_of_the_week(days: int) -> None:
    # The first day began before anybody looked: it is no whole one.
    costs = [0, *spend_hours("little", days + 1)[1:]]
    baseline = History(Hours(MONDAY, costs)).at(days + 1)
    assert baseline.days == days
    assert baseline.is_cold == (days < FEWEST_DAYS)
    assert baseline.knows_weekdays == (days >= 21)
    if not baseline.is_cold:
        monday, tuesday, saturday = (baseline.means[day * 24 + 14] for day in (0, 1, 5))
        assert (monday != tuesday) == baseline.knows_weekdays
        assert saturday < monday - 0.5


def test_nothing_is_usual_where_nothing_was_ever_spent() -> None:
    baseline = at_end([0] * 24 * 40)
    assert baseline.is_cold
    assert not baseline.days


def test_less_history_makes_less_sure() -> None:
    costs = [0, *spend_hours("sure", 56)[1:]]
    history = History(Hours(MONDAY, costs))
    short, long = (sum(history.at(days).sds[8:18]) for days in (8, 55))
    assert short > 1.2 * long


def test_slow_growth_is_followed_and_a_new_level_is_usual_after_four_days() -> None:
    growing = [int(NANO * math.exp(0.02 * (hour // 24))) for hour in range(56 * 24)]
    assert at_end(growing).usual_nano(0) == pytest.approx(growing[-1], rel=0.1)
    stepped = [NANO] * (50 * 24) + [3 * NANO] * (6 * 24)
    levels = History(Hours(MONDAY, stepped)).levels
    assert [round(level / NANO) for level in levels[49:57]] == [1, 1, 1, 1, 1, 3, 3, 3]


def test_hours_that_usually_cost_nothing_are_not_surprised_by_a_usual_amount() -> None:
    costs = spend_hours("rare", 56, shape=(1.0,) * 24, weekend=(1, 1), an_hour=0.04, usd=5)
    baseline = at_end(costs)
    spent = sorted(cost for cost in costs if cost)
    assert baseline.usual_nano(0) == 0
    assert baseline.score(0, spent[len(spent) // 2]) < 4
    assert baseline.score(0, 50 * spent[-1]) > 6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9), factor=st.integers(2, 10**6))
def test_the_unit_of_money_makes_no_difference(seed: int, factor: int) -> None:
    costs = spend_hours(seed, 35)
    small, large = at_end(costs), at_end([cost * factor for cost in costs])
    assert large.means == pytest.approx(small.means)
    assert large.sds == pytest.approx(small.sds)
    assert large.usual_nano(10) == pytest.approx(small.usual_nano(10) * factor, rel=1e-6, abs=factor)


def test_nights_and_weekends_are_usually_quiet() -> None:
    baseline = at_end(spend_hours("office", 56, an_hour=1_000, usd=0.01))
    busy = baseline.usual_nano(14)
    assert busy == pytest.approx(10 * OFFICE[14] * NANO, rel=0.1)
    assert baseline.usual_nano(3) < busy / 20
    assert baseline.usual_nano(5 * 24 + 14) == pytest.approx(0.14 * busy, rel=0.3)
