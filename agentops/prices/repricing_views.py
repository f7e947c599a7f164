"""The pages of calls without a price, and of pricing again what is booked."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import F, Sum
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.models import Role
from agentops.accounts.roles import require_role, who
from agentops.costs.queries import kept_since
from agentops.prices import actions, queries
from agentops.prices.actions import EmptyPeriod, NotApplicable
from agentops.prices.forms import RepricingForm
from agentops.prices.models import Repricing
from agentops.prices.views import book_context, next_minute

#: Jobs, and lines of one, that a page shows; the API has all.
JOBS, LINES = 50, 500


@require_safe
def unpriced(request: HttpRequest) -> HttpResponse:
    """Calls of a period whose cost is not known, and how much of it they may be."""
    context = book_context(request, "unpriced")
    window = context["window"]
    context["report"] = queries.unpriced(window.from_, window.until)
    part = "#found" if request.headers.get("HX-Request") else ""
    return render(request, f"prices/unpriced.html{part}", context)


@require_http_methods(["GET", "HEAD", "POST"])
def repricings(request: HttpRequest) -> HttpResponseBase:
    """Every dry run and application; a POST starts a dry run."""
    if request.method == "POST":
        return _start(request)
    return _repricings(
        request, RepricingForm(initial={"from_at": kept_since(), "until_at": next_minute(timezone.now())})
    )


@require_role(Role.ADMIN)
def _start(request: HttpRequest) -> HttpResponse:
    form = RepricingForm(request.POST)
    if form.is_valid():
        try:
            return redirect("prices:repricing", actions.start_dry_run(**form.cleaned_data, by=who(request)).pk)
        except EmptyPeriod as error:
            form.add_error("until_at", str(error))
    return _repricings(request, form, status=422)


def _repricings(request: HttpRequest, form: RepricingForm, *, status: int = 200) -> HttpResponse:
    # A query that sums leaves the model's own order out.
    jobs = (
        Repricing.objects.select_related("requested_by", "dry_run")
        .annotate(moved_nano=Sum(F("lines__new_nano") - F("lines__old_nano")), calls=Sum("lines__calls"))
        .order_by("-requested_at", "-pk")
    )
    context = book_context(request, "repricings") | {"form": form, "jobs": jobs[:JOBS], "kept_since": kept_since()}
    part = "#jobs" if request.headers.get("HX-Request") else ""
    return render(request, f"prices/repricings.html{part}", context, status=status)


@require_safe
def repricing(request: HttpRequest, pk: int) -> HttpResponse:
    """One job: how far it is, and what changes by it."""
    job = get_object_or_404(Repricing.objects.select_related("requested_by", "dry_run", "revision__by"), pk=pk)
    lines = job.lines.annotate(moved_nano=F("new_nano") - F("old_nano"))
    context = book_context(request, "repricings") | {
        "job": job,
        "lines": lines[:LINES],
        "lines_count": lines.count(),
        "total": _total(lines),
        "months": lines.values("month", "service")
        .annotate(
            calls=Sum("calls"), old=Sum("old_nano"), new=Sum("new_nano"), moved=Sum(F("new_nano") - F("old_nano"))
        )
        .order_by("month", "service"),
        "applications": job.applications.select_related("requested_by").order_by("pk"),
        "why_not": actions.why_not_applicable(job),
    }
    part = "#job" if request.headers.get("HX-Request") else ""
    return render(request, f"prices/repricing.html{part}", context)


def _total(lines: Any) -> dict[str, Any]:
    total: dict[str, Any] = lines.aggregate(
        calls=Sum("calls"),
        old=Sum("old_nano"),
        new=Sum("new_nano"),
        old_unpriced=Sum("old_unpriced"),
        new_unpriced=Sum("new_unpriced"),
    )
    return total | {"moved": (total["new"] or 0) - (total["old"] or 0)}


@require_POST
@require_role(Role.ADMIN)
def apply(request: HttpRequest, pk: int) -> HttpResponse:
    """Write what a dry run found into the books."""
    try:
        job = actions.apply_dry_run(dry_run=get_object_or_404(Repricing, pk=pk), by=who(request))
    except NotApplicable as error:
        messages.error(request, str(error))
        return redirect("prices:repricing", pk)
    return redirect("prices:repricing", job.pk)


@require_POST
@require_role(Role.ADMIN)
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a job before its next page."""
    if not actions.cancel_repricing(job=get_object_or_404(Repricing, pk=pk)):
        messages.info(request, "It was over already.")
    return redirect("prices:repricing", pk)
