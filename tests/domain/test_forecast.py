"""The month's end: what is booked is certain, the rest is a band that is right about as often as it says."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain.forecast import CONFIDENCE, FEWEST_DAYS, Forecast, NoForecast, forecast_month
from tests.domain.spending import NANO, spend_days

DAY = timedelta(days=1)
TODAY = date(2026, 3, 10)  # a Tuesday
LEFT = 22  # days of March, today included
KINDS: dict[str, dict[str, Any]] = {
    "weekdays": {},
    "every day alike": {"weekend": (1, 1)},
    "noisy": {"noise": 0.5},
    "good and bad weeks": {"noise": 0.3, "lasting": 0.6},
    "growing 1 % a day": {"growth": 0.01},
    "growing 3 % a day": {"growth": 0.03},
    "shrinking 2 % a day": {"growth": -0.02},
    "drifting": {"drift": 0.1},
    "incidents before": {"incidents": 0.05},
    "outages": {"outages": 0.05},
    "hardly a pattern": {"noise": 1.0},
}


def forecast(days: list[int], *, today: date = TODAY, booked: int = 0, left_of_today: float = 1.0) -> Forecast:
    found = forecast_month(days, today=today, booked_nano=booked, left_of_today=left_of_today)
    assert isinstance(found, Forecast)
    return found


def backtest(kind: str, known: int, day_of_month: int, seed: int) -> tuple[Forecast, int]:
    """A forecast from so many days of a series, and what the rest of the month then cost."""
    today = date(2026, 3, day_of_month)
    skipped = (today - known * DAY).weekday()
    left = (date(2026, 4, 1) - today).days
    days = spend_days(f"{kind} {seed}", skipped + known + left, until=skipped + known, **KINDS[kind])[skipped:]
    return forecast(days[:known], today=today), sum(days[known:])


@pytest.mark.parametrize(("known", "least", "on_average"), [(57, 0.65, (0.75, 0.92)), (29, 0.6, (0.72, 0.95))])
def test_the_band_is_right_about_as_often_as_it_says(known: int, least: float, on_average: tuple[float, float]) -> None:
    shares = []
    for kind in KINDS:
        tests = [backtest(kind, known, day, seed) for day in (1, 8, 15, 22, 28) for seed in range(14)]
        shares.append(sum(f.low_nano <= actual <= f.high_nano for f, actual in tests) / len(tests))
    assert min(shares) >= least, dict(zip(KINDS, shares, strict=True))
    assert on_average[0] <= sum(shares) / len(shares) <= on_average[1]
    assert on_average[0] < CONFIDENCE < on_average[1]


@pytest.mark.parametrize("kind", ["weekdays", "every day alike", "incidents before", "outages", "growing 1 % a day"])
def test_with_eight_weeks_the_forecast_is_near_and_its_band_of_use(kind: str) -> None:
    tests = [backtest(kind, 57, day, seed) for day in (5, 20) for seed in range(10)]
    assert sum(f.expected_nano for f, _ in tests) == pytest.approx(sum(actual for _, actual in tests), rel=0.1)
    widths = [(f.high_nano - f.low_nano) / f.expected_nano for f, _ in tests]
    assert sum(widths) / len(widths) < 0.5


def test_the_less_is_known_the_wider_is_the_band() -> None:
    widths = []
    for known in (57, 29, 15):
        tests = [backtest("weekdays", known, 10, seed)[0] for seed in range(10)]
        widths.append(sum((f.high_nano - f.low_nano) / f.expected_nano for f in tests))
    assert widths == sorted(widths)
    assert widths[0] < widths[2] / 2


def test_a_month_that_repeats_ends_where_it_must() -> None:
    week = [100, 110, 120, 110, 100, 20, 10]
    days = [week[(TODAY - (60 - n) * DAY).weekday()] * NANO for n in range(60)]
    found = forecast(days, booked=700 * NANO)
    rest = sum(week[(TODAY + n * DAY).weekday()] for n in range(LEFT))
    assert found.expected_nano == pytest.approx((700 + rest) * NANO, rel=0.001)
    assert [day.expected_nano // NANO for day in found.days[:5]] == pytest.approx([110, 120, 110, 100, 20], abs=1)
    assert (found.days[0].day, found.days[-1].day) == (TODAY, date(2026, 3, 31))
    assert found.left_out == 0


@pytest.mark.parametrize("where", [1, 3, 8, 20])
@pytest.mark.parametrize("usd", [2_000, 50_000])
def test_a_runaway_does_not_become_the_forecast(where: int, usd: int) -> None:
    days = spend_days("runaway", 57)
    quiet = forecast(days)
    days[-where] += usd * NANO
    found = forecast(days, booked=usd * NANO)
    assert found.expected_nano - usd * NANO == pytest.approx(quiet.expected_nano, rel=0.12)
    assert found.left_out > quiet.left_out


def test_a_day_of_outage_does_not_become_the_forecast_either() -> None:
    days = spend_days("outage", 57)
    quiet = forecast(days)
    days[-2] = 0
    assert forecast(days).expected_nano == pytest.approx(quiet.expected_nano, rel=0.12)


def test_four_of_the_last_seven_days_make_a_new_level() -> None:
    days = [100 * NANO] * 56
    assert forecast([*days, *[300 * NANO] * 3]).expected_nano == pytest.approx(LEFT * 100 * NANO, rel=0.1)
    assert forecast([*days, *[300 * NANO] * 5]).expected_nano > LEFT * 250 * NANO


def test_a_trend_goes_on_and_fades() -> None:
    days = [int(100 * NANO * 1.01**n) for n in range(57)]
    found = forecast(days)
    assert days[-1] * LEFT < found.expected_nano < sum(days[-1] * 1.01**n for n in range(1, LEFT + 1))
    assert found.high_nano > sum(days[-1] * 1.01**n for n in range(1, LEFT + 1))


@pytest.mark.parametrize(("days", "reason"), [([], "nothing"), ([0] * 50, "nothing"), ([5, 5, 5], "whole days")])
def test_without_enough_history_it_says_why_there_is_none(days: list[int], reason: str) -> None:
    found = forecast_month(days, today=TODAY, booked_nano=3, left_of_today=0.5)
    assert isinstance(found, NoForecast)
    assert reason in found.reason


def test_of_less_than_a_week_the_band_goes_beyond_the_extremes() -> None:
    found = forecast([NANO, *[n * NANO for n in (10, 40, 20)]])
    assert found.known_days == FEWEST_DAYS
    assert found.expected_nano == 20 * LEFT * NANO
    assert found.low_nano < 10 * LEFT * NANO
    assert found.high_nano > 40 * LEFT * NANO


def test_when_spend_has_stopped_nothing_more_is_expected_but_it_may_go_on() -> None:
    found = forecast([100 * NANO] * 30 + [0] * 7, booked=500 * NANO)
    assert found.expected_nano == found.low_nano == 500 * NANO
    assert found.high_nano == pytest.approx((500 + 100 * LEFT) * NANO, rel=0.01)


def test_of_the_last_hour_of_the_month_nothing_is_left() -> None:
    found = forecast(spend_days("end", 57), today=date(2026, 3, 31), booked=7, left_of_today=0.0)
    assert (found.low_nano, found.expected_nano, found.high_nano) == (7, 7, 7)


AMOUNTS = st.lists(st.integers(0, 10**15) | st.just(0), min_size=0, max_size=70)


@settings(max_examples=100, deadline=None)
@given(
    days=AMOUNTS,
    today=st.dates(date(2024, 1, 1), date(2028, 12, 31)),
    left=st.floats(0, 1),
    booked=st.integers(0, 10**15),
)
def test_whatever_was_spent_the_forecast_is_in_order(days: list[int], today: date, left: float, booked: int) -> None:
    found = forecast_month(days, today=today, booked_nano=booked, left_of_today=left)
    if isinstance(found, NoForecast):
        return
    assert booked == found.booked_nano <= found.low_nano <= found.expected_nano <= found.high_nano
    assert all(0 <= day.low_nano <= day.expected_nano <= day.high_nano for day in found.days)
    assert (found.days[-1].day + DAY).day == 1
    # A dollar more that is booked is a dollar more at the end.
    more = forecast(days, today=today, booked=booked + NANO, left_of_today=left)
    for name in ("low_nano", "expected_nano", "high_nano"):
        assert getattr(more, name) == getattr(found, name) + NANO
    assert forecast_month(days, today=today, booked_nano=booked, left_of_today=left) == found


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 5), factor=st.integers(2, 10**6))
def test_the_unit_of_money_makes_no_difference(seed: int, factor: int) -> None:
    days = spend_days(seed, 57)
    small, large = forecast(days), forecast([cost * factor for cost in days])
    assert large.expected_nano == pytest.approx(small.expected_nano * factor, rel=1e-6)
    assert large.high_nano == pytest.approx(small.high_nano * factor, rel=1e-6)
