"""Spend adds up: every way of asking gives what the booked spans say, one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from agentops.accounts.models import Team
from agentops.catalog.models import Service
from agentops.costs import queries
from agentops.costs.fold import fold
from agentops.costs.queries import INTERVALS, Totals
from agentops.costs.sources import By, SpendFilters
from agentops.costs.windows import close_days
from agentops.domain.periods import ceil_hour, floor_hour, truncate
from tests.costs.booking import START, book_runs

pytestmark = pytest.mark.django_db

DAYS = timedelta(days=2)
RANGES = {
    "everything": (START - DAYS, START + 2 * DAYS),
    "part of a day": (START + timedelta(hours=3), START + timedelta(hours=9)),
    "days and edges": (START + timedelta(hours=5, minutes=20), START + timedelta(hours=29, minutes=10)),
    "whole days": (truncate(START, "day"), truncate(START, "day") + DAYS),
    "more than a window": (START - timedelta(days=9), START + timedelta(days=9)),
    "months": (START - timedelta(days=40), START + timedelta(days=40)),
}
#: One of each kind of question, and every path of ``sources``.
FILTERS: list[dict[str, str | None]] = [
    {},
    {"service": "service-1"},
    {"environment": "x"},
    {"team": "blue"},
    {"user": "x"},
    {"model": "gpt-4o"},
    {"agent": "writer", "environment": "production"},
    {"tool": "search", "service": "service-0"},
    {"user": "x", "feature": "y"},
    {"session": "z", "release": "x"},
    {"user": "y", "model": "claude-sonnet-4-5"},
    {"feature": "x", "agent": "planner", "tool": "fetch"},
    {"feature": None},
    {"feature": "x", "model": "gpt-4o"},
    {"release": "x", "model": "gpt-4o", "service": "service-1"},
    {"team": None, "agent": None},
    {"user": None, "model": "gpt-4o"},
]

SPANS = """
SELECT s.service, r.environment, r."user", r.feature, r.session, r.release, s.agent, s.kind,
    s.response_model, s.request_model, s.tool, s.is_error, s.start_ns, s.cost_nano, s.input_tokens, s.output_tokens,
    s.cache_read_input_tokens, s.cache_creation_input_tokens, s.reasoning_output_tokens
FROM spans s JOIN runs r USING (trace_id, service) WHERE s.merged_into IS NULL AND s.kind IN (3, 4, 5, 6)
"""
NAMES = ("service", "environment", "user", "feature", "session", "release", "agent")


def booked_spans() -> list[tuple[dict[str, str], datetime, Totals]]:
    """Each counted span: its keys, its hour, and what it counts, worked out here and not by SQL."""
    with connection.cursor() as cursor:
        cursor.execute(SPANS)
        rows = cursor.fetchall()
    spans = []
    for row in rows:
        keys = {name: value or "" for name, value in zip(NAMES, row[:7], strict=True)}
        keys["environment"] = keys["environment"] or "production"
        keys["team"] = {"service-0": "blue"}.get(keys["service"], "")
        kind, response_model, request_model, tool, is_error, start_ns, cost, *tokens = row[7:]
        model = kind in (3, 4)
        keys["model"] = (response_model or request_model or "") if model else ""
        keys["tool"] = (tool or "") if kind == 5 else ""
        told = any(t is not None for t in tokens) or not is_error
        totals = Totals(
            *(cost or 0 if model else 0, int(model and cost is None and told), int(model), int(kind == 5), 1),
            int(is_error),
            *(t or 0 if model else 0 for t in tokens),
        )
        hour = datetime.fromtimestamp(start_ns // 10**9, UTC).replace(minute=0, second=0, microsecond=0)
        spans.append((keys, hour, totals))
    return spans


def brute_force(
    spans: list[tuple[dict[str, str], datetime, Totals]],
    by: str,
    filters: Mapping[str, str | None],
    from_: datetime,
    until: datetime,
) -> dict[tuple[str, datetime], Totals]:
    sums: dict[tuple[str, datetime], Totals] = defaultdict(Totals)
    for keys, hour, totals in spans:
        matches = all(keys[name] == (value or "") for name, value in filters.items())
        if matches and floor_hour(from_) <= hour < ceil_hour(until):
            sums[keys[by], hour] += totals
    return sums


def close(now: datetime) -> None:
    """What is done in the background, as if it were that late."""
    close_days(now=now)
    fold(now=now)


@pytest.fixture(
    params=[
        "as booked",
        "closed, then late ones",
        "windows moved on",
        "blocks closed, then late ones",
        "windows gone by",
    ]
)
def booked(request: pytest.FixtureRequest) -> list[tuple[dict[str, str], datetime, Totals]]:
    team = Team.objects.create(slug="blue", name="The blue team")
    Service.objects.create(slug="service-0", team=team)
    book_runs(range(16))
    if request.param != "as booked":
        close(START + DAYS)
    book_runs(range(16, 32))
    if request.param == "windows moved on":  # the shortest has lost the first day again
        close(START + timedelta(days=7))
    if request.param == "blocks closed, then late ones":
        close(START + timedelta(days=60))
        book_runs(range(32, 40))
    if request.param == "windows gone by":
        close(START + timedelta(days=200))
    spans = booked_spans()
    assert len(spans) > 150
    return spans


def test_every_dimension_and_range_equals_the_sum_over_spans(booked: Any) -> None:
    for filters in FILTERS:
        asked = SpendFilters.of(**filters)
        seen = 0
        for from_, until in RANGES.values():
            for by in get_args(By):
                cells = brute_force(booked, by, filters, from_, until)
                expected: dict[str | None, Totals] = defaultdict(Totals)
                for (key, _), totals in cells.items():
                    expected[key or None] += totals
                report = queries.spend(by, asked, from_, until, interval="day")
                assert {item.key: item.totals for item in report.items} == dict(expected), (filters, by, from_)
                assert report.total == sum(expected.values(), Totals())
                series: dict[tuple[str | None, datetime], int] = defaultdict(int)
                for (key, hour), totals in cells.items():
                    series[key or None, truncate(hour, "day")] += totals.cost_nano
                found = {(point.key, point.start): point.value for point in report.series}
                assert found == {cell: cost for cell, cost in series.items() if cost}
                seen += len(expected)
        assert seen


def test_what_is_past_the_limit_is_summed_as_other(booked: Any) -> None:
    from_, until = RANGES["days and edges"]
    for by in get_args(By):
        everything = queries.spend(by, SpendFilters(), from_, until, interval="hour")
        short = queries.spend(by, SpendFilters(), from_, until, interval="hour", limit=1)
        assert short.items == everything.items[:1]
        assert short.total == everything.total
        assert short.others == len(everything.items) - 1
        rest = sum((item.totals for item in everything.items[1:]), Totals())
        assert (short.other or Totals()) == rest
        assert sum(point.value for point in short.series if point.is_other) == rest.cost_nano
        assert sum(point.value for point in short.series) == everything.total.cost_nano


def test_with_filters_too_all_keys_but_some_are_other(booked: Any) -> None:
    from_, until = RANGES["months"]
    for filters in FILTERS:
        for by in get_args(By):
            everything = queries.spend(by, SpendFilters.of(**filters), from_, until, interval="day")
            short = queries.spend(by, SpendFilters.of(**filters), from_, until, interval="day", limit=2)
            assert short.items == everything.items[:2], by
            assert short.total == everything.total
            for start in {point.start for point in everything.series}:
                values = [point.value for point in everything.series if point.start == start]
                assert sum(point.value for point in short.series if point.start == start) == sum(values), (by, start)


def test_items_can_be_sorted_by_any_measure_both_ways(booked: Any) -> None:
    from_, until = RANGES["everything"]
    dimensions: tuple[By, ...] = ("service", "user", "model")
    for by, measure in product(dimensions, ("llm_calls", "tool_calls", "output_tokens", "unpriced_calls")):
        for sort in (measure, f"-{measure}"):
            items = queries.spend(by, SpendFilters(), from_, until, sort=sort).items
            values = [getattr(item.totals, measure) for item in items]
            assert values == sorted(values, reverse=sort.startswith("-"))


def test_an_unknown_order_is_refused_before_it_reaches_the_database(booked: Any) -> None:
    with pytest.raises(ValueError, match="key; DROP"):
        queries.spend("user", SpendFilters(), START, START + DAYS, sort="key; DROP TABLE runs")


def test_the_period_before_counts_cut_hours_in_part(booked: Any) -> None:
    from_, until = START + timedelta(hours=2, minutes=15), START + timedelta(hours=27, minutes=45)
    shares = {floor_hour(from_): 0.75, floor_hour(until): 0.75}
    for filters in FILTERS:
        cells = brute_force(booked, "user", filters, from_, until)
        expected: dict[str | None, float] = defaultdict(float)
        for (key, hour), totals in cells.items():
            expected[key or None] += totals.cost_nano * shares.get(hour, 1.0)
        asked = [*expected, "nobody"]
        total, found = queries.costs_by_key("user", SpendFilters.of(**filters), from_, until, asked)
        assert total == pytest.approx(sum(expected.values()), abs=1)
        assert found == pytest.approx({**expected, "nobody": 0}, abs=1)


def test_coverage_is_the_share_of_cost_with_a_user_a_feature_an_owner(booked: Any) -> None:
    from_, until = RANGES["days and edges"]
    for filters in FILTERS:
        spans = [
            (keys, totals.cost_nano)
            for keys, hour, totals in booked
            if all(keys[name] == (value or "") for name, value in filters.items())
            and floor_hour(from_) <= hour < ceil_hour(until)
        ]
        total = sum(cost for _, cost in spans)
        found = queries.coverage(SpendFilters.of(**filters), from_, until, total)
        if not total:
            assert found.user is None
            continue
        assert found.user == pytest.approx(sum(cost for keys, cost in spans if keys["user"]) / total), filters
        assert found.feature == pytest.approx(sum(cost for keys, cost in spans if keys["feature"]) / total), filters
        assert found.owner == pytest.approx(sum(cost for keys, cost in spans if keys["team"]) / total), filters


def test_of_several_values_any_will_do_and_the_empty_one_is_what_carries_none(booked: Any) -> None:
    from_, until = RANGES["days and edges"]
    for values in (
        {"user": ("x", "z")},
        {"user": ("y", "")},
        {"model": ("gpt-4o", ""), "service": ("service-0",)},
        {"feature": ("", "x"), "session": ("y", "z")},
        {"agent": ("planner", ""), "tool": ("search", "fetch")},
        {"team": ("blue", "")},
    ):
        matching = [cell for cell in booked if all(cell[0][name] in wanted for name, wanted in values.items())]
        for by in get_args(By):
            expected: dict[str | None, Totals] = defaultdict(Totals)
            for (key, _), totals in brute_force(matching, by, {}, from_, until).items():
                expected[key or None] += totals
            report = queries.spend(by, SpendFilters(**values), from_, until)
            assert {item.key: item.totals for item in report.items} == dict(expected), (by, values)


#: A question each of one dimension, with a filter of it or another, and of several.
ZONED: list[tuple[By, dict[str, str | None]]] = [
    ("user", {}),
    ("user", {"service": "service-0"}),
    ("model", {"environment": "x"}),
    ("team", {"feature": "x"}),
    ("session", {"user": "x", "feature": "y"}),
]


def test_the_buckets_of_a_zone_hold_what_its_hours_hold(booked: Any) -> None:
    from_, until = START - timedelta(days=9, hours=5), START + timedelta(days=9)
    zones = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia")
    for (by, filters), zone in product(ZONED, map(ZoneInfo, zones)):
        cells, asked = brute_force(booked, by, filters, from_, until), SpendFilters.of(**filters)
        for interval in INTERVALS:
            expected: dict[tuple[str | None, datetime], int] = defaultdict(int)
            for (key, hour), totals in cells.items():
                expected[key or None, truncate(hour, interval, zone)] += totals.cost_nano
            wanted = {cell: cost for cell, cost in expected.items() if cost}
            series = queries.spend(by, asked, from_, until, interval=interval, zone=zone).series
            assert {(point.key, point.start): point.value for point in series} == wanted, (by, filters, zone)
            exported = queries.spend_cells(by, asked, from_, until, interval, zone)
            assert {(key, start): t.cost_nano for start, key, t in exported if t.cost_nano} == wanted


NESTINGS: list[tuple[By, By]] = [
    ("service", "feature"),
    ("user", "model"),
    ("team", "service"),
    ("service", "team"),
    ("tool", "agent"),
    ("environment", "user"),
]
NESTED_FILTERS: list[dict[str, str | None]] = [
    {},
    {"service": "service-1"},
    {"feature": None},
    {"agent": "writer", "environment": "x"},
]


def test_what_is_inside_the_keys_adds_up_to_them(booked: Any) -> None:
    from_, until = RANGES["more than a window"]
    for (by, then), filters in product(NESTINGS, NESTED_FILTERS):
        asked = SpendFilters.of(**filters)
        outer = queries.spend(by, asked, from_, until).items
        found = queries.nested(by, then, asked, from_, until, [item.key for item in outer], limit=1)
        assert list(found) == [item.key for item in outer]
        for item in outer:
            inner = found[item.key]
            assert inner.total == item.totals, (by, then, filters)
            assert inner.items[0].totals + (inner.other or Totals()) == item.totals
            cells = brute_force(booked, then, {**filters, by: item.key}, from_, until)
            assert max(cost for cost in _costs(cells).values()) == inner.items[0].totals.cost_nano


def _costs(cells: dict[tuple[str, datetime], Totals]) -> dict[str, int]:
    costs: dict[str, int] = defaultdict(int)
    for (key, _), totals in cells.items():
        costs[key] += totals.cost_nano
    return costs


def test_a_cost_that_nobody_knows_is_not_zero() -> None:
    assert Totals(unpriced_calls=2, llm_calls=2, input_tokens=9).known_cost_nano is None
    assert Totals(cost_nano=5, unpriced_calls=1, llm_calls=2).known_cost_nano == 5
    assert Totals(llm_calls=1, input_tokens=9).known_cost_nano == 0
    assert Totals(llm_calls=1, errors=1).shown_cost_nano is None
