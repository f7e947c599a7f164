"""Unusual hours are found when they are there, and seldom when they are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain.anomalies import LEAST_NANO, Anomaly, find_anomalies
from agentops.domain.baseline import Hours
from tests.domain.spending import ALWAYS, CONSUMER, MONDAY, NANO, NIGHTLY, spend_hours

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: Kinds of traffic without any incident.
QUIET: dict[str, dict[str, Any]] = {
    "office": {},
    "busy office": {"an_hour": 200, "usd": 0.05},
    "few and dear": {"an_hour": 3, "usd": 2},
    "consumers": {"shape": CONSUMER, "weekend": (0.9, 0.8), "is_smooth": True, "spread": 0.3},
    "erratic consumers": {"shape": CONSUMER, "weekend": (0.9, 0.8), "is_smooth": True, "spread": 0.5},
    "nightly": {"shape": NIGHTLY, "weekend": (0.7, 0.3), "an_hour": 5, "usd": 2},
    "one run a day": {"shape": ALWAYS, "weekend": (1, 1), "an_hour": 0.04, "usd": 5},
    "clockwork": {"shape": ALWAYS, "weekend": (1, 1), "is_smooth": True, "spread": 0.1},
    "growing": {"growth": 0.02, "an_hour": 10},
}


def found(costs: list[int], from_day: int, until_day: int, **options: Any) -> list[Anomaly]:
    return find_anomalies(Hours(MONDAY, costs), MONDAY + from_day * DAY, MONDAY + until_day * DAY, **options)


@pytest.mark.parametrize(("known", "at_most_a_week"), [(56, 0.05), (28, 0.06), (8, 0.12)])
def test_a_quiet_series_seldom_alarms(known: int, at_most_a_week: float) -> None:
    """One false anomaly in twenty weeks of one series, after eight weeks of history; one in eight after one."""
    weeks = alarms = 0
    for name, traffic in QUIET.items():
        for seed in range(6):
            alarms += len(found(spend_hours(f"{name} {seed}", known + 28, **traffic), known, known + 28))
            weeks += 4
    assert alarms / weeks <= at_most_a_week


@pytest.mark.parametrize(
    ("traffic", "hour", "hits", "change"),
    [
        ("busy office", 14, 2, lambda cost: 3 * cost),
        ("busy office", 10, 6, lambda cost: 2 * cost),
        ("clockwork", 3, 2, lambda cost: 3 * cost),
        ("clockwork", 3, 1, lambda cost: 5 * cost),
        ("office", 3, 4, lambda cost: cost + 6 * NANO),
        ("office", 14, 2, lambda cost: cost + 60 * NANO),
        ("consumers", 12, 3, lambda cost: 5 * cost),
        ("few and dear", 11, 3, lambda cost: cost + 100 * NANO),
        ("nightly", 18, 3, lambda cost: cost + 30 * NANO),
        ("one run a day", 9, 3, lambda cost: cost + 60 * NANO),
        ("growing", 15, 3, lambda cost: cost + 60 * NANO),
    ],
)
def test_what_stands_out_is_found_in_its_hours(
    traffic: str, hour: int, hits: int, change: Callable[[int], int]
) -> None:
    """In eleven of twelve series, within an hour at each end: what surrounds it may stand out by itself."""
    begin, hit = 58 * 24 + hour, 0
    for seed in range(12):
        costs = spend_hours(f"{traffic} {seed}", 63, **QUIET[traffic])
        costs[begin : begin + hits] = [change(cost) for cost in costs[begin : begin + hits]]
        hit += any(
            anomaly.start <= MONDAY + (begin + 1) * HOUR < anomaly.end + HOUR
            and anomaly.end >= MONDAY + (begin + hits - 1) * HOUR
            for anomaly in found(costs, 56, 63)
        )
    assert hit >= 11


def test_an_anomaly_says_when_how_much_and_how_sure() -> None:
    costs = [NANO] * (40 * 24)
    costs[35 * 24 + 5 : 35 * 24 + 8] = [4 * NANO, 9 * NANO, 5 * NANO]
    (anomaly,) = found(costs, 30, 40)
    assert (anomaly.kind, anomaly.start, anomaly.end) == (
        "spike",
        MONDAY + 35 * DAY + 5 * HOUR,
        MONDAY + 35 * DAY + 8 * HOUR,
    )
    assert (anomaly.expected_nano, anomaly.observed_nano, anomaly.excess_nano) == (3 * NANO, 18 * NANO, 15 * NANO)
    assert anomaly.score > 10


def test_hours_with_a_quieter_one_between_are_one_anomaly_and_hours_far_apart_are_two() -> None:
    costs = [NANO] * (40 * 24)
    for hour in (2, 3, 5, 6, 20, 21):
        costs[35 * 24 + hour] = 8 * NANO
    starts = [(anomaly.start - MONDAY - 35 * DAY) // HOUR for anomaly in found(costs, 30, 40)]
    lengths = [(anomaly.end - anomaly.start) // HOUR for anomaly in found(costs, 30, 40)]
    assert (starts, lengths) == ([2, 20], [5, 2])


@pytest.mark.parametrize("usd", [0.001, 0.01, 0.1])
def test_cents_never_alarm(usd: float) -> None:
    costs = [int(usd * NANO)] * (40 * 24)
    costs[35 * 24] *= 8
    assert found(costs, 30, 40) == []
    assert len(found(costs, 30, 40, least_nano=1)) == 1


def test_what_is_missing_is_no_spend() -> None:
    """Hours without a row are zeros; a series that begins late is judged from its own beginning."""
    late = [0] * (50 * 24) + [NANO] * (20 * 24)
    late[65 * 24] = 40 * NANO
    assert [anomaly.start for anomaly in found(late, 0, 70)] == [MONDAY + 65 * DAY]
    assert found([0] * (70 * 24), 0, 70) == []
    assert found([], 0, 70) == []


def test_a_week_of_history_is_needed() -> None:
    costs = [NANO] * (14 * 24)
    costs[5 * 24] = costs[12 * 24] = 40 * NANO
    assert [anomaly.start for anomaly in found(costs, 0, 14)] == [MONDAY + 12 * DAY]


def test_the_hour_that_runs_can_be_a_spike_already_and_is_no_drop_yet() -> None:
    costs = [10 * NANO] * (40 * 24)
    assert found([*costs, 0], 30, 41, with_drops=True) == []
    assert [anomaly.kind for anomaly in found([*costs, 80 * NANO], 30, 41, with_drops=True)] == ["spike"]
    assert [anomaly.kind for anomaly in found([*costs, 0, 0, 0], 30, 41, with_drops=True)] == ["drop"]


def test_drops_are_told_when_asked_for_and_once_the_weekdays_are_known() -> None:
    costs = spend_hours("outage", 60, **QUIET["busy office"])
    for day in (15, 57):
        costs[day * 24 + 9 : day * 24 + 12] = [0, 0, 0]
    assert [anomaly for anomaly in found(costs, 10, 60) if anomaly.kind == "drop"] == []
    (drop,) = [anomaly for anomaly in found(costs, 10, 60, with_drops=True) if anomaly.kind == "drop"]
    assert (drop.kind, drop.start, drop.end) == ("drop", MONDAY + 57 * DAY + 9 * HOUR, MONDAY + 57 * DAY + 12 * HOUR)
    assert drop.observed_nano == 0
    assert drop.excess_nano == drop.expected_nano > LEAST_NANO
    assert drop.score > 4.5


def test_an_hour_is_judged_the_same_whatever_range_is_shown() -> None:
    costs = spend_hours("range", 84)
    for day, hour in ((60, 10), (71, 15), (80, 3)):
        costs[day * 24 + hour] += 60 * NANO
    wide = found(costs, 56, 84)
    assert len(wide) == 3
    for anomaly in wide:
        narrow = find_anomalies(Hours(MONDAY, costs), anomaly.start - 5 * HOUR, anomaly.end + 5 * HOUR)
        assert narrow == [anomaly]


def test_what_comes_later_does_not_change_the_judgement() -> None:
    costs = spend_hours("causal", 70)
    costs[60 * 24 + 10] += 60 * NANO
    assert found(costs[: 62 * 24], 56, 62) == found(costs, 56, 62) != []


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 5), factor=st.integers(2, 10**5))
def test_the_unit_of_money_makes_no_difference(seed: int, factor: int) -> None:
    costs = spend_hours(seed, 63)
    costs[58 * 24 + 12] += 70 * NANO
    small = found(costs, 56, 63)
    large = found([cost * factor for cost in costs], 56, 63, least_nano=LEAST_NANO * factor)
    assert [(a.kind, a.start, a.end) for a in large] == [(a.kind, a.start, a.end) for a in small]
    assert [a.observed_nano for a in large] == [a.observed_nano * factor for a in small]


@settings(max_examples=40, deadline=None)
@given(day=st.integers(14, 56), hour=st.integers(0, 23), length=st.integers(1, 6), usd=st.integers(5, 500))
def test_an_incident_elsewhere_does_not_hide_or_make_others(day: int, hour: int, length: int, usd: int) -> None:
    costs = spend_hours("elsewhere", 70, **QUIET["clockwork"])
    costs[62 * 24 + 5 : 62 * 24 + 8] = [cost + 60 * NANO for cost in costs[62 * 24 + 5 : 62 * 24 + 8]]
    alone = found(costs, 58, 70)
    assert len(alone) == 1
    begin = day * 24 + hour
    costs[begin : begin + length] = [cost + usd * NANO for cost in costs[begin : begin + length]]
    if day < 56:
        assert [(a.start, a.end) for a in found(costs, 58, 70)] == [(a.start, a.end) for a in alone]
