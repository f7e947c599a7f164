"""Making and changing a ceiling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from agentops.accounts.roles import require_role, who
from agentops.budgets import actions
from agentops.budgets.definitions import NARROWED, UnsoundBudget, definition_of
from agentops.budgets.models import Budget
from agentops.catalog.queries import list_names
from agentops.guard.forms import BudgetForm, new_initial
from agentops.guard.suggestions import known_values
from agentops.pages import page_context, zone_names
from agentops.runs.api import clean


@require_http_methods(["GET", "HEAD", "POST"])
@require_role(actions.WRITES)
def new_budget(request: HttpRequest) -> HttpResponseBase:
    """A new ceiling."""
    if request.method != "POST":
        names = ("services", "user", "session", "run", "each")
        asked = {name: clean(request.GET[name]) for name in names if name in request.GET}
        return _page(request, BudgetForm(initial=new_initial() | asked))
    form = BudgetForm(request.POST)
    if form.is_valid():
        try:
            budget = actions.create(wanted=form.definition(), by=who(request))
        except UnsoundBudget as error:
            form.add_problems(error.problems)
        else:
            messages.success(request, "The ceiling holds: it binds the very next step.")
            return redirect("guard:budget", budget.pk)
    return _page(request, form, status=422)


@require_http_methods(["GET", "HEAD", "POST"])
@require_role(actions.WRITES)
def edit_budget(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A ceiling as it is, to be changed."""
    budget = get_object_or_404(Budget, pk=pk)
    known = definition_of(budget)
    if request.method != "POST":
        return _page(request, BudgetForm(initial=BudgetForm.initial_of(known)), budget)
    form = BudgetForm(request.POST)
    if form.is_valid():
        wanted = form.definition()
        if budget.is_default:
            wanted = replace(wanted, **_as_it_is(known))
        if wanted.effective_from is None or _same_minute(wanted.effective_from, known.effective_from):
            wanted = replace(wanted, effective_from=known.effective_from)
        try:
            actions.change(budget=budget, wanted=wanted, by=who(request), reason=request.POST.get("reason", ""))
        except UnsoundBudget as error:
            form.add_problems(error.problems)
        else:
            messages.success(request, "Changed: it binds the very next step. What it was stands in the record.")
            return redirect("guard:budget", pk)
    return _page(request, form, budget, status=422)


def _as_it_is(known: Any) -> dict[str, Any]:
    """What a default counts is not to be changed."""
    return {name: getattr(known, name) for name in ("services", *NARROWED, "each", "period", "timezone")}


def _same_minute(one: Any, other: Any) -> bool:
    return other is not None and one.replace(second=0, microsecond=0) == other.replace(second=0, microsecond=0)


def _page(request: HttpRequest, form: BudgetForm, budget: Budget | None = None, *, status: int = 200) -> HttpResponse:
    context = page_context(request) | {
        "form": form,
        "budget": budget,
        "services": list_names(),
        "timezones": zone_names(),
        "known": known_values(now=timezone.now()),
    }
    return render(request, "guard/edit.html", context, status=status)
