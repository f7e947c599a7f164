"""The pages of rules: the list, one with its history, and what applying them moves among what is booked."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.roles import has_role, require_role, who
from agentops.costs import actions, rules
from agentops.costs.actions import EmptyPeriod, NotApplicable
from agentops.costs.models import AttributionRule, Reattribution
from agentops.costs.queries import kept_since
from agentops.costs.rule_forms import PeriodForm, RuleForm, read_conditions, rows_of
from agentops.costs.rules import MOVES, WRITES, RuleChangedMeanwhile, rule_of, save_rule
from agentops.costs.unattributed import common_traits
from agentops.domain.attribution import RULED, SUBJECTS, UnsoundRule
from agentops.pages import page_context

#: Jobs, and lines of one, that a page shows.
JOBS, LINES = 50, 500


@require_http_methods(["GET", "HEAD", "POST"])
def rule_list(request: HttpRequest) -> HttpResponseBase:
    """All rules, and all previews and applications; a POST starts a preview."""
    if request.method == "POST":
        return _start(request)
    return _rules(request, PeriodForm())


@require_role(WRITES)
def _start(request: HttpRequest) -> HttpResponse:
    form = PeriodForm(request.POST)
    if form.is_valid():
        try:
            return redirect("costs:reattribution", actions.start_preview(**form.cleaned_data, by=who(request)).pk)
        except EmptyPeriod as error:
            form.add_error("until_at", str(error))
    return _rules(request, form, status=422)


def _rules(request: HttpRequest, form: PeriodForm, *, status: int = 200) -> HttpResponse:
    jobs = Reattribution.objects.select_related("requested_by").annotate(moved_nano=Sum("lines__cost_nano"))
    context = _context(request) | {
        "rules": [(row, rule_of(row)) for row in rules.last_versions()],
        "jobs": jobs[:JOBS],
        "period": form,
        "kept_since": kept_since(),
    }
    part = "#jobs" if request.headers.get("HX-Request") else ""
    return render(request, f"costs/rules.html{part}", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def new_rule(request: HttpRequest) -> HttpResponseBase:
    """A form that is filled in already as far as its address says; a POST writes the first version."""
    if request.method == "POST":
        return _write(request, None)
    asked = request.GET
    dimension = asked.get("dimension") if asked.get("dimension") in RULED else RULED[0]
    initial = {
        "service": asked.get("service", ""),
        "dimension": dimension,
        "value": asked.get("value", ""),
        "effective_from": timezone.now().replace(second=0, microsecond=0),
    }
    return _form(request, None, RuleForm(initial=initial), asked)


@require_http_methods(["GET", "HEAD", "POST"])
def one_rule(request: HttpRequest, number: int) -> HttpResponseBase:
    """A rule with its history; a POST writes the next version."""
    found = rules.versions(number)
    if not found:
        message = "There is no such rule."
        raise Http404(message)
    if request.method == "POST":
        return _write(request, found[0])
    return _form(request, found[0], _filled(found[0]), None)


def _filled(row: AttributionRule) -> RuleForm:
    names = ("service", "dimension", "value", "effective_from", "version")
    return RuleForm(initial={name: getattr(row, name) for name in names})


@require_role(WRITES)
def _write(request: HttpRequest, row: AttributionRule | None) -> HttpResponse:
    form = RuleForm(request.POST)
    if not form.is_valid():
        return _form(request, row, form, request.POST, status=422)
    rule = form.rule(row.number if row else 0, tuple(read_conditions(request.POST)))
    enabled = request.POST.get("is_enabled") != "no"
    try:
        written = save_rule(rule=rule, by=who(request), note=form.cleaned_data["note"], is_enabled=enabled)
    except (UnsoundRule, RuleChangedMeanwhile) as error:
        form.add_error(None, str(error))
        return _form(request, row, form, request.POST, status=422)
    messages.success(request, "The rule holds for what comes in, within seconds. What is booked stays as it is.")
    return redirect("costs:rule", written.number)


def _form(
    request: HttpRequest,
    row: AttributionRule | None,
    form: RuleForm,
    asked: QueryDict | None,
    *,
    status: int = 200,
) -> HttpResponse:
    conditions = list(rule_of(row).conditions) if row and asked is None else read_conditions(asked or QueryDict())
    dimension, service = str(form["dimension"].value() or RULED[0]), str(form["service"].value() or "")
    dimension = dimension if dimension in RULED else RULED[0]
    context = _context(request) | {
        "form": form,
        "row": row,
        "rule": rule_of(row) if row else None,
        "history": [(old, rule_of(old)) for old in rules.versions(row.number)] if row else [],
        "conditions": rows_of(conditions),
        "subjects": SUBJECTS,
        "period": PeriodForm(initial={"from_at": row.effective_from, "service": row.service}) if row else None,
        "traits": common_traits(service=service, dimension=dimension, now=timezone.now()) if row is None else None,
    }
    return render(request, "costs/rule.html", context, status=status)


@require_POST
@require_role(WRITES)
def switch(request: HttpRequest, number: int) -> HttpResponse:
    """Switch a rule off or on again: a version like any other."""
    row = get_object_or_404(AttributionRule, number=number, version=request.POST.get("version") or 0)
    try:
        save_rule(rule=rule_of(row), by=who(request), is_enabled=not row.is_enabled)
    except RuleChangedMeanwhile as error:
        messages.error(request, str(error))
    return redirect("costs:rule", number)


@require_safe
def reattribution(request: HttpRequest, pk: int) -> HttpResponse:
    """One job: how far it is, and what moves by it."""
    job = get_object_or_404(Reattribution.objects.select_related("requested_by", "preview"), pk=pk)
    context = _context(request) | {
        "job": job,
        "lines": job.lines.all()[:LINES],
        "lines_count": job.lines.count(),
        "months": _by_month(job),
        "total": job.lines.aggregate(moved_runs=Sum("runs"), cost=Sum("cost_nano")),
        "rules": [rule_of(row) for row in rules.last_versions(job.revision) if row.is_enabled],
        "applications": job.applications.select_related("requested_by").order_by("pk"),
        "why_not": actions.why_not_applicable(job),
        "may_move": has_role(request.user, MOVES),
    }
    part = "#job" if request.headers.get("HX-Request") else ""
    return render(request, f"costs/reattribution.html{part}", context)


def _by_month(job: Reattribution) -> list[Any]:
    sums = job.lines.values("month", "dimension").annotate(moved_runs=Sum("runs"), cost=Sum("cost_nano"))
    return list(sums.order_by("month", "dimension"))


@require_POST
@require_role(MOVES)
def apply(request: HttpRequest, pk: int) -> HttpResponse:
    """Move what a preview found."""
    try:
        job = actions.apply_preview(preview=get_object_or_404(Reattribution, pk=pk), by=who(request))
    except NotApplicable as error:
        messages.error(request, str(error))
        return redirect("costs:reattribution", pk)
    return redirect("costs:reattribution", job.pk)


@require_POST
@require_role(WRITES)
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a job before its next page."""
    if not actions.cancel_reattribution(job=get_object_or_404(Reattribution, pk=pk)):
        messages.info(request, "It was over already.")
    return redirect("costs:reattribution", pk)


def _context(request: HttpRequest) -> dict[str, Any]:
    return page_context(request) | {"may_write": has_role(request.user, WRITES)}
