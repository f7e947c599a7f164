"""The pages of what is settled: monthly statements, and providers' invoices beside the books."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.models import Role, User
from agentops.accounts.roles import has_role, require_role
from agentops.billing import exports, focus, reconciliation
from agentops.billing.actions import (
    PROVIDERS,
    MonthNotOverError,
    NothingToCloseError,
    OverlappingInvoiceError,
    ReplacedInvoiceError,
    close_months,
    import_invoice,
    set_tolerance,
)
from agentops.billing.forms import ADDS, InvoiceForm, ToleranceForm
from agentops.billing.models import Invoice
from agentops.billing.reconciliation import Reconciliation
from agentops.billing.statements import Line, closable, list_months
from agentops.billing.statements import statement as monthly
from agentops.costs.forms import read_spend
from agentops.costs.queries import kept_since
from agentops.domain.invoices import UnreadableFileError
from agentops.domain.periods import add_months
from agentops.pages import page_context
from agentops.runs.api import usd

#: Rows of a comparison, of a long one, unreadable lines and lines of a statement on a page; the files have all.
ROWS, MANY_ROWS, PROBLEMS, LINES = 100, 2_000, 100, 500


@require_safe
def focus_csv(request: HttpRequest) -> StreamingHttpResponse:
    """What the spend page shows, as FOCUS."""
    asked = read_spend(request.GET, page_context(request)["page"])
    return focus.focus_csv(
        request, asked.filters, asked.from_, asked.until, kept_since=kept_since(), now=timezone.now()
    )


@require_safe
def statements(request: HttpRequest) -> HttpResponse:
    """The months, and which of them are closed."""
    context = page_context(request)
    context |= {
        "months": list_months(now=context["now"]),
        "may_close": has_role(request.user, Role.OWNER),
        "closable": closable(now=context["now"]),
    }
    return render(request, "billing/statements.html", context)


@require_safe
def statement(request: HttpRequest, month: date) -> HttpResponse:
    """What every team is charged for a month; with ``team``, the lines of one: an empty slug for no team."""
    context = page_context(request)
    found = monthly(month, now=context["now"])
    slug = request.GET.get("team")
    of_team = next((team for team in found.teams if team.team == slug), None)
    lines = of_team.all_lines if of_team else []
    context |= {
        "statement": found,
        "slug": slug,
        "of_team": of_team,
        "lines": [(line, _spend_url(line)) for line in lines[:LINES]],
        "others": len(lines[LINES:]),
        "others_cents": sum(line.cents for line in lines[LINES:]),
        "may_close": has_role(request.user, Role.OWNER),
        "closable": [one for one in closable(now=context["now"]) if one <= month] if found.state == "open" else [],
    }
    return render(request, "billing/statement.html", context)


def _spend_url(line: Line) -> str:
    """The spend that a line charges for, as it is booked now, by user."""
    asked = {"range": "custom", "from": line.month, "until": add_months(line.month, 1), "by": "user"}
    asked |= {"service": line.service}
    asked |= {"feature": line.feature} if line.feature else {"without": "feature"}
    asked |= {"model": line.model} if line.model else {}
    return f"{reverse('costs:spend')}?{urlencode(asked)}"


@require_safe
def statement_csv(request: HttpRequest, month: date) -> StreamingHttpResponse:
    """Every line of a month, or of one team's."""
    found = monthly(month, now=timezone.now())
    return exports.statement_csv(request, found, request.GET.get("team"))


@require_POST
@require_role(Role.OWNER)
def close(request: HttpRequest, month: date) -> HttpResponse:
    """Close a month with every open one before it."""
    by = request.user if isinstance(request.user, User) else None
    try:
        closed = close_months(through=month, by=by, now=timezone.now())
    except (MonthNotOverError, NothingToCloseError) as error:
        messages.warning(request, str(error))
    else:
        named = ", ".join(f"{closing.month:%B %Y}" for closing in closed)
        messages.success(request, f"Closed: {named}. What changes now is charged with the next month.")
    return redirect("billing:statement", month)


@require_http_methods(["GET", "HEAD", "POST"])
def invoices(request: HttpRequest) -> HttpResponseBase:
    """The list; a POST imports a file."""
    if request.method == "POST":
        return _import(request)
    return _invoices(request, InvoiceForm())


@require_role(Role.OWNER)
def _import(request: HttpRequest) -> HttpResponse:
    form = InvoiceForm(request.POST, request.FILES)
    if not form.is_valid():
        return _invoices(request, form, status=422)
    asked = form.cleaned_data
    file: UploadedFile[bytes] = asked["file"]
    try:
        imported = import_invoice(
            content=file.read(),
            filename=file.name or "",
            by=request.user if isinstance(request.user, User) else None,
            layout=form.layout_asked(),
            provider=asked["provider"],
            service=asked["service"],
            name=asked["name"],
            tolerance=form.tolerance(),
            replaces=form.replaced(),
            adds=asked["replaces"] == ADDS,
        )
    except UnreadableFileError as error:
        form.add_error("file", str(error))
    except (OverlappingInvoiceError, ReplacedInvoiceError) as error:
        form.add_error("replaces", str(error))
    else:
        invoice = imported.invoice
        said = f"{invoice.lines_count:,} lines imported." if imported.is_new else "This file was imported before."
        messages.success(request, said)
        return redirect("billing:invoice", invoice.pk)
    return _invoices(request, form, status=422)


def _invoices(request: HttpRequest, form: InvoiceForm, *, status: int = 200) -> HttpResponse:
    context = page_context(request) | {
        "form": form,
        "invoices": reconciliation.list_invoices(),
        "may_import": has_role(request.user, Role.OWNER),
    }
    return render(request, "billing/invoices.html", context, status=status)


@require_safe
def invoice(request: HttpRequest, pk: int) -> HttpResponse:
    """One invoice beside the books."""
    return _invoice(request, pk)


def _invoice(request: HttpRequest, pk: int, form: ToleranceForm | None = None, *, status: int = 200) -> HttpResponse:
    found = get_object_or_404(Invoice.objects.select_related("uploaded_by", "replaced_by"), pk=pk)
    compared = reconciliation.reconcile(found)
    context: dict[str, Any] = page_context(request) | {
        "invoice": found,
        "compared": compared,
        "rows": compared.rows[: MANY_ROWS if request.GET.get("rows") == "all" else ROWS],
        "problems": found.problems.all()[:PROBLEMS],
        "history": reconciliation.history(found),
        "tolerances": found.tolerances.select_related("set_by"),
        "form": form or ToleranceForm(initial=_initial(compared)),
        "provider": PROVIDERS.get(found.provider, found.provider) if found.provider else "",
        "may_set": has_role(request.user, Role.OWNER),
    }
    return render(request, "billing/invoice.html", context, status=status)


def _initial(compared: Reconciliation) -> dict[str, Any]:
    return {
        "absolute_usd": usd(compared.tolerance.absolute_nano),
        "percent": compared.tolerance.percent,
    }


@require_POST
@require_role(Role.OWNER)
def tolerance(request: HttpRequest, pk: int) -> HttpResponse:
    """Say what an invoice may differ by."""
    form = ToleranceForm(request.POST)
    if not form.is_valid():
        return _invoice(request, pk, form, status=422)
    by = request.user if isinstance(request.user, User) else None
    set_tolerance(invoice=get_object_or_404(Invoice, pk=pk), tolerance=form.tolerance(), by=by)
    messages.success(request, "The tolerance is set.")
    return redirect("billing:invoice", pk)


@require_safe
def unreadable_csv(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """Every line of the file that could not be read."""
    return exports.unreadable_csv(request, get_object_or_404(Invoice, pk=pk))


@require_safe
def comparison_csv(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The whole comparison as a file."""
    return exports.reconciliation_csv(request, reconciliation.reconcile(get_object_or_404(Invoice, pk=pk)))
