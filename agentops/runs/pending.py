"""What has been booked and not been watched yet: rows that ingest adds in its transaction and the watch takes away.

A row is a run and the new spans of it. It is gone when, and only when, what the watch made of it is committed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db import connection
from psycopg import Cursor

from agentops.columns import Byteas, Texts, transpose
from agentops.domain.spans import Kind

#: A row that could not be watched so often is set aside, where operators see it.
MAX_ATTEMPTS = 3
#: Kinds that the watch looks at, besides whatever is a root: that tells of a run's end.
WATCHED_KINDS = frozenset({Kind.AGENT, Kind.LLM, Kind.EMBEDDING, Kind.TOOL, Kind.RETRIEVAL})
_PLACE = struct.Struct(">8sq")
SIZE = _PLACE.size


class Place(NamedTuple):
    """Where a span is among its run's: its id, and its start in ns (0 when only its id is known)."""

    span_id: bytes
    start_ns: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run's spans that wait."""

    id: int
    trace_id: bytes
    service: str
    received_on: date
    places: list[Place]


ADD = """
INSERT INTO watch_queue (trace_id, service, received_on, spans)
SELECT trace_id, service, CURRENT_DATE, spans
FROM unnest(%b::bytea[], %b::text[], %b::bytea[]) AS u (trace_id, service, spans)
"""


def add(cursor: Cursor[Any], spans: Iterable[tuple[bytes, str, Place]]) -> None:
    """Let spans wait, (trace id, service, place) each, one row for each run. One statement; none for no spans."""
    rows: dict[tuple[bytes, str], bytearray] = {}
    for trace_id, service, place in spans:
        rows.setdefault((trace_id, service), bytearray()).extend(_PLACE.pack(*place))
    if rows:
        values = [(*run, bytes(places)) for run, places in sorted(rows.items())]
        cursor.execute(ADD, transpose((Byteas, Texts, Byteas), values))


# The oldest rows that together hold so many spans; one that holds more comes alone.
TAKE = f"""
SELECT id, trace_id, service, received_on, spans FROM (
    SELECT *, sum(octet_length(spans) / {SIZE}) OVER (ORDER BY id) AS so_far
    FROM (
        SELECT * FROM watch_queue WHERE attempts < {MAX_ATTEMPTS} AND id > %(after)s ORDER BY id LIMIT %(rows)s
    ) AS oldest
) AS q
WHERE so_far <= %(spans)s OR so_far = octet_length(spans) / {SIZE}
ORDER BY id
"""


def oldest(*, rows: int, spans: int, after: int = 0) -> list[Waiting]:
    """The oldest that wait after a row, about so many rows and spans. The caller holds the lock of the watch."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"rows": rows, "spans": spans, "after": after})
        return [
            Waiting(pk, bytes(trace_id), service, day, [Place(*place) for place in _PLACE.iter_unpack(packed)])
            for pk, trace_id, service, day, packed in cursor.fetchall()
        ]


def remove(ids: Sequence[int]) -> None:
    """They have been watched."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM watch_queue WHERE id = ANY(%s)", [list(ids)])


def fail(pk: int, failure: str) -> None:
    """One could not be watched: it is tried again, or set aside."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE watch_queue SET attempts = attempts + 1, failure = %s WHERE id = %s", [failure[:2_000], pk]
        )


@dataclass(frozen=True, slots=True)
class Lag:
    """How much waits, since when; and how much was set aside."""

    pending: int
    oldest_pending_at: datetime | None
    set_aside: int


LAG = f"""
SELECT count(*) FILTER (WHERE attempts < {MAX_ATTEMPTS}), min(queued_at) FILTER (WHERE attempts < {MAX_ATTEMPTS}),
    count(*) FILTER (WHERE attempts >= {MAX_ATTEMPTS})
FROM watch_queue
"""


def lag() -> Lag:
    """What waits; nothing pending means that everything committed so far has been looked at."""
    with connection.cursor() as cursor:
        cursor.execute(LAG)
        return Lag(*cursor.fetchone())
