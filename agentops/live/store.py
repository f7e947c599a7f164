"""How a change is recorded, in the transaction that makes it, and how it is read afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db.backends.utils import CursorWrapper
from psycopg import Cursor

from agentops.live.models import LiveEvent
from agentops.locks import Lock

#: The lock is held until the commit, so ids become visible in their order: whoever asks for what came after an id
#: misses nothing. It must be the last thing that a transaction does.
RECORD = f"""
WITH ordered AS MATERIALIZED (SELECT pg_advisory_xact_lock({Lock.EVENTS}))
INSERT INTO live_liveevent (at, topics, data) SELECT clock_timestamp(), %s::jsonb, %s::jsonb FROM ordered
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change: the topics that it touched, and what a message about it says besides."""

    id: int
    topics: Sequence[str]
    data: Mapping[str, Any]


def record(cursor: Cursor[Any] | CursorWrapper, topics: Sequence[str], data: Mapping[str, Any] | None = None) -> int:
    """Record that these topics changed; the answer is the event's id. One statement."""
    cursor.execute(RECORD, [orjson.dumps(list(topics)).decode(), orjson.dumps(data or {}).decode()])
    return int(cursor.fetchall()[0][0])


def latest_id() -> int:
    """The id of the last event; 0 before the first."""
    return LiveEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0


def list_after(event_id: int, *, limit: int) -> list[Event]:
    """The first ``limit`` events after that one, in the order of their commits."""
    rows = LiveEvent.objects.filter(id__gt=event_id).order_by("id").values_list("id", "topics", "data")
    return [Event(*row) for row in rows[:limit]]


def list_since(moment: datetime, *, limit: int) -> list[Event]:
    """The last ``limit`` events recorded after a moment, in the order of their commits."""
    rows = LiveEvent.objects.filter(at__gt=moment).order_by("-id").values_list("id", "topics", "data")
    return [Event(*row) for row in rows[:limit]][::-1]


def is_kept(event_id: int) -> bool:
    """Whether all events after that one are still there: older ones are pruned."""
    return event_id == 0 or LiveEvent.objects.filter(id__lte=event_id).exists()
