"""When a service spends too fast, by what is usual at that hour or, where nothing is, by a cap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentops.domain import velocity
from agentops.domain.baseline import Baseline, History, Hours

NOW = datetime(2026, 11, 25, 14, 32, tzinfo=UTC)
DOLLAR = 10**9
COLD = Baseline(0.0, (), (), 0)


def usual(dollars_an_hour: float, *, days: int = 42) -> Baseline:
    """The baseline of a service that spends as much each hour, give or take a tenth."""
    start = NOW.replace(hour=0, minute=0) - timedelta(days=days)
    costs = [int(dollars_an_hour * DOLLAR * (0.9 + 0.2 * ((hour * 7919) % 11) / 10)) for hour in range(days * 24)]
    return History(Hours(start, costs)).at(days)


def spent(*dollars: float) -> dict[datetime, int]:
    """What the latest five minutes cost, the present ones last."""
    latest = velocity.floor(NOW)
    return {latest - velocity.LENGTH * back: int(d * DOLLAR) for back, d in enumerate(reversed(dollars))}


def test_five_minutes_begin_at_whole_fives() -> None:
    assert velocity.floor(NOW + timedelta(seconds=59, microseconds=5)) == NOW.replace(minute=30)


def test_what_is_usual_is_not_too_fast() -> None:
    assert velocity.judge(spent(*[1.0] * 12), usual(12), now=NOW) is None
    assert velocity.judge(spent(*[1.4, 0.7] * 6), usual(12), now=NOW) is None


def test_a_runaway_is_found_within_a_quarter_of_an_hour() -> None:
    before = [1.0] * 9
    assert velocity.judge(spent(*before, 10, 0.1), usual(12), now=NOW) is None, "five minutes alone are no runaway"
    found = velocity.judge(spent(*before, 10, 10, 10), usual(12), now=NOW)
    assert found is not None
    assert (found.since, found.is_cold) == (velocity.floor(NOW) - 2 * velocity.LENGTH, False)
    assert found.spent_nano == 30 * DOLLAR
    assert found.per_hour_nano == 120 * DOLLAR
    assert 11 * DOLLAR < found.usual_nano < 13 * DOLLAR


def test_a_restless_service_that_spends_two_of_its_dearest_hours_at_once_needs_no_sum() -> None:
    start = NOW.replace(hour=0, minute=0) - timedelta(days=42)
    restless = History(Hours(start, [(hour * 7919 % 13 == 0) * 3 * DOLLAR for hour in range(42 * 24)])).at(42)
    assert velocity.judge(spent(*[0] * 10, 1.5, 1.5), restless, now=NOW) is None
    found = velocity.judge(spent(*[0] * 10, 3, 4), restless, now=NOW)
    assert found is not None
    assert (found.is_cold, found.spent_nano) == (False, 7 * DOLLAR)


def test_the_present_five_minutes_count_only_when_they_are_expensive_already() -> None:
    fast = [1.0] * 9 + [10, 10]
    found = [velocity.judge(spent(*fast, present), usual(12), now=NOW) for present in (0, 0.01, 20)]
    assert all(found)
    first, second, third = (one.score for one in found if one)
    assert first == second < third


def test_what_comes_to_less_than_a_dollar_is_not_worth_a_word() -> None:
    assert velocity.judge(spent(*[0.001] * 9, 0.05, 0.05, 0.05), usual(0.012), now=NOW) is None


@pytest.mark.parametrize(
    ("dollars", "is_found"), [((1.25, 1.25, 1.25), False), ((1.5, 1.5, 1.25), True), ((0, 0, 4.25), True)]
)
def test_a_service_without_a_past_has_a_cap_for_a_quarter_of_an_hour(
    dollars: tuple[float, ...], *, is_found: bool
) -> None:
    found = velocity.judge(spent(*dollars), COLD, now=NOW)
    assert (found is not None) == is_found
    if found:
        assert found.is_cold
        assert found.spent_nano == int(sum(dollars) * DOLLAR)


def test_a_cap_grows_with_what_the_service_has_been_seen_to_spend() -> None:
    steady = [2.0] * 30
    assert velocity.judge(spent(*steady), COLD, now=NOW) is None
    found = velocity.judge(spent(*steady, 9, 9, 9), COLD, now=NOW)
    assert found is not None
    assert found.usual_nano == 24 * DOLLAR
