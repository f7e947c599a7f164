"""The first page: is something wrong, what does it cost, who has it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.costs import charts
from agentops.costs import queries as costs
from agentops.costs.queries import SpendFilters
from agentops.dashboard import figures
from agentops.pages import page_context
from agentops.runs.queries import RunFilters, list_runs

TOP = 6
TABS = ("runs", "users", "features")


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """The page, or one of its regions by ``part``: tiles, services, top."""
    context = page_context(request)
    part = request.GET.get("part", "") if request.headers.get("HX-Request") else ""
    environment, window, now = context["environment"], context["window"], context["now"]
    if part in ("", "tiles", "services"):
        flight, lines = figures.services(environment, window.from_, window.until)
        context |= {"flight": flight, "lines": lines}
    if part in ("", "tiles"):
        context["money"] = figures.money(environment, now=now)
    if part in ("", "top"):
        context |= _top(request, context)
    context["chart_url"] = f"{reverse('dashboard:spend_chart')}?{request.GET.urlencode()}"
    template = f"dashboard/overview.html#{part}" if part in ("tiles", "services", "top") else "dashboard/overview.html"
    return render(request, template, context)


def _top(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    tab = request.GET.get("top", "runs")
    tab = tab if tab in TABS else "runs"
    environment, window = context["environment"], context["window"]
    found: dict[str, Any] = {"tab": tab, "tabs": TABS}
    if tab == "runs":
        filters = RunFilters(environment=environment, from_=window.from_, until=window.until)
        runs = list_runs(filters, sort="-cost", limit=TOP).runs
        most = max((run.priced_nano for run in runs), default=0) or 1
        found["runs"] = [(run, round(100 * run.priced_nano / most, 1)) for run in runs]
    else:
        report = costs.spend(tab[:-1], SpendFilters(environment=environment), window.from_, window.until, limit=TOP + 1)
        items = [item for item in report.items if item.key is not None][:TOP]
        most = max((item.totals.cost_nano for item in items), default=0) or 1
        found["items"] = [(item, round(100 * item.totals.cost_nano / most, 1)) for item in items]
    found["coverage"] = costs.coverage(SpendFilters(environment=environment), window.from_, window.until)
    return found


@require_safe
def spend_chart(request: HttpRequest) -> JsonResponse:
    """Spend by service over the window."""
    context = page_context(request)
    window = context["window"]
    filters = SpendFilters(environment=context["environment"])
    report = costs.spend("service", filters, window.from_, window.until, interval=window.interval)
    return JsonResponse(charts.stacked(report.series, window.from_, window.until, window.interval, by="service"))
