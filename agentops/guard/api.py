"""Budgets, the guard and the kill switch over ``/api/v1``: shapes of the public contract.

The guard's own two calls are answered in front of Django (``entrance``), by the same desk as here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status
from ninja.errors import HttpError

from agentops.accounts.actions import authenticate_ingest_key
from agentops.accounts.roles import require
from agentops.budgets import actions
from agentops.budgets.actions import UnsoundRaise, UnsoundStop
from agentops.budgets.definitions import DEFAULT_THRESHOLDS, NARROWED, Definition, UnsoundBudget, definition_of
from agentops.budgets.models import Budget, Change, Raise, Stop
from agentops.domain.budgets import JOIN, Action, Amounts, Each, Period
from agentops.guard import queries
from agentops.guard.desk import Desk, check_of, settlement_of
from agentops.guard.queries import Standing
from agentops.guard.shapes import (
    CheckIn,
    CheckOut,
    Name,
    SettleIn,
    SettleOut,
    Usd,
    amount_text,
)
from agentops.ingest.answers import Refused
from agentops.ingest.gate import key_of
from agentops.pages import MAX_ID
from agentops.runs.api import AskedMoment, Moment, Text, usd

router = Router(tags=["budgets"])
guard = Router(tags=["guard"])
MAX_LIMIT = 1_000
BudgetId = Annotated[int, Field(ge=1, le=MAX_ID)]
UnitName = Literal["usd", "tokens", "steps"]


class ScopeShape(Schema):
    """What a budget counts: all that fits everything named."""

    service: Text | None = None
    services: list[Text] | None = Field(None, description="Several that share it.")
    team: Text | None = None
    feature: Text | None = None
    user: Text | None = None
    session: Text | None = None
    run: Text | None = Field(None, description="A trace id.")
    environment: Text | None = Field(None, description="Without one, all but shadow and eval.")


class BudgetIn(Schema):
    """A budget to be made."""

    name: Text = ""
    scope: ScopeShape | None = None
    each: Each | None = None
    period: Period
    timezone: Text = "UTC"
    limit_usd: Usd | None = None
    limit_tokens: Annotated[int, Field(ge=0, le=10**15)] | None = None
    limit_steps: Annotated[int, Field(ge=0, le=10**15)] | None = None
    thresholds: tuple[float, ...] = DEFAULT_THRESHOLDS
    action: Action = Action.STOP
    final_answer_usd: Usd = Field(0, description="Of the limit, kept for final answers.")
    effective_from: AskedMoment = Field(None, description="Now, unless it says otherwise.")
    count_past: bool = Field(False, description="Whether spend from before it was made counts.")
    expires_at: AskedMoment = None
    note: Text = ""


class BudgetPatch(Schema):
    """What is to be another; what is left out stays as it is."""

    name: Text | None = None
    scope: ScopeShape | None = None
    each: Each | None = None
    period: Period | None = None
    timezone: Text | None = None
    limit_usd: Usd | None = None
    limit_tokens: Annotated[int, Field(ge=0, le=10**15)] | None = None
    limit_steps: Annotated[int, Field(ge=0, le=10**15)] | None = None
    thresholds: list[float] | None = None
    action: Action | None = None
    final_answer_usd: Usd | None = None
    effective_from: AskedMoment = None
    count_past: bool = False
    expires_at: AskedMoment = None
    note: Text | None = None
    off: bool | None = Field(None, description="Off: it counts nothing and stops nobody.")
    reason: Text = Field("", description="Why, for the record.")


class BudgetOut(Schema):
    """A budget."""

    id: int
    name: str
    scope: ScopeShape
    each: Each | None
    period: Period
    timezone: str
    limit_usd: str | None
    limit_tokens: int | None
    limit_steps: int | None
    thresholds: list[float]
    action: Action
    final_answer_usd: str
    effective_from: Moment
    counts_from: Moment
    expires_at: Moment | None
    note: str
    default: bool = Field(description="It holds where a service has no ceiling of its own of this kind.")
    off: bool
    created_at: Moment
    created_by: str | None
    version: int


class BudgetList(Schema):
    """Every budget."""

    items: list[BudgetOut]


class ForecastOut(Schema):
    """What will have been spent at the window's end: four of five windows end between low and high."""

    expected: str
    low: str
    high: str
    exhausted_at: Moment | None


class StandingOut(Schema):
    """Where a window stands, in the unit of its tightest limit. Amounts are decimal strings."""

    budget: int
    member: str | None
    unit: UnitName
    limit: str
    spent: str
    reserved: str
    remaining: str
    starts_at: Moment | None
    resets_at: Moment | None
    burn_rate: float | None = Field(description="1.0 uses up exactly the limit by the end of the window.")
    forecast: ForecastOut | None
    refused: int
    refused_usd: str = Field(description="What refused steps would have cost, each step of a run once a minute.")


class StandingList(Schema):
    """Windows of a budget."""

    items: list[StandingOut]


class MemberQuery(Schema):
    """Which member of a budget that has a window for each."""

    user: Text = ""
    feature: Text = ""
    session: Text = ""
    run: Text = ""


class RaiseIn(MemberQuery):
    """Limits raised until a moment; of one member alone where it is said which: by user, feature, session or run."""

    extra_usd: Usd = 0
    extra_tokens: Annotated[int, Field(ge=0, le=10**15)] = 0
    extra_steps: Annotated[int, Field(ge=0, le=10**15)] = 0
    until: AskedMoment
    reason: Text


class RaiseOut(Schema):
    """A raise."""

    id: int
    budget: int
    member: str
    extra_usd: str
    extra_tokens: int
    extra_steps: int
    starts_at: Moment
    until: Moment
    reason: str
    raised_by: str | None
    ended_at: Moment | None


class ChangeOut(Schema):
    """What somebody decided, with what it was before."""

    at: Moment
    by: str | None
    subject: str
    what: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str


class ChangeList(Schema):
    """The record, the latest first."""

    items: list[ChangeOut]


@router.get("/budgets", response=BudgetList)
def list_budgets(request: HttpRequest, service: Text = "") -> dict[str, Any]:
    """Every budget, those that are off included; with a service those that may count it."""
    del request
    return {"items": [_budget(one) for one in queries.find_budgets(service=service)]}


@router.post("/budgets", response={201: BudgetOut})
def create_budget(request: HttpRequest, asked: BudgetIn) -> Status[dict[str, Any]]:
    """Make a budget: it binds the very next step."""
    by = require(request, actions.WRITES)
    wanted = Definition(
        period=asked.period,
        action=asked.action,
        name=asked.name,
        each=asked.each,
        timezone=asked.timezone,
        limit_nano=asked.limit_usd,
        limit_tokens=asked.limit_tokens,
        limit_steps=asked.limit_steps,
        thresholds=asked.thresholds,
        kept_nano=asked.final_answer_usd,
        effective_from=asked.effective_from,
        count_past=asked.count_past,
        expires_at=asked.expires_at,
        note=asked.note,
        **_scope(asked.scope or ScopeShape.model_construct()),
    )
    try:
        return Status(201, _budget(actions.create(wanted=wanted, by=by)))
    except UnsoundBudget as error:
        raise HttpError(422, str(error)) from error


@router.get("/budgets/{pk}", response=BudgetOut)
def get_budget(request: HttpRequest, pk: BudgetId) -> dict[str, Any]:
    """One budget."""
    del request
    return _budget(_get(pk))


@router.patch("/budgets/{pk}", response=BudgetOut)
def change_budget(request: HttpRequest, pk: BudgetId, asked: BudgetPatch) -> dict[str, Any]:
    """Change a budget: it binds the very next step. What it was stands in the record."""
    by, budget = require(request, actions.WRITES), _get(pk)
    said = asked.model_fields_set
    wanted = definition_of(budget)
    changes: dict[str, Any] = {}
    for name, field in _PATCHED.items():
        if name in said and (name in _NULLABLE or getattr(asked, name) is not None):
            changes[field] = getattr(asked, name)
    if "thresholds" in changes:
        changes["thresholds"] = tuple(changes["thresholds"])
    if "scope" in said and asked.scope is not None:
        changes |= _scope(asked.scope)
    try:
        wanted = replace(wanted, **changes, count_past=asked.count_past)
        return _budget(actions.change(budget=budget, wanted=wanted, by=by, reason=asked.reason))
    except UnsoundBudget as error:
        raise HttpError(422, str(error)) from error


_PATCHED = {
    "name": "name",
    "each": "each",
    "period": "period",
    "timezone": "timezone",
    "limit_usd": "limit_nano",
    "limit_tokens": "limit_tokens",
    "limit_steps": "limit_steps",
    "thresholds": "thresholds",
    "action": "action",
    "final_answer_usd": "kept_nano",
    "effective_from": "effective_from",
    "expires_at": "expires_at",
    "note": "note",
    "off": "is_off",
}
#: What can be taken away by saying ``null``.
_NULLABLE = frozenset({"each", "limit_usd", "limit_tokens", "limit_steps", "expires_at"})


@router.get("/budgets/{pk}/position", response=StandingOut)
def position(request: HttpRequest, pk: BudgetId, asked: Query[MemberQuery]) -> dict[str, Any]:
    """Where a budget stands now; of one with a window for each, name the member."""
    del request
    budget, now = _get(pk), timezone.now()
    known = queries.rules_of(budget, queries.current())
    values = [getattr(asked, part.value) for part in known.parts]
    if not all(values):
        missing = " and ".join(part.value for part in known.parts)
        raise HttpError(422, f"This budget has a window for each {missing}: name it.")
    return _standing(queries.standing(known, JOIN.join(values), now=now), now, with_pace=True)


@router.get("/budgets/{pk}/members", response=StandingList)
def members(
    request: HttpRequest,
    pk: BudgetId,
    search: Text = "",
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100,
    offset: Annotated[int, Field(ge=0, le=10**6)] = 0,
) -> dict[str, Any]:
    """The open windows of a budget, the fullest first."""
    del request
    now = timezone.now()
    known = queries.rules_of(_get(pk), queries.current())
    found = queries.list_members(known, now=now, search=search, limit=limit, offset=offset)
    return {"items": [_standing(one, now) for one in found]}


@router.get("/budgets/{pk}/history", response=StandingList)
def history(request: HttpRequest, pk: BudgetId, asked: Query[MemberQuery]) -> dict[str, Any]:
    """The windows of a budget, or of a member of it, the latest first."""
    del request
    now = timezone.now()
    known = queries.rules_of(_get(pk), queries.current())
    member = JOIN.join(getattr(asked, part.value) for part in known.parts)
    return {"items": [_standing(one, now) for one in queries.list_history(known, member, now=now)]}


@router.get("/budgets/{pk}/changes", response=ChangeList)
def changes(request: HttpRequest, pk: BudgetId) -> dict[str, Any]:
    """Who decided what about a budget, the latest first."""
    del request
    return {"items": [_change(one) for one in queries.list_changes(budget=_get(pk))]}


@router.post("/budgets/{pk}/raises", response={201: RaiseOut})
def raise_limit(request: HttpRequest, pk: BudgetId, asked: RaiseIn) -> Status[dict[str, Any]]:
    """Raise the limits of a budget, or of one member of it, until a moment: it binds the very next step."""
    by, budget = require(request, actions.WRITES), _get(pk)
    if asked.until is None:
        raise HttpError(422, "until: say until when.")
    known = queries.rules_of(budget, queries.current())
    values = [getattr(asked, part.value) for part in known.parts]
    if any(values) and not all(values):
        raise HttpError(422, f"A member of this budget is a {' and a '.join(part.value for part in known.parts)}.")
    try:
        raised = actions.raise_limit(
            budget=budget,
            extra=Amounts(asked.extra_usd, asked.extra_tokens, asked.extra_steps),
            until=asked.until,
            reason=asked.reason,
            by=by,
            member=JOIN.join(values) if all(values) else "",
        )
    except UnsoundRaise as error:
        raise HttpError(422, str(error)) from error
    return Status(201, _raise(raised))


@router.delete("/budgets/{pk}/raises/{raise_pk}", response=RaiseOut)
def end_raise(request: HttpRequest, pk: BudgetId, raise_pk: BudgetId) -> dict[str, Any]:
    """End a raise before its time."""
    by = require(request, actions.WRITES)
    raised = Raise.objects.filter(pk=raise_pk, budget_id=pk).first()
    if raised is None:
        message = f"Budget {pk} has no raise {raise_pk}."
        raise Http404(message)
    return _raise(actions.end_raise(raised=raised, by=by))


class _Stoppable(Schema):
    """What can be stopped: one of these, and why."""

    service: Name = ""
    session: Name = ""
    user: Name = ""
    run: Name = ""
    reason: Text = ""


class StopIn(_Stoppable):
    """What is to be let through no more: one of these."""


class LiftQuery(_Stoppable):
    """What is to be let through again: one of these."""


class StopOut(Schema):
    """A kill switch."""

    id: int
    what: Literal["service", "session", "user", "run"]
    value: str
    reason: str
    stopped_at: Moment
    stopped_by: str | None
    lifted_at: Moment | None
    lifted_by: str | None


class StopList(Schema):
    """Kill switches."""

    items: list[StopOut]


class RefusalOut(Schema):
    """Steps that were refused within a minute for one reason."""

    minute: Moment
    mode: str
    budget: int | None
    service: str
    run: str
    session: str
    user: str
    feature: str
    agent: str
    step: str
    count: int
    estimate_usd: str | None
    message: str


class RefusalList(Schema):
    """What was refused, the latest first."""

    items: list[RefusalOut]


@guard.post("/guard/stop", response={201: StopOut})
def stop(request: HttpRequest, asked: StopIn) -> Status[dict[str, Any]]:
    """Throw the kill switch: the very next check of this service, session, user or run is refused."""
    by = require(request, actions.STOPS)
    what, value = _target(asked)
    try:
        return Status(201, _stop(actions.stop(what=what, value=value, reason=asked.reason, by=by)))
    except UnsoundStop as error:
        raise HttpError(422, str(error)) from error


@guard.delete("/guard/stop", response=StopOut)
def lift(request: HttpRequest, asked: Query[LiftQuery]) -> dict[str, Any]:
    """Let go on what was stopped."""
    by = require(request, actions.STOPS)
    what, value = _target(asked)
    thrown = Stop.objects.filter(what=what, value=value).order_by("-id").first()
    if thrown is None:
        message = f"The {what} {value} is not stopped."
        raise Http404(message)
    return _stop(actions.lift(thrown=thrown, by=by, reason=asked.reason))


@guard.get("/guard/stops", response=StopList)
def stops(request: HttpRequest, *, active: bool = True) -> dict[str, Any]:
    """Kill switches that are on; or, with active=false, those that were lifted."""
    del request
    return {"items": [_stop(one) for one in queries.list_stops(active=active)]}


@guard.get("/guard/refusals", response=RefusalList)
def refusals(
    request: HttpRequest,
    budget: Annotated[int, Field(ge=0, le=MAX_ID)] = 0,
    service: Text = "",
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100,
) -> dict[str, Any]:
    """What was refused, and why: by anything, or by one budget."""
    del request
    found = queries.list_refusals(cause="budget" if budget else "", cause_id=budget, service=service, limit=limit)
    return {"items": [_refusal(one) for one in found]}


# The two calls of agents. In a running server they never come here.


@guard.post("/guard/check", response=CheckOut, auth=None)
def check(request: HttpRequest, asked: CheckIn) -> Any:
    """Ask before a step whether it may be made, with an ingest key; what is granted is held until it is settled."""
    del asked
    return _at_desk(request, lambda service: check_of(request.body, service))


@guard.post("/guard/settle", response=SettleOut, auth=None)
def settle(request: HttpRequest, asked: SettleIn) -> Any:
    """Say what a step has spent, with an ingest key."""
    del asked
    return _at_desk(request, lambda service: settlement_of(request.body, service))


_desk = Desk()


def _at_desk(request: HttpRequest, make: Any) -> Any:
    headers = {b"authorization": request.headers.get("Authorization", "").encode("latin-1", "replace")}
    headers[b"x-api-key"] = request.headers.get("X-Api-Key", "").encode("latin-1", "replace")
    key = authenticate_ingest_key(key_of(headers))
    if key is None:
        raise HttpError(401, "An ingest key is required: Authorization: Bearer <key>.")
    try:
        return _desk.ask(make(key.service))
    except Refused as refused:
        raise HttpError(refused.status, str(refused)) from refused


def _get(pk: int) -> Budget:
    budget = Budget.objects.select_related("created_by").filter(pk=pk).first()
    if budget is None:
        message = f"There is no budget {pk}."
        raise Http404(message)
    return budget


def _scope(scope: ScopeShape) -> dict[str, Any]:
    services = [*(scope.services or ()), *([scope.service] if scope.service else ())]
    return {"services": tuple(filter(None, services)), **{name: getattr(scope, name) or "" for name in NARROWED}}


def _budget(budget: Budget) -> dict[str, Any]:
    services = list(budget.services)
    return {
        "id": budget.pk,
        "name": budget.name,
        "scope": {
            "service": services[0] if len(services) == 1 else None,
            "services": services or None,
            **{name: getattr(budget, name) or None for name in NARROWED},
        },
        "each": budget.each or None,
        "period": budget.period,
        "timezone": budget.timezone,
        "limit_usd": usd(budget.limit_nano),
        "limit_tokens": budget.limit_tokens,
        "limit_steps": budget.limit_steps,
        "thresholds": list(budget.thresholds),
        "action": budget.action,
        "final_answer_usd": usd(budget.kept_nano),
        "effective_from": budget.effective_from,
        "counts_from": budget.counts_from,
        "expires_at": budget.expires_at,
        "note": budget.note,
        "default": budget.is_default,
        "off": budget.is_off,
        "created_at": budget.created_at,
        "created_by": budget.created_by.get_username() if budget.created_by else None,
        "version": budget.version,
    }


def _standing(found: Standing, now: datetime, *, with_pace: bool = False) -> dict[str, Any]:
    position, unit = found.position, found.unit.value
    pace = queries.Pace(None, [], None)
    if with_pace:
        pace = queries.pace(found, now=now, history=queries.list_latest(found, now=now))
    outlook = pace.forecast
    return {
        "budget": position.budget.id,
        "member": position.member.replace(JOIN, " / ") or None,
        "unit": unit,
        "limit": amount_text(unit, found.limit),
        "spent": amount_text(unit, found.spent),
        "reserved": amount_text(unit, found.reserved),
        "remaining": amount_text(unit, found.remaining),
        "starts_at": position.starts_at if position.ends_at else None,
        "resets_at": position.ends_at,
        "burn_rate": None if pace.rate is None else round(pace.rate, 4),
        "forecast": None
        if outlook is None
        else {
            "expected": amount_text(unit, outlook.expected),
            "low": amount_text(unit, outlook.low),
            "high": amount_text(unit, outlook.high),
            "exhausted_at": outlook.exhausted_at,
        },
        "refused": found.refused,
        "refused_usd": usd(found.refused_nano),
    }


def _raise(raised: Raise) -> dict[str, Any]:
    return {
        "id": raised.pk,
        "budget": raised.budget_id,
        "member": raised.member.replace(JOIN, " / "),
        "extra_usd": usd(raised.extra_nano),
        "extra_tokens": raised.extra_tokens,
        "extra_steps": raised.extra_steps,
        "starts_at": raised.starts_at,
        "until": raised.until,
        "reason": raised.reason,
        "raised_by": raised.raised_by.get_username() if raised.raised_by else None,
        "ended_at": raised.ended_at,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "at": change.at,
        "by": change.by.get_username() if change.by else None,
        "subject": change.subject,
        "what": change.what,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
    }


def _target(asked: _Stoppable) -> tuple[str, str]:
    named = [(what, value) for what in Stop.What.values if (value := getattr(asked, what))]
    if len(named) != 1:
        raise HttpError(422, "Name one of service, session, user and run.")
    return named[0]


def _stop(thrown: Stop) -> dict[str, Any]:
    return {
        "id": thrown.pk,
        "what": thrown.what,
        "value": thrown.value,
        "reason": thrown.reason,
        "stopped_at": thrown.stopped_at,
        "stopped_by": thrown.stopped_by.get_username() if thrown.stopped_by else None,
        "lifted_at": thrown.lifted_at,
        "lifted_by": thrown.lifted_by.get_username() if thrown.lifted_by else None,
    }


def _refusal(one: queries.Refused) -> dict[str, Any]:
    return {
        "minute": one.minute,
        "mode": one.cause,
        "budget": one.cause_id if one.cause == "budget" else None,
        "service": one.service,
        "run": one.run,
        "session": one.session,
        "user": one.user,
        "feature": one.feature,
        "agent": one.agent,
        "step": one.what,
        "count": one.count,
        "estimate_usd": usd(one.estimate_nano),
        "message": one.message,
    }
