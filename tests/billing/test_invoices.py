"""Invoices: imported once, replaced on purpose, and set beside the books."""

from __future__ import annotations

import csv
import io
import re
import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, Role, User
from agentops.billing.actions import (
    OverlappingInvoiceError,
    ReplacedInvoiceError,
    import_invoice,
    set_tolerance,
)
from agentops.billing.models import Invoice, InvoiceLine, InvoiceTolerance
from agentops.billing.reconciliation import DEFAULT_TOLERANCE, history, reconcile
from agentops.domain.invoices import UnreadableFileError, generic
from agentops.domain.reconciliation import Tolerance
from tests.billing.conftest import Call

HEADER = "usage_date_utc,model,cost_usd\n"
AUGUST = f"{HEADER}2026-08-04,Claude Haiku 4.5,1.50\n2026-08-05,Claude Haiku 4.5,0.25\n"
CORRECTED = f"{HEADER}2026-08-04,Claude Haiku 4.5,1.25\n2026-08-05,Claude Haiku 4.5,0.25\n"


def _import(text: str, **asked: Any) -> Any:
    usual = {"filename": "august.csv", "by": None, "tolerance": DEFAULT_TOLERANCE}
    return import_invoice(content=text.encode(), **usual | asked)


def _file(text: str, name: str = "august.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode(), "text/csv")


def _form(text: str, **fields: str) -> dict[str, Any]:
    return {"file": _file(text), "absolute_usd": "0.01", "percent": "1", **fields}


def test_a_file_becomes_an_invoice_with_all_its_lines(owner: User) -> None:
    imported = _import(f"{AUGUST}soon,Claude,1\n", by=owner)
    invoice = imported.invoice
    assert imported.is_new
    assert (invoice.name, invoice.provider, invoice.layout) == ("Anthropic, August 2026", "anthropic", "anthropic")
    assert (str(invoice.first_day), str(invoice.last_day)) == ("2026-08-04", "2026-08-05")
    assert (invoice.lines_count, invoice.problems_count, invoice.total_nano) == (2, 1, 1_750_000_000)
    assert [line.amount_nano for line in invoice.lines.order_by("number")] == [1_500_000_000, 250_000_000]
    assert [(p.number, p.message, p.text) for p in invoice.problems.all()] == [
        (4, "“soon” is no day.", "soon,Claude,1")
    ]
    assert invoice.uploaded_by == owner


def test_the_same_file_again_changes_nothing(owner: User) -> None:
    first = _import(AUGUST)
    again = _import(AUGUST, filename="copy.csv", by=owner)
    assert (again.invoice, again.is_new) == (first.invoice, False)
    assert (Invoice.objects.count(), InvoiceLine.objects.count(), InvoiceTolerance.objects.count()) == (1, 2, 1)


def test_the_same_file_read_another_way_is_another_invoice(db: None) -> None:
    text = "day,net,gross\n2026-08-04,1,2\n"
    net = _import(text, layout=generic({"day": "day", "amount": "net"}))
    gross = _import(text, layout=generic({"day": "day", "amount": "gross"}), replaces=net.invoice)
    assert (gross.is_new, gross.invoice.total_nano) == (True, 2 * 10**9)


def test_days_that_another_invoice_has_are_not_taken_without_a_word(db: None) -> None:
    first = _import(AUGUST).invoice
    with pytest.raises(OverlappingInvoiceError, match="Anthropic, August 2026") as refused:
        _import(CORRECTED)
    assert refused.value.others == [first]
    assert Invoice.objects.count() == 1
    assert _import(CORRECTED, adds=True).is_new
    assert _import(f"{HEADER}2026-08-06,x,1\n").is_new
    assert _import(f"{HEADER}2026-08-04,x,1\n", service="support").is_new


def test_a_corrected_file_replaces_an_invoice_and_the_old_one_is_kept(db: None) -> None:
    first = _import(AUGUST).invoice
    second = _import(CORRECTED, replaces=first).invoice
    third = _import(AUGUST, replaces=second).invoice
    first.refresh_from_db()
    assert [invoice.is_current for invoice in Invoice.objects.order_by("pk")] == [False, False, True]
    assert history(third) == [second, first]
    assert first.lines.count() == 2
    with pytest.raises(ReplacedInvoiceError):
        _import(f"{HEADER}2026-08-04,x,9\n", replaces=first)
    assert Invoice.objects.count() == 3


def test_a_file_that_is_refused_leaves_nothing(db: None) -> None:
    with pytest.raises(UnreadableFileError):
        _import("start_time,amount_value,amount_currency,line_item\n1790553600,1,eur,gpt-4o\n")
    assert not Invoice.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_people_with_the_same_file_import_it_once() -> None:
    outcomes = []

    def run() -> None:
        try:
            outcomes.append(_import(AUGUST).is_new)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert InvoiceLine.objects.count() == 2


def test_each_day_and_model_stands_beside_the_books(call: Call) -> None:
    call(datetime(2026, 8, 4, 23, 59, tzinfo=UTC), 1_500_000_000, model="claude-haiku-4-5-20251001")
    call(datetime(2026, 8, 5, 0, 0, tzinfo=UTC), 200_000_000, model="claude-haiku-4-5")
    call(datetime(2026, 8, 5, 1, 0, tzinfo=UTC), None, model="claude-haiku-4-5")
    call(datetime(2026, 8, 4, 9, 0, tzinfo=UTC), 70_000_000, model="claude-opus-4-5", service="research")
    call(datetime(2026, 8, 4, 9, 0, tzinfo=UTC), 999, model="gpt-4o")
    call(datetime(2026, 8, 6, 0, 0, tzinfo=UTC), 999, model="claude-haiku-4-5")
    compared = reconcile(_import(AUGUST).invoice)
    assert [(row.start.day, row.model, row.billed_nano, row.booked_nano, row.verdict) for row in compared.rows] == [
        (4, "claude-opus-4-5", None, 70_000_000, "booked, not billed"),
        (5, "claude-haiku-4-5", 250_000_000, 200_000_000, "differs"),
        (4, "claude-haiku-4-5-20251001", 1_500_000_000, 1_500_000_000, "agrees"),
    ]
    assert (compared.billed_nano, compared.booked_nano, compared.difference_nano) == (
        1_750_000_000,
        1_770_000_000,
        -20_000_000,
    )
    assert (compared.flagged, compared.unmatched, compared.unpriced_calls) == (2, 1, 1)
    of_one = reconcile(_import(AUGUST, service="support").invoice)
    assert [row.model for row in of_one.rows] == ["claude-haiku-4-5", "claude-haiku-4-5-20251001"]


def test_a_bill_by_the_month_is_compared_by_the_month(call: Call) -> None:
    call(datetime(2026, 8, 1, tzinfo=UTC), 1 * 10**9)
    call(datetime(2026, 8, 31, 23, tzinfo=UTC), 2 * 10**9)
    call(datetime(2026, 9, 1, tzinfo=UTC), 4 * 10**9)
    layout = generic({"day": "month", "amount": "usd", "model": "sku"})
    compared = reconcile(_import("month,sku,usd\n2026-08,GPT-4o,3\n", layout=layout).invoice)
    assert [(str(row.start), row.billed_nano, row.booked_nano) for row in compared.rows] == [
        ("2026-08-01", 3 * 10**9, 3 * 10**9)
    ]


def test_the_last_tolerance_counts_and_the_ones_before_stay_on_record(call: Call, owner: User) -> None:
    call(datetime(2026, 8, 4, tzinfo=UTC), 1_400_000_000, model="claude-haiku-4-5")
    invoice = _import(AUGUST).invoice
    assert reconcile(invoice).flagged == 2
    set_tolerance(invoice=invoice, tolerance=Tolerance(250_000_000, Decimal(0)), by=owner)
    assert reconcile(invoice).flagged == 0
    assert [one.set_by for one in invoice.tolerances.all()] == [owner, None]


def test_the_page_imports_compares_and_sets_the_tolerance(client: Client, call: Call) -> None:
    call(datetime(2026, 8, 4, tzinfo=UTC), 1_400_000_000, model="claude-haiku-4-5")
    assert "No invoice imported yet" in client.get("/invoices/").content.decode()
    answer = client.post("/invoices/", _form(f"{AUGUST}soon,<b>x</b>,1\n"), follow=True)
    page = answer.content.decode()
    invoice = Invoice.objects.get()
    assert answer.redirect_chain == [(f"/invoices/{invoice.pk}/", 302)]
    assert "2 lines imported." in page
    assert "billed, not booked" in page
    assert "differs" in page
    assert "“soon” is no day." in page
    assert "<b>x</b>" not in page
    assert "soon,&lt;b&gt;x&lt;/b&gt;,1" in page
    answer = client.post(f"/invoices/{invoice.pk}/tolerance", {"absolute_usd": "0.25", "percent": "0"}, follow=True)
    page = answer.content.decode()
    assert "all 2 within the tolerance" in page
    assert "no longer in force" in page
    assert page.count("by olga") == 3
    again = client.post("/invoices/", _form(f"{AUGUST}soon,<b>x</b>,1\n"), follow=True).content.decode()
    assert "This file was imported before." in again
    assert "Anthropic, August 2026" in client.get("/invoices/").content.decode()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"file": ""}, "This field is required"),
        ({"file": _file("x", "a.xlsx")}, "This is no CSV file"),
        ({"file": _file("")}, "empty"),
        ({"file": _file("a,b\n1,2\n")}, "of no known report"),
        (
            {"file": _file("start_time,amount_value,amount_currency\n1790553600,1,eur\n")},
            "only a bill in USD",
        ),
        ({"layout": "generic"}, "Name the column that holds the day"),
        ({"absolute_usd": "-1"}, "greater than or equal to 0"),
        ({"percent": "x"}, "Enter a number"),
        ({"service": "nobody"}, ""),
        ({"replaces": "77"}, "not one of the available choices"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_a_reason(client: Client, fields: dict[str, Any], why: str) -> None:
    answer = client.post("/invoices/", _form(AUGUST) | fields)
    assert answer.status_code == 422
    assert why in answer.content.decode()
    assert not Invoice.objects.exists()


def test_the_page_asks_what_to_do_with_days_that_are_there(client: Client) -> None:
    client.post("/invoices/", _form(AUGUST))
    asked = client.post("/invoices/", _form(CORRECTED))
    assert asked.status_code == 422
    assert "Say whether this file replaces it or adds to it" in asked.content.decode()
    first = Invoice.objects.get()
    page = client.post("/invoices/", _form(CORRECTED, replaces=str(first.pk)), follow=True).content.decode()
    assert "Replaces" in page
    assert "was replaced" in client.get(f"/invoices/{first.pk}/").content.decode()
    assert client.post("/invoices/", _form(AUGUST, replaces="adds")).status_code == 302


def test_another_file_is_imported_by_its_columns(client: Client) -> None:
    text = "Tag;SKU;Betrag\n04.08.2026;gpt-4o;2\n"
    fields = {"layout": "generic", "day": "Tag", "model": "SKU", "amount": "Betrag", "day_format": "dmy"}
    client.post("/invoices/", _form(text, provider="openai", name="Reseller", **fields))
    invoice = Invoice.objects.get()
    assert (invoice.name, invoice.provider, str(invoice.first_day)) == ("Reseller", "openai", "2026-08-04")


def test_the_file_of_a_comparison_has_every_row_and_no_formula(client: Client, call: Call) -> None:
    call(datetime(2026, 8, 4, tzinfo=UTC), 1, model="=claude")
    invoice = _import(f"{HEADER}2026-08-04,=claude,1\n2026-08-05,@SUM(1),2\n").invoice
    answer: Any = client.get(f"/invoices/{invoice.pk}/comparison.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [(row["start"], row["model"], row["billed_as"], row["billed_usd"], row["booked_usd"]) for row in rows] == [
        ("2026-08-05", "'@SUM(1)", "'@SUM(1)", "2", ""),
        ("2026-08-04", "'=claude", "'=claude", "1", "0.000000001"),
    ]
    assert {row["within_tolerance"] for row in rows} == {"no"}


def test_every_line_that_could_not_be_read_is_in_a_file(client: Client) -> None:
    invoice = _import(AUGUST + "".join(f"=soon,x,{n}\n" for n in range(150))).invoice
    assert "The first 100 of 150." in client.get(f"/invoices/{invoice.pk}/").content.decode()
    answer: Any = client.get(f"/invoices/{invoice.pk}/unreadable.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert len(rows) == 150
    assert rows[149] == {"line": "153", "why": "“=soon” is no day.", "text": "'=soon,x,149"}


def test_who_may_only_look_sees_everything_and_changes_nothing(viewer: Client) -> None:
    invoice = _import(AUGUST).invoice
    page = viewer.get("/invoices/").content.decode()
    assert "imported by owners and admins" in page
    assert 'type="file"' not in page
    assert viewer.get(f"/invoices/{invoice.pk}/").status_code == 200
    assert viewer.post("/invoices/", _form(CORRECTED)).status_code == 403
    assert viewer.post(f"/invoices/{invoice.pk}/tolerance", {"absolute_usd": "9", "percent": "9"}).status_code == 403
    assert viewer.post("/api/v1/invoices", {"file": _file(CORRECTED)}).status_code == 403
    assert (Invoice.objects.count(), InvoiceTolerance.objects.count()) == (1, 1)
    assert Client().get("/invoices/").status_code == 302


def test_the_list_takes_as_many_statements_however_long_it_is(client: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as caught:
            client.get("/invoices/")
        return len(caught)

    _import(AUGUST)
    few = statements()
    for day in range(6, 20):
        _import(f"{HEADER}2026-08-{day:02},x,1\n")
    assert statements() == few


@pytest.fixture
def program(owner: User) -> dict[str, str]:
    """The header of a program that may write for the owner."""
    return {"HTTP_AUTHORIZATION": f"Bearer {create_token(user=owner, scope=ApiToken.Scope.WRITE)}"}


def test_programs_import_and_compare_over_the_api(program: dict[str, str], call: Call) -> None:
    call(datetime(2026, 8, 4, tzinfo=UTC), 1_500_000_000, model="claude-haiku-4-5")
    client = Client()
    made = client.post("/api/v1/invoices", {"file": _file(f"{AUGUST}x,y,z\n")}, **program)
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["billed_usd"], body["lines"], body["unreadable_lines"], body["is_new"]) == ("1.75", 2, 1, True)
    assert body["problems"] == [{"line": 4, "message": "“z” is no amount.", "text": "x,y,z"}]
    again = client.post("/api/v1/invoices", {"file": _file(f"{AUGUST}x,y,z\n")}, **program)
    assert (again.status_code, again.json()["id"], again.json()["is_new"]) == (200, body["id"], False)
    assert client.post("/api/v1/invoices", {"file": _file(CORRECTED)}, **program).status_code == 409
    second = client.post("/api/v1/invoices", {"file": _file(CORRECTED), "replaces": body["id"]}, **program)
    assert (second.status_code, second.json()["replaces"]) == (201, body["id"])
    listed = client.get("/api/v1/invoices", **program).json()["items"]
    assert [item["id"] for item in listed] == [second.json()["id"]]
    compared = client.get(f"/api/v1/invoices/{second.json()['id']}", **program).json()
    assert (compared["billed_usd"], compared["booked_usd"], compared["difference_usd"]) == ("1.5", "1.5", "0")
    assert compared["flagged"] == 2
    assert compared["rows"][0] == {
        "start": "2026-08-04", "model": "claude-haiku-4-5", "billed_as": ["Claude Haiku 4.5"], "billed_usd": "1.25",
        "booked_usd": "1.5", "difference_usd": "-0.25", "unpriced_calls": 0, "verdict": "differs",
        "is_within_tolerance": False,
    }  # fmt: skip
    path = f"/api/v1/invoices/{second.json()['id']}"
    wide = client.post(f"{path}/tolerance", {"usd": "0.25", "percent": "0"}, "application/json", **program)
    assert (wide.status_code, wide.json()["flagged"]) == (200, 0)
    answer: Any = client.get(f"{path}/comparison.csv", **program)
    assert answer["Content-Disposition"].startswith("attachment")
    assert len(b"".join(answer.streaming_content).splitlines()) == 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"file": _file("nonsense")}, 422),
        ({"file": _file(AUGUST), "layout": "generic"}, 422),
        ({"file": _file(AUGUST), "service": "nobody"}, 422),
        ({"file": _file(AUGUST), "replaces": "99"}, 404),
        ({"file": _file(AUGUST), "percent": "-1", "tolerance_percent": "-1"}, 422),
        ({}, 422),
    ],
)
def test_the_api_refuses_what_the_page_refuses(program: dict[str, str], fields: dict[str, Any], status: int) -> None:
    answer = Client().post("/api/v1/invoices", fields, **program)
    assert answer.status_code == status, answer.content
    assert not Invoice.objects.exists()


def test_a_token_for_reading_imports_nothing(owner: User) -> None:
    token = {"HTTP_AUTHORIZATION": f"Bearer {create_token(user=owner)}"}
    assert Client().post("/api/v1/invoices", {"file": _file(AUGUST)}, **token).status_code == 403
    responder = User.objects.create_user("rita", role=Role.RESPONDER)
    token = {"HTTP_AUTHORIZATION": f"Bearer {create_token(user=responder, scope=ApiToken.Scope.WRITE)}"}
    refused = Client().post("/api/v1/invoices", {"file": _file(AUGUST)}, **token)
    assert refused.status_code == 403
    assert re.search("owner", refused.json()["detail"])
