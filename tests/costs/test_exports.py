"""Spend as files: the same books, safe in a spreadsheet, valid for finance systems."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest
from django.test import AsyncClient, Client

from agentops.accounts.models import User
from agentops.costs import exports, queries
from agentops.costs.exports import FOCUS_COLUMNS, safe_cell
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import DAY, truncate
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry
from tests.costs.booking import START, book_entries, book_runs

RANGE = {"from": (START - timedelta(days=1)).isoformat(), "until": (START + timedelta(days=3)).isoformat()}
FORMULAS = [
    '=HYPERLINK("http://evil.example","x")',
    "=1+1",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20SUM(1)",
    "=cmd|' /C calc'!A0",
    '+"x"',
    "-",
]
HARMLESS = ["alice", "1-2", "a=b", "user@example.org", " =1", "'quoted'", 'naïve, "quoted"', "多字节"]
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart",
    "BillingPeriodEnd", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodStart", "ChargePeriodEnd",
    "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip


def _read(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _call(seed: int, user: str, *, cost: int | None = 5, model: str = "gpt-4o", at: datetime = START) -> Entry:
    span = Span(
        trace_id=seed.to_bytes(16),
        span_id=seed.to_bytes(8),
        parent_span_id=b"",
        service="support",
        kind=Kind.LLM,
        name="chat",
        scope="test",
        start_ns=int(at.timestamp()) * 10**9,
        end_ns=int(at.timestamp()) * 10**9 + 1,
        agent_name="triage",
        provider="openai",
        response_model=model,
        usage=TokenUsage(100, 20, 10),
        attribution={"user": (user, 0), "feature": ("refunds", 0)},
    )
    return Entry(span, Cost(cost, PriceSource.BOOK if cost is not None else None, None), None)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_a_formula(client: Client, text: str) -> None:
    book_entries([_call(1, text.replace("\x00", ""))])
    rows = _read(client.get("/api/v1/export/spend.csv", {**RANGE, "by": "user"}))
    assert [row["user"] for row in rows] == [f"'{text}"]
    assert rows[0]["cost_usd"] == "0.000000005"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_and_numbers_come_back_as_they_are(client: Client, text: str) -> None:
    book_entries([_call(1, text)])
    (row,) = _read(client.get("/api/v1/export/spend.csv", {**RANGE, "by": "user"}))
    assert row["user"] == text == safe_cell(text)
    assert row["input_tokens"] == "100"


@pytest.mark.parametrize("interval", ["hour", "day", "month"])
@pytest.mark.parametrize("by", ["service", "user", "model", "session"])
def test_the_file_holds_what_the_page_shows(client: Client, by: Any, interval: Any) -> None:
    book_runs(range(16))
    rows = _read(client.get("/api/v1/export/spend.csv", {**RANGE, "by": by, "interval": interval}))
    costs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        costs[row[by], row["start"]] += Decimal(row["cost_usd"] or 0)
    report = queries.spend(by, SpendFilters(), START - DAY, START + 3 * DAY, interval=interval)
    series = {
        (point.key or "", point.start.isoformat().replace("+00:00", "Z")): Decimal(point.value) / 10**9
        for point in report.series
    }
    assert {cell: cost for cell, cost in costs.items() if cost} == series
    assert sum(int(row["llm_calls"]) for row in rows) == report.total.llm_calls


def _focus(kept_since: datetime = START - DAY, **filters: str) -> list[dict[str, str]]:
    asked = SpendFilters.of(**filters)
    answer = exports.focus_csv(HttpRequest(), asked, START - DAY, START + 3 * DAY, kept_since=kept_since)
    return _read(answer)


@pytest.mark.parametrize("kept_since", [START - DAY, START + DAY, START + 9 * DAY], ids=["spans", "both", "rollups"])
def test_focus_has_the_mandatory_columns_and_the_totals_of_the_books(db: None, kept_since: datetime) -> None:
    book_runs(range(16))
    rows = _focus(truncate(kept_since, "day"))
    assert set(FOCUS_COLUMNS) >= MANDATORY
    assert set(rows[0]) == set(FOCUS_COLUMNS)
    total = queries.spend("service", SpendFilters(), START - DAY, START + 3 * DAY).total
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(row[column] or 0) for row in rows) * 10**9 == total.cost_nano
    assert sum(int(row["ConsumedQuantity"]) for row in rows) == total.tokens
    assert sum(int(row["x_ModelCalls"]) for row in rows) == total.llm_calls
    assert sum(int(row["x_UnpricedCalls"]) for row in rows) == total.unpriced_calls > 0
    assert {row["PricingUnit"] for row in rows if row["BilledCost"]} == {"tokens"}
    assert all(row["ChargePeriodStart"].endswith("T00:00:00Z") for row in rows)


def test_focus_tells_usage_without_a_price_apart_and_names_who_sold_it(db: None) -> None:
    book_entries([_call(1, "a"), _call(2, "a", cost=None), _call(3, "a", model="claude-sonnet-4-5")])
    rows = _focus()
    known = {(row["SkuId"], row["BilledCost"], row["x_UnpricedCalls"], row["PublisherName"]) for row in rows}
    assert known == {
        ("gpt-4o", "0.000000005", "0", "OpenAI"),
        ("gpt-4o", "", "1", "OpenAI"),
        ("claude-sonnet-4-5", "0.000000005", "0", "Anthropic"),
    }
    assert {(row["ProviderName"], row["x_Agent"], row["x_Feature"], row["SubAccountId"]) for row in rows} == {
        ("OpenAI", "triage", "refunds", "support")
    }


def test_focus_takes_days_whose_spans_are_gone_from_the_rollups(db: None) -> None:
    book_entries([_call(1, "a"), _call(2, "b", at=START + DAY), _call(3, "b", cost=None, model="mystery")])
    kept = truncate(START, "day") + DAY
    rows = _focus(kept)
    assert [(row["SkuId"], row["x_Agent"], row["BilledCost"]) for row in rows] == [
        ("gpt-4o", "", "0.000000005"),
        ("mystery", "", ""),
        ("gpt-4o", "triage", "0.000000005"),
    ]
    assert [row["x_Agent"] for row in _focus(kept, user="b")] == ["triage"]


def test_focus_is_downloaded_from_the_api(client: Client) -> None:
    book_entries([_call(1, "a")])
    answer = client.get("/api/v1/export/focus.csv", RANGE)
    assert answer["Content-Disposition"] == 'attachment; filename="focus.csv"'
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["BilledCost"] for row in _read(answer)] == ["0.000000005"]


def test_a_file_is_read_through_a_cursor_that_is_closed_when_the_reader_leaves(db: None) -> None:
    def cursors() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_cursors WHERE name = 'export'")
            return int(cursor.fetchall()[0][0])

    book_entries([_call(n + 1, f"user {n}") for n in range(40)])
    for leaves_early in (True, False):
        rows = queries.spend_cells("user", SpendFilters(), START - DAY, START + DAY, "day")
        next(rows)
        assert cursors() == 1
        if leaves_early:
            rows.close()
        else:
            assert len(list(rows)) == 39
        assert cursors() == 0


def test_an_asgi_server_gets_the_file_piece_by_piece(transactional_db: None) -> None:
    book_entries([_call(n + 1, f"user {n}") for n in range(5)])
    user = User.objects.create_user("viewer")

    async def fetch() -> str:
        client = AsyncClient()
        await client.aforce_login(user)
        answer = await client.get("/spend/export.csv", {**RANGE, "range": "custom", "by": "user"})
        assert answer.is_async
        text = "".join([part.decode() async for part in answer.streaming_content])
        await sync_to_async(answer.close)()
        return text

    rows = list(csv.DictReader(io.StringIO(asyncio.run(fetch()))))
    assert {row["user"] for row in rows} == {f"user {n}" for n in range(5)}
