"""What the watch reads of the books: new spans with their content, their runs, agents that became known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson

from agentops.columns import Byteas, Column, Integers, Texts, books_cursor, transpose
from agentops.domain.spans import COSTED_KINDS, DEFAULT_ENVIRONMENT
from agentops.domain.steps import Seen
from agentops.runs import messages
from agentops.runs.pending import WATCHED_KINDS, Waiting
from agentops.runs.store import RunKey, SpanKey

_MODELS = frozenset(map(int, COSTED_KINDS))


@dataclass(frozen=True, slots=True)
class Read:
    """A booked span and its content."""

    seen: Seen
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run; money is nano-dollars. ``is_over``: its root span has come."""

    trace_id: bytes
    service: str
    session: str | None
    user: str | None
    feature: str | None
    environment: str
    name: str | None
    is_over: bool
    is_error: bool
    llm_calls: int
    tool_calls: int
    steps: int
    errors: int
    cost_nano: int
    unpriced_calls: int
    tokens: int
    started_at: datetime
    latest_at: datetime
    since: date

    @property
    def key(self) -> RunKey:
        """Its key."""
        return (self.trace_id, self.service)

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return (self.latest_at - self.started_at).total_seconds()


# Row by row, whatever the planner thinks of the spans: each is found by the index of its one partition.
SPANS = """
SELECT k.service, k.trace_id, k.span_id, s.*
FROM unnest(%b::text[], %b::bytea[], %b::bytea[], %b::bigint[], %b::bigint[])
    AS k (service, trace_id, span_id, start_ns, received_on)
CROSS JOIN LATERAL (
    SELECT s.kind, s.is_error, s.agent, s.tool, s.start_ns, s.end_ns, s.cost_nano,
        coalesce(s.input_tokens, 0), coalesce(s.output_tokens, 0), s.content
    FROM spans s WHERE s.received_on = DATE '1970-01-01' + k.received_on::int AND s.trace_id = k.trace_id
        AND s.start_ns = k.start_ns AND s.span_id = k.span_id AND s.service = k.service AND s.merged_into IS NULL
    OFFSET 0
) AS s
"""
# Run by run, whose spans may have come on any day since its first.
ON = f"""
SELECT k.service, k.trace_id, s.span_id, s.kind, s.is_error, s.agent, s.tool, s.start_ns, s.end_ns, s.cost_nano,
    coalesce(s.input_tokens, 0), coalesce(s.output_tokens, 0), s.content
FROM unnest(%b::bytea[], %b::text[], %b::bigint[]) WITH ORDINALITY AS k (trace_id, service, since, place)
CROSS JOIN LATERAL (
    SELECT s.* FROM spans s
    WHERE s.received_on >= DATE '1970-01-01' + k.since::int AND s.trace_id = k.trace_id AND s.service = k.service
        AND s.merged_into IS NULL
        AND (s.kind IN ({", ".join(str(int(kind)) for kind in sorted(WATCHED_KINDS))}) OR s.parent_span_id IS NULL)
    OFFSET 0
) AS s
WHERE (k.place, s.start_ns, s.span_id) > (1, %b::bigint, %b::bytea)
ORDER BY k.place, s.start_ns, s.span_id LIMIT %b::bigint
"""
PLACES = """
SELECT l.service, l.trace_id, l.span_id, l.start_ns, l.received_on - DATE '1970-01-01'
FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) AS k (service, trace_id, span_id)
JOIN span_ledger l USING (trace_id, span_id, service)
"""
RUNS = f"""
SELECT r.trace_id, r.service, r.session, r."user", r.feature, coalesce(r.environment, '{DEFAULT_ENVIRONMENT}'), r.name,
    r.has_root, r.root_error OR r.last_error, r.llm_calls, r.tool_calls, r.steps, r.errors, r.cost_nano,
    r.unpriced_calls, r.input_tokens + r.output_tokens, r.started_at, r.latest_at,
    (r.first_received_at AT TIME ZONE 'UTC')::date
FROM unnest(%b::bytea[], %b::text[]) AS k (trace_id, service) JOIN runs r USING (trace_id, service)
"""
AGENTS = """
SELECT k.service, k.trace_id, k.span_id, s.agent
FROM unnest(%b::text[], %b::bytea[], %b::bytea[], %b::bigint[], %b::bigint[])
    AS k (service, trace_id, span_id, start_ns, since)
CROSS JOIN LATERAL (
    SELECT s.agent FROM spans s WHERE s.received_on >= DATE '1970-01-01' + k.since::int AND s.trace_id = k.trace_id
        AND s.start_ns = k.start_ns AND s.span_id = k.span_id AND s.service = k.service AND s.agent IS NOT NULL
    OFFSET 0
) AS s
"""


def read_spans(waiting: Iterable[Waiting]) -> dict[RunKey, list[Read]]:
    """The spans that wait, by run, with what logs tell of them. Three statements at most."""
    known: list[tuple[Any, ...]] = []
    unknown: list[tuple[Any, ...]] = []
    for row in waiting:
        for place in row.places:
            key = (row.service, row.trace_id, place.span_id)
            if place.start_ns:
                known.append((*key, place.start_ns, (row.received_on - _EPOCH).days))
            else:
                unknown.append(key)
    if unknown:
        known += _ask(PLACES, _SPAN, unknown)
    found: dict[RunKey, list[Read]] = {}
    for service, read in _told(_ask(SPANS, _PLACED, known)):
        found.setdefault((read.seen.trace_id, service), []).append(read)
    return found


def read_on(runs: Sequence[tuple[RunKey, date]], *, after: tuple[int, bytes], limit: int) -> list[tuple[RunKey, Read]]:
    """What the watch looks at of some runs (each with the day on which it came first), in their order and by start.

    Of the first run those spans after a start and a span id; as many of all as ``limit`` says.
    """
    if not runs:
        return []
    rows = [(*key, (since - _EPOCH).days) for key, since in runs]
    with books_cursor() as cursor:
        cursor.execute(ON, [*transpose((Byteas, Texts, Integers), rows), *after, limit])
        found = _told(cursor.fetchall())
    return [((read.seen.trace_id, service), read) for service, read in found]


def _told(rows: Iterable[Sequence[Any]]) -> list[tuple[str, Read]]:
    """Services and spans, with what logs tell of those that say nothing themselves."""
    found: list[tuple[str, Read]] = []
    silent: list[SpanKey] = []
    for service, trace_id, span_id, kind, *rest, content in rows:
        seen = Seen(trace_id, span_id, kind, *rest)
        told = orjson.loads(content) if content else {}
        if kind in _MODELS and not ("output" in told or "requested_tools" in told or "sketch" in told):
            silent.append((seen.trace_id, seen.span_id, service))
        found.append((service, Read(seen, told)))
    if silent and (logs := messages.told(silent)):
        return [
            (service, _with_logs(read, logs.get((read.seen.trace_id, read.seen.span_id, service))))
            for service, read in found
        ]
    return found


def _with_logs(read: Read, told: dict[str, Any] | None) -> Read:
    return read if told is None else Read(read.seen, told | dict(read.content))


def read_runs(keys: Iterable[RunKey]) -> dict[RunKey, RunFacts]:
    """What is known of some runs."""
    facts = [RunFacts(*row) for row in _ask(RUNS, (Byteas, Texts), sorted(keys))]
    return {run.key: run for run in facts}


def agents_of(spans: Sequence[tuple[SpanKey, int, date]]) -> dict[SpanKey, str]:
    """Which agents some spans belong to by now; (key, start in ns, a day on or before which it came) each."""
    rows = [
        (service, trace_id, span_id, start, (since - _EPOCH).days)
        for (trace_id, span_id, service), start, since in spans
    ]
    found = _ask(AGENTS, _PLACED, rows)
    return {(trace_id, span_id, service): agent for service, trace_id, span_id, agent in found}


_EPOCH = date(1970, 1, 1)
_SPAN: tuple[type[Column], ...] = (Texts, Byteas, Byteas)
_PLACED: tuple[type[Column], ...] = (*_SPAN, Integers, Integers)


def _ask(statement: str, types: Sequence[type[Column]], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    if not rows:
        return []
    with books_cursor() as cursor:
        cursor.execute(statement, transpose(types, rows))
        return cursor.fetchall()
