"""How the receiver's own counters and its quarantine are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

from psycopg import Cursor

from agentops.columns import Integers, Texts, transpose
from agentops.ingest.batch import Batch
from agentops.ingest.connections import connect

MAX_ERROR_CHARS = 2_000


@dataclass(slots=True)
class Counters:
    """What came in for one service within one transaction."""

    requests: int = 0
    accepted_spans: int = 0
    duplicate_spans: int = 0
    conflicting_spans: int = 0
    rejected_spans: int = 0
    bytes_received: int = 0


_COLUMNS = [f.name for f in fields(Counters)]

ADD_COUNTERS = f"""
INSERT INTO ingest_ingestminute AS m (minute, service, {", ".join(_COLUMNS)})
SELECT date_trunc('minute', now()), service, {", ".join(_COLUMNS)}
FROM unnest(%b::text[], {", ".join(["%b::bigint[]"] * len(_COLUMNS))}) AS u (service, {", ".join(_COLUMNS)})
ORDER BY service COLLATE "C"
ON CONFLICT (minute, service) DO UPDATE SET {", ".join(f"{c} = m.{c} + EXCLUDED.{c}" for c in _COLUMNS)}
"""


def add_counters(cursor: Cursor[Any], counters: Mapping[str, Counters]) -> None:
    """Add to the counters of this minute: one statement."""
    if not counters:
        return
    rows = [(service, *astuple(counter)) for service, counter in counters.items()]
    cursor.execute(ADD_COUNTERS, transpose((Texts, *(Integers for _ in _COLUMNS)), rows))


QUARANTINE = """
INSERT INTO ingest_quarantine (received_at, service, content_type, encoding, body, error, attempts)
VALUES (now(), %s, %s, %s, %s, %s, 0)
"""


def quarantine(batch: Batch, error: BaseException) -> None:
    """Keep a request that could not be digested, in a transaction of its own."""
    text = f"{type(error).__name__}: {error}".replace("\x00", "�")[:MAX_ERROR_CHARS]
    with connect("quarantine") as connection:
        connection.execute(QUARANTINE, (batch.service, batch.content_type, batch.encoding, batch.body, text))
