"""Spend as FOCUS: what the specification asks for, and the books to the nano-dollar."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import Client

from agentops import sheets
from agentops.accounts.models import Team, User
from agentops.billing import focus
from agentops.catalog.models import Service
from agentops.costs import queries
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import DAY, truncate
from agentops.domain.spans import Cost, Kind, PriceSource, Span, Terms, TokenUsage
from agentops.ingest.booking import Entry
from tests.billing.focus_rules import COLUMNS, violations
from tests.costs.booking import START, book_entries, book_runs

RANGE = {"from": (START - timedelta(days=1)).isoformat(), "until": (START + timedelta(days=3)).isoformat()}
FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\uff1d1"]


def read(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def export(kept_since: datetime = START - DAY, **filters: str) -> list[dict[str, str]]:
    asked = SpendFilters.of(**filters)
    return read(focus.focus_csv(HttpRequest(), asked, START - DAY, START + 3 * DAY, kept_since=kept_since))


def _call(seed: int, *, cost: int | None = 5, model: str | None = "gpt-4o", at: datetime = START, **more: Any) -> Entry:
    span = Span(
        trace_id=seed.to_bytes(16),
        span_id=seed.to_bytes(8),
        parent_span_id=b"",
        service=more.get("service", "support"),
        kind=Kind.LLM,
        name="chat",
        scope="test",
        start_ns=int(at.timestamp()) * 10**9,
        end_ns=int(at.timestamp()) * 10**9 + 1,
        agent_name=more.get("agent", "triage"),
        provider=more.get("provider", "openai"),
        response_model=model,
        usage=TokenUsage(100, 20, 10, 5, 7),
        attribution={
            name: (more[name], 0) for name in ("user", "session", "feature", "release", "environment") if name in more
        },
    )
    span.terms = Terms(tier=more.get("tier"))
    price = more.get("price", (PriceSource.BOOK, "book 12 v3"))
    return Entry(span, Cost(cost, *(price if cost is not None else (None, None)), more.get("is_estimate", False)), None)


@pytest.mark.parametrize("kept_since", [START - DAY, START + DAY, START + 9 * DAY], ids=["spans", "both", "rollups"])
def test_the_file_keeps_every_rule_and_holds_the_books(db: None, kept_since: datetime) -> None:
    book_runs(range(16))
    rows = export(truncate(kept_since, "day"))
    assert violations(focus.COLUMNS, rows) == []
    total = queries.spend("service", SpendFilters(), START - DAY, START + 3 * DAY).total
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(row[column]) for row in rows) * 10**9 == total.cost_nano > 0
    for row in rows:
        tokens = int(row["x_InputTokens"]) + int(row["x_OutputTokens"])
        assert int(row["PricingQuantity"]) == (tokens or int(row["x_ModelCalls"]))


@pytest.mark.parametrize(
    ("column", "value"),
    [(name, "") for name, column in COLUMNS.items() if not column.nullable]
    + [(name, "?") for name, column in COLUMNS.items() if column.type in ("Decimal", "Date/Time") or column.allowed]
    + [
        ("BilledCost", "1e-9"), ("BilledCost", "1,000"), ("BilledCost", "+1"), ("ListCost", "7"),
        ("EffectiveCost", "7"), ("ChargeClass", "Correction"), ("ChargePeriodStart", "2025-01-01T00:00:00Z"),
        ("BillingPeriodEnd", "2026-01-01T00:00:00Z"),
        ("ChargePeriodEnd", "2025-11-23T00:00:00Z"), ("SkuId", ""), ("SkuPriceId", ""), ("PricingQuantity", ""),
        ("PricingUnit", ""), ("PricingUnit", "tokens"), ("ConsumedQuantity", ""), ("PricingCategory", ""),
        ("SubAccountName", ""), ("ServiceName", "   "), ("ChargePeriodStart", "2025-11-24T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_the_rules_find_what_is_wrong(db: None, column: str, value: str) -> None:
    book_entries([_call(1)])
    (row,) = export()
    assert violations(focus.COLUMNS, [row]) == []
    assert violations(focus.COLUMNS, [row | {column: value}]) != []


def test_the_rules_find_what_is_wrong_with_the_columns() -> None:
    assert violations(focus.COLUMNS, []) == []
    for header in (
        focus.COLUMNS[1:],
        focus.COLUMNS[::-1],
        (*focus.COLUMNS, "ProviderName"),
        (*focus.COLUMNS, "x_zzz"),
        (*focus.COLUMNS, "Zebra"),
    ):
        assert violations(header, []) != []


def test_a_charge_says_all_that_is_known_of_it(db: None) -> None:
    team = Team.objects.create(slug="care", name="Customer care")
    owner = User.objects.create_user("ada")
    Service.objects.create(slug="support", team=team, owner=owner)
    known = {"user": "u-1", "session": "s-1", "feature": "refunds", "release": "1.2", "environment": "staging"}
    book_entries([_call(1, **known), _call(2, **known), _call(3, price=(PriceSource.PROVIDER, "reported"), **known)])
    first, second = export()
    assert {name: first[name] for name in first if name.startswith("x_")} == {
        "x_Agent": "triage", "x_CacheCreationInputTokens": "5", "x_CacheReadInputTokens": "10",
        "x_Environment": "staging", "x_Feature": "refunds", "x_InputTokens": "100", "x_IsEstimate": "false",
        "x_Maker": "OpenAI", "x_Model": "gpt-4o", "x_ModelCalls": "1", "x_OutputTokens": "20", "x_Owner": "ada",
        "x_PriceId": "reported", "x_PriceSource": "provider", "x_PriceVersion": "", "x_ReasoningOutputTokens": "7",
        "x_Release": "1.2", "x_ServiceTier": "", "x_Session": "s-1", "x_Team": "care", "x_Tool": "", "x_ToolCalls": "0",
        "x_UnpricedCalls": "0", "x_User": "u-1",
    }  # fmt: skip
    assert (second["x_PriceSource"], second["x_ModelCalls"], second["BilledCost"]) == ("book", "2", "0.00000001")
    assert (first["SubAccountId"], first["SkuId"], first["ServiceProviderName"]) == ("support", "gpt-4o", "OpenAI")


def test_prices_tiers_and_estimates_are_told_apart(db: None) -> None:
    public = (PriceSource.GENAI_PRICES, "genai-prices 0.2.3 openai/gpt-4o")
    book_entries([
        _call(1), _call(2, price=public), _call(3, price=(PriceSource.BOOK, f"book 7 v2 on {public[1]}")),
        _call(4, price=public, tier="batch"), _call(5, price=public, is_estimate=True),
    ])  # fmt: skip
    rows = export()
    assert violations(focus.COLUMNS, rows) == []
    told = ("SkuId", "SkuPriceId", "x_PriceSource", "x_PriceVersion", "x_ServiceTier", "x_IsEstimate")
    assert sorted(tuple(row[column] for column in told) for row in rows) == [
        ("gpt-4o", "gpt-4o", "book", "v2", "", "false"),
        ("gpt-4o", "gpt-4o", "book", "v3", "", "false"),
        ("gpt-4o", "gpt-4o", "genai-prices", "0.2.3", "", "false"),
        ("gpt-4o", "gpt-4o", "genai-prices", "0.2.3", "", "true"),
        ("gpt-4o", "gpt-4o (batch)", "genai-prices", "0.2.3", "batch", "false"),
    ]


def test_tools_with_a_price_and_calls_without_tokens_are_charged_by_the_call(db: None) -> None:
    tool, broken = _call(1, provider=None), _call(2, is_estimate=True)
    tool.span.kind, tool.span.tool_name = Kind.TOOL, "web_search"
    broken.span.usage = TokenUsage()
    book_entries([tool, broken])
    rows = export()
    assert violations(focus.COLUMNS, rows) == []
    told = ("SkuId", "PricingQuantity", "PricingUnit", "SkuMeter", "x_Tool", "x_Model", "x_ToolCalls", "BilledCost")
    assert sorted(tuple(row[column] for column in told) for row in rows) == [
        ("gpt-4o", "1", "Requests", "Requests", "", "gpt-4o", "0", "0.000000005"),
        ("web_search", "1", "Requests", "Requests", "web_search", "", "1", "0.000000005"),
    ]


@pytest.mark.parametrize(
    ("provider", "model", "sold_by", "sku", "made_by"),
    [
        (
            "aws.bedrock",
            "anthropic.claude-sonnet-4-5",
            "Amazon Web Services",
            "anthropic.claude-sonnet-4-5",
            "Anthropic",
        ),
        (None, "claude-sonnet-4-5", "Anthropic", "claude-sonnet-4-5", "Anthropic"),
        ("vllm", "in-house", "vllm", "in-house", "Unknown"),
        (None, None, "Unknown", "Unknown", ""),
    ],
)
def test_who_sells_and_who_makes_a_model_is_told_as_far_as_anybody_knows(
    db: None, provider: str | None, model: str | None, sold_by: str, sku: str, made_by: str
) -> None:
    book_entries([_call(1, provider=provider, model=model)])
    (row,) = rows = export()
    assert violations(focus.COLUMNS, rows) == []
    assert (row["ServiceProviderName"], row["SkuId"], row["x_Maker"]) == (sold_by, sku, made_by)


def test_usage_without_a_known_price_is_no_charge_and_usage_that_is_free_is_one(db: None) -> None:
    book_entries([_call(1), _call(2, cost=None), _call(3, model="mystery", cost=None), _call(4, model="free", cost=0)])
    for kept_since in (START - DAY, START + 9 * DAY):
        rows = export(kept_since)
        assert violations(focus.COLUMNS, rows) == []
        assert [(row["SkuId"], row["BilledCost"]) for row in rows] == [("free", "0"), ("gpt-4o", "0.000000005")]


def test_days_whose_spans_are_gone_come_from_the_rollups(db: None) -> None:
    book_entries([_call(1, user="a"), _call(2, user="b", at=START + DAY)])
    kept = truncate(START, "day") + DAY
    assert [(row["SkuId"], row["x_Agent"], row["x_User"], row["BilledCost"]) for row in export(kept)] == [
        ("gpt-4o", "", "", "0.000000005"),
        ("gpt-4o", "triage", "b", "0.000000005"),
    ]
    assert [row["x_User"] for row in export(kept, user="b")] == ["b"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_text_of_anybody_is_a_formula(db: None, formula: str) -> None:
    names = ("service", "agent", "provider", "user", "session", "feature", "release", "environment")
    book_entries([_call(1, model=formula, **dict.fromkeys(names, formula))])
    (row,) = rows = export()
    assert violations(focus.COLUMNS, rows) == []
    assert not [column for column, text in row.items() if text.startswith(formula[0])]
    for column in ("x_User", "x_Session", "x_Feature", "x_Agent", "x_Release", "x_Model", "SkuId", "SubAccountId"):
        assert row[column] == f"'{formula}"


@pytest.mark.parametrize("path", ["/api/v1/export/focus.csv", "/spend/focus.csv"])
def test_the_file_is_downloaded_from_the_api_and_from_the_page(viewer: Client, path: str) -> None:
    book_entries([_call(1)])
    answer = viewer.get(path, RANGE)
    assert answer["Content-Disposition"] == 'attachment; filename="focus.csv"'
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["BilledCost"] for row in read(answer)] == ["0.000000005"]
    assert Client().get(path, RANGE).status_code in {302, 401}
    page = viewer.get("/spend/", RANGE).content.decode()
    assert "/spend/focus.csv?" in page
    assert "FOCUS 1.4" in page


def test_the_file_is_sent_row_by_row_through_a_cursor(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "LINES_AT_ONCE", 5)
    book_entries([_call(n + 1, user=f"user {n}") for n in range(40)])
    answer = focus.focus_csv(
        HttpRequest(), SpendFilters(), START - DAY, START + DAY, kept_since=datetime(2020, 1, 1, tzinfo=UTC)
    )
    pieces: Any = iter(answer)
    next(pieces)
    next(pieces)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors WHERE name = 'export'")
        assert cursor.fetchone() == (1,)
