"""What settles: months are closed, invoices imported, and what each of these may differ by is set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection, transaction

from agentops.accounts.models import User
from agentops.billing.charges import CLOSE, FORGET, REMEMBER, TEAMS
from agentops.billing.models import Closing, Invoice, InvoiceTolerance
from agentops.billing.statements import calendar, scope
from agentops.costs.queries import LONG_TIMEOUT
from agentops.domain.invoices import GENERIC, Bill, Layout, read_bill
from agentops.domain.reconciliation import Tolerance
from agentops.locks import Lock

#: Imports are few, and so are closings. They follow each other: two people who do the same thing do it once.
LOCK_IMPORTS = f"SELECT pg_advisory_xact_lock({Lock.INVOICES})"
LOCK_CLOSINGS = f"SELECT pg_advisory_xact_lock({Lock.CLOSINGS})"
TOTAL = """
UPDATE billing_closing SET total_nano = coalesce(
    (SELECT sum(cost_nano) FROM billing_charge WHERE closing_id = %(closing)s), 0) WHERE id = %(closing)s
"""
COPY_LINES = "COPY billing_invoiceline (invoice_id, number, day, model, amount_nano, quantity, unit) FROM STDIN"
COPY_PROBLEMS = "COPY billing_invoiceproblem (invoice_id, number, message, text) FROM STDIN"
PROVIDERS = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "aws": "AWS",
    "azure": "Azure",
    "google": "Google",
    "": "Another",
}


class MonthNotOverError(ValueError):
    """The month is not over (UTC)."""

    def __init__(self, month: date) -> None:
        super().__init__(f"{month:%B %Y} is not over yet. Months are those of UTC.")


class NothingToCloseError(ValueError):
    """The month is closed, or nothing was spent until its end that is not."""

    def __init__(self, month: date, closing: Closing | None) -> None:
        who = f" by {closing.closed_by}" if closing and closing.closed_by else ""
        when = f" on {closing.closed_at:%d %b %Y}" if closing else ""
        words = f"is closed already{when}{who}" if closing else "has nothing to close"
        super().__init__(f"{month:%B %Y} {words}.")


class OverlappingInvoiceError(ValueError):
    """Days of the file are in other invoices of the same provider: somebody must say which of them counts."""

    def __init__(self, others: Sequence[Invoice]) -> None:
        names = ", ".join(f"“{invoice.name}”" for invoice in others[:3])
        super().__init__(f"{names} has charges of the same days. Say whether this file replaces it or adds to it.")
        self.others = others


class ReplacedInvoiceError(ValueError):
    """What should be replaced was replaced by something else already."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The invoice of a file; not new when the same file was imported before."""

    invoice: Invoice
    is_new: bool


@transaction.atomic
def close_months(*, through: date, by: User | None, now: datetime) -> list[Closing]:
    """Close a month, and before it every earlier one that is open, in order; those that are closed now.

    A closed month keeps what it charges, for good. Raises ``MonthNotOverError`` and ``NothingToCloseError``.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK_CLOSINGS)
        cursor.execute(LONG_TIMEOUT)
    known = calendar(now=now)
    if known.state(through) == "running":
        raise MonthNotOverError(through)
    months = known.to_close(through)
    if not months:
        raise NothingToCloseError(through, known.closings.get(through))
    return [_close(month, by, now) for month in months]


def _close(month: date, by: User | None, now: datetime) -> Closing:
    parameters = scope(calendar(now=now), month)
    closing = Closing.objects.create(month=month, closed_by=by)
    parameters["closing"] = closing.pk
    with connection.cursor() as cursor:
        for statement in (FORGET, REMEMBER, CLOSE, TEAMS, TOTAL):
            cursor.execute(statement, parameters)
    closing.refresh_from_db()
    return closing


def import_invoice(
    *,
    content: bytes,
    filename: str,
    by: User | None,
    layout: Layout | None = None,
    provider: str = "",
    service: str = "",
    name: str = "",
    tolerance: Tolerance,
    replaces: Invoice | None = None,
    adds: bool = False,
) -> Imported:
    """Import a provider's bill. The same file again changes nothing; a corrected one says what it replaces.

    Raises ``UnreadableFileError``, ``OverlappingInvoiceError`` unless it ``adds`` or replaces, and
    ``ReplacedInvoiceError``.
    """
    bill = read_bill(content, layout)
    provider = provider or bill.layout.provider
    digest = _digest(content, bill.layout, provider, service)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LOCK_IMPORTS)
        if known := Invoice.objects.filter(digest=digest, is_current=True).first():
            return Imported(known, is_new=False)
        days = [line.day for line in bill.lines]
        if replaces is not None:
            _retire(replaces)
        elif not adds and days and (others := overlapping(provider, service, min(days), max(days))):
            raise OverlappingInvoiceError(others)
        invoice = Invoice.objects.create(
            name=name or _usual_name(provider, bill, filename),
            provider=provider,
            service=service,
            layout=bill.layout.name,
            columns={field: list(headers) for field, headers in bill.layout.columns.items()},
            filename=filename[-200:],
            digest=digest,
            replaces=replaces,
            is_monthly=bill.is_monthly,
            first_day=min(days, default=None),
            last_day=max(days, default=None),
            lines_count=len(bill.lines),
            problems_count=len(bill.problems),
            rounded_count=bill.rounded,
            left_out=dict(bill.left_out),
            left_out_nano=bill.left_out_nano,
            total_nano=bill.total_nano,
            uploaded_by=by,
        )
        _store(invoice, bill)
        set_tolerance(invoice=invoice, tolerance=tolerance, by=by)
    return Imported(invoice, is_new=True)


def overlapping(provider: str, service: str, first: date, last: date) -> list[Invoice]:
    """Invoices that charge for some of these days, of the same provider and service."""
    current = Invoice.objects.filter(is_current=True, provider=provider, service=service)
    return list(current.filter(first_day__lte=last, last_day__gte=first))


@transaction.atomic
def set_tolerance(*, invoice: Invoice, tolerance: Tolerance, by: User | None) -> InvoiceTolerance:
    """Say what an invoice may differ by; what was said before stays on record."""
    return InvoiceTolerance.objects.create(
        invoice=invoice, absolute_nano=tolerance.absolute_nano, percent=tolerance.percent, set_by=by
    )


def _retire(invoice: Invoice) -> None:
    if not Invoice.objects.filter(pk=invoice.pk, is_current=True).update(is_current=False):
        message = f"“{invoice.name}” was replaced already. Look at the one that replaced it first."
        raise ReplacedInvoiceError(message)


def _digest(content: bytes, layout: Layout, provider: str, service: str) -> str:
    """Of the file, and of all that decides what is made of it."""
    columns = {field: list(headers) for field, headers in layout.columns.items()} if layout.name == GENERIC else {}
    reading = json.dumps([layout.name, layout.day_format, provider, service, columns], sort_keys=True)
    return hashlib.sha256(hashlib.sha256(content).digest() + reading.encode()).hexdigest()


def _usual_name(provider: str, bill: Bill, filename: str) -> str:
    if not bill.lines:
        return filename[:120] or "Invoice"
    first, last = min(line.day for line in bill.lines), max(line.day for line in bill.lines)
    label = PROVIDERS.get(provider, provider) if provider else filename.rpartition(".")[0][:80] or "Invoice"
    if (first.year, first.month) == (last.year, last.month):
        return f"{label}, {first:%B %Y}"
    return f"{label}, {first:%b %Y} to {last:%b %Y}"


def _store(invoice: Invoice, bill: Bill) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(COPY_LINES) as copy:
            for line in bill.lines:
                copy.write_row(
                    (invoice.pk, line.number, line.day, line.model, line.amount_nano, line.quantity, line.unit)
                )
        with cursor.copy(COPY_PROBLEMS) as copy:
            for problem in bill.problems:
                copy.write_row((invoice.pk, problem.number, problem.message, problem.text))
