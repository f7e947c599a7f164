"""Spend as FOCUS: what the specification asks for, and the books to the nano-dollar."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import Client

from agentops import sheets
from agentops.accounts.models import Team, User
from agentops.billing import focus
from agentops.billing.actions import close_months
from agentops.billing.statements import statement
from agentops.catalog.models import Service
from agentops.costs import queries
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import DAY, step, truncate
from agentops.domain.spans import Cost, Kind, PriceSource, Span, Terms, TokenUsage
from agentops.ingest.booking import Entry
from tests.billing.conftest import Call
from tests.billing.focus_rules import COLUMNS, violations
from tests.costs.booking import START, book_entries, book_runs

RANGE = {"from": (START - timedelta(days=1)).isoformat(), "until": (START + timedelta(days=3)).isoformat()}
NOW = START + 9 * DAY
FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\uff1d1"]


def read(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def export(kept_since: datetime = START - DAY, **filters: str) -> list[dict[str, str]]:
    asked = SpendFilters.of(**filters)
    answer = focus.focus_csv(HttpRequest(), asked, START - DAY, START + 3 * DAY, kept_since=kept_since, now=NOW)
    return read(answer)


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
        assert Decimal(row["PricingQuantity"]) == (tokens or int(row["x_ModelCalls"]))


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
        ("gpt-4o", "1.0", "Requests", "Requests", "", "gpt-4o", "0", "0.000000005"),
        ("web_search", "1.0", "Requests", "Requests", "web_search", "", "1", "0.000000005"),
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


def test_days_whose_spans_are_gone_keep_all_but_the_price(db: None) -> None:
    book_entries([_call(1, user="a"), _call(2, user="b", at=START + DAY)])
    kept = truncate(START, "day") + DAY
    assert [(row["SkuId"], row["x_Agent"], row["x_User"], row["x_PriceId"]) for row in export(kept)] == [
        ("gpt-4o", "triage", "a", ""),
        ("gpt-4o", "triage", "b", "book 12 v3"),
    ]
    assert [row["x_User"] for row in export(kept, user="a")] == ["a"]
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
        HttpRequest(), SpendFilters(), START - DAY, START + DAY, kept_since=datetime(2020, 1, 1, tzinfo=UTC), now=NOW
    )
    pieces: Any = iter(answer)
    next(pieces)
    next(pieces)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors WHERE name = 'export'")
        assert cursor.fetchone() == (1,)


OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))
MIDWAY = datetime(2026, 11, 20, tzinfo=UTC)
DOLLAR = 10**9


def month_of(start: datetime, *, now: datetime = MIDWAY, kept_since: datetime = OCTOBER, **filters: str) -> Any:
    """The file of one month, checked."""
    until, asked = step(start, "month"), SpendFilters.of(**filters)
    rows = read(focus.focus_csv(HttpRequest(), asked, start, until, kept_since=kept_since, now=now))
    assert violations(focus.COLUMNS, rows) == []
    return rows


def told(rows: list[dict[str, str]]) -> list[tuple[str, ...]]:
    columns = ("BillingPeriodStart", "ChargePeriodStart", "ChargeClass", "x_Feature", "x_User", "BilledCost")
    return [tuple(row[column][:10] if column.endswith("Start") else row[column] for column in columns) for row in rows]


def close(through: date, *, now: datetime = MIDWAY) -> None:
    close_months(through=through, by=None, now=now)


def test_a_closed_month_is_billed_as_it_was_and_what_changed_is_corrected_with_the_next(
    call: Call, correct: Call
) -> None:
    call(OCTOBER + 4 * DAY, 4 * DOLLAR, feature="a", user="u-1")
    call(OCTOBER + 5 * DAY, 2 * DOLLAR, feature="b", user="u-2")
    call(NOVEMBER + DAY, DOLLAR, feature="a", user="u-3")
    close(OCTOBER.date())
    before = told(month_of(OCTOBER))
    assert before == [
        ("2026-10-01", "2026-10-05", "", "a", "u-1", "4"),
        ("2026-10-01", "2026-10-06", "", "b", "u-2", "2"),
    ]
    call(OCTOBER + 4 * DAY, DOLLAR, feature="a", user="u-4")
    correct(2, nano=DOLLAR // 2)
    assert told(month_of(OCTOBER)) == [
        ("2026-10-01", "2026-10-05", "", "a", "", "4"),
        ("2026-10-01", "2026-10-06", "", "b", "", "2"),
    ]
    november = [
        ("2026-11-01", "2026-10-05", "Correction", "a", "", "1"),
        ("2026-11-01", "2026-10-06", "Correction", "b", "", "-1.5"),
        ("2026-11-01", "2026-11-02", "", "a", "u-3", "1"),
    ]
    assert told(month_of(NOVEMBER)) == november
    later = DECEMBER + 9 * DAY
    close(NOVEMBER.date(), now=later)
    assert told(month_of(NOVEMBER, now=later)) == november
    assert month_of(DECEMBER, now=later) == []
    correct(2, nano=2 * DOLLAR)
    assert told(month_of(NOVEMBER, now=later)) == november
    assert told(month_of(DECEMBER, now=later)) == [("2026-12-01", "2026-10-06", "Correction", "b", "", "1.5")]


def test_every_files_total_is_that_of_its_statement(call: Call, correct: Call) -> None:
    for number in range(6):
        call(OCTOBER + number * DAY, (number + 1) * DOLLAR, feature="ab"[number % 2], model=f"gpt-{number % 3 + 3}")
    call(OCTOBER, None, feature="a")
    close(OCTOBER.date())
    correct(1, nano=7, feature="c")
    correct(5, feature="d")
    call(OCTOBER + 3 * DAY, 3, feature="b", model="gpt-4")
    call(OCTOBER + 3 * DAY, 9, tool="web_search")
    call(NOVEMBER, 5 * DOLLAR)
    for kept_since in (OCTOBER, OCTOBER + 3 * DAY, DECEMBER):
        for month in (OCTOBER, NOVEMBER):
            rows = month_of(month, kept_since=kept_since)
            total = statement(month.date(), now=MIDWAY).total_nano
            assert sum(Decimal(row["BilledCost"]) for row in rows) * 10**9 == total
    in_parts = [NOVEMBER, NOVEMBER + 7 * DAY, DECEMBER]
    pieces = [
        read(focus.focus_csv(HttpRequest(), SpendFilters(), a, b, kept_since=OCTOBER, now=MIDWAY))
        for a, b in pairwise(in_parts)
    ]
    assert sorted(told([row for piece in pieces for row in piece])) == sorted(told(month_of(NOVEMBER)))


def test_filters_take_closed_charges_and_corrections_as_far_as_these_can_tell(call: Call) -> None:
    call(OCTOBER, DOLLAR, feature="a", user="u-1")
    call(OCTOBER, DOLLAR, feature="b", user="u-1", service="research")
    close(OCTOBER.date())
    call(OCTOBER, DOLLAR, feature="a", user="u-1")
    call(OCTOBER, DOLLAR, feature="b", user="u-1", service="research")
    assert [row["SubAccountId"] for row in month_of(NOVEMBER, service="research")] == ["research"]
    assert [row["x_Feature"] for row in month_of(NOVEMBER, feature="a")] == ["a"]
    assert {row["x_Feature"] for row in month_of(NOVEMBER, model="gpt-4o")} == {"a", "b"}
    assert month_of(NOVEMBER, environment="staging") == []
    assert month_of(NOVEMBER, user="u-1") == []
    assert told(month_of(OCTOBER, user="u-1", feature="a")) == [("2026-10-01", "2026-10-01", "", "a", "u-1", "2")]


def test_closed_charges_and_their_corrections_name_the_team_that_was_charged(call: Call) -> None:
    old, new = Team.objects.create(slug="old", name="Old"), Team.objects.create(slug="new", name="New")
    service = Service.objects.create(slug="support", team=old)
    call(OCTOBER, DOLLAR, feature="a")
    call(OCTOBER, DOLLAR, feature="b")
    close(OCTOBER.date())
    service.team = new
    service.save()
    call(OCTOBER, DOLLAR, feature="a")
    call(NOVEMBER, DOLLAR, feature="a")
    assert [row["x_Team"] for row in month_of(OCTOBER)] == ["old", "old"]
    assert [(row["ChargeClass"], row["x_Team"]) for row in month_of(NOVEMBER)] == [("Correction", "old"), ("", "new")]
