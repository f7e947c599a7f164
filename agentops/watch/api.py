"""The watch over ``/api/v1``."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Query, Router, Schema
from ninja.errors import HttpError

from agentops.accounts.roles import require
from agentops.runs import pending
from agentops.runs.api import Moment, Text
from agentops.watch import decisions, rules, usual
from agentops.watch.decisions import ChangedMeanwhile, UnsoundRules
from agentops.watch.numbers import SWITCHES
from agentops.watch.rules import WRITES, Decided

router = Router(tags=["watch"])
#: What stands for all services in an address.
ALL = "*"


class Lag(Schema):
    """What has been committed and not been looked at."""

    pending: int = Field(description="Runs that wait; 0: everything committed so far has been looked at.")
    oldest_pending_at: Moment | None
    set_aside: int = Field(description="Runs that could not be judged: an operator has to look.")


class RulesQuery(Schema):
    """Whose rules."""

    service: Annotated[Text, Field(max_length=decisions.MAX_TOOL_CHARS)] = Field(
        "", description="Empty, or *, for all services."
    )


class DecidedIn(Schema):
    """What is decided for a service; what is left out is as for all services, and as the defaults say."""

    numbers: dict[str, float] = Field({}, description="By the names that effective has.")
    switches: dict[str, bool] = Field({}, description="Kinds that are looked for, or not.")
    tools: dict[str, str] = Field({}, description="normal, patient or ignored, by tool.")
    reason: Annotated[Text, Field(max_length=decisions.MAX_REASON_CHARS)] = ""
    change: int | None = Field(None, description="The latest change that was looked at; 409 when there is a newer one.")


class EffectiveOut(Schema):
    """What holds, all taken together."""

    numbers: dict[str, float]
    switches: dict[str, bool]
    ignored_tools: list[str]
    patient_tools: list[str]
    step_budget: int = Field(description="Steps that a run may take, by what good runs of the service need.")


class RulesOut(Schema):
    """What was decided for a service (empty: for all), and what holds for it."""

    service: str
    numbers: dict[str, float]
    switches: dict[str, bool]
    tools: dict[str, str]
    change: int = Field(description="The latest change; 0 before the first.")
    changed_at: Moment | None
    changed_by: str | None
    reason: str
    effective: EffectiveOut


@router.get("/watch/lag", response=Lag)
def lag(request: HttpRequest) -> dict[str, Any]:
    """How far behind the watch is."""
    del request
    found = pending.lag()
    return {
        "pending": found.pending,
        "oldest_pending_at": found.oldest_pending_at,
        "set_aside": found.set_aside,
    }


@router.get("/watch/rules", response=RulesOut)
def get_rules(request: HttpRequest, asked: Query[RulesQuery]) -> dict[str, Any]:
    """The rules of a service: what was decided for it, and what holds."""
    del request
    return _shape(_service(asked.service))


@router.put("/watch/rules/{path:service}", response=RulesOut)
def put_rules(request: HttpRequest, service: str, asked: DecidedIn) -> dict[str, Any]:
    """Decide all rules of a service at once (``*``: of all services); they hold within seconds."""
    by, service = require(request, WRITES), _service(service)
    numbers = {name: int(value) if value.is_integer() else value for name, value in asked.numbers.items()}
    try:
        decisions.save(
            service=service,
            decided=Decided(numbers, asked.switches, asked.tools),
            seen=asked.change,
            reason=asked.reason,
            by=by,
            now=timezone.now(),
        )
    except UnsoundRules as error:
        raise HttpError(422, str(error)) from error
    except ChangedMeanwhile as error:
        raise HttpError(409, str(error)) from error
    return _shape(service)


def _shape(service: str) -> dict[str, Any]:
    book = rules.load(rules.latest_revision())
    effective = book.of(service)
    latest = decisions.latest(service)
    habits = usual.read_habits([(service, "")]).get((service, "")) if service else None
    return {
        "service": service,
        **book.decided_for(service).dump(),
        "change": latest.pk if latest else 0,
        "changed_at": latest.changed_at if latest else None,
        "changed_by": latest.changed_by.get_username() if latest and latest.changed_by else None,
        "reason": latest.reason if latest else "",
        "effective": {
            "numbers": effective.numbers,
            "switches": {kind: effective.is_on(kind) for kind in SWITCHES},
            "ignored_tools": sorted(effective.rules.ignored_tools),
            "patient_tools": sorted(effective.rules.patient_tools),
            "step_budget": effective.budgeted(habits).step_budget,
        },
    }


def _service(asked: str) -> str:
    """The service that is asked about; empty for all."""
    if not asked or asked == ALL:
        return ""
    if len(asked) > decisions.MAX_TOOL_CHARS or "\0" in asked:
        raise HttpError(422, f"service: 1 to {decisions.MAX_TOOL_CHARS} characters.")
    return asked
