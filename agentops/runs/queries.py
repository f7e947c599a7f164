"""What is asked of runs: lists of them, one of them, its steps, who talked to whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import connection

from agentops.domain.spans import COSTED_KINDS, DEFAULT_ENVIRONMENT
from agentops.pages import InvalidCursorError, decode_cursor, encode_cursor
from agentops.runs import messages
from agentops.runs.filters import Values, is_named
from agentops.runs.store import IS_MODEL, IS_STEP

Status = Literal["running", "ok", "error"]
STATUSES: tuple[Status, ...] = ("running", "ok", "error")
#: Runs looked at, the newest first, where no index answers.
MAX_SEARCHED = 20_000
MAX_LIMIT = 1_000
#: Largest absolute value in a cursor: as microseconds still a moment that Python knows, as money 60 million dollars.
MAX_VALUE = 60_000_000_000_000_000
_TRACE_ID_START = re.compile(r"[0-9a-f]{4,32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RunFilters:
    """Which runs; ``None`` or empty means any. ``environment`` production holds the unknown too."""

    service: Values = ()
    user: Values = ()
    feature: Values = ()
    session: Values = ()
    environment: str = ""
    release: Values = ()
    agent: Values = ()
    model: Values = ()
    tool: Values = ()
    status: str = ""
    found: str = ""
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
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def error_words(self) -> str:
        """How many steps failed, of how many, and whether the run did."""
        if self.errors:
            return f"of {_some(self.steps, 'step')}"
        return "the run ended with an error" if self.status == "error" else "no step failed"

    @property
    def unpriced_words(self) -> str:
        """How many calls the cost leaves out."""
        return f"+ {_some(self.unpriced_calls, 'call')} without a price" if self.unpriced_calls else ""

    @property
    def token_words(self) -> str:
        """What the tokens were."""
        words = f"{self.input_tokens:,} in, {self.output_tokens:,} out"
        return f"{words}, {self.cache_read_input_tokens:,} cached" if self.cache_read_input_tokens else words

    @property
    def step_words(self) -> str:
        """What the steps were: model calls and tools."""
        return f"{_some(self.llm_calls, 'call')} · {_some(self.tool_calls, 'tool')}"

    @property
    def span_words(self) -> str:
        """How many spans there are."""
        return _some(self.spans, "span")


def _some(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


@dataclass(frozen=True, slots=True)
class Order:
    """How runs are sorted: the SQL, its value of a run as an integer, and back as a parameter."""

    column: str
    of_run: Callable[[RunRow], int]
    to_sql: Callable[[int], object]


SORTS = {
    "started": Order(
        "r.started_at", lambda run: (run.started_at - _EPOCH) // _MICROSECOND, lambda us: _EPOCH + us * _MICROSECOND
    ),
    "cost": Order("r.cost_nano", lambda run: run.priced_nano, lambda nano: nano),
    "duration": Order(
        "(r.latest_at - r.started_at)", lambda run: run.duration // _MICROSECOND, lambda us: us * _MICROSECOND
    ),
}


_RUNNING = "(NOT r.has_root AND r.last_received_at > now() - %(idle)s)"
STATUS = f"CASE WHEN {_RUNNING} THEN 'running' WHEN r.root_error OR r.last_error THEN 'error' ELSE 'ok' END"

COLUMNS = f"""r.trace_id, r.service, r.release, coalesce(r.environment, '{DEFAULT_ENVIRONMENT}'), r.session, r."user",
    r.feature, r.name, r.agents, {STATUS}, r.started_at, r.latest_at, r.first_received_at, r.last_received_at, r.spans,
    r.cost_nano, r.unpriced_calls, r.llm_calls, r.tool_calls, r.steps, r.errors, r.input_tokens, r.output_tokens,
    r.cache_read_input_tokens, r.cache_creation_input_tokens, r.reasoning_output_tokens"""

_STATUSES = {
    "running": _RUNNING,
    "error": f"(r.root_error OR r.last_error) AND NOT {_RUNNING}",
    "ok": f"NOT (r.root_error OR r.last_error) AND NOT {_RUNNING}",
}
#: Columns as indexes serve them; of what may carry none, with the missing value as an empty one.
_NAMED = {
    "service": "r.service",
    "user": 'r."user"',
    "feature": "r.feature",
    "session": "r.session",
    "release": "r.release",
}
_EQUALS = {
    "environment": f"coalesce(r.environment, '{DEFAULT_ENVIRONMENT}') = %(environment)s",
    "min_cost_nano": "r.cost_nano >= %(min_cost_nano)s",
    "from_": "r.started_at >= %(from_)s",
    "until": "r.started_at < %(until)s",
}
#: The names of a run's steps, which an index serves.
_NAMES = {"agent": "r.agents", "model": "r.models", "tool": "r.tools"}
# OFFSET 0 keeps the planner from joining with all spans: a few runs are looked up in the partitions of their days.
_OF_SPANS = """EXISTS (SELECT FROM spans s WHERE s.trace_id = r.trace_id AND s.service = r.service
    AND s.received_on BETWEEN (r.first_received_at AT TIME ZONE 'UTC')::date
        AND (r.last_received_at AT TIME ZONE 'UTC')::date
    AND {condition} OFFSET 0)"""
#: What no index answers; asked only of the newest runs that pass everything else. Of names: those that lack one, too.
_SLOW = {
    "agent": _OF_SPANS.format(condition=f"{IS_STEP} AND coalesce(s.agent, '') = ANY(%(agent)s)"),
    "model": _OF_SPANS.format(
        condition=f"{IS_MODEL} AND coalesce(nullif(s.response_model, ''), s.request_model, '') = ANY(%(model)s)"
    ),
    "tool": _OF_SPANS.format(condition="s.kind = 5 AND coalesce(s.tool, '') = ANY(%(tool)s)"),
    "found": """EXISTS (SELECT FROM run_findings f WHERE f.trace_id = r.trace_id AND f.service = r.service
        AND %(found)s IN ('any', f.severity) OFFSET 0)""",
    "q": """strpos(lower(concat_ws(E'\\x1f', r."user", r.session, r.service, r.feature, r.name,
        array_to_string(r.agents, E'\\x1f'))), lower(%(q)s)) > 0""",
}


@dataclass(frozen=True, slots=True)
class RunKey:
    """Where a page of runs ends: the sort value, as an integer, then what tells equals apart."""

    value: int
    trace_id: bytes
    service: str

    def encode(self) -> str:
        """Text for a URL."""
        return encode_cursor(self.value, self.trace_id.hex(), self.service)

    @classmethod
    def decode(cls, text: str) -> RunKey:
        """The key that a text is. Raises ``InvalidCursorError``."""
        value, trace_id, service = decode_cursor(text, length=3)
        if not isinstance(value, int) or abs(value) > MAX_VALUE or not isinstance(service, str) or "\0" in service:
            raise InvalidCursorError(text[:40])
        try:
            return cls(value, bytes.fromhex(str(trace_id)), service)
        except ValueError as error:
            raise InvalidCursorError(text[:40]) from error


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, and where the next ones start when there are more."""

    runs: list[RunRow]
    next_key: RunKey | None


def list_runs(filters: RunFilters, *, sort: str = "-started", after: RunKey | None = None, limit: int = 100) -> Page:
    """A page of runs, newest first unless ``sort`` (a key of ``SORTS``, ``-`` descends) says otherwise.

    One statement. An agent, a model or a tool is looked for among the first hundred of a run. What no index answers
    (``is_bounded``) is asked of the newest ``MAX_SEARCHED`` runs that pass the other filters. A trace id's first
    digits as ``q`` find its runs at any time.
    """
    order = SORTS[sort.removeprefix("-")]
    parameters: dict[str, Any] = {"idle": _idle(), "limit": min(limit, MAX_LIMIT) + 1, "searched": MAX_SEARCHED}
    source, where = _source(filters, sort, parameters)
    if after is not None:
        comparison = "<" if sort.startswith("-") else ">"
        where.append(
            f"({order.column}, r.trace_id, r.service) {comparison} (%(after)s, %(after_id)s, %(after_service)s)"
        )
        parameters |= {
            "after": order.to_sql(after.value),
            "after_id": after.trace_id,
            "after_service": after.service,
        }
    direction = "DESC" if sort.startswith("-") else "ASC"
    statement = (
        f"SELECT {COLUMNS} FROM {source} r WHERE {' AND '.join(where) or 'true'} "
        f"ORDER BY {order.column} {direction}, r.trace_id {direction}, r.service {direction} LIMIT %(limit)s"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found = [_run(row) for row in cursor.fetchall()]
    runs = found[: parameters["limit"] - 1]
    if len(found) == len(runs):
        return Page(runs, None)
    return Page(runs, RunKey(order.of_run(runs[-1]), runs[-1].trace_id, runs[-1].service))


def is_bounded(filters: RunFilters, sort: str) -> bool:
    """Whether only the newest ``MAX_SEARCHED`` runs of the range are looked at."""
    slow = (name for name in _SLOW if getattr(filters, name) and name not in _conditions(filters))
    return sort.removeprefix("-") != "started" or any(slow)


def _conditions(filters: RunFilters) -> dict[str, str]:
    """What an index or a look at the run itself answers, by field."""
    found = dict(_EQUALS)
    for name, column in _NAMED.items():
        named, plain = is_named(getattr(filters, name)), f"coalesce({column}, '')"
        found[name] = f"{column if named else plain} = ANY(%({name})s)"
    for name, column in _NAMES.items():
        if is_named(getattr(filters, name)):
            found[name] = f"{column} && %({name})s::text[]"
    return found


def _source(filters: RunFilters, sort: str, parameters: dict[str, Any]) -> tuple[str, list[str]]:
    """The rows to choose from, as SQL, and what is left to ask of each."""
    # A trace that only repeats calls of other traces is no run.
    fast = ["NOT r.is_absorbed", *([_STATUSES[filters.status]] if filters.status else [])]
    slow: list[str] = []
    conditions = _conditions(filters)
    for field in fields(filters):
        value = getattr(filters, field.name)
        if value is None or value in ("", ()) or field.name == "status":
            continue
        parameters[field.name] = list(value) if isinstance(value, tuple) else value
        condition = conditions.get(field.name)
        (fast if condition else slow).append(condition or _SLOW[field.name])
    if not is_bounded(filters, sort):
        return "runs", fast
    newest = _newest(fast)
    by_id = _by_trace_id(filters.q)
    if by_id is None:
        return newest, slow
    parameters |= by_id
    named = "r.trace_id BETWEEN %(id_from)s AND %(id_until)s"
    others = [condition for condition in slow if condition != _SLOW["q"]]
    timeless = [condition for condition in fast if condition not in (_EQUALS["from_"], _EQUALS["until"])]
    by_text = f"SELECT * FROM {_newest([*fast, f'NOT {named}'])} r WHERE {_SLOW['q']}"
    return f"({by_text} UNION ALL SELECT * FROM {_newest([*timeless, named])} r)", others


def _newest(conditions: list[str]) -> str:
    condition = " AND ".join(conditions) or "true"
    return f"(SELECT * FROM runs r WHERE {condition} ORDER BY r.started_at DESC LIMIT %(searched)s)"


def _by_trace_id(text: str) -> dict[str, bytes] | None:
    """The bounds of the trace ids that begin with these digits; ``None`` for other text."""
    digits = text.strip().lower().replace("-", "")
    if not _TRACE_ID_START.fullmatch(digits):
        return None
    return {"id_from": bytes.fromhex(digits.ljust(32, "0")), "id_until": bytes.fromhex(digits.ljust(32, "f"))}


def _idle() -> timedelta:
    return timedelta(seconds=settings.RUN_IDLE_SECONDS)


def _run(row: Sequence[Any]) -> RunRow:
    return RunRow(bytes(row[0]), *row[1:])


# Jumps from one service to the next in the index, instead of reading every run.
SERVICES = """
WITH RECURSIVE found AS (
    (SELECT service FROM runs WHERE NOT is_absorbed ORDER BY service LIMIT 1)
    UNION ALL
    SELECT (SELECT r.service FROM runs r
        WHERE r.service > found.service AND NOT r.is_absorbed ORDER BY r.service LIMIT 1)
    FROM found WHERE found.service IS NOT NULL
)
SELECT service FROM found WHERE service IS NOT NULL LIMIT 500
"""


def list_services() -> list[str]:
    """The services that have runs, by name."""
    with connection.cursor() as cursor:
        cursor.execute(SERVICES)
        return [service for (service,) in cursor.fetchall()]


BY_TRACE = f"""
SELECT {COLUMNS} FROM runs r WHERE r.trace_id = %(trace_id)s
ORDER BY r.has_root DESC, r.spans DESC, r.service
"""


def runs_of_trace(trace_id: bytes) -> list[RunRow]:
    """The runs that share a trace id, one a service; the one with the root first."""
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {"trace_id": trace_id, "idle": _idle()}
        cursor.execute(BY_TRACE, parameters)
        return [_run(row) for row in cursor.fetchall()]


def choose_run(runs: Sequence[RunRow], service: str = "") -> RunRow | None:
    """The run of that service among those of one trace; without a service the most complete one."""
    return next((run for run in runs if not service or run.service == service), None)


@dataclass(frozen=True, slots=True)
class StepRow:
    """A span of a run as it is shown. ``terms`` and ``content`` are JSON text; the latter only when asked for."""

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
    is_estimate: bool
    terms: str | None
    merged_trace_id: bytes | None
    content: str | None = None

    @property
    def cost_nano(self) -> int | None:
        """What the span adds to its run; ``None`` when unknown, or when another span counts for it."""
        return None if self.merged_into else self.own_cost_nano

    @property
    def duration_ms(self) -> int:
        """How long it took."""
        return round((self.end_ns - self.start_ns) / 1_000_000)


_EXPRESSIONS = {"own_cost_nano": "cost_nano", "terms": "terms::text"}
_STEP_COLUMNS = ", ".join(_EXPRESSIONS.get(f.name, f.name) for f in fields(StepRow))
_SKELETON = _STEP_COLUMNS.removesuffix(", content")
# A condition on the day of receipt leaves the planner one partition or two to look at.
OF_RUN = """trace_id = %(trace_id)s AND service = %(service)s AND received_on BETWEEN %(first)s AND %(last)s"""
STEPS = f"""SELECT {{columns}} FROM spans WHERE {OF_RUN} AND (start_ns, span_id) > (%(start)s, %(span_id)s)
ORDER BY start_ns, span_id LIMIT %(limit)s"""
STEP = f"SELECT {_STEP_COLUMNS} FROM spans WHERE {OF_RUN} AND span_id = %(span_id)s"


def of_run(run: RunRow) -> dict[str, Any]:
    """What ``OF_RUN`` asks for."""
    return {
        "trace_id": run.trace_id,
        "service": run.service,
        "first": run.first_received_at.astimezone(UTC).date(),
        "last": run.last_received_at.astimezone(UTC).date(),
    }


_MERGED_INTO, _MERGED_TRACE = (
    [field.name for field in fields(StepRow)].index(name) for name in ("merged_into", "merged_trace_id")
)


def _step(row: Sequence[Any]) -> StepRow:
    values = list(row)
    for i in (0, 1, _MERGED_INTO, _MERGED_TRACE):
        values[i] = None if values[i] is None else bytes(values[i])
    return StepRow(*values)


def list_steps(
    run: RunRow, *, after: tuple[int, bytes] | None = None, limit: int = 500, with_content: bool = True
) -> list[StepRow]:
    """Spans of a run in order of start, after a (start, span id)."""
    start, span_id = after or (-1, b"")
    statement = STEPS.format(columns=_STEP_COLUMNS if with_content else _SKELETON)
    with connection.cursor() as cursor:
        cursor.execute(statement, {**of_run(run), "start": start, "span_id": span_id, "limit": limit})
        steps = [_step(row) for row in cursor.fetchall()]
    return _completed(run, steps) if with_content else steps


def get_step(run: RunRow, span_id: bytes) -> StepRow | None:
    """One span of a run, with its text."""
    with connection.cursor() as cursor:
        cursor.execute(STEP, {**of_run(run), "span_id": span_id})
        row = cursor.fetchone()
    return _completed(run, [_step(row)])[0] if row else None


def _completed(run: RunRow, steps: list[StepRow]) -> list[StepRow]:
    """Steps whose model calls also have what only a log tells of them, or another span of the same call."""
    calls = {step.span_id: step.content for step in steps if step.kind in COSTED_KINDS and not step.merged_into}
    completed = messages.complete(of_run(run), calls) if calls else {}
    return [replace(step, content=completed.get(step.span_id, step.content)) for step in steps]


MODELS = f"""
SELECT coalesce(response_model, request_model), count(*), sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)),
    sum(cost_nano), count(*) FILTER (WHERE cost_nano IS NULL AND NOT (is_error AND input_tokens IS NULL)), max(price_id)
FROM spans WHERE {OF_RUN} AND kind = ANY(%(kinds)s) AND merged_into IS NULL
GROUP BY 1 ORDER BY sum(cost_nano) DESC NULLS LAST, count(*) DESC, 1 LIMIT 20
"""


@dataclass(frozen=True, slots=True)
class ModelShare:
    """What one model did in a run: calls, tokens, known cost, calls without a price, and one of its prices."""

    model: str | None
    calls: int
    tokens: int
    cost_nano: int | None
    unpriced: int
    price_id: str | None


def list_models(run: RunRow) -> list[ModelShare]:
    """The models of a run, the most expensive first."""
    with connection.cursor() as cursor:
        cursor.execute(MODELS, {**of_run(run), "kinds": [int(kind) for kind in COSTED_KINDS]})
        return [
            ModelShare(model, calls, int(tokens), None if cost is None else int(cost), unpriced, price_id)
            for model, calls, tokens, cost, unpriced, price_id in cursor.fetchall()
        ]


MERGES = f"""
SELECT count(*) FILTER (WHERE merged_trace_id IS NULL), array_agg(DISTINCT merged_trace_id)
FROM spans WHERE {OF_RUN} AND merged_into IS NOT NULL
"""
MERGED_HERE = f"""
SELECT trace_id FROM spans WHERE merged_trace_id = %(trace_id)s AND service = %(service)s
GROUP BY trace_id ORDER BY min(start_ns) LIMIT {MAX_LIMIT}
"""


@dataclass(frozen=True, slots=True)
class Merges:
    """Model calls that were told more than once and count once.

    ``within`` spans of the run repeat others of it; the traces ``from_traces`` repeat calls of it; the run itself
    repeats calls of the traces ``into``.
    """

    within: int
    from_traces: list[bytes]
    into: list[bytes]


def list_merges(run: RunRow) -> Merges:
    """What of a run was merged: two statements."""
    with connection.cursor() as cursor:
        cursor.execute(MERGES, of_run(run))
        within, into = cursor.fetchone()
        cursor.execute(MERGED_HERE, of_run(run))
        traces = [bytes(trace_id) for (trace_id,) in cursor.fetchall()]
    return Merges(within, traces, [bytes(trace_id) for trace_id in into or () if trace_id is not None])
