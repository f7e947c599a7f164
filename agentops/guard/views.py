"""The pages of ceilings: all of them, one with its windows and its record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agentops.accounts.roles import has_role, require_role, who
from agentops.budgets import actions
from agentops.budgets.actions import UnsoundRaise
from agentops.budgets.models import Budget, Raise
from agentops.domain.budgets import ALWAYS, CALENDAR, JOIN, Period, Unit, member_words
from agentops.domain.budgets import Budget as Rules
from agentops.guard import charts, coverage, queries
from agentops.guard.forms import RaiseForm
from agentops.guard.queries import Row, Standing
from agentops.guard.shown import differences, overshoot, passed_words, raise_words, scope_line, shown, state_of, title
from agentops.pages import page_context
from agentops.runs.api import clean, parse_moment, usd
from agentops.sheets import csv_file, safe_cell

STATES = ("over", "burning", "off")
DEFAULT_SORT = "-share"
MEMBERS_A_PAGE, REFUSALS_SHOWN = 20, 12


@require_safe
def budget_list(request: HttpRequest) -> HttpResponseBase:
    """Every ceiling, as page, region or CSV."""
    now = timezone.now()
    service, period, action, state = (
        clean(request.GET.get(name, "")) for name in ("service", "period", "action", "state")
    )
    held = queries.current()
    found = queries.list_budgets(held, now=now, service=service)
    uncovered = coverage.uncovered((row.rules for row in found), held, now=now)
    lines = [_line(row, now, uncovered.get(row.budget.pk)) for row in found]
    rows = [
        line
        for line in lines
        if (not period or line["rules"].period.value == period)
        and (not action or line["rules"].action.value == action)
        and (not state or line["state"] == state)
    ]
    _sort(rows, request.GET.get("sort", DEFAULT_SORT))
    if request.GET.get("format") == "csv":
        return _csv(request, rows)
    context = page_context(request) | {
        "rows": rows,
        "tiles": _tiles(lines),
        "refusals": queries.list_refusals(limit=8),
        "reconciliation": queries.latest_reconciliation(),
        "asked": {"service": service, "period": period, "action": action, "state": state},
        "periods": [one.value for one in Period],
        "states": STATES,
        "sort": DEFAULT_SORT,
        "may_write": has_role(request.user, actions.WRITES),
    }
    part = "#budgets" if request.headers.get("HX-Request") else ""
    return render(request, f"guard/budgets.html{part}", context)


def _line(row: Row, now: datetime, uncovered: float | None) -> dict[str, Any]:
    found = None if row.worst is None else shown(row.worst, queries.pace(row.worst, now=now))
    return {
        "budget": row.budget,
        "rules": row.rules,
        "title": title(row.budget, row.rules),
        "scope": scope_line(row.rules),
        "shown": found,
        "row": row,
        "state": state_of(row, found),
        "overshoot": overshoot(row.rules),
        "uncovered": uncovered,
        "each": row.rules.parts[0].value if row.rules.parts else "",
    }


def _tiles(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    lines = [line for line in rows if line["state"] != "off"]
    refused, avoided = queries.refused_lately()
    return {
        "ceilings": len(lines),
        "over": sum(line["state"] == "over" for line in lines),
        "burning": sum(line["state"] == "burning" for line in lines),
        "refused": refused,
        "avoided": avoided,
    }


_ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "share": lambda line: line["shown"].found.share if line["shown"] else 0.0,
    "name": lambda line: line["title"].lower(),
    "burn": lambda line: (line["shown"] and line["shown"].rate) or 0.0,
    "refused": lambda line: (line["row"].refused_nano, line["row"].refused),
}


def _sort(lines: list[dict[str, Any]], asked: str) -> None:
    """As asked, the fullest first by default; what is off comes last."""
    order = _ORDERS.get(asked.removeprefix("-"), _ORDERS["share"])
    lines.sort(key=order, reverse=asked.startswith("-") or asked not in _ORDERS)
    lines.sort(key=lambda line: line["state"] == "off")


def _csv(request: HttpRequest, rows: Iterable[dict[str, Any]]) -> StreamingHttpResponse:
    header = (
        "budget", "name", "scope", "period", "action", "member", "unit", "limit", "spent", "reserved", "remaining",
        "resets_at", "members", "over", "refused", "refused_usd", "set_by",
    )  # fmt: skip

    def lines() -> Iterable[tuple[Any, ...]]:
        for line in rows:
            found, row = line["shown"], line["row"]
            numbers: tuple[Any, ...] = ("", "", "", "", "", "", "")
            if found is not None:
                one = found.found
                amounts = (one.limit, one.spent, one.reserved, one.remaining)
                texts = (usd(amount) if one.unit is Unit.USD else amount for amount in amounts)
                ends = one.position.ends_at
                numbers = (safe_cell(found.whose), one.unit.value, *texts, ends.isoformat() if ends else "")
            yield (
                row.budget.pk,
                safe_cell(line["title"]),
                safe_cell(line["scope"]),
                line["rules"].period.value,
                line["rules"].action.value,
                *numbers,
                row.members,
                row.over,
                row.refused,
                usd(row.refused_nano),
                safe_cell(line["rules"].set_by),
            )

    return csv_file(request, "budgets.csv", header, lines())


@require_safe
def budget_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One ceiling: a window of it, the others, what it stopped, and who decided what."""
    return _page(request, _get(pk))


def _page(request: HttpRequest, budget: Budget, form: RaiseForm | None = None, *, status: int = 200) -> HttpResponse:
    now, held, is_region = timezone.now(), queries.current(), bool(request.headers.get("HX-Request"))
    rules = queries.rules_of(budget, held)
    member, start = _member(request, rules), _start(request, rules, now)
    offset, search = _offset(request), clean(request.GET.get("q", ""))
    members: list[Standing] = []
    if rules.parts and not (is_region and member):
        members = queries.list_members(rules, now=now, search=search, limit=MEMBERS_A_PAGE + 1, offset=offset)
        member = member or (members[0].position.member if members else "")
    found = queries.standing(rules, member, now=now, start=start)
    history = queries.list_latest(found, now=now)
    raises = list(Raise.objects.filter(budget=budget).select_related("raised_by", "ended_by")[:20])
    context = page_context(request) | {
        "budget": budget,
        "rules": rules,
        "scope": scope_line(rules),
        "uncovered": coverage.uncovered([rules], held, now=now).get(rules.id),
        "shown": shown(found, queries.pace(found, now=now, history=history)),
        "start": start,
        "raised": [(one, raise_words(one)) for one in raises if _is_in_force(one, member, now)],
    }
    if is_region:
        return render(request, "guard/budget.html#standing", context, status=status)
    context |= {
        "title": title(budget, rules),
        "member": member,
        "chart": urlencode({"member": member} | ({"start": start.isoformat()} if start else {})),
        "has_course": rules.period in CALENDAR or not rules.parts,
        "members": [shown(one) for one in members[:MEMBERS_A_PAGE]],
        "less": max(offset - MEMBERS_A_PAGE, 0) if offset else None,
        "more": offset + MEMBERS_A_PAGE if len(members) > MEMBERS_A_PAGE else None,
        "search": search,
        "history": history,
        "refusals": queries.list_refusals(cause="budget", cause_id=budget.pk, limit=REFUSALS_SHOWN),
        "changes": [(one, differences(one)) for one in queries.list_changes(budget=budget, limit=50)],
        "raises": [(one, raise_words(one), member_words(rules, one.member)) for one in raises],
        "form": form or RaiseForm(initial={"until": now + timedelta(hours=4), "member": member}),
        "may_write": has_role(request.user, actions.WRITES),
    }
    return render(request, "guard/budget.html", context, status=status)


def _is_in_force(raised: Raise, member: str, now: datetime) -> bool:
    return raised.ended_at is None and now < raised.until and raised.member in ("", member)


@require_safe
def budget_chart(request: HttpRequest, pk: int, which: str) -> JsonResponse:
    """The course of a window, or the windows of a member one after the other."""
    budget, now = _get(pk), timezone.now()
    rules = queries.rules_of(budget, queries.current())
    member, start, zone = _member(request, rules), _start(request, rules, now), ZoneInfo(rules.zone)
    found = queries.standing(rules, member, now=now, start=start)
    if which == "history":
        windows = queries.list_history(rules, member, now=now)
        limit = found.position.limits[list(Unit).index(found.unit)]
        return JsonResponse(charts.history(windows, found.unit, limit, zone, member))
    pace = queries.pace(found, now=now, history=queries.list_latest(found, now=now))
    return JsonResponse(charts.course(found, pace, now=now, zone=zone))


@require_safe
def passed_by(request: HttpRequest, pk: int) -> HttpResponse:
    """A region: what got past a ceiling in a window, as far as that can be told."""
    budget, now = _get(pk), timezone.now()
    rules = queries.rules_of(budget, queries.current())
    found = queries.standing(rules, _member(request, rules), now=now, start=_start(request, rules, now))
    passed = coverage.passed(found, now=now)
    context = {"parts": passed_words(found, passed) if passed else None, "overshoot": overshoot(rules)}
    return render(request, "guard/passed.html", context)


@require_POST
@require_role(actions.WRITES)
def raise_limit(request: HttpRequest, pk: int) -> HttpResponse:
    """Raise the limits of a ceiling, or of one member's, for some time."""
    budget, form = _get(pk), RaiseForm(request.POST)
    if not form.is_valid():
        return _page(request, budget, form, status=422)
    data = form.cleaned_data
    try:
        raised = actions.raise_limit(
            budget=budget,
            extra=form.extra(),
            until=data["until"],
            reason=data["reason"],
            by=who(request),
            member=data["member"] if "for_member" in request.POST else "",
        )
    except UnsoundRaise as error:
        form.add_error(None, str(error))
        return _page(request, budget, form, status=422)
    messages.success(request, f"Raised until {raised.until:%d %b %H:%M} UTC. It binds the very next step.")
    return redirect("guard:budget", pk)


@require_POST
@require_role(actions.WRITES)
def end_raise(request: HttpRequest, pk: int, raise_pk: int) -> HttpResponse:
    """End a raise before its time."""
    raised = get_object_or_404(Raise, pk=raise_pk, budget_id=pk)
    actions.end_raise(raised=raised, by=who(request))
    messages.success(request, "The raise is over: the limit is as it was.")
    return redirect("guard:budget", pk)


def _get(pk: int) -> Budget:
    return get_object_or_404(Budget.objects.select_related("created_by"), pk=pk)


def _member(request: HttpRequest, rules: Rules) -> str:
    asked = request.GET.get("member", "").replace("\0", "")[:2_000]
    return asked if rules.parts and len(asked.split(JOIN)) == len(rules.parts) else ""


def _start(request: HttpRequest, rules: Rules, now: datetime) -> datetime | None:
    """When the window begins that the address asks for; ``None`` for the present one. None begins later than now."""
    message = "There is no such window."
    try:
        moment = parse_moment(request.GET.get("start"))
    except ValueError:
        raise Http404(message) from None
    if moment is None or rules.period not in CALENDAR:
        return None
    if not ALWAYS <= moment <= now:
        raise Http404(message)
    return rules.window(moment)[0]


def _offset(request: HttpRequest) -> int:
    asked = request.GET.get("offset", "0")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 0
