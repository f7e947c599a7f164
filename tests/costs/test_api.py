"""Spend over the API: the public contract, to the letter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.costs.booking import START, book_runs

TOTALS = {
    "cost_usd", "unpriced_calls", "llm_calls", "tool_calls", "steps", "errors", "input_tokens", "output_tokens",
    "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_output_tokens",
}  # fmt: skip
RANGE = {"from": (START - timedelta(days=1)).isoformat(), "until": (START + timedelta(days=3)).isoformat()}


@pytest.fixture
def get(client: Client) -> Callable[..., Any]:
    """Ask for spend; the answer's JSON."""
    book_runs(range(12))

    def ask(**parameters: str | list[str]) -> Any:
        answer = client.get("/api/v1/spend", {**RANGE, **parameters})
        assert answer.status_code == 200, answer.content
        return answer.json()

    return ask


def test_the_answer_has_the_contracts_shape(get: Callable[..., Any]) -> None:
    answer = get(by="user", interval="day")
    assert set(answer) == {"total", "items", "other", "series", "coverage"}
    assert set(answer["total"]) == TOTALS
    assert all(set(item) == TOTALS | {"key"} for item in answer["items"])
    assert None in [item["key"] for item in answer["items"]]
    assert all(set(point) == {"start", "key", "cost_usd"} for point in answer["series"])
    assert all(point["start"].endswith("T00:00:00Z") for point in answer["series"])
    assert set(answer["coverage"]) == {"user", "feature", "owner"}
    assert answer["other"] is None


def test_money_is_an_exact_decimal_string_and_adds_up(get: Callable[..., Any]) -> None:
    answer = get(by="model", interval="hour")
    costs = [Decimal(item["cost_usd"]) for item in answer["items"] if item["cost_usd"] is not None]
    assert all(isinstance(item["cost_usd"], str | None) for item in answer["items"])
    assert sum(costs) == Decimal(answer["total"]["cost_usd"])
    assert sum(Decimal(point["cost_usd"]) for point in answer["series"]) == Decimal(answer["total"]["cost_usd"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(cost_nano) FROM spans WHERE merged_into IS NULL")
        assert Decimal(answer["total"]["cost_usd"]) * 10**9 == cursor.fetchone()[0]


def test_past_the_limit_the_series_and_the_items_have_one_other(get: Callable[..., Any]) -> None:
    answer = get(by="session", interval="month", limit="1")
    assert len(answer["items"]) == 1
    assert {point["key"] for point in answer["series"]} == {answer["items"][0]["key"], "other"}
    total = Decimal(answer["items"][0]["cost_usd"]) + Decimal(answer["other"]["cost_usd"])
    assert total == Decimal(answer["total"]["cost_usd"])


def test_then_takes_each_item_apart_to_the_nano_dollar(get: Callable[..., Any]) -> None:
    answer = get(by="service", then="feature", limit="2")
    assert len(answer["items"]) == 2
    for item in answer["items"]:
        assert set(item) == TOTALS | {"key", "items", "other"}
        inside = [*item["items"], *([item["other"]] if item["other"] else [])]
        assert len(item["items"]) == 2
        assert sum(Decimal(inner["cost_usd"] or 0) for inner in inside) == Decimal(item["cost_usd"])
        assert sum(inner["steps"] for inner in inside) == item["steps"]


def test_a_filter_may_be_repeated_and_without_names_what_carries_none(get: Callable[..., Any]) -> None:
    keys = {item["key"]: Decimal(item["cost_usd"]) for item in get(by="user")["items"]}
    several = get(by="model", user=["x", "y"])["total"]["cost_usd"]
    assert Decimal(several) == keys["x"] + keys["y"]
    none = get(by="service", without="user")["total"]["cost_usd"]
    assert Decimal(none) == keys[None]
    some = get(by="agent", user="z", without="user")["total"]["cost_usd"]
    assert Decimal(some) == keys["z"] + keys[None]


def test_days_and_weeks_are_those_of_the_time_zone(get: Callable[..., Any]) -> None:
    days = get(by="service", interval="day", timezone="America/New_York")
    assert {point["start"][10:] for point in days["series"]} == {"T05:00:00Z"}
    weeks = get(by="service", interval="week", timezone="Europe/Berlin")
    assert {point["start"] for point in weeks["series"]} == {"2025-11-23T23:00:00Z"}
    assert sum(Decimal(p["cost_usd"]) for p in weeks["series"]) == Decimal(days["total"]["cost_usd"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "colour"},
        {"interval": "fortnight"},
        {"timezone": "Mars/Olympus"},
        {"by": "user", "then": "user"},
        {"then": "user", "limit": "51"},
        {"without": "service"},
        {"limit": "0"},
        {"limit": "1001"},
        {"from": "yesterday"},
        {"from": RANGE["until"], "until": RANGE["from"]},
        {"interval": "hour", "from": "2020-01-01T00:00:00Z"},
        {"from": "0001-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_refused_with_a_reason(client: Client, wrong: dict[str, str]) -> None:
    answer = client.get("/api/v1/spend", RANGE | wrong)
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_nothing_booked_is_an_empty_answer_and_no_coverage(client: Client) -> None:
    answer = client.get("/api/v1/spend", {"by": "agent", "interval": "hour"}).json()
    assert answer["items"] == answer["series"] == []
    assert answer["coverage"] == {"user": None, "feature": None, "owner": None}


def test_nobody_reads_spend_without_signing_in(db: None) -> None:
    for path in ("/api/v1/spend", "/api/v1/export/spend.csv", "/api/v1/export/focus.csv"):
        assert Client().get(path).status_code == 401
    assert Client().get("/spend/").status_code == 302


def test_the_number_of_statements_does_not_depend_on_the_number_of_keys(client: Client) -> None:
    def statements(by: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get("/api/v1/spend", {**RANGE, "by": by, "interval": "day"}).status_code == 200
        return len(captured)

    book_runs(range(3))
    few = {by: statements(by) for by in ("service", "team", "model", "session")}
    book_runs(range(3, 40))
    assert {by: statements(by) for by in few} == few
    assert max(few.values()) <= 16
