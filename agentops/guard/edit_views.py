"""Making and changing a ceiling: a form that shows, before anything is saved, what the last days would have been."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from agentops.accounts.roles import require_role, who
from agentops.budgets import actions
from agentops.budgets.definitions import UnsoundBudget, check, definition_of
from agentops.budgets.models import Budget
from agentops.catalog.models import Service
from agentops.domain.budgets import Unit, amount_words, member_words
from agentops.guard import rehearse
from agentops.guard.forms import BudgetForm, new_initial
from agentops.guard.shown import scope_line
from agentops.pages import page_context, zone_names
from agentops.runs.api import clean

#: Windows that the preview names.
NAMED = 8
TOO_MUCH = "There are too many runs to go through while you wait: a narrower scope can be shown."


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
    names = ("services", "team", "feature", "user", "session", "run", "environment", "each", "period", "timezone")
    return {name: getattr(known, name) for name in names}


def _same_minute(one: Any, other: Any) -> bool:
    return other is not None and one.replace(second=0, microsecond=0) == other.replace(second=0, microsecond=0)


def _page(request: HttpRequest, form: BudgetForm, budget: Budget | None = None, *, status: int = 200) -> HttpResponse:
    context = page_context(request) | {
        "form": form,
        "budget": budget,
        "services": Service.objects.order_by("slug").values_list("slug", flat=True)[:500],
        "timezones": zone_names(),
    }
    return render(request, "guard/edit.html", context, status=status)


@require_POST
@require_role(actions.WRITES)
def preview(request: HttpRequest) -> HttpResponse:
    """What a ceiling would have done in the last days, as a region of its form."""
    form, now = BudgetForm(request.POST), timezone.now()
    context: dict[str, Any] = {"days": rehearse.DAYS}
    if not form.is_valid():
        return render(request, "guard/preview.html", context | {"waits": True})
    if form.definition().limits_nothing:
        return render(request, "guard/preview.html", context | {"waits": True})
    try:
        wanted = check(form.definition())
        budget = wanted.as_budget()
        found = rehearse.rehearsal_of(budget, now=now)
    except UnsoundBudget as error:
        return render(request, "guard/preview.html", context | {"waits": True, "problems": error.problems})
    except DatabaseError:
        return render(request, "guard/preview.html", context | {"problems": {"": TOO_MUCH}})
    unit = next(unit for unit, limit in zip(Unit, budget.limits, strict=True) if limit is not None)
    place = list(Unit).index(unit)
    suggested = None if found.suggestion is None else found.suggestion[place]
    context |= {
        "found": found,
        "scope": scope_line(budget),
        "stops": budget.action.value == "stop",
        "worst": [
            (member_words(budget, one.member), one, amount_words(one.unit, one.spent[list(Unit).index(one.unit)]))
            for one in found.exceeded[:NAMED]
        ],
        "usual": amount_words(unit, found.median[place]) if found.windows else "",
        "high": amount_words(unit, found.p95[place]) if found.windows else "",
        "suggested": None if suggested is None else amount_words(unit, suggested),
        "suggestion": "" if suggested is None else _plain(unit, suggested),
        "field": {Unit.USD: "limit_usd", Unit.TOKENS: "limit_tokens", Unit.STEPS: "limit_steps"}[unit],
    }
    return render(request, "guard/preview.html", context)


def _plain(unit: Unit, amount: int) -> str:
    """An amount as the form's field takes it."""
    return f"{amount / 10**9:.9f}".rstrip("0").rstrip(".") if unit is Unit.USD else str(amount)
