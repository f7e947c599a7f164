"""What the watch says of its own work: how far behind it is, what it could not judge, and what it has found lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from agentops.runs import pending
from agentops.runs.pending import MAX_ATTEMPTS

#: How far back counters look, and when what waits is late.
COUNTED = timedelta(hours=1)
LATE_SECONDS = 60.0
#: Rows set aside that a page shows.
SHOWN = 20

SET_ASIDE = f"""
SELECT id, trace_id, service, queued_at, failure FROM watch_queue WHERE attempts >= {MAX_ATTEMPTS} ORDER BY id LIMIT %s
"""
TRY_AGAIN = f"UPDATE watch_queue SET attempts = 0, failure = NULL WHERE attempts >= {MAX_ATTEMPTS}"
JUDGED = "SELECT count(*) FROM watch_stream WHERE touched_at >= %s"
FOUND = """
SELECT severity, count(*) FILTER (WHERE is_open), count(*) FILTER (WHERE found_at >= %(since)s) FROM run_findings
WHERE is_open OR found_at >= %(since)s GROUP BY severity
"""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A run that could not be judged, and why."""

    id: int
    trace_id: bytes
    service: str
    queued_at: datetime
    failure: str | None


@dataclass(frozen=True, slots=True)
class Work:
    """How far the watch is. ``judged`` counts runs and sessions, ``found`` findings, both of the last hour."""

    pending: int
    oldest_seconds: float
    set_aside: int
    judged: int
    found: dict[str, int]
    open: dict[str, int]

    @property
    def is_late(self) -> bool:
        """Whether what waits has waited for too long."""
        return self.oldest_seconds > LATE_SECONDS

    @property
    def oldest_ms(self) -> float:
        """For how long the oldest waits, in milliseconds."""
        return self.oldest_seconds * 1_000

    @property
    def open_in_all(self) -> int:
        """Findings that go on, of both severities."""
        return sum(self.open.values())

    @property
    def found_in_all(self) -> int:
        """Findings of the last hour, of both severities."""
        return sum(self.found.values())


def work(*, now: datetime) -> Work:
    """How far the watch is, and what it has done lately. Three statements, all by index."""
    lag, since = pending.lag(), now - COUNTED
    with connection.cursor() as cursor:
        cursor.execute(JUDGED, [since])
        judged = int(cursor.fetchall()[0][0])
        cursor.execute(FOUND, {"since": since})
        rows = cursor.fetchall()
    found = {"warn": 0, "page": 0} | {severity: lately for severity, _, lately in rows}
    still = {"warn": 0, "page": 0} | {severity: now_open for severity, now_open, _ in rows}
    return Work(lag.pending, oldest_seconds(lag, now=now), lag.set_aside, judged, found, still)


def oldest_seconds(lag: pending.Lag, *, now: datetime) -> float:
    """For how long the oldest waits; 0 when nothing does."""
    return max(0.0, (now - lag.oldest_pending_at).total_seconds()) if lag.oldest_pending_at else 0.0


def list_set_aside() -> Sequence[SetAside]:
    """The oldest that could not be judged."""
    with connection.cursor() as cursor:
        cursor.execute(SET_ASIDE, [SHOWN])
        return [SetAside(pk, bytes(trace_id), *rest) for pk, trace_id, *rest in cursor.fetchall()]


def try_again() -> int:
    """Let all that was set aside wait again, from the first attempt; how many."""
    with connection.cursor() as cursor:
        cursor.execute(TRY_AGAIN)
        return int(cursor.rowcount)
