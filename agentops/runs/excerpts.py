"""The beginnings of what the steps of a run hold, for lines and pictures that have room for no more."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from agentops.runs.queries import OF_RUN, RunRow, of_run
from agentops.runs.waterfall import texts

EXCERPT_CHARS = 160
#: Of a message so much is read: it may be JSON, and is understood only whole.
_READ_CHARS = 20_000

# PostgreSQL cannot read a NUL out of JSON: a text that has one is left to the step's own page.
EXCERPTS = f"""
SELECT span_id, left(coalesce(content::json ->> 'error_message', content::json ->> 'arguments'), %(chars)s)
FROM spans WHERE {OF_RUN} AND span_id = ANY(%(ids)s) AND content IS NOT NULL AND strpos(content, E'\\\\u0000') = 0
"""
SAID = f"""
SELECT span_id, left(coalesce(content::json ->> 'output', content::json ->> 'arguments'), %(chars)s)
FROM (
    SELECT span_id, content FROM spans WHERE {OF_RUN} AND span_id = ANY(%(ids)s)
    UNION ALL
    SELECT span_id, content FROM span_messages
    WHERE trace_id = %(trace_id)s AND service = %(service)s AND span_id = ANY(%(ids)s)
) AS told
WHERE content IS NOT NULL AND strpos(content, E'\\\\u0000') = 0
"""


def list_excerpts(run: RunRow, span_ids: Sequence[bytes]) -> dict[bytes, str]:
    """By span id, the beginning of what went wrong in it, or else of a tool's arguments."""
    with connection.cursor() as cursor:
        cursor.execute(EXCERPTS, {**of_run(run), "ids": list(span_ids), "chars": EXCERPT_CHARS})
        return {bytes(span_id): " ".join(text.split()) for span_id, text in cursor.fetchall() if text}


def list_said(run: RunRow, span_ids: Sequence[bytes]) -> dict[bytes, str]:
    """By span id, the beginning of what a model answered in it, or of a tool's arguments; in one statement."""
    if not span_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(SAID, {**of_run(run), "ids": list(span_ids), "chars": _READ_CHARS})
        return {bytes(span_id): words for span_id, text in cursor.fetchall() if text and (words := _words(text))}


def _words(text: str) -> str:
    """The words of an answer, whether it is text or messages."""
    found = texts({"output": text})
    whole = " ".join(words for part in found for words in (part.text, *(said for _, said in part.messages)))
    return " ".join(whole.split())[:EXCERPT_CHARS]
