"""Cents add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.statements import NANO_PER_CENT, apportion, to_cents

AMOUNTS = st.integers(-(10**13), 10**13) | st.integers(-3 * NANO_PER_CENT, 3 * NANO_PER_CENT)


@pytest.mark.parametrize(
    ("nano", "cents"),
    [
        (0, 0),
        (4_999_999, 0),
        (5_000_000, 1),
        (14_999_999, 1),
        (-4_999_999, 0),
        (-5_000_000, -1),
        (-15_000_000, -2),
        (10**10, 1_000),
    ],
)
def test_half_a_cent_goes_away_from_zero(nano: int, cents: int) -> None:
    assert to_cents(nano) == cents


def test_the_largest_remainders_are_rounded_up_and_the_first_of_equal_ones() -> None:
    third = 33_333_333
    assert apportion([third, third, third + 1], 10) == [3, 3, 4]
    assert apportion([5_000_000, 5_000_000], 1) == [1, 0]
    assert apportion([-5_000_000, 15_000_000], 1) == [0, 1]
    assert apportion([], 0) == []


@given(st.lists(st.lists(AMOUNTS, max_size=6), max_size=6))
def test_lines_add_up_to_teams_and_teams_to_the_total_and_nothing_is_a_cent_off(teams: list[list[int]]) -> None:
    sums = [sum(lines) for lines in teams]
    total = to_cents(sum(sums))
    cents = apportion(sums, total)
    assert sum(cents) == total
    for lines, nano, of_team in zip(teams, sums, cents, strict=True):
        assert abs(of_team * NANO_PER_CENT - nano) < NANO_PER_CENT
        shown = apportion(lines, of_team)
        assert sum(shown) == of_team
        assert all(abs(c * NANO_PER_CENT - n) < NANO_PER_CENT for c, n in zip(shown, lines, strict=True))
