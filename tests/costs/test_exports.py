"""Spend as a file: the same books, safe in a spreadsheet."""

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
from django.test import AsyncClient, Client

from agentops.accounts.models import User
from agentops.costs import queries
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import DAY
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry
from agentops.sheets import safe_cell
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
