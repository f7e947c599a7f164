"""Providers' bills, as they export them and as people spoil them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain import invoices
from agentops.domain.invoices import (
    AWS,
    Bill,
    UnreadableFileError,
    UnreadableLineError,
    generic,
    parse_amount,
    parse_day,
    read_bill,
    to_nano,
)

OPENAI = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,"
    "user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source\n"
    "1790467200,1790553600,2026-09-27T00:00:00+00:00,2026-09-28T00:00:00+00:00,,,,,,,,,,,,,\n"
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.003835980000000000000000000000,usd,1000,tokens,"
    '"gpt-4o-mini-2024-07-18, cached input",,,p,o,,,,\n'
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0E-6176,usd,0,tokens,"
    '"priority | gpt-5.6-sol, output, long context",,,p,o,,,,\n'
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.05,usd,5,calls,web search tool calls,,,p,o,,,,\n"
)
ANTHROPIC = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,"
    "inference_geo,speed,api_key_id,api_key_status\n"
    "2026-08-04,Claude Haiku 4.5,Default,key,message,≤ 200k,input_no_cache,0.05,0.05,token,none,,a,archived\n"
    "2026-08-05,Claude Sonnet 4.5,Default,key,message,≤ 200k,output,-0.1234567894,1.00,token,none,,a,active\n"
)
AWS_CUR = (
    "lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UsageType,lineItem/UsageAmount,lineItem/CurrencyCode,"
    "lineItem/UnblendedCost,product/ProductName,pricing/unit\n"
    "2026-10-01T23:00:00Z,AmazonBedrock,USE1-Claude4.6Sonnet-input-tokens,12,USD,0.069,Amazon Bedrock,1K tokens\n"
    "2026-10-01T22:00:00Z,AmazonBedrock,USE1-openai.gpt-oss-120b-mantle-output-tokens-standard,1,USD,0.01,,Units\n"
    "2026-10-02T01:00:00Z,AmazonBedrock,USE1-MP:USE1_InputTokenCount-Units,3,USD,0.2,"
    "Claude Haiku 4.5 (Amazon Bedrock Edition),Units\n"
    "2026-10-02T00:00:00Z,AmazonS3,TimedStorage-ByteHrs,1,USD,5.5,Amazon Simple Storage Service,GB-Mo\n"
)
CUR_2 = (
    "line_item_usage_start_date,line_item_product_code,line_item_usage_type,line_item_currency_code,"
    "line_item_unblended_cost\n2026-10-01 10:00:00,AmazonBedrock,USE1-Nova2.0Lite-input-tokens-flex,USD,1\n"
)
FOCUS = (
    "BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ConsumedQuantity,ConsumedUnit,ServiceCategory,SkuId\n"
    "1.25,USD,Usage,2026-10-01T00:00:00Z,1000,Tokens,AI and Machine Learning,gpt-4o\n"
    "9,USD,Usage,2026-10-01T00:00:00Z,1,Hours,Compute,vm\n"
)


def _told(bill: Bill) -> list[tuple[str, str, int]]:
    return [(line.day.isoformat(), line.model, line.amount_nano) for line in bill.lines]


@pytest.mark.parametrize(
    ("text", "layout", "lines", "left_out"),
    [
        (
            OPENAI,
            "openai",
            [
                ("2026-09-28", "gpt-4o-mini-2024-07-18", 3_835_980),
                ("2026-09-28", "gpt-5.6-sol", 0),
                ("2026-09-28", "web search tool calls", 50_000_000),
            ],
            {"charge nothing": 1},
        ),
        (
            ANTHROPIC,
            "anthropic",
            [("2026-08-04", "Claude Haiku 4.5", 50_000_000), ("2026-08-05", "Claude Sonnet 4.5", -123_456_789)],
            {},
        ),
        (
            AWS_CUR,
            "aws",
            [
                ("2026-10-01", "Claude4.6Sonnet", 69_000_000),
                ("2026-10-01", "openai.gpt-oss-120b", 10_000_000),
                ("2026-10-02", "Claude Haiku 4.5", 200_000_000),
            ],
            {"charge for other services": 1},
        ),
        (CUR_2, "aws", [("2026-10-01", "Nova2.0Lite", 10**9)], {}),
        (FOCUS, "focus", [("2026-10-01", "gpt-4o", 1_250_000_000)], {"charge for other services": 1}),
    ],
    ids=["openai", "anthropic", "aws", "aws 2.0", "focus"],
)
def test_reports_are_recognised_and_read(
    text: str, layout: str, lines: list[tuple[str, str, int]], left_out: dict[str, int]
) -> None:
    bill = read_bill(text.encode())
    assert bill.layout.name == layout
    assert _told(bill) == lines
    assert bill.left_out == left_out
    assert not bill.problems
    assert bill.total_nano == sum(nano for *_, nano in lines)


def test_what_is_left_out_and_what_is_rounded_is_counted() -> None:
    assert read_bill(AWS_CUR.encode()).left_out_nano == 5_500_000_000
    assert read_bill(ANTHROPIC.encode()).rounded == 1
    first = read_bill(OPENAI.encode()).lines[0]
    assert (first.number, first.quantity, first.unit) == (3, Decimal(1000), "tokens")


def test_any_table_is_read_when_its_columns_are_named() -> None:
    text = "Datum;Posten;Betrag;Währung;Menge\n31.10.2026;GPT-4o;$1,234.50;usd;7\n01.11.2026;GPT-4o;(0.50);USD;\n"
    layout = generic(
        {"day": "Datum", "model": "Posten", "amount": "Betrag", "currency": "Währung", "quantity": "Menge"},
        day_format="dmy",
    )
    bill = read_bill(text.encode("utf-16"), layout)
    assert _told(bill) == [("2026-10-31", "GPT-4o", 1_234_500_000_000), ("2026-11-01", "GPT-4o", -500_000_000)]
    assert [line.quantity for line in bill.lines] == [Decimal(7), None]


def test_a_file_of_months_says_so() -> None:
    layout = generic({"day": "month", "amount": "usd"})
    assert read_bill(b"month,usd\n2026-09,1\n2026-10,2\n", layout).is_monthly
    assert not read_bill(b"month,usd\n2026-09,1\n2026-10-01,2\n", layout).is_monthly
    assert not read_bill(b"month,usd\nnever,1\n", layout).is_monthly


def test_lines_that_cannot_be_read_are_kept_with_their_reason_and_the_others_count() -> None:
    text = (
        "usage_date_utc,model,cost_usd\n2026-08-04,a,1\n\nsoon,b,2\n2026-08-04,c,lots\n2026-08-04,d,\n2026-08-04,e,NaN\n"
        '"2026-08-04","f\ng",3\n2026-08-04,h,1,2,3\n2026-08-04,i,1e30\n2026-08-04\n'
    )
    bill = read_bill(text.encode())
    assert [(line.number, line.model, line.amount_nano) for line in bill.lines] == [
        (2, "a", 10**9),
        (8, "f g", 3 * 10**9),
    ]
    assert [(problem.number, problem.message, problem.text) for problem in bill.problems] == [
        (4, "“soon” is no day.", "soon,b,2"),
        (5, "“lots” is no amount.", "2026-08-04,c,lots"),
        (6, "It names no amount.", "2026-08-04,d,"),
        (7, "“NaN” is no amount.", "2026-08-04,e,NaN"),
        (10, "It has 5 columns where the header has 3.", "2026-08-04,h,1,2,3"),
        (11, "“1e30” is too large.", "2026-08-04,i,1e30"),
    ]
    assert bill.left_out == {"charge nothing": 1}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "name the columns"),
        (b"\n\n", "name the columns"),
        (b"PK\x03\x04rest", "Save it as CSV"),
        (b"\x1f\x8brest", "Save it as CSV"),
        (b"%PDF-1.7", "Save it as CSV"),
        ("usage_date_utc,model,cost_usd\n2026-08-04,é,1\n".encode("latin-1"), "not UTF-8"),
        ("usage_date_utc,model,cost_usd\n".encode("utf-16-le"), "no text file"),
        (b"a,b,c\n1,2,3\n", "of no known report: a, b, c"),
        (b"usage_date_utc,model,cost_usd\n", "no lines below"),
        (b"usage_date_utc,model,cost_usd,cost_usd\n2026-08-04,a,1,2\n", "“cost_usd” is there twice"),
        (b'usage_date_utc,model,cost_usd\n2026-08-04,a,1\n2026-08-04,"b"x,1\n', "no CSV from line 3 on"),
        (b'usage_date_utc,model,cost_usd\n2026-08-04,"a,1\n2026-08-04,b,1\n', "no CSV from line 2 on"),
        (b"usage_date_utc,model,cost_usd\n" + b"," * 600 + b"x\n", "more than 500 columns"),
        (b'usage_date_utc,model,cost_usd\n2026-08-04,"' + b"a" * 140_000 + b'",1\n', "no CSV from line 2 on"),
    ],
)  # fmt: skip
def test_what_is_no_bill_is_refused_with_a_reason(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableFileError) as refused:
        read_bill(content)
    assert why in str(refused.value)


@pytest.mark.parametrize("currency", ["eur", "GBP", ""])
def test_other_currencies_are_refused_and_the_line_is_named(currency: str) -> None:
    text = OPENAI + f'1790553600,1790640000,2026-09-28T00:00:00,,1,{currency},,,"gpt-4o, input",,,p,o,,,,\n'
    with pytest.raises(UnreadableFileError) as refused:
        read_bill(text.encode())
    assert str(refused.value).startswith("Line 6 is in ")
    assert "USD" in str(refused.value)


def test_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoices, "MAX_BYTES", 2_000_000)
    with pytest.raises(UnreadableFileError, match="larger than"):
        read_bill(b"a" * 2_000_001)
    monkeypatch.setattr(invoices, "MAX_LINES", 3)
    text = "usage_date_utc,model,cost_usd\n" + "2026-08-04,a,1\n" * 3
    assert len(read_bill(text.encode()).lines) == 3
    with pytest.raises(UnreadableFileError, match="more than 3 lines"):
        read_bill(f"{text}2026-08-04,a,1\n".encode())


@pytest.mark.parametrize("needed", ["day", "amount"])
def test_own_columns_need_a_day_and_an_amount(needed: str) -> None:
    columns = {"day": "d", "amount": "a", "model": "m"} | {needed: ""}
    with pytest.raises(UnreadableFileError, match=needed):
        generic(columns)
    with pytest.raises(UnreadableFileError, match=f"no column .* for the {needed}"):
        read_bill(b"d,a\n2026-08-04,1\n", generic({"day": "d", "amount": "a"} | {needed: "absent"}))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", "1"), ("-1.50", "-1.50"), ("+2", "2"), (".5", "0.5"), ("1,234,567.89", "1234567.89"), ("$0.02", "0.02"),
        ("-$3", "-3"), ("(4.5)", "-4.5"), ("($4)", "-4"), ("US$7", "7"), ("\N{MINUS SIGN}8", "-8"),
        ("1.2E-5", "0.000012"), ("0E-6176", "0"), ("0.003835980000000000000000000000", "0.00383598"),
    ],
)  # fmt: skip
def test_amounts_are_exact(text: str, amount: str) -> None:
    assert parse_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "one",
        "1,23",
        "1.2.3",
        "NaN",
        "inf",
        "1e99999",
        "1e30",
        "0x10",
        "\u0661",
        "=1+1",
        "1 000",
        "9" * 70,
        "--1",
        "$$1",
    ],
)
def test_what_is_no_amount_is_none(text: str) -> None:
    with pytest.raises(UnreadableLineError):
        parse_amount(text)


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.00000000051", 1),
        ("-0.0000000025", -2),
        ("1E-300", 0),
        ("12.5", 12_500_000_000),
    ],
)
def test_dollars_become_nano_dollars_half_to_even(amount: str, nano: int) -> None:
    assert to_nano(Decimal(amount)) == nano


def test_no_line_charges_a_billion() -> None:
    with pytest.raises(UnreadableLineError):
        to_nano(Decimal(10**9))


@pytest.mark.parametrize(
    ("text", "day_format", "day", "is_month"),
    [
        ("2026-10-31", "iso", date(2026, 10, 31), False),
        ("2026-10-31T23:30:00-02:00", "iso", date(2026, 11, 1), False),
        ("2026-10-31 10:00:00 UTC", "iso", date(2026, 10, 31), False),
        ("1790553600", "iso", date(2026, 9, 28), False),
        ("2026-10", "dmy", date(2026, 10, 1), True),
        ("1/2/2026", "dmy", date(2026, 2, 1), False),
        ("1/2/2026", "mdy", date(2026, 1, 2), False),
    ],
)
def test_days_are_read_as_they_are_written(
    text: str, day_format: invoices.DayFormat, day: date, is_month: bool
) -> None:
    assert parse_day(text, day_format) == (day, is_month)


@pytest.mark.parametrize(
    "text", ["", "today", "2026-13-01", "2026-02-30", "1/2/2026", "0001-01-01", "9999-12-31", "17", "2026-00"]
)
def test_what_is_no_day_is_none(text: str) -> None:
    with pytest.raises(UnreadableLineError):
        parse_day(text)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_file_does_anything_but_be_read_or_refused(content: bytes) -> None:
    for body in (content, b"usage_date_utc,model,cost_usd\n" + content, b"a,b\n" + content):
        try:
            bill = read_bill(body, generic({"day": "a", "amount": "b"}) if body.startswith(b"a,b") else None)
        except UnreadableFileError:
            continue
        assert bill.lines or bill.problems or bill.left_out


def test_a_chosen_layout_is_not_guessed_again() -> None:
    with pytest.raises(UnreadableFileError, match="no column"):
        read_bill(ANTHROPIC.encode(), AWS)
