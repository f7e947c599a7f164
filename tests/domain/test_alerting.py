"""The rules of alerts: fingerprints, moves, what becomes of a signal, what a silence covers."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain import alerting
from agentops.domain.alerting import (
    COOL_OFF,
    HYSTERESIS,
    KINDS,
    MOVES,
    REOPENED_WITHIN,
    STORM_LIMIT,
    Fate,
    Last,
    Move,
    Severity,
    State,
    UnsoundMatchers,
    UnsoundMoment,
    check_matchers,
    check_silence,
    check_snooze,
    decide,
    fingerprint,
    is_over,
    is_storm,
    matches,
    storm_fingerprint,
    target,
    worst,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WARN, PAGE = Severity.WARN, Severity.PAGE


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len(set(KINDS)) == len(KINDS) == 21
    assert all(kind.count(".") == 1 for kind in KINDS)


def test_a_fingerprint_says_what_and_whose() -> None:
    run = bytes(16)
    prints = [
        fingerprint("loop.repeat", "a"),
        fingerprint("loop.cycle", "a"),
        fingerprint("loop.repeat", "b"),
        fingerprint("loop.repeat", "a", run=run),
        fingerprint("loop.repeat", "a", session="x"),
        fingerprint("loop.repeat", "a", user="x"),
        fingerprint("loop.repeat", "a", feature="x"),
        storm_fingerprint("loop.repeat", "a"),
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(one) == 32 for one in prints)
    assert fingerprint("loop.repeat", "a", session="", user=None) == prints[0]


@pytest.mark.parametrize("move", [move for move in Move if move is not Move.OPEN])
@pytest.mark.parametrize("state", State)
def test_a_move_leads_where_the_table_says_and_nowhere_else(move: Move, state: State) -> None:
    sources, leads_to = MOVES[move]
    assert target(state, move) == (leads_to if state in sources else None)


def test_only_what_is_resolved_is_reopened_and_nothing_else_leaves_that_state() -> None:
    assert {move for move in MOVES if target(State.RESOLVED, move) is not None} == {Move.REOPEN}


def test_the_worst_of_some_severities() -> None:
    assert worst([WARN, PAGE, WARN]) is PAGE
    assert worst(["warn"]) is WARN
    assert alerting.rank("none") == -1


@pytest.mark.parametrize(
    ("last", "severity", "fate"),
    [
        (None, WARN, Fate.OPEN),
        (Last(State.FIRING, WARN), PAGE, Fate.COUNT),
        (Last(State.ACKNOWLEDGED, PAGE), WARN, Fate.COUNT),
        (Last(State.SILENCED, PAGE), WARN, Fate.COUNT),
        (Last(State.RESOLVED, WARN, NOW - REOPENED_WITHIN + SECOND), WARN, Fate.REOPEN),
        (Last(State.RESOLVED, WARN, NOW - REOPENED_WITHIN), WARN, Fate.OPEN),
        (Last(State.RESOLVED, WARN, NOW - COOL_OFF + SECOND, by_person=True), WARN, Fate.HOLD),
        (Last(State.RESOLVED, PAGE, NOW - COOL_OFF + SECOND, by_person=True), WARN, Fate.HOLD),
        (Last(State.RESOLVED, WARN, NOW - COOL_OFF + SECOND, by_person=True), PAGE, Fate.OPEN),
        (Last(State.RESOLVED, WARN, NOW - COOL_OFF, by_person=True), WARN, Fate.OPEN),
        (Last(State.RESOLVED, WARN), WARN, Fate.OPEN),
    ],
)
def test_what_becomes_of_a_signal(last: Last | None, severity: Severity, fate: Fate) -> None:
    assert decide(last, severity, now=NOW) is fate


def test_a_storm_is_more_than_its_limit() -> None:
    assert not is_storm(STORM_LIMIT, 0)
    assert is_storm(STORM_LIMIT, 1)
    assert is_storm(0, STORM_LIMIT + 1)


def test_a_condition_is_over_after_a_while() -> None:
    assert not is_over(None, now=NOW)
    assert not is_over(NOW - HYSTERESIS + SECOND, now=NOW)
    assert is_over(NOW - HYSTERESIS, now=NOW)


@pytest.mark.parametrize("away", [timedelta(0), -SECOND, timedelta(days=30, seconds=1)])
def test_a_snooze_ends_soon_and_not_before_now(away: timedelta) -> None:
    check_snooze(NOW + timedelta(days=30), now=NOW)
    with pytest.raises(UnsoundMoment):
        check_snooze(NOW + away, now=NOW)


@pytest.mark.parametrize(("starts", "ends"), [(0, 0), (1, 0), (-2, -1), (0, 367 * 24)])
def test_a_silence_lasts_for_some_time(starts: int, ends: int) -> None:
    hour = timedelta(hours=1)
    check_silence(NOW, NOW + hour, now=NOW)
    with pytest.raises(UnsoundMoment):
        check_silence(NOW + starts * hour, NOW + ends * hour, now=NOW)


LABELS = {
    "kind": "loop.ping_pong", "service": "research-assistant", "severity": "warn", "run": "ab" * 16, "session": None,
    "user": "maria", "feature": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("matchers", "fits"),
    [
        ({}, False), ({"kind": ""}, False), ({"kind": "loop.ping_pong"}, True), ({"kind": "loop"}, False),
        ({"kind": "loop.*"}, True), ({"kind": "*"}, True), ({"kind": "*ping*"}, True), ({"kind": "l*p*p*g"}, True),
        ({"kind": "loop.ping_pong*pong"}, False), ({"kind": "loop.[a-z]*"}, False), ({"kind": "loop?ping_pong"}, False),
        ({"kind": "loop.*", "user": "tom"}, False), ({"kind": "loop.*", "user": "m*a"}, True),
        ({"session": "*"}, False), ({"colour": "*"}, False), ({"run": "abab*"}, True), ({"user": "MARIA"}, False),
    ],
)  # fmt: skip
def test_a_silence_covers_what_fits_all_its_matchers(matchers: dict[str, str], fits: bool) -> None:
    assert matches(matchers, LABELS) is fits


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", min_size=1, max_size=8))
def test_stars_mean_what_they_mean_in_names_of_files(pattern: str, text: str) -> None:
    assert matches({"user": pattern}, {"user": text}) == fnmatch.fnmatchcase(text, pattern)


def test_a_pattern_of_many_stars_is_not_slow() -> None:
    assert not matches({"user": "*a" * 250 + "*b"}, {"user": "a" * 100_000})


def test_matchers_are_cleaned_and_look_at_something_that_alerts_have() -> None:
    assert check_matchers({"user": " maria ", "kind": "", "feature": "  "}) == {"user": "maria"}
    for unsound in ({}, {"kind": " "}, {"kind": "**"}, {"title": "x"}, {"kind": "x" * 513}):
        with pytest.raises(UnsoundMatchers):
            check_matchers(unsound)
