"""How a change is recorded, in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from psycopg import Cursor

#: An arbitrary number that names the lock under which event ids are drawn.
EVENT_LOCK = 4_206_901

#: The lock is held until the commit, so ids become visible in their order: whoever asks for what
#: came after an id misses nothing. It must be the last thing that a transaction does.
RECORD = f"""
WITH ordered AS MATERIALIZED (SELECT pg_advisory_xact_lock({EVENT_LOCK}))
INSERT INTO live_liveevent (at, topics, data) SELECT clock_timestamp(), %s::jsonb, '{{}}'::jsonb FROM ordered
RETURNING id
"""


def record(cursor: Cursor[Any], topics: Sequence[str]) -> int:
    """Record that these topics changed; the answer is the event's id. One statement."""
    cursor.execute(RECORD, [orjson.dumps(list(topics)).decode()])
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])
