"""What is learnt from runs that ended well."""

from __future__ import annotations

import random

import pytest

from agentops.domain.habits import FEWEST_RUNS, FEWEST_TIMED, Habits, speed_of


def learnt(*steps: int, tokens: int = 100_000, seconds: float = 120.0) -> Habits:
    habits = Habits()
    for number in steps:
        habits.learn(number, tokens=tokens, seconds=seconds)
    return habits


def test_a_service_of_which_little_is_known_has_the_least_budget() -> None:
    assert learnt(*[1_000] * (FEWEST_RUNS - 1)).step_budget() == 50
    assert learnt(*[4] * 100).step_budget() == 50


@pytest.mark.parametrize(("long", "times"), [(100, 3.0), (40, 3.0), (250, 2.0)])
def test_a_budget_is_some_times_a_long_good_run(long: int, times: float) -> None:
    habits = learnt(*[10] * 90, *[long] * 10)
    assert times * long <= habits.step_budget(times=times) <= 1.25 * times * long


def test_one_giant_among_many_does_not_make_the_budget() -> None:
    assert learnt(*[20] * 99, 100_000).step_budget() < 100


def test_a_run_is_too_fast_beyond_three_standard_deviations_of_its_like() -> None:
    rng = random.Random(7)
    habits = Habits()
    for _ in range(FEWEST_TIMED + 10):
        habits.learn(10, tokens=int(100_000 * rng.uniform(0.7, 1.4)), seconds=120.0)
    assert not habits.is_too_fast(130_000, 120.0)
    assert habits.is_too_fast(600_000, 120.0)
    assert 40_000 < habits.usual_speed < 60_000
    assert not habits.is_too_fast(600_000, 120.0, sigmas=12)


def test_nothing_is_too_fast_while_too_little_is_known_or_the_run_is_short_or_small() -> None:
    assert not learnt(*[10] * (FEWEST_TIMED - 1)).is_too_fast(10**9, 120.0)
    habits = learnt(*[10] * 50)
    assert not habits.is_too_fast(10**9, 59.0)
    assert speed_of(49_999, 600.0) is None
    assert speed_of(50_000, 60.0) == 50_000
