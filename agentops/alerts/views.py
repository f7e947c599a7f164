"""The pages of alerts: the inbox, one alert, and what is done to them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agentops.accounts.models import Role, User
from agentops.accounts.roles import has_role, require_role, who
from agentops.alerts import actions, queries, words
from agentops.alerts.actions import NotAllowed, Outcome
from agentops.alerts.forms import SNOOZES, TABS, Asked, MoveForm, NoteForm, read_ids, read_inbox, write_cursor
from agentops.alerts.models import Alert
from agentops.alerts.moves import CHANGES
from agentops.catalog.queries import ownership
from agentops.domain.alerting import KINDS, SEVERITIES, Severity, State
from agentops.pages import page_context
from agentops.runs.api import clean

#: Alerts of the inbox that are shown at once; of what is resolved, those of one page.
SHOWN = 200
PAGE_SIZE = 50
#: Steps of the evidence that are listed; the run has them all.
SHOWN_STEPS = 60
GROUPS = {Severity.PAGE: "Pages", Severity.WARN: "Warnings"}


def alerts_context(request: HttpRequest) -> dict[str, Any]:
    """What every page of alerts needs."""
    may_move = has_role(request.user, Role.RESPONDER)
    return page_context(request) | {
        "may_move": may_move,
        "snoozes": [(name, said) for name, (said, _) in SNOOZES.items()],
    }


@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """What is wrong, the most severe first; the region alone for htmx."""
    context = alerts_context(request)
    asked = read_inbox(request.GET, context["page"])
    context |= {"asked": asked} | _shown(asked)
    counts = queries.count_by_state(asked.filters)
    shown = {state: "1,000+" if number == queries.MAX_COUNTED else f"{number:,}" for state, number in counts.items()}
    context["tabs"] = [(name, said, shown[state]) for name, (said, state) in TABS.items()]
    if asked.filters.environment and not asked.tab:
        everywhere = queries.count_by_state(replace(asked.filters, environment=""))
        context["elsewhere"] = everywhere[State.FIRING] - counts[State.FIRING]
    if request.headers.get("HX-Request"):
        return render(request, "alerts/inbox.html#inbox", context)
    offered = {"services": queries.services_of(asked.filters), "kinds": KINDS, "severities": [*reversed(SEVERITIES)]}
    return render(request, "alerts/inbox.html", context | offered)


def _shown(asked: Asked) -> dict[str, Any]:
    """The alerts of a tab: open ones by severity, resolved ones by age."""
    if asked.filters.state == State.RESOLVED:
        page = queries.list_alerts(asked.filters, after=asked.after, limit=PAGE_SIZE)
        groups = [("Resolved", with_owners(page.alerts))] if page.alerts else []
        return {"groups": groups, "next_cursor": write_cursor(page.next_id), "shown": len(page.alerts)}
    found = queries.list_urgent(asked.filters, limit=SHOWN)
    lines = with_owners(found)
    by_severity = {severity: [line for line in lines if line[0].severity == severity] for severity in GROUPS}
    return {
        "groups": [(GROUPS[severity], group) for severity, group in by_severity.items() if group],
        "is_cut": len(found) == SHOWN,
        "shown": len(found),
    }


def with_owners(alerts: list[Alert]) -> list[tuple[Alert, str]]:
    """Alerts, each with who answers for its service, in words; empty for nobody."""
    owners = ownership()
    return [(alert, owner.words if (owner := owners.get(alert.service)) else "") for alert in alerts]


@require_safe
def badge(request: HttpRequest) -> HttpResponse:
    """How many alerts fire, for the navigation of every page."""
    return render(request, "components/alert_badge.html", {"firing": queries.count_firing()})


@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One alert with its evidence and its story; the region alone for htmx."""
    story = queries.story(pk)
    if story is None:
        message = "There is no such alert."
        raise Http404(message)
    alert, now = story.alert, timezone.now()
    steps = words.steps(alert)
    context = alerts_context(request) | {
        "alert": alert,
        "lasting": words.lasting(alert),
        "owner": ownership().get(alert.service),
        "silence": queries.silence_of(alert.labels, now=now) if alert.state == State.SILENCED else None,
        "facts": words.facts(alert),
        "steps": steps[:SHOWN_STEPS],
        "steps_total": len(steps),
        "runs": words.runs(alert),
        "taken_in": story.taken_in,
        "first_span": words.span_id(alert, "first_span_id"),
        "detected_span": words.span_id(alert, "detected_span_id"),
        "paged_span": words.span_id(alert, "paged_span_id"),
        "since": words.since(alert),
        "happenings": words.happenings(story.entries),
        "note_form": NoteForm(),
    }
    is_region = bool(request.headers.get("HX-Request"))
    return render(request, "alerts/detail.html#alert" if is_region else "alerts/detail.html", context)


@require_safe
def of_run(request: HttpRequest, trace_id: str) -> HttpResponse:
    """A region: who has the open alert of a run, or of its ``session``, and what one may do with it; or nothing."""
    asked = {name: clean(request.GET.get(name, "")) for name in ("kind", "service", "session")}
    alert = queries.open_of_run(**asked, run=bytes.fromhex(trace_id))
    if alert is None:
        return HttpResponse()
    silence = queries.silence_of(alert.labels, now=timezone.now()) if alert.state == State.SILENCED else None
    return render(request, "alerts/of_run.html", alerts_context(request) | {"alert": alert, "silence": silence})


@require_POST
@require_role(Role.RESPONDER)
def move(request: HttpRequest, pk: int) -> HttpResponse:
    """Move one alert as the form says."""
    alert, form = _find(pk), MoveForm(request.POST)
    back = reverse("alerts:detail", args=[pk])
    if not form.is_valid():
        return _answer(request, "That is nothing an alert can do.", "warning", back)
    outcome = _try(alert, form, who(request))
    if isinstance(outcome, NotAllowed):
        return _answer(request, str(outcome), "warning", back)
    return _answer(request, f"Alert #{pk} is {CHANGES[form.asked(timezone.now())['move']]}.", "good", back)


def _try(alert: Alert, form: MoveForm, by: User) -> Alert | NotAllowed:
    now = timezone.now()
    asked = form.asked(now)
    act, more = getattr(actions, asked["move"].value), {}
    if asked["until"] is not None:
        more["until"] = asked["until"]
    try:
        moved: Alert = act(alert=alert, by=by, now=now, **more)
    except NotAllowed as error:
        return error
    return moved


@require_POST
@require_role(Role.RESPONDER)
def move_picked(request: HttpRequest) -> HttpResponse:
    """Move all that were picked in the inbox."""
    form, ids = MoveForm(request.POST), read_ids(request.POST)
    back = reverse("alerts:inbox")
    if not form.is_valid() or not ids:
        return _answer(request, "Pick alerts first.", "warning", back)
    now = timezone.now()
    asked = form.asked(now)
    outcome = actions.move_all(ids=ids, by=who(request), now=now, **asked)
    text = _said(outcome, CHANGES[asked["move"]])
    return _answer(request, text, "warning" if outcome.refused else "good", back)


def _said(outcome: Outcome, change: str) -> str:
    done, refused = len(outcome.moved), len(outcome.refused)
    text = f"{done:,} alert{'' if done == 1 else 's'} {change}."
    return f"{text} {refused:,} {'was' if refused == 1 else 'were'} moved by somebody else before." if refused else text


@require_POST
@require_role(Role.RESPONDER)
def add_note(request: HttpRequest, pk: int) -> HttpResponse:
    """Write something about an alert."""
    alert, form = _find(pk), NoteForm(request.POST)
    if form.is_valid():
        actions.add_note(alert=alert, text=form.cleaned_data["text"], by=who(request), now=timezone.now())
    else:
        messages.error(request, "A note needs words, and at most 10,000 characters.")
    return redirect(f"{reverse('alerts:detail', args=[pk])}#timeline")


def _find(pk: int) -> Alert:
    alert = queries.find(pk)
    if alert is None:
        message = "There is no such alert."
        raise Http404(message)
    return alert


def _answer(request: HttpRequest, text: str, tone: str, back: str) -> HttpResponse:
    """What happened, in words: as a toast, or on the page that one is led back to."""
    if request.headers.get("HX-Request"):
        # The event of the change comes over the websocket as well, if there is one just now.
        trigger = {"toast": {"text": text, "tone": tone}, "live:alerts": {}}
        return HttpResponse(status=204, headers={"HX-Trigger": json.dumps(trigger)})
    messages.add_message(request, messages.SUCCESS if tone == "good" else messages.WARNING, text)
    return redirect(back)
