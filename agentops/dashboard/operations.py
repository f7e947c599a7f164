"""The operations page: what the product knows of itself."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from agentops.accounts.models import Role
from agentops.accounts.roles import has_role, require_role
from agentops.costs import queries
from agentops.dashboard import health, insight
from agentops.domain.periods import DAY, HOUR
from agentops.ingest.models import Heartbeat
from agentops.pages import page_context
from agentops.templatetags.formats import bytesize, count
from agentops.watch import aside

#: Services with too many values that are named.
LISTED = 10


@require_safe
def operations(request: HttpRequest) -> HttpResponse:
    """The page, or its numbers alone for htmx."""
    context = page_context(request)
    now = context["now"]
    totals = insight.sum_ingest(since=now - HOUR)
    context |= {
        "parts": health.parts(),
        "heartbeats": Heartbeat.objects.order_by("name"),
        "late_before": now - timedelta(seconds=health.HEARTBEAT_LATE_SECONDS),
        "totals": totals,
        "received": f"{count(totals.requests)} requests · {bytesize(totals.bytes)}",
        "services": insight.list_ingest(since=now - HOUR),
        "minutes": insight.accepted_by_minute(now=now),
        "too_many": queries.booked_under_other(now - DAY, now)[:LISTED],
        "quarantine": insight.quarantine(now=now),
        "quarantined": insight.list_quarantined(),
        "books": insight.last_reconciliation(),
        "database_bytes": insight.database_bytes(),
        "last_event": insight.last_event(),
        "watch": aside.work(now=now),
        "set_aside": aside.list_set_aside(),
        "may_retry": has_role(request.user, Role.ADMIN),
    }
    template = "dashboard/operations.html#numbers" if request.headers.get("HX-Request") else "dashboard/operations.html"
    return render(request, template, context)


@require_POST
@require_role(Role.ADMIN)
def watch_again(request: HttpRequest) -> HttpResponse:
    """Let the watch try again what it could not judge."""
    tried = aside.try_again()
    messages.success(request, f"{count(tried)} set aside before are tried again now.")
    return redirect("dashboard:operations")
