"""What is asked of runs: lists of them, one of them, its steps, who talked to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import connection

from agentops.domain.spans import DEFAULT_ENVIRONMENT

Status = Literal["running", "ok", "error"]
Sort = Literal["-started", "-cost", "-duration", "started", "cost", "duration"]
SORTS: dict[str, tuple[str, str]] = {
    "started": ("r.started_at", "timestamptz"),
    "cost": ("r.cost_nano", "bigint"),
    "duration": ("(r.latest_at - r.started_at)", "interval"),
}
#: Sorting by anything but time looks at no more runs than this, the newest of the range.
MAX_SORTED = 20_000
MAX_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class RunFilters:
    """Which runs; ``None`` or empty means any. ``environment`` production holds the unknown too."""

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
    min_cost_nano: int | None = None
    from_: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run with its totals; money in nano-dollars, ``None`` where all of it is unknown."""

    trace_id: bytes
    service: str
    release: str | None
    environment: str
    session: str | None
    user: str | None
    feature: str | None
    name: str | None
    agents: list[str]
    status: Status
    started_at: datetime
    latest_at: datetime
    first_received_at: datetime
    last_received_at: datetime
    spans: int
    priced_nano: int
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

    @property
    def hex_id(self) -> str:
        """The trace id as it is written."""
        return self.trace_id.hex()

    @property
    def cost_nano(self) -> int | None:
        """What is known of the cost; ``None`` when none of its calls has a price."""
        return None if self.unpriced_calls and not self.priced_nano else self.priced_nano

    @property
    def duration(self) -> timedelta:
        """From the first start to the last end."""
        return self.latest_at - self.started_at

    @property
    def duration_ms(self) -> int:
        """The same in milliseconds."""
        return round(self.duration / timedelta(milliseconds=1))

    @property
    def unpriced_words(self) -> str:
        """How many calls the cost leaves out."""
        return f"+ {self.unpriced_calls} calls without a price" if self.unpriced_calls else ""

    @property
    def token_words(self) -> str:
        """What the tokens were."""
        words = f"{self.input_tokens:,} in, {self.output_tokens:,} out"
        return f"{words}, {self.cache_read_input_tokens:,} cached" if self.cache_read_input_tokens else words

    @property
    def step_words(self) -> str:
        """What the steps were."""
        return f"{self.llm_calls:,} model calls, {self.tool_calls:,} tools"

    @property
    def span_words(self) -> str:
        """How many spans there are."""
        return f"{self.spans:,} spans"


STATUS = """CASE WHEN NOT r.has_root AND r.last_received_at > now() - %(idle)s THEN 'running'
    WHEN r.root_error OR r.last_error THEN 'error' ELSE 'ok' END"""

COLUMNS = f"""r.trace_id, r.service, r.release, coalesce(r.environment, '{DEFAULT_ENVIRONMENT}'), r.session, r."user",
    r.feature, r.name, r.agents, {STATUS}, r.started_at, r.latest_at, r.first_received_at, r.last_received_at, r.spans,
    r.cost_nano, r.unpriced_calls, r.llm_calls, r.tool_calls, r.steps, r.errors, r.input_tokens, r.output_tokens,
    r.cache_read_input_tokens, r.cache_creation_input_tokens, r.reasoning_output_tokens"""

_EQUALS = {
    "service": "r.service = %(service)s",
    "user": 'r."user" = %(user)s',
    "feature": "r.feature = %(feature)s",
    "session": "r.session = %(session)s",
    "release": "r.release = %(release)s",
    "environment": f"coalesce(r.environment, '{DEFAULT_ENVIRONMENT}') = %(environment)s",
    "agent": "%(agent)s = ANY(r.agents)",
    "status": f"({STATUS}) = %(status)s",
    "min_cost_nano": "r.cost_nano >= %(min_cost_nano)s",
    "from_": "r.started_at >= %(from_)s",
    "until": "r.started_at < %(until)s",
    "model": """EXISTS (SELECT FROM spans s WHERE s.trace_id = r.trace_id AND s.service = r.service
        AND coalesce(s.response_model, s.request_model) = %(model)s)""",
    "tool": """EXISTS (SELECT FROM spans s WHERE s.trace_id = r.trace_id AND s.service = r.service
        AND s.tool = %(tool)s)""",
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, and the key of the last one when there are more: (sort value, trace id hex)."""

    runs: list[RunRow]
    next_key: tuple[str, str] | None


def list_runs(
    filters: RunFilters, *, sort: str = "-started", after: tuple[str, str] | None = None, limit: int = 100
) -> Page:
    """A page of runs, newest first unless ``sort`` says otherwise. One statement."""
    descending = sort.startswith("-")
    column, kind = SORTS[sort.removeprefix("-")]
    where, parameters = _where(filters)
    if after is not None:
        where.append(f"({column}, r.trace_id) {'<' if descending else '>'} (%(after)s::{kind}, %(after_id)s)")
        parameters |= {"after": after[0], "after_id": bytes.fromhex(after[1])}
    direction = "DESC" if descending else "ASC"
    parameters |= {"limit": min(limit, MAX_LIMIT) + 1}
    condition = " AND ".join(where) or "true"
    statement = (
        f"SELECT {COLUMNS}, {column}::text FROM runs r WHERE {condition} "  # noqa: S608  (from constants)
        f"ORDER BY {column} {direction}, r.trace_id {direction} LIMIT %(limit)s"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows = cursor.fetchall()
    more = len(rows) == parameters["limit"]
    rows = rows[: parameters["limit"] - 1]
    runs = [_run(row) for row in rows]
    return Page(runs, (rows[-1][-1], runs[-1].hex_id) if more else None)


def _where(filters: RunFilters) -> tuple[list[str], dict[str, Any]]:
    parameters: dict[str, Any] = {"idle": timedelta(seconds=settings.RUN_IDLE_SECONDS)}
    where = []
    for field in fields(filters):
        value = getattr(filters, field.name)
        if value in (None, "") or field.name == "q":
            continue
        where.append(_EQUALS[field.name])
        parameters[field.name] = value
    if filters.q:
        where.append(_search(filters.q, parameters))
    return where, parameters


def _search(text: str, parameters: dict[str, Any]) -> str:
    """A trace id by its first digits; else the exact user, session, service, feature or agent."""
    text = text.strip()
    parameters["q"] = text
    condition = (
        'r."user" = %(q)s OR r.session = %(q)s OR r.service = %(q)s OR r.feature = %(q)s OR %(q)s = ANY(r.agents)'
    )
    digits = text.lower().replace("-", "")
    if 4 <= len(digits) <= 32 and all(c in "0123456789abcdef" for c in digits):
        parameters |= {
            "q_from": bytes.fromhex(digits.ljust(32, "0")),
            "q_until": bytes.fromhex(digits.ljust(32, "f")),
        }
        condition += " OR r.trace_id BETWEEN %(q_from)s AND %(q_until)s"
    return f"({condition})"


def _run(row: Sequence[Any]) -> RunRow:
    return RunRow(bytes(row[0]), *row[1:26])


BY_TRACE = f"""
SELECT {COLUMNS} FROM runs r WHERE r.trace_id = %(trace_id)s
ORDER BY r.has_root DESC, r.spans DESC, r.service
"""


def runs_of_trace(trace_id: bytes) -> list[RunRow]:
    """The runs that share a trace id, one a service; the one with the root first."""
    with connection.cursor() as cursor:
        idle = timedelta(seconds=settings.RUN_IDLE_SECONDS)
        cursor.execute(BY_TRACE, {"trace_id": trace_id, "idle": idle})
        return [_run(row) for row in cursor.fetchall()]


def get_run(trace_id: bytes, service: str = "") -> RunRow | None:
    """A run; without a service the trace's most complete one."""
    for run in runs_of_trace(trace_id):
        if not service or run.service == service:
            return run
    return None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A span of a run as it is shown. ``content`` is JSON text, or ``None`` when it was not asked for."""

    span_id: bytes
    parent_span_id: bytes | None
    kind: int
    is_error: bool
    name: str
    agent: str | None
    provider: str | None
    request_model: str | None
    response_model: str | None
    tool: str | None
    error_type: str | None
    start_ns: int
    end_ns: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    reasoning_output_tokens: int | None
    own_cost_nano: int | None
    price_source: int | None
    price_id: str | None
    merged_into: bytes | None
    content: str | None = None

    @property
    def cost_nano(self) -> int | None:
        """What the span adds to its run; ``None`` when unknown, or when another span counts for it."""
        return None if self.merged_into else self.own_cost_nano

    @property
    def duration_ms(self) -> int:
        """How long it took."""
        return round((self.end_ns - self.start_ns) / 1_000_000)


_STEP_COLUMNS = ", ".join("cost_nano" if f.name == "own_cost_nano" else f.name for f in fields(StepRow))
_SKELETON = _STEP_COLUMNS.removesuffix(", content")
_OF_RUN = """trace_id = %(trace_id)s AND service = %(service)s
    AND received_on BETWEEN %(first)s AND %(last)s"""


def _of_run(run: RunRow) -> dict[str, Any]:
    return {
        "trace_id": run.trace_id,
        "service": run.service,
        "first": run.first_received_at.date(),
        "last": run.last_received_at.date(),
    }


def _step(row: Sequence[Any]) -> StepRow:
    span_id, parent, *rest = row
    step = [bytes(span_id), bytes(parent) if parent is not None else None, *rest]
    merged = step[21]
    step[21] = bytes(merged) if merged is not None else None
    return StepRow(*step)


def list_steps(
    run: RunRow, *, after: tuple[int, bytes] | None = None, limit: int = 500, with_content: bool = True
) -> list[StepRow]:
    """Spans of a run in order of start, after a (start, span id)."""
    columns = _STEP_COLUMNS if with_content else _SKELETON
    condition = " AND (start_ns, span_id) > (%(start)s, %(span_id)s)" if after else ""
    start, span_id = after or (0, b"")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM spans WHERE {_OF_RUN}{condition} ORDER BY start_ns, span_id LIMIT %(limit)s",
            {**_of_run(run), "start": start, "span_id": span_id, "limit": limit},
        )
        return [_step(row) for row in cursor.fetchall()]


def get_step(run: RunRow, span_id: bytes) -> StepRow | None:
    """One span of a run, with its text."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_STEP_COLUMNS} FROM spans WHERE {_OF_RUN} AND span_id = %(span_id)s",
            {**_of_run(run), "span_id": span_id},
        )
        row = cursor.fetchone()
    return _step(row) if row else None
