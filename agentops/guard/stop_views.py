"""The page of the kill switch: what is stopped, since when, by whom and why, and what was refused for it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from agentops.accounts.roles import has_role, require_role, who
from agentops.budgets import actions
from agentops.budgets.actions import UnsoundStop
from agentops.budgets.models import Stop
from agentops.catalog.queries import list_names
from agentops.guard import queries
from agentops.guard.forms import StopForm
from agentops.pages import page_context
from agentops.runs.api import clean


@require_http_methods(["GET", "HEAD", "POST"])
def stops(request: HttpRequest) -> HttpResponseBase:
    """What is stopped, and a form, filled in as far as the address says; a POST stops."""
    if request.method == "POST":
        return _stop(request)
    asked = {name: clean(request.GET.get(name, "")) for name in ("what", "value", "reason")}
    return _page(request, StopForm(initial=asked))


@require_role(actions.STOPS)
def _stop(request: HttpRequest) -> HttpResponse:
    form = StopForm(request.POST)
    if form.is_valid():
        try:
            thrown = actions.stop(**form.cleaned_data, by=who(request))
        except UnsoundStop as error:
            form.add_error("value", str(error))
        else:
            messages.success(request, f"Stopped: the very next step of {thrown.what} {thrown.value} is refused.")
            return redirect("guard:stops")
    return _page(request, form, status=422)


@require_POST
@require_role(actions.STOPS)
def lift(request: HttpRequest, pk: int) -> HttpResponse:
    """Let go on what was stopped."""
    thrown = get_object_or_404(Stop, pk=pk)
    actions.lift(thrown=thrown, by=who(request), reason=request.POST.get("reason", ""))
    messages.success(request, f"Lifted: the {thrown.what} {thrown.value} is let through again.")
    return redirect("guard:stops")


def _page(request: HttpRequest, form: StopForm, *, status: int = 200) -> HttpResponse:
    active = queries.list_stops()
    refused = queries.refused_by_stops([one.pk for one in active])
    context = page_context(request) | {
        "form": form,
        "services": list_names(),
        "active": [(one, refused.get(one.pk)) for one in active],
        "refusals": queries.list_refusals(cause="kill_switch", limit=15),
        "lifted": queries.list_stops(active=False, limit=30),
        "may_stop": has_role(request.user, actions.STOPS),
    }
    part = "#stops" if request.headers.get("HX-Request") else ""
    return render(request, f"guard/stops.html{part}", context, status=status)
