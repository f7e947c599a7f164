"""The first page: is something wrong, what does it cost, who has it."""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.accounts.models import Role
from agentops.accounts.roles import has_role
from agentops.alerts.queries import AlertFilters, count_by_state, count_firing, list_urgent
from agentops.alerts.views import with_owners
from agentops.costs import charts
from agentops.costs import queries as costs
from agentops.costs.forms import sensible, usual_interval
from agentops.costs.sources import By, SpendFilters
from agentops.dashboard import figures
from agentops.domain.alerting import State
from agentops.pages import page_context
from agentops.runs.queries import RunFilters, list_runs

#: Lines of the list of what costs most.
TOP = 7
#: Alerts that are shown of those that fire.
FIRING = 5
TABS: dict[str, By | None] = {"runs": None, "users": "user", "features": "feature"}
REGIONS = ("tiles", "services", "top", "firing")


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """The page, or the region that htmx names as its target: tiles, services, top, firing."""
    context = page_context(request)
    part = request.headers.get("HX-Target", "") if request.headers.get("HX-Request") else ""
    environment, now = context["environment"], context["now"]
    from_, until = sensible(context["window"])
    if part in ("", "tiles", "services"):
        context["flight"], flying = figures.flights(environment, from_, until)
    if part in ("", "tiles"):
        context["money"] = figures.money(environment, now=now)
        context["pulse"] = figures.pulse(environment, now=now)
    if part in ("", "services"):
        context["lines"] = figures.service_lines(environment, from_, until, flying, now=now)
    if part in ("", "top"):
        context |= _top(request, context)
    if part in ("", "firing"):
        context |= _firing(request, environment)
    if not part:
        parameters = request.GET.urlencode()
        context["interval"] = usual_interval(until - from_)
        context["chart_url"] = reverse("dashboard:spend_chart") + (f"?{parameters}" if parameters else "")
    return render(request, f"dashboard/overview.html#{part}" if part in REGIONS else "dashboard/overview.html", context)


def _firing(request: HttpRequest, environment: str) -> dict[str, Any]:
    """What fires now, the most severe and expensive first."""
    found = list_urgent(AlertFilters(state=State.FIRING, environment=environment), limit=FIRING)
    still_open = {} if found else count_by_state(AlertFilters(environment=environment))
    return {
        "firing": with_owners(found),
        "firing_total": count_firing(environment=environment).total,
        "taken_on": still_open.get(State.ACKNOWLEDGED, 0),
        "silenced": still_open.get(State.SILENCED, 0),
        "may_move": has_role(request.user, Role.RESPONDER),
    }


def _top(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    tab = request.GET.get("top", "")
    tab = tab if tab in TABS else "runs"
    from_, until = sensible(context["window"])
    by = TABS[tab]
    filters = SpendFilters(environment=context["environment"])
    found: dict[str, Any] = {"tab": tab, "tabs": TABS}
    if by is None:
        asked = RunFilters(environment=filters.environment, from_=from_, until=until)
        runs = list_runs(asked, sort="-cost", limit=TOP).runs
        most = max((run.priced_nano for run in runs), default=0) or 1
        found["runs"] = [(run, 100 * run.priced_nano / most) for run in runs]
    else:
        # One more, because what has no user is not listed.
        items = costs.spend(by, filters, from_, until, limit=TOP + 1).items
        items = [item for item in items if item.key is not None][:TOP]
        most = max((item.totals.cost_nano for item in items), default=0) or 1
        found["items"] = [(item, 100 * item.totals.cost_nano / most) for item in items]
    total = costs.spend("environment", filters, from_, until).total
    coverage = costs.coverage(filters, from_, until, total.cost_nano)
    found["coverage"] = coverage
    found["featureless_nano"] = round((1 - coverage.feature) * total.cost_nano) if coverage.feature is not None else 0
    return found


@require_safe
def spend_chart(request: HttpRequest) -> JsonResponse:
    """Spend by service over the window."""
    context = page_context(request)
    from_, until = sensible(context["window"])
    filters = SpendFilters(environment=context["environment"])
    interval = usual_interval(until - from_)
    report = costs.spend("service", filters, from_, until, interval=interval, limit=charts.NAMED)
    # A line between two days would say that the day which has just begun fell to nothing.
    shape: Literal["area", "bars"] = "area" if interval == "hour" else "bars"
    return JsonResponse(charts.stacked(report.series, from_, until, interval, by="service", shape=shape))
