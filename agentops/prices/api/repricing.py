"""Calls without a price, and pricing again what is booked, over ``/api/v1``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status
from ninja.errors import HttpError

from agentops.accounts.models import Role
from agentops.accounts.roles import require
from agentops.domain.spans import PriceSource
from agentops.prices import actions, queries
from agentops.prices.actions import EmptyPeriod, NotApplicable
from agentops.prices.models import CostAdjustment, Repricing
from agentops.prices.queries import Bounds, Unpriced
from agentops.runs.api import SOURCES, AskedMoment, Moment, Money, Text, usd

router = Router(tags=["prices"])
DEFAULT_RANGE = timedelta(days=30)
JOBS, ADJUSTMENTS = 100, 1_000


class Period(Schema):
    """Which calls, by their start; ``from`` and ``until`` are widened to whole hours."""

    from_: AskedMoment = Field(None, alias="from", description="30 days before until, when missing.")
    until: AskedMoment = Field(None, description="Now, when missing.")


class MayCost(Schema):
    """What tokens may cost: at the period's cheapest model, on average, at its dearest."""

    low_usd: Money
    mean_usd: Money
    high_usd: Money


class UnpricedGroup(Schema):
    """Calls without a price of one model, provider and service."""

    provider: str | None
    model: str | None
    service: str
    calls: int
    input_tokens: int
    output_tokens: int
    calls_without_tokens: int
    may_cost: MayCost | None


class UnpricedOut(Schema):
    """Calls of a period without a price; the shares are 0 to 1."""

    calls: int
    tokens: int
    calls_without_tokens: int
    share_of_calls: float | None
    share_of_tokens: float | None
    known_cost_usd: Money
    may_cost: MayCost | None
    compared_with: list[str] = Field(description="The cheapest and the dearest model of the period.")
    items: list[UnpricedGroup]


class RepricingIn(Schema):
    """Which calls to price again, by their start."""

    from_: AskedMoment = Field(alias="from")
    until: AskedMoment = Field(None, description="Now, when missing.")
    service: Annotated[Text, Field(max_length=128)] = ""
    provider: Annotated[Text, Field(max_length=64)] = ""
    name: Annotated[Text, Field(max_length=256)] = Field("", description="Of a model or a tool.")


class RepricingOut(Schema):
    """A dry run, or the application of one; a unit of work is a run."""

    id: int
    dry_run: int | None = Field(description="The dry run that this applies; null for one itself.")
    state: Literal["pending", "running", "done", "cancelled", "failed"]
    message: str
    done: int
    total: int | None
    calls: int = Field(description="Calls that were looked at.")
    from_: Moment = Field(serialization_alias="from")
    until: Moment
    service: str
    provider: str
    name: str
    requested_by: str | None
    requested_at: Moment
    ended_at: Moment | None


class RepricingLine(Schema):
    """What changes for one model or tool of one service in one month, UTC."""

    service: str
    month: str
    kind: Literal["model", "tool"]
    name: str | None
    calls: int
    old_cost_usd: Money
    new_cost_usd: Money
    difference_usd: Money
    old_unpriced_calls: int
    new_unpriced_calls: int


class RepricingDetail(RepricingOut):
    """A job with what changes by it."""

    difference_usd: Money
    lines: list[RepricingLine]


class RepricingList(Schema):
    """The last jobs, the latest first."""

    items: list[RepricingOut]


class Adjustment(Schema):
    """A span whose cost was changed: what it was and what it is."""

    trace_id: str
    span_id: str
    service: str
    started_at: Moment
    at: Moment
    is_counted: bool = Field(description="Not when the span is merged into another, and counts nowhere.")
    old_cost_usd: Money
    new_cost_usd: Money
    old_price: dict[str, str | None]
    new_price: dict[str, str | None]


class AdjustmentPage(Schema):
    """Some adjustments of an application, by span; ``next_cursor`` is the number of the next page."""

    items: list[Adjustment]
    next_cursor: int | None


@router.get("/unpriced", response=UnpricedOut)
def get_unpriced(request: HttpRequest, period: Query[Period]) -> dict[str, Any]:
    """Calls of a period without a known cost, by model, provider and service; the most tokens first."""
    del request
    until = period.until or timezone.now()
    from_ = period.from_ or until - DEFAULT_RANGE
    if from_ >= until:
        raise HttpError(422, "from must be before until.")
    report = queries.unpriced(from_, until)
    return {
        "calls": report.calls,
        "tokens": report.tokens,
        "calls_without_tokens": report.silent,
        "share_of_calls": report.share_of_calls,
        "share_of_tokens": report.share_of_tokens,
        "known_cost_usd": usd(report.total.cost_nano),
        "may_cost": _may_cost(report.bounds),
        "compared_with": [each.model for each in (report.cheapest, report.dearest) if each is not None],
        "items": [_group(group) for group in report.groups],
    }


@router.get("/repricings", response=RepricingList, by_alias=True)
def list_repricings(request: HttpRequest) -> dict[str, Any]:
    """Dry runs and applications, the latest first."""
    del request
    jobs = Repricing.objects.select_related("requested_by")[:JOBS]
    return {"items": [repricing_shape(job) for job in jobs]}


@router.post("/repricings", response={201: RepricingOut}, by_alias=True)
def create_repricing(request: HttpRequest, asked: RepricingIn) -> Status[dict[str, Any]]:
    """Start a dry run: what the calls of a period would cost by the prices as they are now."""
    by = require(request, Role.ADMIN)
    if asked.from_ is None:
        raise HttpError(422, "from: say where the period begins.")
    filters = {name: getattr(asked, name) for name in ("service", "provider", "name")}
    until = asked.until or timezone.now()
    try:
        job = actions.start_dry_run(from_at=asked.from_, until_at=until, by=by, **filters)
    except EmptyPeriod as error:
        raise HttpError(422, f"until: {error}") from error
    return Status(201, repricing_shape(job))


@router.get("/repricings/{pk}", response=RepricingDetail, by_alias=True)
def get_repricing(request: HttpRequest, pk: int) -> dict[str, Any]:
    """A dry run or an application, and what changes by it."""
    del request
    job = get_object_or_404(Repricing.objects.select_related("requested_by"), pk=pk)
    lines = [
        {
            "service": line.service,
            "month": f"{line.month:%Y-%m}",
            "kind": "tool" if line.is_tool else "model",
            "name": line.name or None,
            "calls": line.calls,
            "old_cost_usd": usd(line.old_nano),
            "new_cost_usd": usd(line.new_nano),
            "difference_usd": usd(line.new_nano - line.old_nano),
            "old_unpriced_calls": line.old_unpriced,
            "new_unpriced_calls": line.new_unpriced,
        }
        for line in job.lines.all()
    ]
    difference = sum(line.new_nano - line.old_nano for line in job.lines.all())
    return repricing_shape(job) | {"difference_usd": usd(difference), "lines": lines}


@router.post("/repricings/{pk}/apply", response={201: RepricingOut}, by_alias=True)
def apply_repricing(request: HttpRequest, pk: int) -> Status[dict[str, Any]]:
    """Write what a dry run found into the books, as adjusting entries."""
    by = require(request, Role.ADMIN)
    try:
        job = actions.apply_dry_run(dry_run=get_object_or_404(Repricing, pk=pk), by=by)
    except NotApplicable as error:
        raise HttpError(409, str(error)) from error
    return Status(201, repricing_shape(job))


@router.post("/repricings/{pk}/cancel", response=RepricingOut, by_alias=True)
def cancel_repricing(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Stop a job before its next page; what is done stays done."""
    require(request, Role.ADMIN)
    job = get_object_or_404(Repricing.objects.select_related("requested_by"), pk=pk)
    if not actions.cancel_repricing(job=job):
        raise HttpError(409, "It was over already.")
    job.refresh_from_db()
    return repricing_shape(job)


@router.get("/repricings/{pk}/adjustments", response=AdjustmentPage)
def list_adjustments(
    request: HttpRequest, pk: int, cursor: Annotated[int, Field(ge=0, le=10**9)] = 0
) -> dict[str, Any]:
    """The adjusting entries of an application, each of one span."""
    del request
    job = get_object_or_404(Repricing, pk=pk)
    found = list(job.adjustments.order_by("pk")[cursor * ADJUSTMENTS : (cursor + 1) * ADJUSTMENTS + 1])
    return {
        "items": [_adjustment(each) for each in found[:ADJUSTMENTS]],
        "next_cursor": cursor + 1 if len(found) > ADJUSTMENTS else None,
    }


def _may_cost(bounds: Bounds | None) -> dict[str, Any] | None:
    if bounds is None:
        return None
    return {f"{name}_usd": usd(getattr(bounds, f"{name}_nano")) for name in ("low", "mean", "high")}


def _group(group: Unpriced) -> dict[str, Any]:
    return {
        "provider": group.provider or None,
        "model": group.model or None,
        "service": group.service,
        "calls": group.calls,
        "input_tokens": group.input_tokens,
        "output_tokens": group.output_tokens,
        "calls_without_tokens": group.silent,
        "may_cost": _may_cost(group.bounds) if group.tokens else None,
    }


def repricing_shape(job: Repricing) -> dict[str, Any]:
    """A job as the contract spells it."""
    names = ("state", "message", "done", "total", "service", "provider", "name", "requested_at", "ended_at")
    return {name: getattr(job, name) for name in names} | {
        "id": job.pk,
        "dry_run": job.dry_run_id,
        "calls": job.spans,
        "from_": job.from_at,
        "until": job.until_at,
        "requested_by": job.requested_by.get_username() if job.requested_by else None,
    }


def _adjustment(each: CostAdjustment) -> dict[str, Any]:
    return {
        "trace_id": bytes(each.trace_id).hex(),
        "span_id": bytes(each.span_id).hex(),
        "service": each.service,
        "started_at": each.started_at,
        "at": each.at,
        "is_counted": each.is_counted,
        "old_cost_usd": usd(each.old_nano),
        "new_cost_usd": usd(each.new_nano),
        "old_price": _price(each.old_source, each.old_price_id),
        "new_price": _price(each.new_source, each.new_price_id),
    }


def _price(source: int | None, price_id: str | None) -> dict[str, str | None]:
    return {"source": SOURCES[PriceSource(source)] if source else None, "id": price_id}
