"""Calls without a price: the same that the rollups count, and what they may cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentops.costs import queries as costs
from agentops.costs.sources import SpendFilters
from agentops.domain.spans import Cost, Kind, PriceSource, TokenUsage
from agentops.ingest.booking import Entry
from agentops.prices import queries
from tests.costs.booking import START, book_entries, book_runs
from tests.ingest.simulation import clear_books, run_entries

pytestmark = pytest.mark.django_db

PERIOD = (START - timedelta(days=1), START + timedelta(days=10))
UNPRICED = Cost(None, None, None)
_ids = iter(range(1, 10**6))


def call(model: str, usage: TokenUsage, cost: Cost = UNPRICED, **more: Any) -> Entry:
    (entry,) = run_entries(77, size=1)
    n = next(_ids)
    span = replace(
        entry.span, kind=Kind.LLM, trace_id=n.to_bytes(16, "big"), span_id=n.to_bytes(8, "big"), service="support",
        provider="vllm", response_model=model, usage=usage, is_error=False, response_id=None, attribution={},
    )  # fmt: skip
    return Entry(replace(span, **more), cost, None)


def priced(model: str, usage: TokenUsage, nano: int) -> Entry:
    return call(model, usage, Cost(nano, PriceSource.GENAI_PRICES, "test"), provider="openai")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=8))
def test_what_is_listed_is_what_the_rollups_count_as_unpriced(seeds: set[int]) -> None:
    with connection.cursor() as cursor:
        clear_books(cursor)  # type: ignore[arg-type]
    book_runs(seeds)
    report = queries.unpriced(*PERIOD)
    by_model = costs.spend("model", SpendFilters(), *PERIOD, limit=100)
    counted: Counter[str | None] = Counter()
    for group in report.groups:
        counted[group.model or None] += group.calls
    assert counted == Counter({i.key: i.totals.unpriced_calls for i in by_model.items if i.totals.unpriced_calls})
    assert report.calls == by_model.total.unpriced_calls == sum(counted.values())


def test_calls_are_listed_by_model_provider_and_service_the_most_tokens_first() -> None:
    book_entries(
        [
            call("our-llama", TokenUsage(1_000, 100)),
            call("our-llama", TokenUsage(500, 50)),
            call("our-llama", TokenUsage(), service="sales"),
            call("our-llama", TokenUsage(9_000, 900), provider=None),
            call("our-llama", TokenUsage(), is_error=True),
            call("our-llama", TokenUsage(7), is_error=True),
            call("", TokenUsage(1), provider=None, response_model=None, request_model="asked-for"),
            priced("gpt-4o", TokenUsage(10, 10), 5),
        ]
    )
    report = queries.unpriced(*PERIOD)
    found = [
        (g.provider, g.model, g.service, g.calls, g.input_tokens, g.output_tokens, g.silent) for g in report.groups
    ]
    assert found == [
        ("", "our-llama", "support", 1, 9_000, 900, 0),
        ("vllm", "our-llama", "support", 3, 1_507, 150, 0),
        ("", "asked-for", "support", 1, 1, 0, 0),
        ("vllm", "our-llama", "sales", 1, 0, 0, 1),
    ]
    assert (report.calls, report.tokens, report.silent) == (6, 11_558, 1)
    assert report.share_of_calls == 6 / 8
    assert report.share_of_tokens == 11_558 / 11_578


def test_what_they_may_cost_lies_between_the_cheapest_and_the_dearest_model_of_the_time() -> None:
    book_entries(
        [
            priced("cheap", TokenUsage(900, 100), 100_000),  # 100 a token
            priced("dear", TokenUsage(90, 10), 1_000_000),  # 10,000 a token
            priced("embeddings", TokenUsage(10_000), 10),  # no answer: not to be compared with
            call("our-llama", TokenUsage(1_000, 1_000)),
        ]
    )
    report = queries.unpriced(*PERIOD)
    (group,) = report.groups
    mean = 1_100_010 / 11_100
    assert group.bounds == report.bounds == queries.Bounds(round(2_000 * mean), round(2_000 * mean), 20_000_000)
    assert (report.cheapest, report.dearest) == (queries.Comparable("cheap", 100), queries.Comparable("dear", 10_000))
    assert report.share_of_cost is not None
    assert report.share_of_cost[2] == 20_000_000 / 21_100_010


def test_without_anything_to_compare_with_nothing_is_said() -> None:
    book_entries([call("our-llama", TokenUsage(1_000, 1_000))])
    report = queries.unpriced(*PERIOD)
    assert (report.bounds, report.groups[0].bounds, report.share_of_cost) == (None, None, None)


def test_only_the_hours_of_the_period_are_looked_at() -> None:
    book_entries([call("our-llama", TokenUsage(1), start_ns=int(START.timestamp()) * 10**9)])
    assert queries.unpriced(START + timedelta(minutes=10), START + timedelta(minutes=11)).calls == 1
    assert queries.unpriced(START + timedelta(hours=1), START + timedelta(hours=2)).calls == 0
    assert queries.unpriced(START - timedelta(hours=1), START).calls == 0


def test_they_are_found_by_an_index_of_their_own() -> None:
    book_entries([call("our-llama", TokenUsage(1_000, 1_000))])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        parameters = {"from_ns": 0, "until_ns": 1 << 62, "received_from": "2020-01-01"}
        cursor.execute(f"EXPLAIN {queries.GROUPS}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "start_ns_service_provider" in plan, plan
    assert "Seq Scan" not in plan


def test_the_page_offers_to_price_each_of_them_with_one_click(admins_client: Client, viewers_client: Client) -> None:
    book_entries([call("our/llama & co", TokenUsage(1_000, 1_000)), priced("gpt-4o", TokenUsage(10, 10), 5_000_000)])
    address = "/prices/unpriced/?from=2025-11-20T00:00&until=2025-12-10T00:00"
    page = admins_client.get(address).content.decode()
    for words in ("our/llama &amp; co", "Price these", "pattern=our%2Fllama+%26+co", "service=support", "50"):
        assert words in page
    region = admins_client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in region
    assert "Price these" in region
    assert "Price these" not in viewers_client.get(address).content.decode()
    assert "Every call has a price" in admins_client.get("/prices/unpriced/").content.decode()
