"""What other pages show of ceilings: the fullest, and those that a run is under."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from agentops.accounts.roles import has_role
from agentops.budgets import actions
from agentops.budgets.store import windows_of
from agentops.domain.budgets import Facts, title_of
from agentops.domain.spans import DEFAULT_ENVIRONMENT
from agentops.guard import queries
from agentops.guard.shown import shown, title
from agentops.runs.api import clean

#: Ceilings that the overview shows, and that a run's page does.
BRIEF, OF_RUN = 4, 6


@require_safe
def brief(request: HttpRequest) -> HttpResponse:
    """The fullest ceilings."""
    now = timezone.now()
    rows = [row for row in queries.list_budgets(queries.current(), now=now, include_off=False) if row.worst is not None]
    rows.sort(key=lambda row: -(row.worst.share if row.worst else 0.0))
    lines = [
        (row, title(row.budget, row.rules), shown(row.worst, queries.pace(row.worst, now=now)))
        for row in rows[:BRIEF]
        if row.worst is not None
    ]
    context = {"lines": lines, "total": len(rows)}
    return render(request, "guard/brief.html", context)


@require_safe
def stopped(request: HttpRequest) -> HttpResponse:
    """What is stopped, for the head of every page."""
    return render(request, "components/stopped.html", {"stopped": queries.list_stops()})


@require_safe
def of_run(request: HttpRequest, trace_id: str) -> HttpResponse:
    """The ceilings that count a run, with what may be stopped of it."""
    asked = {name: clean(request.GET.get(name, "")) for name in ("service", "session", "user", "feature")}
    environment = clean(request.GET.get("environment", "")) or DEFAULT_ENVIRONMENT
    facts = Facts(environment=environment, run=trace_id.lower(), **asked)
    held, now = queries.current(), timezone.now()
    windows = [
        (budget, key) for budget, key in windows_of(held, facts, now) if held.replaced.holds(budget, facts.service, now)
    ]
    # What is this run's own, or its session's, comes first.
    windows.sort(key=lambda pair: (not pair[0].parts, pair[0].id))
    lines = [
        (one.position.budget, title_of(one.position.budget), shown(one))
        for one in queries.list_standings(windows[:OF_RUN], now=now)
    ]
    context: dict[str, Any] = {
        "lines": lines,
        "halts": held.halts_of(facts),
        "trace_id": trace_id,
        "session": facts.session,
        "may_stop": has_role(request.user, actions.STOPS),
    }
    return render(request, "guard/of_run.html", context)
