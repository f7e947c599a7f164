"""What a budget counts, in which windows, how much it lets through, and its words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentops.domain.budgets import (
    ALWAYS,
    CALENDAR,
    JOIN,
    NANO,
    NOTHING,
    Action,
    Amounts,
    Budget,
    Each,
    Facts,
    Limits,
    Line,
    Period,
    Position,
    Raise,
    Replaced,
    Scope,
    Shortage,
    Unit,
    crossed,
    member_words,
    next_amounts,
    replaced,
    shortages,
    sum_of,
    title_of,
    window,
)

NOW = datetime(2026, 11, 25, 14, 32, tzinfo=UTC)
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
#: Clocks that change by an hour, by half of one, at midnight, at a minute past it; that are off by a quarter; that
#: skip a whole day.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo",
    "Pacific/Apia", "America/St_Johns", "America/Havana", "Africa/Casablanca",
)  # fmt: skip
#: Years in which they did.
YEARS = (datetime(2011, 3, 1, tzinfo=UTC), datetime(2018, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))


def budget(**given: Any) -> Budget:
    told: dict[str, Any] = {
        "id": 7, "name": "", "scope": Scope(), "each": None, "period": Period.DAY, "zone": "UTC",
        "limits": Limits(10 * NANO), "thresholds": (0.5, 0.8, 1.0), "action": Action.STOP,
        "counts_from": NOW - 30 * 24 * HOUR,
    }  # fmt: skip
    return Budget(**(told | given))


def position(spent: Amounts = NOTHING, reserved: Amounts = NOTHING, **given: Any) -> Position:
    one = budget(**given)
    return Position(one, "", NOW, None, one.limits, spent, reserved)


# Windows


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("period", sorted(CALENDAR))
def test_windows_follow_each_other_without_a_gap_and_every_moment_is_in_exactly_one(zone: str, period: Period) -> None:
    for first in YEARS:
        until = first + (timedelta(days=3) if period is Period.HOUR else timedelta(days=400))
        start, end = window(period, zone, first)
        while end is not None and end < until:
            assert start < end
            for at in (start, start + TICK, start + (end - start) / 3, end - timedelta(minutes=17), end - TICK):
                assert window(period, zone, at) == (start, end)
                assert window(period, zone, at.astimezone(ZoneInfo(zone))) == (start, end)
            assert window(period, zone, end)[0] == end
            start, end = window(period, zone, end)


@pytest.mark.parametrize("zone", ZONES)
@given(at=st.datetimes(datetime(1972, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_day_is_that_of_the_clock_on_the_wall(zone: str, at: datetime) -> None:
    start, end = window(Period.DAY, zone, at)
    assert end is not None
    assert start <= at < end
    place = ZoneInfo(zone)
    assert start.astimezone(place).date() == (end - TICK).astimezone(place).date()
    for period in (Period.WEEK, Period.MONTH):
        outer, over = window(period, zone, at)
        assert over is not None
        assert outer <= start < end <= over
    assert window(Period.WEEK, zone, at)[0].astimezone(place).weekday() == 0
    assert window(Period.MONTH, zone, at)[0].astimezone(place).day == 1


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00+00:00", 25),
        ("America/New_York", "2026-03-08T12:00+00:00", 23),
        ("America/New_York", "2026-11-01T12:00+00:00", 25),
        ("Australia/Lord_Howe", "2026-04-05T00:00+00:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-04T00:00+00:00", 23.5),
        ("America/Sao_Paulo", "2018-02-17T12:00+00:00", 25),  # the clock goes back at midnight
        ("America/Sao_Paulo", "2018-11-04T12:00+00:00", 23),  # it goes on at midnight
        ("Pacific/Apia", "2011-12-30T09:59+00:00", 24),  # the 29th; a 30th there was not
        ("Pacific/Apia", "2011-12-30T10:00+00:00", 24),
        ("Asia/Kathmandu", "2026-03-29T12:00+00:00", 24),
    ],
)
def test_a_day_is_as_long_as_the_clock_makes_it(zone: str, at: str, hours: float) -> None:
    start, end = window(Period.DAY, zone, datetime.fromisoformat(at))
    assert end is not None
    assert end - start == hours * HOUR


def test_the_week_of_a_day_that_never_was_has_six() -> None:
    start, end = window(Period.WEEK, "Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC))
    assert end is not None
    assert end - start == timedelta(days=6)


def test_a_midnight_within_an_hour_of_utc_parts_it() -> None:
    before, after = datetime(2026, 1, 1, 18, 14, 59, tzinfo=UTC), datetime(2026, 1, 1, 18, 15, tzinfo=UTC)
    assert window(Period.DAY, "Asia/Kathmandu", before)[1] == after
    assert window(Period.DAY, "Asia/Kathmandu", after)[0] == after
    assert window(Period.HOUR, "Asia/Kathmandu", after)[0] == after.replace(minute=0)


@pytest.mark.parametrize("period", [Period.RUN, Period.SESSION, Period.TOTAL])
def test_what_is_not_of_the_calendar_has_one_window_for_ever(period: Period) -> None:
    assert budget(period=period, zone="Europe/Berlin").window(NOW) == (ALWAYS, None)


def test_a_budget_has_the_windows_of_its_own_zone() -> None:
    assert budget(zone="Europe/Berlin").window(NOW)[0] == datetime(2026, 11, 24, 23, tzinfo=UTC)


def test_a_budget_counts_from_a_moment_until_before_another() -> None:
    one = budget(counts_from=NOW, expires_at=NOW + HOUR)
    assert [one.is_on(NOW + hours * HOUR) for hours in (-1, 0, 0.99, 1)] == [False, True, True, False]
    assert budget(counts_from=NOW).is_on(NOW + 9_999 * HOUR)


# What is counted

STEP = Facts("search", "production", "alice", "ask", "s1", "ab12")
TEAM = "core"
NAMED = ("team", "feature", "user", "session", "run", "environment")
SAID = {"team": TEAM, **STEP._asdict()}


def counts(scope: Scope, step: Facts, team: str = TEAM) -> bool:
    return scope.fits_service(step.service, team) and scope.fits_run(step)


@pytest.mark.parametrize(
    ("scope", "fits"),
    [
        (Scope(), True),
        (Scope(frozenset({"search"})), True),
        (Scope(frozenset({"search", "chat"})), True),
        (Scope(frozenset({"chat"})), False),
        *((Scope(**{name: SAID[name]}), True) for name in NAMED),
        *((Scope(**{name: SAID[name][:-1]}), False) for name in NAMED),
        *((Scope(**{name: SAID[name].upper()}), False) for name in NAMED),
        (Scope(frozenset({"search"}), "core", "ask", "alice", "s1", "ab12", "production"), True),
        (Scope(frozenset({"search"}), "core", "ask", "bob", "s1", "ab12", "production"), False),
    ],
)
def test_a_scope_counts_what_fits_all_that_is_named(scope: Scope, *, fits: bool) -> None:
    assert counts(scope, STEP) is fits


@pytest.mark.parametrize("name", NAMED)
def test_what_a_step_does_not_say_fits_no_scope_that_names_it(name: str) -> None:
    assert not counts(Scope(**{name: "x"}), Facts("search"), team="")
    assert counts(Scope(), Facts("search"), team="")


@pytest.mark.parametrize("apart", ["shadow", "eval"])
def test_shadows_and_evaluations_count_only_where_they_are_named(apart: str) -> None:
    step = STEP._replace(environment=apart)
    assert not counts(Scope(), step)
    assert not counts(Scope(frozenset({"search"}), user="alice"), step)
    assert not counts(Scope(environment="production"), step)
    assert counts(Scope(environment=apart), step)


def test_a_scope_knows_whether_it_names_services_alone() -> None:
    assert Scope(frozenset({"search"})).names_services_alone
    assert not Scope().names_services_alone
    for name in NAMED:
        assert not Scope(frozenset({"search"}), **{name: "x"}).names_services_alone
        assert not Scope(**{name: "x"}).names_services_alone


# Members


@pytest.mark.parametrize(
    ("period", "each", "member"),
    [
        (Period.DAY, None, ""),
        (Period.TOTAL, None, ""),
        (Period.DAY, Each.USER, "alice"),
        (Period.MONTH, Each.FEATURE, "ask"),
        (Period.RUN, None, "ab12"),
        (Period.RUN, Each.RUN, "ab12"),
        (Period.TOTAL, Each.RUN, "ab12"),
        (Period.SESSION, None, "s1"),
        (Period.SESSION, Each.USER, f"alice{JOIN}s1"),
        (Period.RUN, Each.SESSION, f"s1{JOIN}ab12"),
    ],
)
def test_a_member_is_whose_window_it_is_and_of_which_run_or_session(
    period: Period, each: Each | None, member: str
) -> None:
    assert budget(period=period, each=each).member(STEP) == member


@pytest.mark.parametrize(
    ("period", "each"), [(Period.DAY, Each.USER), (Period.SESSION, Each.FEATURE), (Period.RUN, None)]
)
def test_what_does_not_say_whose_it_is_has_no_window(period: Period, each: Each | None) -> None:
    assert budget(period=period, each=each).member(Facts("search", session="s1")) is None


@given(one=st.tuples(*[st.text("ab" + JOIN, min_size=1)] * 2), other=st.tuples(*[st.text("ab" + JOIN, min_size=1)] * 2))
def test_no_value_passes_for_two(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)
    asked = budget(period=Period.SESSION, each=Each.USER)
    first, second = (asked.member(Facts("search", user=user, session=session)) for user, session in (one, other))
    assert first != second
    assert first is not None
    assert first.count(JOIN) == 1


@pytest.mark.parametrize(
    ("period", "each", "words"),
    [
        (Period.DAY, None, ""),
        (Period.DAY, Each.USER, "user alice"),
        (Period.RUN, None, "run ab12"),
        (Period.SESSION, Each.USER, "user alice, session s1"),
    ],
)
def test_a_member_in_words(period: Period, each: Each | None, words: str) -> None:
    one = budget(period=period, each=each)
    assert member_words(one, one.member(STEP) or "") == words


# Limits and raises


def test_a_limit_is_raised_for_some_time_for_one_or_for_all() -> None:
    one = budget(
        limits=Limits(10, None, 5),
        raises=(
            Raise("alice", Amounts(3, 100, 1), NOW, NOW + HOUR),
            Raise("", Amounts(20), NOW + HOUR / 2, NOW + 2 * HOUR),
        ),
    )
    told = {
        (who, hours): one.limits_at(who, NOW + hours * HOUR)
        for who in ("alice", "bob", "")
        for hours in (-0.1, 0, 0.5, 1, 2)
    }
    assert [told["alice", hours].nano for hours in (-0.1, 0, 0.5, 1, 2)] == [10, 13, 33, 30, 10]
    assert [told["bob", hours].nano for hours in (-0.1, 0, 0.5, 1, 2)] == [10, 10, 30, 30, 10]
    assert told["", 0].nano == 10
    assert told["alice", 0] == Limits(13, None, 6), "what has no limit gets none"


# Defaults


def own(**given: Any) -> Budget:
    return budget(**{"scope": Scope(frozenset({"search"})), "period": Period.RUN} | given)


DEFAULT_RUN = budget(is_default=True, period=Period.RUN)
DEFAULT_SESSION = budget(is_default=True, period=Period.SESSION)


def test_a_default_gives_way_to_a_service_s_own_ceiling_of_the_same_period() -> None:
    found = replaced([own(scope=Scope(frozenset({"search", "chat"}))), DEFAULT_RUN, DEFAULT_SESSION])
    assert (found.run, found.session) == (frozenset({"search", "chat"}), frozenset())
    assert not found.holds(DEFAULT_RUN, "search")
    assert found.holds(DEFAULT_RUN, "other")
    assert found.holds(DEFAULT_SESSION, "search")
    assert found.holds(own(), "search"), "what is no default always holds"


@pytest.mark.parametrize(
    ("given", "run", "session"),
    [
        ({}, True, False),
        ({"period": Period.SESSION}, False, True),
        ({"each": Each.RUN}, True, False),
        ({"period": Period.TOTAL, "each": Each.RUN}, True, False),
        ({"period": Period.TOTAL, "each": Each.SESSION}, False, True),
        ({"period": Period.TOTAL}, False, False),
        ({"period": Period.DAY}, False, False),
        ({"period": Period.DAY, "each": Each.RUN}, False, False),  # a run of two days has two windows
        ({"each": Each.USER}, False, False),  # runs without a user have none
        ({"action": Action.WARN}, False, False),
        ({"limits": Limits(None, 100)}, False, False),
        ({"is_default": True}, False, False),
        ({"scope": Scope(frozenset({"search"}), environment="staging")}, False, False),
        ({"scope": Scope(frozenset({"search"}), user="alice")}, False, False),
        ({"scope": Scope()}, False, False),
    ],
)
def test_only_dollars_that_stop_every_run_or_session_of_whole_services_replace_a_default(
    given: dict[str, Any], *, run: bool, session: bool
) -> None:
    found = replaced([own(**given)])
    assert (found.run == {"search"}, found.session == {"search"}) == (run, session)


def test_a_default_of_another_period_holds_for_everybody() -> None:
    found = replaced([own(), own(period=Period.SESSION)])
    assert found.holds(budget(is_default=True, period=Period.DAY), "search")
    assert not found.holds(budget(is_default=True, period=Period.TOTAL, each=Each.RUN), "search")


def test_a_ceiling_of_one_s_own_that_does_not_count_now_replaces_nothing() -> None:
    found = replaced([own(counts_from=NOW, expires_at=NOW + HOUR)])
    assert [found.holds(DEFAULT_RUN, "search", NOW + hours * HOUR) for hours in (-1, 0, 0.5, 1)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert found.holds(DEFAULT_RUN, "other", NOW)
    assert Replaced(frozenset(), frozenset()).holds(DEFAULT_RUN, "search", NOW)


# Shortages


def test_what_fits_is_let_through() -> None:
    assert shortages(position(Amounts(4 * NANO), Amounts(3 * NANO)), Amounts(3 * NANO)) == []


def test_what_is_held_counts_as_what_is_spent_does() -> None:
    asked = Amounts(3 * NANO + 1)
    (lacking,) = shortages(position(Amounts(4 * NANO), Amounts(3 * NANO)), asked)
    assert lacking == Shortage(Unit.USD, 10 * NANO, 4 * NANO, 3 * NANO, asked.nano)
    assert lacking.remaining == 3 * NANO


@pytest.mark.parametrize("spent", [10 * NANO, 11 * NANO])
def test_a_limit_that_is_reached_lets_nothing_through_not_even_what_is_free(spent: int) -> None:
    (lacking,) = shortages(position(Amounts(spent)), NOTHING)
    assert (lacking.unit, lacking.remaining) == (Unit.USD, 0)


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    assert shortages(position(limits=Limits(0)), NOTHING)


def test_of_several_units_each_that_lacks_is_told_in_their_order() -> None:
    where = position(Amounts(9 * NANO, 100, 4), limits=Limits(10 * NANO, 100, 5))
    assert [one.unit for one in shortages(where, Amounts(2 * NANO, 1, 1))] == [Unit.USD, Unit.TOKENS]
    assert [one.unit for one in shortages(where, Amounts(0, 0, 2))] == [Unit.TOKENS, Unit.STEPS]
    unlimited = position(Amounts(9 * NANO, 100, 4), limits=Limits(None, None, 5))
    assert shortages(unlimited, Amounts(2 * NANO, 1, 1)) == []


def test_what_is_kept_for_final_answers_is_there_for_those_alone() -> None:
    where = position(Amounts(7 * NANO), kept_nano=2 * NANO, limits=Limits(10 * NANO, 100))
    (lacking,) = shortages(where, Amounts(2 * NANO))
    assert (lacking.kept, lacking.remaining) == (2 * NANO, NANO)
    assert shortages(where, Amounts(NANO, 100)) == [], "tokens are not kept"
    assert shortages(where, Amounts(3 * NANO), is_final=True) == []
    assert shortages(where, Amounts(3 * NANO + 1), is_final=True)


@given(
    limit=st.integers(0, 50), kept=st.integers(0, 20), spent=st.integers(0, 60), held=st.integers(0, 20),
    asked=st.integers(0, 60), is_final=st.booleans(),
)  # fmt: skip
def test_nothing_is_let_through_that_would_not_fit(
    limit: int, kept: int, spent: int, held: int, asked: int, *, is_final: bool
) -> None:
    where = position(Amounts(spent), Amounts(held), limits=Limits(limit), kept_nano=kept)
    found = shortages(where, Amounts(asked), is_final=is_final)
    left = limit - spent - held - (0 if is_final else kept)
    assert bool(found) == (left <= 0 or asked > left)
    assert all(one.remaining == max(left, 0) for one in found)


# Thresholds


def test_each_threshold_is_crossed_once() -> None:
    fired, told = 0.0, []
    for spent in (4, 5, 6, 9, 9, 12, 20):
        found = crossed(position(Amounts(spent * NANO)), fired)
        told.append(found)
        fired = max([fired, *found])
    assert told == [[], [0.5], [], [0.8], [], [1.0], []]


def test_several_thresholds_are_crossed_at_once_in_their_order() -> None:
    assert crossed(position(Amounts(10 * NANO)), 0.0) == [0.5, 0.8, 1.0]
    assert crossed(position(Amounts(10 * NANO)), 0.5) == [0.8, 1.0]


def test_what_is_held_crosses_no_threshold() -> None:
    where = position(Amounts(4 * NANO), Amounts(6 * NANO))
    assert crossed(where, 0.0) == []
    assert (where.share, where.used_share) == (0.4, 1.0)


def test_the_tightest_limit_tells_the_share() -> None:
    where = position(Amounts(NANO, 90, 3), Amounts(0, 0, 2), limits=Limits(10 * NANO, 100, 5))
    alone = [Limits(nano=10 * NANO), Limits(tokens=100), Limits(steps=5)]
    assert [position(where.spent, limits=one).share for one in alone] == [0.1, 0.9, 0.6]
    assert (where.share, where.used_share) == (0.9, 1.0)
    assert crossed(where, 0.0) == [0.5, 0.8]
    assert position(limits=Limits()).share == 0.0


def test_each_limit_has_a_line_and_the_tightest_is_the_first() -> None:
    where = position(Amounts(NANO, 50, 3), Amounts(NANO, 0, 1), limits=Limits(10 * NANO, None, 5))
    steps, dollars = where.lines
    assert (steps, dollars) == (Line(Unit.STEPS, 5, 3, 1), Line(Unit.USD, 10 * NANO, NANO, NANO))
    assert [(line.share, line.remaining) for line in where.lines] == [(0.8, 1), (0.2, 8 * NANO)]
    assert position(limits=Limits()).lines == []


def test_of_lines_that_are_as_tight_dollars_come_before_tokens_before_steps() -> None:
    where = position(Amounts(NANO, 10, 1), limits=Limits(10 * NANO, 100, 10))
    assert [line.unit for line in where.lines] == [Unit.USD, Unit.TOKENS, Unit.STEPS]


def test_a_line_without_room_has_nothing_left() -> None:
    (nothing,) = position(limits=Limits(0)).lines
    assert (nothing.share, nothing.remaining) == (1.0, 0)
    (passed,) = position(Amounts(12 * NANO), Amounts(NANO)).lines
    assert (passed.share, passed.remaining) == (1.3, 0)


def test_of_a_limit_of_nothing_everything_is_used_and_anything_is_beyond() -> None:
    assert position(limits=Limits(0)).share == 1.0
    assert position(Amounts(1), limits=Limits(0)).share == float("inf")


def test_the_next_amounts_are_those_of_the_next_threshold() -> None:
    limits = Limits(10 * NANO, None, 5)
    one = budget(limits=limits)
    assert next_amounts(one, limits, 0.0) == (5 * NANO, None, 3), "two steps of five are not half of them"
    assert next_amounts(one, limits, 0.5) == (8 * NANO, None, 4)
    assert next_amounts(one, limits, 0.8) == (10 * NANO, None, 5)
    assert next_amounts(one, limits, 1.0) == (None, None, None)
    assert next_amounts(budget(thresholds=()), limits, 0.0) == (None, None, None)


LIMITS = st.none() | st.integers(0, 30) | st.integers(0, 2**62)
THRESHOLDS = st.floats(0.01, 3.0) | st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.1, 1 / 3])


@given(data=st.data(), limits=st.tuples(LIMITS, LIMITS, LIMITS).map(lambda three: Limits(*three)))
def test_whoever_looks_from_the_next_amounts_on_misses_no_threshold_and_never_looks_for_nothing(
    data: st.DataObject, limits: Limits
) -> None:
    thresholds = tuple(sorted(data.draw(st.sets(THRESHOLDS, max_size=4))))
    one = budget(limits=limits, thresholds=thresholds)
    fired = data.draw(st.sampled_from((0.0, *thresholds)))
    coming = next_amounts(one, limits, fired)
    near = [
        st.integers(0, 2**62) if amount is None else st.integers(max(amount - 2, 0), amount + 2) for amount in coming
    ]
    spent = Amounts(*(data.draw(st.just(0) | amounts) for amounts in near))
    is_due = any(amount is not None and used >= amount for used, amount in zip(spent, coming, strict=True))
    assert bool(crossed(Position(one, "", NOW, None, limits, spent), fired)) == is_due


# Sums and names


def test_amounts_add_up() -> None:
    assert sum_of([Amounts(1, 2, 3), Amounts(10, 20, 30)]) == Amounts(11, 22, 33)
    assert sum_of([]) == NOTHING
    assert Amounts(5, 5, 5).minus(Amounts(1, 2, 3)) == Amounts(4, 3, 2)


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({"name": "Tests"}, "Tests"),
        ({"scope": Scope(frozenset({"search"})), "each": Each.USER}, "search, each user, a day"),
        ({"period": Period.TOTAL}, "all services, in total"),
        ({"period": Period.RUN}, "all services, per run"),
        ({"period": Period.RUN, "each": Each.RUN}, "all services, per run"),
    ],
)
def test_a_budget_without_a_name_is_called_by_what_it_counts(given: dict[str, Any], title: str) -> None:
    assert title_of(budget(**given)) == title
