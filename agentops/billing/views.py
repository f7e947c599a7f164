"""The pages of what is settled: providers' invoices beside the books."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.models import Role, User
from agentops.accounts.roles import has_role, require_role
from agentops.billing import exports, focus, reconciliation
from agentops.billing.actions import (
    PROVIDERS,
    OverlappingInvoiceError,
    ReplacedInvoiceError,
    import_invoice,
    set_tolerance,
)
from agentops.billing.forms import ADDS, InvoiceForm, ToleranceForm
from agentops.billing.models import Invoice
from agentops.billing.reconciliation import Reconciliation
from agentops.costs.forms import read_spend
from agentops.costs.queries import kept_since
from agentops.domain.invoices import UnreadableFileError
from agentops.pages import page_context
from agentops.runs.api import usd

#: Rows of a comparison and unreadable lines that a page shows; the file has all.
ROWS, PROBLEMS = 500, 100


@require_safe
def focus_csv(request: HttpRequest) -> StreamingHttpResponse:
    """What the spend page shows, as FOCUS."""
    asked = read_spend(request.GET, page_context(request)["page"])
    return focus.focus_csv(request, asked.filters, asked.from_, asked.until, kept_since=kept_since())


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
        "rows": compared.rows[:ROWS],
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
def comparison_csv(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The whole comparison as a file."""
    return exports.reconciliation_csv(request, reconciliation.reconcile(get_object_or_404(Invoice, pk=pk)))
