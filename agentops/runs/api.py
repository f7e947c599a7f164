"""Runs over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.http import HttpRequest  # noqa: TC002
from ninja import Query, Router, Schema
from ninja.errors import HttpError

from agentops.domain.spans import COSTED_KINDS, Kind, PriceSource
from agentops.pages import InvalidCursorError, decode_cursor, encode_cursor
from agentops.runs import queries
from agentops.runs.queries import RunFilters, RunRow, StepRow

router = Router(tags=["runs"])
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANO = Decimal(10**9)
TRACE_ID_DIGITS = 32
SOURCES = {PriceSource.PROVIDER: "provider", PriceSource.BOOK: "book", PriceSource.GENAI_PRICES: "genai-prices"}


class Totals(Schema):
    """Sums over steps; ``input`` includes the caches, ``output`` the reasoning."""

    cost_usd: str | None
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
    status: str
    agents: list[str]
    started_at: datetime
    latest_at: datetime
    duration_ms: int
    steps: int


class RunPage(Schema):
    """Some runs, newest first."""

    items: list[Run]
    next_cursor: str | None


class Price(Schema):
    """Where a cost comes from."""

    source: str | None
    id: str | None


class Step(Schema):
    """A step of a run; unknown is ``null``."""

    span_id: str
    parent_span_id: str | None
    kind: str
    name: str
    agent: str | None
    provider: str | None
    request_model: str | None
    response_model: str | None
    tool: str | None
    arguments: Any
    requested_tools: list[Any]
    status: str
    error_type: str | None
    started_at: datetime
    duration_ms: int
    cost_usd: str | None
    price: Price
    merged_into: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    reasoning_output_tokens: int | None


class Filters(Schema):
    """Which runs."""

    service: str = ""
    user: str = ""
    feature: str = ""
    session: str = ""
    environment: str = ""
    release: str = ""
    agent: str = ""
    model: str = ""
    tool: str = ""
    status: str = ""
    q: str = ""


def usd(nano: int | Decimal | None) -> str | None:
    """Nano-dollars as a decimal string of dollars."""
    return None if nano is None else format((Decimal(nano) / NANO).normalize() + Decimal(0), "f")


@router.get("/runs", response=RunPage)
def list_runs(
    request: HttpRequest,
    filters: Query[Filters],
    cursor: str = "",
    limit: int = 100,
) -> dict[str, Any]:
    """Runs, newest first; ``from`` and ``until`` bound their start."""
    after = _after(cursor)
    chosen = RunFilters(
        **{name: clean(value) for name, value in filters.dict().items()},
        from_=moment(request, "from"),
        until=moment(request, "until"),
    )
    page = queries.list_runs(chosen, after=after, limit=max(1, min(limit, queries.MAX_LIMIT)))
    return {
        "items": [run_shape(run) for run in page.runs],
        "next_cursor": encode_cursor(*page.next_key) if page.next_key else None,
    }


@router.get("/runs/{trace_id}", response=dict[str, Any])
def get_run(
    request: HttpRequest, trace_id: str, service: str = "", steps_cursor: str = "", steps_limit: int = 1_000
) -> dict[str, Any]:
    """A run with its steps in order of start, a page at a time, and what was found in it."""
    del request
    run = queries.get_run(parse_trace_id(trace_id), clean(service))
    if run is None:
        raise HttpError(404, "There is no such run.")
    after = None
    if steps_cursor:
        start, span_id = _decode(steps_cursor)
        try:
            after = (int(start), bytes.fromhex(span_id))
        except ValueError as error:
            raise HttpError(422, "steps_cursor is not a cursor of this API.") from error
    limit = max(1, min(steps_limit, 5_000))
    steps = queries.list_steps(run, after=after, limit=limit + 1)
    more = len(steps) > limit
    steps = steps[:limit]
    next_cursor = encode_cursor(str(steps[-1].start_ns), steps[-1].span_id.hex()) if more else None
    return {
        **Run(**run_shape(run)).model_dump(mode="json"),
        "steps": [Step(**step_shape(step)).model_dump(mode="json") for step in steps],
        "steps_count": run.steps,
        "steps_cursor": next_cursor,
        "findings": [],
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


def step_shape(step: StepRow) -> dict[str, Any]:
    """A step as the contract spells it."""
    content = json.loads(step.content) if step.content else {}
    shape = {name: getattr(step, name) for name in Step.model_fields if hasattr(step, name)}
    priced = step.kind in COSTED_KINDS and step.price_source is not None
    return {
        **shape,
        "span_id": step.span_id.hex(),
        "parent_span_id": step.parent_span_id.hex() if step.parent_span_id else None,
        "kind": Kind(step.kind).name.lower(),
        "arguments": content.get("arguments"),
        "requested_tools": content.get("requested_tools", []),
        "status": "error" if step.is_error else "ok",
        "started_at": from_ns(step.start_ns),
        "cost_usd": usd(step.cost_nano),
        "price": {"source": SOURCES[PriceSource(step.price_source)] if priced else None, "id": step.price_id},
        "merged_into": step.merged_into.hex() if step.merged_into else None,
    }


def from_ns(ns: int) -> datetime:
    """Nanoseconds since the epoch as a moment, to the microsecond."""
    return EPOCH + timedelta(microseconds=ns // 1_000)


def clean(text: str) -> str:
    """A filter's text without what the database cannot hold."""
    return text.replace("\x00", "")[:512]


def moment(request: HttpRequest, name: str) -> datetime | None:
    """A moment among the query parameters. Raises 422 when it is none."""
    text = request.GET.get(name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise HttpError(422, f"{name} is not an RFC 3339 time.") from error


def _decode(cursor: str) -> tuple[str, str]:
    try:
        first, second = decode_cursor(cursor, length=2)
    except InvalidCursorError as error:
        raise HttpError(422, "The cursor is none of this API's.") from error
    return str(first), str(second)


def _after(cursor: str) -> tuple[str, str] | None:
    if not cursor:
        return None
    at, trace_id = _decode(cursor)
    try:
        datetime.fromisoformat(at)
        bytes.fromhex(trace_id)
    except ValueError as error:
        raise HttpError(422, "The cursor is none of this API's.") from error
    return at, trace_id
