"""What logs tell of model calls: kept beside the spans, whichever of the two comes first, and shown with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson
from django.db import connection
from psycopg import Cursor

from agentops.columns import Byteas, Integers, Texts, transpose

#: Messages read for the spans of one page, and of one span: a model gives one answer, or a few.
MAX_READ, MAX_OF_SPAN = 10_000, 32
FORGOTTEN_AT_ONCE = 50_000
#: What of another span's content is true of the whole call.
_OF_CALL = frozenset({"requested_tools", "input", "output", "system"})


@dataclass(frozen=True, slots=True)
class Message:
    """What one log record tells of its span: JSON text of what ``Span.content`` may hold.

    ``digest`` is the same when the record comes again.
    """

    trace_id: bytes
    span_id: bytes
    service: str
    digest: bytes
    told_ns: int
    content: str


ADD = """
INSERT INTO span_messages (received_on, trace_id, span_id, service, digest, told_ns, content)
SELECT CURRENT_DATE, trace_id, span_id, service, digest, told_ns, content
FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::bytea[], %b::bigint[], %b::text[])
     AS u (trace_id, span_id, service, digest, told_ns, content)
ORDER BY trace_id, span_id, service COLLATE "C", digest
ON CONFLICT DO NOTHING
RETURNING trace_id, service
"""


def add(cursor: Cursor[Any], messages: Sequence[Message]) -> set[tuple[bytes, str]]:
    """Keep messages, each once; the runs of those that are new."""
    rows = [(m.trace_id, m.span_id, m.service, m.digest, m.told_ns, m.content) for m in messages]
    cursor.execute(ADD, transpose((Byteas, Byteas, Texts, Byteas, Integers, Texts), rows))
    return {(row[0], row[1]) for row in cursor.fetchall()}


TOLD = """
SELECT span_id, content FROM span_messages
WHERE trace_id = %(trace_id)s AND service = %(service)s AND span_id = ANY(%(ids)s)
ORDER BY span_id, told_ns, digest LIMIT %(limit)s
"""
REPEATED = """
SELECT merged_into, content FROM spans
WHERE trace_id = %(trace_id)s AND service = %(service)s AND received_on BETWEEN %(first)s AND %(last)s
  AND merged_into = ANY(%(ids)s) AND merged_trace_id IS NULL AND content IS NOT NULL
ORDER BY merged_into, start_ns, span_id LIMIT %(limit)s
"""


def complete(of_run: dict[str, Any], calls: dict[bytes, str | None]) -> dict[bytes, str]:
    """The contents of those of a run's model calls of which logs, or spans merged into them, tell more.

    ``of_run`` are a run's trace id, service and days of receipt. What the call tells itself goes first.
    """
    parameters = {**of_run, "ids": list(calls), "limit": MAX_READ}
    told: dict[bytes, list[dict[str, Any]]] = {}
    found: dict[bytes, dict[str, Any]] = {}
    with connection.cursor() as cursor:
        cursor.execute(TOLD, parameters)
        for span_id, content in cursor.fetchall():
            told.setdefault(bytes(span_id), []).append(orjson.loads(content))
        cursor.execute(REPEATED, parameters)
        for span_id, content in cursor.fetchall():
            more = found.setdefault(bytes(span_id), {})
            for name, value in orjson.loads(content).items():
                if name in _OF_CALL:
                    more.setdefault(name, value)
    for span_id, contents in told.items():
        found[span_id] = found.get(span_id, {}) | _together(contents[:MAX_OF_SPAN])
    return {
        span_id: orjson.dumps(more | (orjson.loads(own) if (own := calls[span_id]) else {})).decode()
        for span_id, more in found.items()
        if more
    }


OF_SPANS = """
SELECT m.trace_id, m.span_id, m.service, m.content
FROM unnest(%s::bytea[], %s::bytea[], %s::text[]) AS k (trace_id, span_id, service)
JOIN span_messages m USING (trace_id, span_id, service) ORDER BY m.told_ns, m.digest
"""


def told(spans: Sequence[tuple[bytes, bytes, str]]) -> dict[tuple[bytes, bytes, str], dict[str, Any]]:
    """What logs tell of some spans, (trace id, span id, service) each. One statement."""
    found: dict[tuple[bytes, bytes, str], list[dict[str, Any]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(OF_SPANS, [[key[at] for key in spans] for at in range(3)])
        for trace_id, span_id, service, content in cursor.fetchall():
            found.setdefault((bytes(trace_id), bytes(span_id), service), []).append(orjson.loads(content))
    return {key: _together(contents[:MAX_OF_SPAN]) for key, contents in found.items()}


def _together(told: list[dict[str, Any]]) -> dict[str, Any]:
    """What all messages of a span tell: the tools asked for, in order, and the first text."""
    asked = [call for content in told for call in content.get("requested_tools", ())]
    texts = [content["output"] for content in told if "output" in content]
    return ({"requested_tools": asked} if asked else {}) | ({"output": texts[0]} if texts else {})


FORGET = """
DELETE FROM span_messages WHERE (trace_id, span_id, service, digest) IN (
    SELECT trace_id, span_id, service, digest FROM span_messages WHERE received_on < %s LIMIT %s)
"""


def forget(before: date) -> None:
    """Delete what came before a day."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(FORGET, [before, FORGOTTEN_AT_ONCE])
            if cursor.rowcount < FORGOTTEN_AT_ONCE:
                return
