"""The page of silences: what is quiet, until when, and why."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from agentops.accounts.models import Role
from agentops.accounts.roles import require_role, who
from agentops.alerts import actions, queries
from agentops.alerts.forms import SilenceForm, prefilled
from agentops.alerts.models import Silence
from agentops.alerts.queries import AlertFilters
from agentops.alerts.views import alerts_context
from agentops.domain.alerting import KINDS, SEVERITIES, UnsoundMatchers, UnsoundMoment


@require_http_methods(["GET", "HEAD", "POST"])
def silences(request: HttpRequest) -> HttpResponseBase:
    """The silences, and a form for another one, filled in as far as the address says."""
    return create(request) if request.method == "POST" else _page(request, SilenceForm(initial=prefilled(request.GET)))


@require_role(Role.RESPONDER)
def create(request: HttpRequest) -> HttpResponse:
    """Make a silence."""
    form, now = SilenceForm(request.POST), timezone.now()
    if form.is_valid():
        try:
            silence = actions.create_silence(
                matchers=form.matchers,
                ends_at=form.ends_at(now),
                comment=form.cleaned_data["comment"],
                by=who(request),
                now=now,
            )
        except (UnsoundMatchers, UnsoundMoment) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Silence #{silence.pk} is in force until {silence.ends_at:%d %b %H:%M} UTC.")
            return redirect("alerts:silences")
    return _page(request, form, status=422)


@require_POST
@require_role(Role.RESPONDER)
def end(request: HttpRequest, pk: int) -> HttpResponse:
    """End a silence before its time."""
    silence = get_object_or_404(Silence, pk=pk)
    actions.end_silence(silence=silence, by=who(request), now=timezone.now())
    messages.success(request, f"Silence #{pk} is over. What it kept quiet fires again.")
    return redirect("alerts:silences")


def _page(request: HttpRequest, form: SilenceForm, *, status: int = 200) -> HttpResponse:
    now = timezone.now()
    coming, over = queries.list_silences(now=now)
    context = alerts_context(request) | {"form": form, "coming": coming, "over": over}
    context |= {"kinds": KINDS, "severities": SEVERITIES, "services": queries.services_of(AlertFilters())}
    is_region = bool(request.headers.get("HX-Request"))
    name = "alerts/silences.html#silences" if is_region else "alerts/silences.html"
    return render(request, name, context, status=status)
