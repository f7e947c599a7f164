"""What logs tell of model calls: kept beside the spans, whichever of the two comes first, and shown with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


READ = """
SELECT span_id, content FROM span_messages
WHERE trace_id = %s AND service = %s AND span_id = ANY(%s)
ORDER BY span_id, told_ns, digest LIMIT %s
"""


def of_spans(trace_id: bytes, service: str, span_ids: Iterable[bytes]) -> dict[bytes, dict[str, Any]]:
    """By span id, what all messages of a span tell together: the tools asked for, in order, and the first text."""
    found: dict[bytes, list[dict[str, Any]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(READ, [trace_id, service, list(span_ids), MAX_READ])
        for span_id, content in cursor.fetchall():
            told = found.setdefault(bytes(span_id), [])
            if len(told) < MAX_OF_SPAN:
                told.append(orjson.loads(content))
    return {span_id: _together(told) for span_id, told in found.items()}


def _together(told: list[dict[str, Any]]) -> dict[str, Any]:
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
