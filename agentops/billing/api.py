"""What is settled over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from django.http import HttpRequest, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Field, File, Form, Path, Query, Router, Schema, Status, UploadedFile
from ninja.errors import HttpError

from agentops.accounts.models import Role
from agentops.accounts.roles import require
from agentops.billing import exports, focus, reconciliation
from agentops.billing.actions import (
    MonthNotOverError,
    NothingToCloseError,
    OverlappingInvoiceError,
    ReplacedInvoiceError,
    close_months,
    import_invoice,
    set_tolerance,
)
from agentops.billing.models import Closing
from agentops.billing.models import Invoice as InvoiceRecord
from agentops.billing.statements import Line, list_months, statement
from agentops.billing.statements import Statement as MonthlyStatement
from agentops.catalog.models import Service
from agentops.costs.api import Filters, read_filters
from agentops.costs.queries import kept_since
from agentops.domain.invoices import FIELDS, GENERIC, LAYOUTS, MAX_BYTES, UnreadableFileError, generic, to_nano
from agentops.domain.reconciliation import Tolerance
from agentops.runs.api import Moment, Money, Text, usd

router = Router(tags=["billing"])
MAX_PROBLEMS = 1_000
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]
Month = Annotated[str, Path(pattern=r"^20\d\d-(0[1-9]|1[0-2])$", description="YYYY-MM")]
Percent = Annotated[Decimal, Field(ge=0, le=100, decimal_places=2)]


class Invoice(Schema):
    """A provider's bill as imported."""

    id: int
    name: str
    provider: str = Field(description="openai, anthropic, aws, azure, google; empty for another.")
    service: str = Field(description="The only service whose spend it is compared with; empty for all.")
    filename: str
    first_day: date | None
    last_day: date | None
    is_current: bool = Field(description="Whether no other file has replaced it.")
    replaces: int | None
    lines: int
    unreadable_lines: int
    billed_usd: Money
    uploaded_at: Moment
    uploaded_by: str | None


class InvoiceList(Schema):
    """The invoices that count, the latest days first."""

    items: list[Invoice]


class UnreadableLine(Schema):
    """A line of the file that could not be read, as it is written, and why."""

    line: int
    message: str
    text: str


class ImportedInvoice(Invoice):
    """What an import made; not new when the same file was imported before."""

    is_new: bool
    problems: list[UnreadableLine]


class Comparison(Schema):
    """One model of one day or month; ``null`` is what one side knows nothing of."""

    start: date
    model: str
    billed_as: list[str]
    billed_usd: Money
    booked_usd: Money
    difference_usd: Money
    unpriced_calls: int
    verdict: str
    is_within_tolerance: bool


class Reconciliation(Schema):
    """An invoice beside the books, what is beyond the tolerance first."""

    invoice: Invoice
    tolerance_usd: Money
    tolerance_percent: str
    billed_usd: Money
    booked_usd: Money
    difference_usd: Money
    flagged: int
    unmatched: int
    rows: list[Comparison]


class Columns(Schema):
    """What a file is, and what it has to do with the invoices that are there."""

    layout: Literal["", "openai", "anthropic", "aws", "focus", "generic"] = Field(
        "", description="Recognised by its columns, when empty; generic needs the names of the columns."
    )
    provider: Literal["", "openai", "anthropic", "aws", "azure", "google"] = ""
    name: Annotated[Text, Field(max_length=120)] = ""
    service: Text = Field("", description="Compare with this service only.")
    replaces: int | None = Field(None, description="The id of the invoice that this file corrects.")
    adds: bool = Field(False, description="Whether days that another invoice has are charged here once more.")
    tolerance_usd: Dollars = Decimal("0.01")
    tolerance_percent: Percent = Decimal(1)
    day: Text = Field("", description="generic: the column of the day.")
    model: Text = Field("", description="generic: the column of the model or SKU.")
    amount: Text = Field("", description="generic: the column of the amount in US dollars.")
    currency: Text = ""
    quantity: Text = ""
    unit: Text = ""
    day_format: Literal["iso", "dmy", "mdy"] = "iso"


class ToleranceIn(Schema):
    """What an invoice may differ by: dollars, or percent of what is billed."""

    usd: Dollars
    percent: Percent


@router.get("/export/focus.csv", response={200: None})
def export_focus(request: HttpRequest, filters: Query[Filters]) -> StreamingHttpResponse:
    """Charges of known cost as FOCUS 1.4 (Cost and Usage): by day and all that they can be told apart by; UTC."""
    chosen, from_, until = read_filters(filters)
    return focus.focus_csv(request, chosen, from_, until, kept_since=kept_since(), now=timezone.now())


class MonthState(Schema):
    """A month and how far it is; the total of an open one is what it would be charged now."""

    month: str = Field(description="YYYY-MM, UTC.")
    state: Literal["running", "open", "closed"]
    total_usd: Money = Field(description="Exact; an open month's with the adjustments that it will charge.")
    unpriced_calls: int
    closed_at: Moment | None
    closed_by: str | None


class MonthList(Schema):
    """Months with spend, the latest first."""

    items: list[MonthState]


class StatementLine(Schema):
    """What a team is charged for one service, feature and model; ``of_month`` is the month that it is for."""

    of_month: str
    service: str
    feature: str | None
    model: str | None
    tool: str | None
    model_calls: int
    tool_calls: int
    unpriced_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Money = Field(description="Exact.")
    amount_usd: str = Field(description="In cents, so that lines add up.")


class TeamStatement(Schema):
    """What a team is charged; ``team`` is ``null`` for services that belong to none."""

    team: str | None
    name: str | None
    amount_usd: str
    cost_usd: Money
    lines: list[StatementLine]
    adjustments: list[StatementLine]


class Statement(Schema):
    """A month: lines add up to their team's amount, and teams to the total."""

    month: str
    state: Literal["running", "open", "closed"]
    closed_at: Moment | None
    closed_by: str | None
    amount_usd: str
    adjustments_usd: str
    unpriced_calls: int
    teams: list[TeamStatement]


@router.get("/statements", response=MonthList)
def get_months(request: HttpRequest) -> dict[str, Any]:
    """Every month with spend, and which are closed."""
    del request
    months = [
        {
            "month": f"{one.month:%Y-%m}",
            "state": one.state,
            "total_usd": usd(one.total_nano),
            "unpriced_calls": one.unpriced_calls,
            **_closing(one.closing),
        }
        for one in list_months(now=timezone.now())
    ]
    return {"items": months}


@router.get("/statements/{month}", response=Statement)
def get_statement(request: HttpRequest, month: Month) -> dict[str, Any]:
    """What every team is charged for a month (UTC), in cents that add up."""
    del request
    return statement_shape(statement(parse_month(month), now=timezone.now()))


@router.get("/statements/{month}/lines.csv", response={200: None})
def export_statement(request: HttpRequest, month: Month, team: Text | None = None) -> StreamingHttpResponse:
    """The same as CSV; of one team with its slug, of services without a team with an empty one."""
    return exports.statement_csv(request, statement(parse_month(month), now=timezone.now()), team)


@router.post("/statements/{month}/close", response=Statement)
def close_statement(request: HttpRequest, month: Month) -> dict[str, Any]:
    """Close a month, and every open one before it; what changes afterwards is charged with the next one."""
    by = require(request, Role.OWNER)
    try:
        close_months(through=parse_month(month), by=by, now=timezone.now())
    except (MonthNotOverError, NothingToCloseError) as error:
        raise HttpError(409, str(error)) from error
    return statement_shape(statement(parse_month(month), now=timezone.now()))


def parse_month(month: str) -> date:
    """The first day of a month of the API."""
    return date.fromisoformat(f"{month}-01")


def statement_shape(found: MonthlyStatement) -> dict[str, Any]:
    """A statement as the contract spells it."""
    return {
        "month": f"{found.month:%Y-%m}",
        "state": found.state,
        **_closing(found.closing),
        "amount_usd": exports.cents_usd(found.cents),
        "adjustments_usd": exports.cents_usd(found.adjustments_cents),
        "unpriced_calls": found.unpriced_calls,
        "teams": [
            {
                "team": team.team or None,
                "name": team.name or None,
                "amount_usd": exports.cents_usd(team.cents),
                "cost_usd": usd(team.cost_nano),
                "lines": [_line(line) for line in team.lines],
                "adjustments": [_line(line) for line in team.adjustments],
            }
            for team in found.teams
        ],
    }


def _closing(closing: Closing | None) -> dict[str, Any]:
    return {
        "closed_at": closing.closed_at if closing else None,
        "closed_by": closing.closed_by.get_username() if closing and closing.closed_by else None,
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "of_month": f"{line.month:%Y-%m}",
        "service": line.service,
        "feature": line.feature or None,
        "model": line.model or None,
        "tool": line.tool or None,
        "model_calls": line.sums.llm_calls,
        "tool_calls": line.sums.tool_calls,
        "unpriced_calls": line.sums.unpriced_calls,
        "input_tokens": line.sums.input_tokens,
        "output_tokens": line.sums.output_tokens,
        "cost_usd": usd(line.known_cost_nano),
        "amount_usd": exports.cents_usd(line.cents),
    }


@router.get("/invoices", response=InvoiceList)
def list_invoices(request: HttpRequest) -> dict[str, Any]:
    """The invoices that were imported and not replaced."""
    del request
    return {"items": [invoice_shape(invoice) for invoice in reconciliation.list_invoices()]}


@router.post("/invoices", response={201: ImportedInvoice, 200: ImportedInvoice})
def create_invoice(request: HttpRequest, file: File[UploadedFile], asked: Form[Columns]) -> Status[dict[str, Any]]:
    """Import a provider's bill, a CSV file; the same file again changes nothing."""
    by = require(request, Role.OWNER)
    if (file.size or 0) > MAX_BYTES:
        raise HttpError(422, f"file: larger than {MAX_BYTES // 1024**2} MiB.")
    if asked.service and not Service.objects.filter(slug=asked.service).exists():
        raise HttpError(422, "service: there is none of that name.")
    replaces = get_object_or_404(InvoiceRecord, pk=asked.replaces) if asked.replaces is not None else None
    try:
        columns = {name: getattr(asked, name) for name in FIELDS}
        is_generic = asked.layout == GENERIC
        imported = import_invoice(
            content=file.read(),
            filename=file.name or "",
            by=by,
            layout=generic(columns, day_format=asked.day_format) if is_generic else LAYOUTS.get(asked.layout),
            provider=asked.provider,
            service=asked.service,
            name=asked.name,
            tolerance=Tolerance(to_nano(asked.tolerance_usd), asked.tolerance_percent),
            replaces=replaces,
            adds=asked.adds,
        )
    except UnreadableFileError as error:
        raise HttpError(422, f"file: {error}") from error
    except (OverlappingInvoiceError, ReplacedInvoiceError) as error:
        raise HttpError(409, str(error)) from error
    invoice = imported.invoice
    problems = [
        {"line": problem.number, "message": problem.message, "text": problem.text}
        for problem in invoice.problems.all()[:MAX_PROBLEMS]
    ]
    shape = invoice_shape(invoice) | {"is_new": imported.is_new, "problems": problems}
    return Status(201 if imported.is_new else 200, shape)


@router.get("/invoices/{invoice_id}", response=Reconciliation)
def get_invoice(request: HttpRequest, invoice_id: int) -> dict[str, Any]:
    """An invoice beside what is booked, by day (or month) and model."""
    del request
    invoice = get_object_or_404(InvoiceRecord.objects.select_related("uploaded_by"), pk=invoice_id)
    return _reconciliation(reconciliation.reconcile(invoice))


@router.get("/invoices/{invoice_id}/comparison.csv", response={200: None})
def export_comparison(request: HttpRequest, invoice_id: int) -> StreamingHttpResponse:
    """The same as CSV."""
    return exports.reconciliation_csv(
        request, reconciliation.reconcile(get_object_or_404(InvoiceRecord, pk=invoice_id))
    )


@router.post("/invoices/{invoice_id}/tolerance", response=Reconciliation)
def change_tolerance(request: HttpRequest, invoice_id: int, asked: ToleranceIn) -> dict[str, Any]:
    """Say what an invoice may differ by from the books."""
    by = require(request, Role.OWNER)
    invoice = get_object_or_404(InvoiceRecord.objects.select_related("uploaded_by"), pk=invoice_id)
    set_tolerance(invoice=invoice, tolerance=Tolerance(to_nano(asked.usd), asked.percent), by=by)
    return _reconciliation(reconciliation.reconcile(invoice))


def invoice_shape(invoice: InvoiceRecord) -> dict[str, Any]:
    """An invoice as the contract spells it."""
    return {
        "id": invoice.pk,
        "name": invoice.name,
        "provider": invoice.provider,
        "service": invoice.service,
        "filename": invoice.filename,
        "first_day": invoice.first_day,
        "last_day": invoice.last_day,
        "is_current": invoice.is_current,
        "replaces": invoice.replaces_id,
        "lines": invoice.lines_count,
        "unreadable_lines": invoice.problems_count,
        "billed_usd": usd(invoice.total_nano),
        "uploaded_at": invoice.uploaded_at,
        "uploaded_by": invoice.uploaded_by.get_username() if invoice.uploaded_by else None,
    }


def _reconciliation(compared: reconciliation.Reconciliation) -> dict[str, Any]:
    return {
        "invoice": invoice_shape(compared.invoice),
        "tolerance_usd": usd(compared.tolerance.absolute_nano),
        "tolerance_percent": str(compared.tolerance.percent),
        "billed_usd": usd(compared.billed_nano),
        "booked_usd": usd(compared.booked_nano),
        "difference_usd": usd(compared.difference_nano),
        "flagged": compared.flagged,
        "unmatched": compared.unmatched,
        "rows": [
            {
                "start": row.start,
                "model": row.model,
                "billed_as": list(row.billed_as),
                "billed_usd": usd(row.billed_nano),
                "booked_usd": usd(row.booked_nano),
                "difference_usd": usd(row.difference_nano),
                "unpriced_calls": row.unpriced_calls,
                "verdict": row.verdict,
                "is_within_tolerance": row.is_within,
            }
            for row in compared.rows
        ],
    }
