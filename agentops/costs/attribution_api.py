"""Rules of attribution over ``/api/v1``, and applying them to what is booked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Field, Router, Schema, Status
from ninja.errors import HttpError

from agentops.accounts.models import User
from agentops.accounts.roles import require
from agentops.costs import actions, rules
from agentops.costs.actions import EmptyPeriod, NotApplicable
from agentops.costs.models import AttributionRule, Reattribution
from agentops.costs.rules import MOVES, WRITES, RuleChangedMeanwhile, save_rule
from agentops.domain.attribution import MAX_CONDITIONS, Condition, Rule, UnsoundRule
from agentops.runs.api import AskedMoment, Moment, Money, Text, usd

router = Router(tags=["attribution"])
JOBS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Subject = Literal["tag", "attribute", "agent", "tool", "model", "span", "run", "environment"]


class ConditionShape(Schema):
    """What one span must have; ``*`` at the end of a value stands for any ending."""

    subject: Subject
    value: Annotated[Text, Field(min_length=1, max_length=256)]
    key: Annotated[Text, Field(max_length=256)] = Field("", description="The name of an attribute.")


class RuleIn(Schema):
    """Spans that meet all conditions belong to this feature, or user, where their telemetry says nothing itself."""

    service: Annotated[Text, Field(max_length=128)] = Field("", description="Empty for any.")
    conditions: Annotated[list[ConditionShape], Field(max_length=MAX_CONDITIONS)] = Field([])
    dimension: Literal["feature", "user"]
    value: Annotated[Text, Field(min_length=1, max_length=256)]
    effective_from: AskedMoment = Field(None, description="Spans from then on; now, when missing.")
    is_enabled: bool = True
    note: Annotated[Text, Field(max_length=400)] = ""


class RuleOut(Schema):
    """A version of a rule."""

    number: int
    version: int
    service: str
    conditions: list[ConditionShape]
    dimension: str
    value: str
    effective_from: Moment
    is_enabled: bool
    at: Moment
    by: str | None
    note: str


class RuleList(Schema):
    """The last version of each rule."""

    items: list[RuleOut]


class RuleHistory(Schema):
    """Every version, the last first."""

    versions: list[RuleOut]


class ReattributionIn(Schema):
    """Which runs to attribute again, by their start."""

    from_: AskedMoment = Field(alias="from")
    until: AskedMoment = Field(None, description="Now, when missing.")
    service: Annotated[Text, Field(max_length=128)] = Field("", description="Empty for any.")


class ReattributionOut(Schema):
    """A preview, or the application of one; a unit of work is a run."""

    id: int
    preview: int | None = Field(description="The preview that this applies; null for one itself.")
    state: Literal["pending", "running", "done", "cancelled", "failed"]
    message: str
    done: int
    total: int | None
    changed: int = Field(description="Runs of other attribution than before, also where the value stays.")
    from_: Moment = Field(serialization_alias="from")
    until: Moment
    service: str
    requested_by: str | None
    requested_at: Moment
    ended_at: Moment | None


class MovedLine(Schema):
    """How much moves from one value to another, in one service and month, UTC; ``null`` is what carries none."""

    month: str
    service: str
    dimension: str
    old_value: str | None
    new_value: str | None
    runs: int
    cost_usd: Money


class ReattributionDetail(ReattributionOut):
    """A job with what moves by it."""

    lines: list[MovedLine]


class ReattributionList(Schema):
    """The last jobs, the latest first."""

    items: list[ReattributionOut]


@router.get("/attribution/rules", response=RuleList)
def list_rules(request: HttpRequest) -> dict[str, Any]:
    """The last version of each rule, also of those that are switched off."""
    del request
    return {"items": [_rule_shape(row) for row in rules.last_versions()]}


@router.post("/attribution/rules", response={201: RuleOut})
def create_rule(request: HttpRequest, asked: RuleIn) -> Status[dict[str, Any]]:
    """Write a rule; it holds for what comes in within seconds."""
    return Status(201, _rule_shape(_save(asked, require(request, WRITES))))


@router.get("/attribution/rules/{number}", response=RuleHistory)
def get_rule(request: HttpRequest, number: int) -> dict[str, Any]:
    """Every version of a rule."""
    del request
    found = rules.versions(number)
    if not found:
        raise HttpError(404, "There is no such rule.")
    return {"versions": [_rule_shape(row) for row in found]}


@router.post("/attribution/rules/{number}", response=RuleOut)
def change_rule(request: HttpRequest, number: int, version: int, asked: RuleIn) -> dict[str, Any]:
    """Put another version of a rule in the place of the one that was looked at, ``version``."""
    return _rule_shape(_save(asked, require(request, WRITES), number, version))


@router.get("/attribution/jobs", response=ReattributionList, by_alias=True)
def list_reattributions(request: HttpRequest) -> dict[str, Any]:
    """Previews and applications, the latest first."""
    del request
    jobs = Reattribution.objects.select_related("requested_by")[:JOBS]
    return {"items": [_job_shape(job) for job in jobs]}


@router.post("/attribution/jobs", response={201: ReattributionOut}, by_alias=True)
def create_preview(request: HttpRequest, asked: ReattributionIn) -> Status[dict[str, Any]]:
    """Start a preview: what the rules as they are now would move among booked runs."""
    by = require(request, WRITES)
    if asked.from_ is None:
        raise HttpError(422, "from: say where the period begins.")
    until = asked.until or timezone.now()
    try:
        job = actions.start_preview(from_at=asked.from_, until_at=until, service=asked.service, by=by)
    except EmptyPeriod as error:
        raise HttpError(422, f"until: {error}") from error
    return Status(201, _job_shape(job))


@router.get("/attribution/jobs/{pk}", response=ReattributionDetail, by_alias=True)
def get_reattribution(request: HttpRequest, pk: int) -> dict[str, Any]:
    """A preview or an application, and what moves by it."""
    del request
    job = get_object_or_404(Reattribution.objects.select_related("requested_by"), pk=pk)
    lines = [
        {
            "month": f"{line.month:%Y-%m}",
            "service": line.service,
            "dimension": line.dimension,
            "old_value": line.old_value or None,
            "new_value": line.new_value or None,
            "runs": line.runs,
            "cost_usd": usd(line.cost_nano),
        }
        for line in job.lines.all()
    ]
    return _job_shape(job) | {"lines": lines}


@router.post("/attribution/jobs/{pk}/apply", response={201: ReattributionOut}, by_alias=True)
def apply_preview(request: HttpRequest, pk: int) -> Status[dict[str, Any]]:
    """Move what a preview found; each run is recorded."""
    by = require(request, MOVES)
    try:
        job = actions.apply_preview(preview=get_object_or_404(Reattribution, pk=pk), by=by)
    except NotApplicable as error:
        raise HttpError(409, str(error)) from error
    return Status(201, _job_shape(job))


@router.post("/attribution/jobs/{pk}/cancel", response=ReattributionOut, by_alias=True)
def cancel_job(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Stop a job before its next page; what is done stays done."""
    require(request, WRITES)
    job = get_object_or_404(Reattribution.objects.select_related("requested_by"), pk=pk)
    if not actions.cancel_reattribution(job=job):
        raise HttpError(409, "It was over already.")
    job.refresh_from_db()
    return _job_shape(job)


def _save(asked: RuleIn, by: User, number: int = 0, version: int = 0) -> AttributionRule:
    moment = asked.effective_from or timezone.now()
    rule = Rule(
        number=number,
        version=version,
        service=asked.service,
        conditions=tuple(Condition(c.subject, c.value, c.key) for c in asked.conditions),
        dimension=asked.dimension,
        value=asked.value,
        from_ns=(moment - _EPOCH) // timedelta(microseconds=1) * 1_000,
    )
    try:
        return save_rule(rule=rule, by=by, note=asked.note, is_enabled=asked.is_enabled)
    except UnsoundRule as error:
        raise HttpError(422, str(error)) from error
    except RuleChangedMeanwhile as error:
        raise HttpError(409, str(error)) from error
    except AttributionRule.DoesNotExist as error:
        raise HttpError(404, "There is no such rule.") from error


def _rule_shape(row: AttributionRule) -> dict[str, Any]:
    """A version as the contract spells it."""
    shape = {name: getattr(row, name) for name in RuleOut.model_fields if name != "by"}
    return shape | {"by": row.by.get_username() if row.by else None}


def _job_shape(job: Reattribution) -> dict[str, Any]:
    """A job as the contract spells it."""
    names = ("state", "message", "done", "total", "changed", "service", "requested_at", "ended_at")
    return {name: getattr(job, name) for name in names} | {
        "id": job.pk,
        "preview": job.preview_id,
        "from_": job.from_at,
        "until": job.until_at,
        "requested_by": job.requested_by.get_username() if job.requested_by else None,
    }
