"""What a proposed budget would have done with a past that is known by hours."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.budgets import ALWAYS, NANO, NOTHING, Action, Amounts, Budget, Each, Limits, Period, Scope, Unit
from agentops.domain.rehearsal import (
    MOST_TOLD,
    OUTRAGEOUS,
    Highest,
    Rehearsal,
    Spell,
    quantile,
    rehearse,
    rounded_up,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FROM = datetime(2026, 6, 1, tzinfo=UTC)  # a Monday
UNTIL = FROM + 28 * DAY


def budget(**given: Any) -> Budget:
    told: dict[str, Any] = {
        "id": 0, "name": "", "scope": Scope(), "each": None, "period": Period.DAY, "zone": "UTC",
        "limits": Limits(100), "thresholds": (0.5, 0.8, 1.0), "action": Action.STOP, "counts_from": UNTIL,
    }  # fmt: skip
    return Budget(**(told | given))


def spell(hours: float, nano: int = 0, tokens: int = 0, steps: int = 0, *, member: str = "", runs: int = 1) -> Spell:
    return Spell(FROM + hours * HOUR, member, Amounts(nano, tokens, steps), runs)


def days(*totals: int, member: str = "") -> list[Spell]:
    """Days that cost so much, at noon."""
    return [spell(24 * n + 12, total, member=member) for n, total in enumerate(totals)]


def told(spells: list[Spell], until: datetime = UNTIL, **given: Any) -> Rehearsal:
    return rehearse(spells, budget(**given), FROM, until)


# What was exceeded


def test_a_window_that_stays_below_its_limit_is_none_of_those_exceeded() -> None:
    found = told([spell(1, 60), spell(2, 40), spell(25, 100)])
    assert (found.windows, found.members, found.exceeded, found.exceeded_count) == (2, 1, (), 0)
    assert (found.beyond, found.runs_beyond) == (NOTHING, 0)


def test_what_came_after_the_limit_is_what_exceeds_it() -> None:
    limits = Limits(100)
    found = told([spell(1, 60), spell(2, 80, runs=4), spell(5, 30, 7, runs=2)])
    (one,) = found.exceeded
    assert (one.starts_at, one.ends_at, one.spent, one.limit) == (FROM, FROM + DAY, Amounts(170, 7), limits)
    assert (one.reached_at, one.unit, one.beyond) == (FROM + 2 * HOUR, Unit.USD, Amounts(70, 7))
    assert one.runs == 2 + 2, "half of that hour came before"
    assert (found.beyond.nano, found.runs_beyond) == (70, 4)


def test_of_the_hour_that_reaches_the_limit_all_units_are_parted_alike() -> None:
    (one,) = told([spell(1, 50, 10, 1), spell(2, 200, 1_000, 8)]).exceeded
    assert one.beyond == Amounts(150, 750, 6)


def test_the_limit_that_is_reached_first_tells_the_hour() -> None:
    limits = Limits(100, 1_000, 10)
    (one,) = told([spell(1, 90, 200, 1), spell(2, 20, 1_800, 1), spell(3, 50, 0, 20)], limits=limits).exceeded
    assert (one.reached_at, one.unit) == (FROM + 2 * HOUR, Unit.TOKENS), "both are reached in it, tokens before"
    assert one.beyond == Amounts(61, 1_000, 20)


def test_what_is_free_comes_after_a_limit_that_is_reached_as_well() -> None:
    (one,) = told([spell(1, 100, 5), spell(2, 0, 40)]).exceeded
    assert (one.reached_at, one.beyond, one.runs) == (FROM + HOUR, Amounts(0, 40), 1)


def test_of_a_limit_of_nothing_everything_is_beyond() -> None:
    (one,) = told([spell(1, 0, 5), spell(2, 7, 5)], limits=Limits(0)).exceeded
    assert (one.reached_at, one.beyond) == (FROM + HOUR, Amounts(7, 10))


def test_the_worst_come_first_by_dollars_then_by_how_many_times_the_limit() -> None:
    spells = [
        spell(1, 150, member="little"),
        spell(1, 900, member="much"),
        spell(2, 150, member="early"),
        spell(26, 150, member="early"),
    ]
    assert [one.member for one in told(spells, each=Each.USER).exceeded] == ["much", "early", "little", "early"]
    tokens = [spell(1, 0, 300, member="thrice"), spell(1, 0, 900, member="nine times")]
    found = told(tokens, each=Each.USER, limits=Limits(None, 100)).exceeded
    assert [one.member for one in found] == ["nine times", "thrice"]


def test_the_worst_are_told_one_by_one_and_all_are_counted() -> None:
    spells = [spell(1, 100 + n, member=f"user {n}", runs=3) for n in range(200)]
    found = told(spells, each=Each.USER)
    assert (len(found.exceeded), found.exceeded_count) == (MOST_TOLD, 199)
    assert found.exceeded[0].member == "user 199"
    assert (found.members, found.windows) == (200, 200)
    assert found.beyond == Amounts(sum(range(200)))


# Windows


def test_an_hour_counts_in_the_window_in_which_it_begins() -> None:
    # In Kathmandu it is midnight at 18:15 UTC.
    found = told([spell(18, 60), spell(19, 60)], zone="Asia/Kathmandu")
    assert (found.windows, found.exceeded_count) == (2, 0)
    assert told([spell(17, 60), spell(18, 60)], zone="Asia/Kathmandu").exceeded_count == 1


def test_windows_are_those_of_the_budget_s_zone() -> None:
    spells = [spell(21, 60), spell(22, 60)]  # midnight in Berlin
    assert told(spells).exceeded_count == 1
    assert told(spells, zone="Europe/Berlin").exceeded_count == 0


@pytest.mark.parametrize(
    ("period", "windows"), [(Period.HOUR, 672), (Period.DAY, 28), (Period.WEEK, 4), (Period.MONTH, 1)]
)
def test_each_period_has_its_windows(period: Period, windows: int) -> None:
    spells = [spell(hour, 1) for hour in range(28 * 24)]
    found = told(spells, period=period)
    assert found.windows == windows
    assert found.highest is not None
    assert found.highest.spent.nano * windows == 672
    assert found.cut == (1 if period is Period.MONTH else 0)


@pytest.mark.parametrize("period", [Period.RUN, Period.SESSION, Period.TOTAL])
def test_what_is_not_of_the_calendar_has_one_window_for_each_member(period: Period) -> None:
    spells = [spell(hour, 30, member=f"{hour % 2}") for hour in range(9)]
    found = told(spells, period=period)
    assert (found.windows, found.members, found.cut) == (2, 2, 0)
    one = found.exceeded[0]
    assert (one.member, one.starts_at, one.ends_at, one.spent.nano, one.reached_at) == (
        "0", ALWAYS, None, 150, FROM + 6 * HOUR,
    )  # fmt: skip


def test_each_member_has_windows_of_its_own() -> None:
    spells = [spell(1, 80, member="a"), spell(1, 80, member="b"), spell(2, 40, member="b")]
    (one,) = told(spells, each=Each.USER).exceeded
    assert (one.member, one.beyond.nano) == ("b", 20)
    assert told([one._replace(member="") for one in spells]).beyond.nano == 100


def test_what_is_outside_of_the_range_is_left_out() -> None:
    spells = [spell(-1, 500), spell(0, 7), spell(28 * 24 - 1, 8), spell(28 * 24, 500)]
    found = told(spells)
    assert (found.windows, found.exceeded_count) == (2, 0)


def test_hours_that_come_in_no_order_are_refused() -> None:
    with pytest.raises(ValueError, match="2026-06-01 01:00 came after one at 2026-06-01 02:00"):
        told([spell(2, 1), spell(1, 1)])


def test_the_past_is_judged_by_what_the_budget_will_be_not_by_when_it_counts() -> None:
    assert budget().counts_from == UNTIL
    assert told(days(150), expires_at=FROM).exceeded_count == 1


def test_without_a_past_there_is_nothing_to_tell() -> None:
    found = told([])
    assert found == Rehearsal(
        windows=0, cut=0, members=0, exceeded=(), exceeded_count=0, beyond=NOTHING, runs_beyond=0,
        thresholds={0.5: 0, 0.8: 0, 1.0: 0}, highest=None, median=NOTHING, p95=NOTHING, suggestion=None,
    )  # fmt: skip
    assert found.beyond.nano == 0


# Sums


def test_each_threshold_is_counted_in_the_windows_that_reached_it() -> None:
    assert told(days(49, 50, 79, 80, 99, 100, 400)).thresholds == {0.5: 6, 0.8: 4, 1.0: 2}
    assert told(days(49), thresholds=()).thresholds == {}


def test_the_highest_window_is_that_of_the_tightest_limit() -> None:
    assert told(days(30, 90, 90, 10)).highest == Highest("", FROM + DAY, Amounts(90))
    spells = [spell(1, 90, 10, member="dollars"), spell(1, 20, 95, member="tokens")]
    found = told(spells, each=Each.USER, limits=Limits(100, 100)).highest
    assert found is not None
    assert found.member == "tokens"


# The suggestion


def test_a_suggestion_has_half_as_much_room_again_and_two_digits() -> None:
    found = told(days(*[1_000 + 11 * n for n in range(20)]))
    assert found.suggestion == Limits(1_800)
    assert (found.median, found.p95) == (Amounts(1_099), Amounts(1_198))


def test_a_runaway_does_not_become_the_limit() -> None:
    usual = [1_000] * 27
    assert told(days(*usual)).suggestion == Limits(1_500)
    assert told(days(*usual[:10], 50_000, *usual[10:])).suggestion == Limits(3_000)
    assert told(days(*usual, 50_000)).suggestion == Limits(3_000), "not even that of yesterday"
    assert told(days(1_000, 50_000)).suggestion == Limits(3_000), "nor one of two"


def test_what_was_used_lately_is_let_through_in_a_window_under_way_as_well() -> None:
    weeks = [spell(24 * 7 * n + 12, 1_000) for n in range(3)]
    lately = spell(24 * 27, 2_400)
    assert told(weeks, period=Period.WEEK).suggestion == Limits(1_500)
    found = told([*weeks, lately], period=Period.WEEK, until=UNTIL - DAY / 2)
    assert (found.cut, found.suggestion) == (1, Limits(2_400))
    early = told([spell(12, 1_000), spell(24 * 7, 2_400), spell(24 * 15, 1_000)], period=Period.WEEK)
    assert early.suggestion == Limits(2_400), "of few windows each counts"


def test_windows_that_the_range_cuts_tell_nothing_of_whole_ones() -> None:
    spells = [spell(24 * n, 1_000) for n in range(28)]
    found = rehearse(spells, budget(period=Period.WEEK), FROM + 3 * DAY, UNTIL - 3 * DAY)
    assert (found.windows, found.cut) == (4, 2)
    assert found.median == Amounts(7_000)
    assert found.suggestion == Limits(11_000)


def test_limits_are_suggested_for_the_units_that_have_one() -> None:
    spells = [spell(24 * n, 1_000, 20_000 + n, 3) for n in range(20)]
    found = told(spells, limits=Limits(None, 500, 2))
    assert found.suggestion == Limits(None, 31_000, 5)
    assert found.median == Amounts(1_000, 20_009, 3)


def test_where_too_little_is_known_nothing_is_suggested() -> None:
    assert told(days(1_000)).suggestion is None
    assert told(days(0, 0, 0)).suggestion is None
    assert told([spell(24 * n, 0, 7) for n in range(9)]).suggestion is None


@given(totals=st.lists(st.integers(0, 10_000), min_size=2, max_size=400), exact=st.booleans())
def test_at_most_one_window_in_a_hundred_exceeds_a_suggestion_but_for_what_is_outrageous(
    totals: list[int], *, exact: bool
) -> None:
    totals = totals if exact else [total * NANO for total in totals]
    found = told([spell(1, total, member=f"{n}") for n, total in enumerate(totals)], period=Period.RUN)
    if not any(totals):
        assert found.suggestion is None
        return
    assert found.suggestion is not None
    limit = found.suggestion.nano
    assert limit is not None
    assert len(str(limit).rstrip("0")) <= 2
    usual = quantile(sorted(totals)[:-1], 0.95) or max(totals)
    beyond = [total for total in totals if limit < total <= OUTRAGEOUS * usual]
    assert len(beyond) <= len(totals) / 100
    assert limit >= 1.5 * usual


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.1, 1), (0.5, 5), (0.51, 6), (0.9, 9), (0.95, 10), (0.99, 10), (1.0, 10)]
)
def test_a_quantile_is_one_of_the_values(share: float, value: int) -> None:
    assert quantile(range(1, 11), share) == value
    assert quantile([], share) == 0


@pytest.mark.parametrize(
    ("amount", "rounded"), [(1, 1), (99, 99), (100, 100), (101, 110), (1_234, 1_300), (9_901, 10_000), (10**12, 10**12)]
)
def test_two_digits_are_enough(amount: int, rounded: int) -> None:
    assert rounded_up(amount) == rounded


# All of it


@given(
    amounts=st.lists(
        st.tuples(st.integers(0, 100), st.sampled_from("ab"), st.integers(0, 80), st.integers(0, 80)), max_size=40
    ),
    limits=st.tuples(st.none() | st.integers(0, 120), st.none() | st.integers(0, 120)),
    period=st.sampled_from([Period.HOUR, Period.DAY, Period.TOTAL]),
)
def test_what_was_let_through_never_exceeds_a_limit(
    amounts: list[tuple[int, str, int, int]], limits: tuple[int | None, int | None], period: Period
) -> None:
    spells = [spell(hour, nano, tokens, member=member) for hour, member, nano, tokens in sorted(amounts)]
    found = told(spells, period=period, each=Each.USER, limits=Limits(*limits))
    assert found.exceeded_count == len(found.exceeded) <= found.windows <= len(spells)
    for one in found.exceeded:
        through = one.spent.minus(one.beyond)
        limit = one.limit[list(Unit).index(one.unit)]
        assert through[list(Unit).index(one.unit)] == limit
        # What is parted in proportion is rounded.
        assert all(most is None or used <= most + 1 for used, most in zip(through, one.limit, strict=True))
        assert all(0 <= beyond <= spent for beyond, spent in zip(one.beyond, one.spent, strict=True))
        assert one.starts_at <= one.reached_at
    assert found.beyond.nano == sum(one.beyond.nano for one in found.exceeded)
    assert told(spells, period=period, each=Each.USER, limits=Limits(*limits)) == found


def test_of_many_members_all_are_counted_and_few_are_told() -> None:
    rng = random.Random(7)
    spells = [
        spell(hour, rng.randrange(NANO), 100, 1, member=f"user {rng.randrange(700)}")
        for hour in range(28 * 24)
        for _ in range(20)
    ]
    found = told(spells, each=Each.USER, limits=Limits(NANO))
    assert found.members == 700
    assert found.windows > 7_000
    assert found.exceeded_count > len(found.exceeded) == MOST_TOLD


# The course


def test_the_course_has_the_fullest_window_of_each_time() -> None:
    noon, next_noon = 12, 24 + 12
    found = told([spell(noon, 10, member="a"), spell(noon, 20, member="b"), spell(next_noon, 30, member="a")])
    assert [(one.starts_at, one.spent.nano, one.member) for one in found.course] == [
        (FROM, 20, "b"), (FROM + DAY, 30, "a"),
    ]  # fmt: skip


def test_windows_that_are_not_of_the_calendar_are_told_by_the_day_on_which_they_began() -> None:
    spells = [spell(1, 4, member="x"), spell(23, 8, member="y"), spell(25, 5, member="x"), spell(30, 1, member="z")]
    found = told(spells, period=Period.RUN)
    assert [(one.starts_at, one.spent.nano, one.member) for one in found.course] == [
        (FROM, 9, "x"), (FROM + DAY, 1, "z"),
    ]  # fmt: skip
