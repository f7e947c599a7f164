"""Runs over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from ninja.errors import HttpError
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from agentops.domain.spans import Kind, PriceSource
from agentops.pages import InvalidCursorError, decode_cursor, encode_cursor
from agentops.runs import queries
from agentops.runs.filters import read_values
from agentops.runs.findings import Scope, StoredFinding
from agentops.runs.findings import of_run as list_findings
from agentops.runs.queries import RunFilters, RunKey, RunRow, StepRow

router = Router(tags=["runs"])
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANO = Decimal(10**9)
TRACE_ID_DIGITS = 32
MAX_FILTER_CHARS = 512
MAX_STEPS = 5_000
SOURCES = {PriceSource.PROVIDER: "provider", PriceSource.BOOK: "book", PriceSource.GENAI_PRICES: "genai-prices"}


def parse_moment(value: object) -> datetime | None:
    """A moment in UTC from RFC 3339 (a ``+`` that a form turned into a space is forgiven). Raises ``ValueError``."""
    text = str(value or "").replace(" ", "+")
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def rfc3339(value: datetime, *, zone: tzinfo = UTC) -> str:
    """A moment as the API writes it: UTC unless another zone is asked for, to the microsecond."""
    return value.astimezone(zone).isoformat().replace("+00:00", "Z")


def clean(text: str) -> str:
    """A filter's text without what the database cannot hold."""
    return text.replace("\x00", "")[:MAX_FILTER_CHARS]


_DATE_TIME = WithJsonSchema({"type": "string", "format": "date-time"})
Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str), _DATE_TIME]
AskedMoment = Annotated[datetime | None, BeforeValidator(parse_moment), _DATE_TIME]
Text = Annotated[str, BeforeValidator(lambda value: clean(str(value)))]
Money = Annotated[str | None, Field(description="US dollars as a decimal string; null when unknown.")]


class Totals(Schema):
    """Sums over steps; ``input`` includes the caches, ``output`` the reasoning."""

    cost_usd: Money
    unpriced_calls: int
    llm_calls: int
    tool_calls: int
    steps: int
    errors: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    reasoning_output_tokens: int


class Run(Totals):
    """A run."""

    trace_id: str
    service: str
    release: str | None
    environment: str
    session: str | None
    user: str | None
    feature: str | None
    status: queries.Status
    agents: list[str]
    started_at: Moment
    latest_at: Moment
    duration_ms: int


class RunPage(Schema):
    """Some runs, newest first."""

    items: list[Run]
    next_cursor: str | None


class Price(Schema):
    """Where a cost comes from: the provider's own report, a price book of yours, or the public prices."""

    source: Literal["provider", "book", "genai-prices"] | None
    id: str | None


class Step(Schema):
    """A step of a run; unknown is ``null``."""

    span_id: str
    parent_span_id: str | None
    kind: Literal["agent", "workflow", "llm", "embedding", "tool", "retrieval", "other"]
    name: str
    agent: str | None
    provider: str | None
    request_model: str | None
    response_model: str | None
    tool: str | None
    arguments: Any
    requested_tools: list[Any]
    status: Literal["ok", "error"]
    error_type: str | None
    started_at: Moment
    duration_ms: int
    cost_usd: Money
    price: Price
    is_estimate: bool = Field(description="The call failed: what is known of it may not be all that is billed.")
    merged_into: str | None
    merged_trace_id: str | None = Field(None, description="The trace of merged_into, where it is another one.")
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    reasoning_output_tokens: int | None


class Merged(Schema):
    """Model calls that were told more than once and count once.

    ``within``: spans of the run that repeat others of it; ``from_traces`` repeat calls of the run, which itself repeats
    calls of ``into_traces``.
    """

    within: int
    from_traces: list[str]
    into_traces: list[str]


class Finding(Schema):
    """What was found in a run; ``evidence`` shows that it is so, with money as decimal strings."""

    kind: str
    mode: str
    severity: Literal["warn", "page"]
    title: str
    first_at: Moment
    detected_at: Moment
    is_open: bool = Field(description="Whether it may still go on.")
    session: str | None = Field(description="The session, where it was found across several of its runs.")
    evidence: dict[str, Any]


class RunDetail(Run):
    """A run with a page of its steps in order of start, and what was found in it."""

    other_services: list[str] = Field(description="Services that hold a run of the same trace id.")
    spans: int
    steps: list[Step]  # type: ignore[assignment]  # the contract has the steps themselves here
    steps_count: int
    steps_cursor: str | None
    merged: Merged
    findings: list[Finding]


WithoutName = Literal["user", "feature", "session", "release", "agent", "model", "tool"]


class Filters(Schema):
    """Which runs; ``from`` and ``until`` bound their start. Of a repeated filter any value will do."""

    service: list[Text] = Field([])
    user: list[Text] = Field([])
    feature: list[Text] = Field([])
    session: list[Text] = Field([])
    environment: Text = Field("", description="production holds what names none.")
    release: list[Text] = Field([])
    agent: list[Text] = Field([])
    model: list[Text] = Field([])
    tool: list[Text] = Field([])
    without: list[WithoutName] = Field([], description="Dimensions whose missing value is asked for.")
    status: queries.Status | Literal[""] = ""
    q: Text = Field("", description="First digits of a trace id, or part of a name.")
    min_cost_usd: Decimal | None = Field(None, ge=0, le=10**6)
    from_: AskedMoment = Field(None, alias="from")
    until: AskedMoment = None


def usd(nano: int | Decimal | None) -> str | None:
    """Nano-dollars as a decimal string of dollars."""
    return None if nano is None else format((Decimal(nano) / NANO).normalize() + Decimal(0), "f")


@router.get("/runs", response=RunPage)
def list_runs(
    request: HttpRequest,
    filters: Query[Filters],
    sort: Literal["-started", "started", "-cost", "cost", "-duration", "duration"] = "-started",
    cursor: str = "",
    limit: Annotated[int, Field(ge=1, le=queries.MAX_LIMIT)] = 100,
) -> dict[str, Any]:
    """Runs, newest first."""
    del request
    asked: dict[str, Any] = filters.dict()
    least = asked.pop("min_cost_usd")
    without = asked.pop("without")
    asked |= read_values({name: value for name, value in asked.items() if isinstance(value, list)}, without)
    chosen = RunFilters(**asked, min_cost_nano=None if least is None else int(least * NANO))
    try:
        after = RunKey.decode(cursor) if cursor else None
    except InvalidCursorError as error:
        raise HttpError(422, "cursor is none of this API's.") from error
    page = queries.list_runs(chosen, sort=sort, after=after, limit=limit)
    return {
        "items": [run_shape(run) for run in page.runs],
        "next_cursor": page.next_key.encode() if page.next_key else None,
    }


@router.get("/runs/{trace_id}", response=RunDetail)
def get_run(
    request: HttpRequest,
    trace_id: str,
    service: Text = "",
    steps_cursor: str = "",
    steps_limit: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 1_000,
) -> dict[str, Any]:
    """A run with its steps in order of start, a page at a time, and what was found in it.

    Without ``service`` the trace's run that has the root span, else the one with most spans.
    """
    del request
    found = queries.runs_of_trace(parse_trace_id(trace_id))
    run = queries.choose_run(found, service)
    if run is None:
        raise HttpError(404, "There is no such run.")
    steps = queries.list_steps(run, after=_step_key(steps_cursor), limit=steps_limit + 1)
    more = len(steps) > steps_limit
    steps = steps[:steps_limit]
    return {
        **run_shape(run),
        "spans": run.spans,
        "other_services": [other.service for other in found if other is not run],
        "steps": [step_shape(step) for step in steps],
        "steps_count": run.steps,
        "steps_cursor": encode_cursor(steps[-1].start_ns, steps[-1].span_id.hex()) if more else None,
        "merged": merges_shape(queries.list_merges(run)),
        "findings": [finding_shape(f) for f in list_findings(run.service, run.trace_id, run.session)],
    }


def parse_trace_id(text: str) -> bytes:
    """The bytes of a trace id. Raises 404: what is no trace id names no run."""
    try:
        raw = bytes.fromhex(text) if len(text) == TRACE_ID_DIGITS else b""
    except ValueError:
        raw = b""
    if not raw:
        raise HttpError(404, "There is no such run.")
    return raw


def run_shape(run: RunRow) -> dict[str, Any]:
    """A run as the contract spells it."""
    shape = {name: getattr(run, name) for name in Run.model_fields if hasattr(run, name)}
    return {**shape, "trace_id": run.hex_id, "cost_usd": usd(run.cost_nano)}


def merges_shape(merges: queries.Merges) -> dict[str, Any]:
    """Which model calls were told more than once."""
    return {
        "within": merges.within,
        "from_traces": [trace_id.hex() for trace_id in merges.from_traces],
        "into_traces": [trace_id.hex() for trace_id in merges.into],
    }


def finding_shape(finding: StoredFinding) -> dict[str, Any]:
    """A finding as the contract spells it."""
    shape = {name: getattr(finding, name) for name in Finding.model_fields if hasattr(finding, name)}
    of_session = finding.place.scope is Scope.SESSION
    evidence = {name: value for name, value in finding.detail.items() if name != "traces" or of_session}
    return {
        **shape,
        "first_at": finding.began_at,
        "session": finding.place.key if of_session else None,
        "evidence": evidence,
    }


def step_shape(step: StepRow) -> dict[str, Any]:
    """A step as the contract spells it."""
    content = json.loads(step.content) if step.content else {}
    shape = {name: getattr(step, name) for name in Step.model_fields if hasattr(step, name)}
    priced = step.cost_nano is not None and step.price_source is not None
    return {
        **shape,
        "span_id": step.span_id.hex(),
        "parent_span_id": step.parent_span_id.hex() if step.parent_span_id else None,
        "kind": Kind(step.kind).name.lower(),
        "arguments": read_json(content.get("arguments")),
        "requested_tools": content.get("requested_tools", []),
        "status": "error" if step.is_error else "ok",
        "started_at": from_ns(step.start_ns),
        "cost_usd": usd(step.cost_nano),
        "price": {
            "source": SOURCES[PriceSource(step.price_source)] if priced and step.price_source else None,
            "id": step.price_id if priced else None,
        },
        "is_estimate": priced and step.is_estimate,
        "merged_into": step.merged_into.hex() if step.merged_into else None,
        "merged_trace_id": step.merged_trace_id.hex() if step.merged_trace_id else None,
    }


def read_json(value: object) -> object:
    """What a JSON text of an object or a list holds; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def from_ns(ns: int) -> datetime:
    """Nanoseconds since the epoch as a moment, to the microsecond."""
    return EPOCH + timedelta(microseconds=ns // 1_000)


def moment(request: HttpRequest, name: str) -> datetime | None:
    """A moment among the query parameters. Raises 422 when it is none."""
    try:
        return parse_moment(request.GET.get(name))
    except ValueError as error:
        raise HttpError(422, f"{name} is not an RFC 3339 time.") from error


def _step_key(cursor: str) -> tuple[int, bytes] | None:
    if not cursor:
        return None
    try:
        start, span_id = decode_cursor(cursor, length=2)
        key = (int(start or 0), bytes.fromhex(str(span_id)))
    except (InvalidCursorError, ValueError) as error:
        raise HttpError(422, "steps_cursor is none of this API's.") from error
    if not 0 <= key[0] < 1 << 63:
        raise HttpError(422, "steps_cursor is none of this API's.")
    return key
