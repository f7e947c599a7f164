"""What was found in runs and sessions, as stored: written by the watch, read by pages and the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

import orjson
from django.db import connection

#: Findings that a run shows.
MAX_READ = 200


class Scope(IntEnum):
    """In what something was found. The value is what the database stores."""

    RUN = 0
    SESSION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found: a run (``key`` is its trace id in hex), or a session (its name), of a service."""

    service: str
    scope: Scope
    key: str


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding. Money is nano-dollars, ``None`` when unknown; ``detail`` is its evidence (see ``domain.findings``).

    ``source`` is the detector, ``ordinal`` counts what it found there. ``trace_id`` is the run in which it was noticed.
    """

    place: Place
    source: str
    ordinal: int
    trace_id: bytes
    kind: str
    mode: str
    severity: str
    title: str
    began_at: datetime
    detected_at: datetime
    latest_at: datetime
    is_open: bool
    count: int
    period: int
    cost_nano: int | None
    per_hour_nano: int | None
    detail: dict[str, Any]


_COLUMNS = """service, scope, key, source, ordinal, trace_id, kind, mode, severity, title, began_at,
    detected_at, latest_at, is_open, count, period, cost_nano, per_hour_nano, detail"""
_KEY = "service, scope, key, source, ordinal"
_CHANGING = """trace_id, kind, mode, severity, title, began_at, detected_at, latest_at, is_open, count, period,
    cost_nano, per_hour_nano, detail"""

_FIELDS = [name.strip() for name in _COLUMNS.split(",")][3:]

SAVE = f"""
INSERT INTO run_findings AS f ({_COLUMNS})
SELECT {_COLUMNS} FROM jsonb_to_recordset(%s::jsonb) AS r (service text, scope smallint, key text, source text,
    ordinal integer, trace_id bytea, kind text, mode text, severity text, title text,
    began_at timestamptz, detected_at timestamptz, latest_at timestamptz, is_open boolean, count bigint,
    period integer, cost_nano bigint, per_hour_nano bigint, detail text)
ORDER BY {_KEY}
ON CONFLICT ({_KEY}) DO UPDATE SET ({_CHANGING}) = ROW (
    {", ".join(f"EXCLUDED.{name.strip()}" for name in _CHANGING.split(","))})
"""


def save(findings: Iterable[StoredFinding]) -> None:
    """Write findings, new ones and those that have gone on. One statement."""
    rows = [_row(finding) for finding in findings]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(SAVE, [orjson.dumps(rows).decode()])


def _row(finding: StoredFinding) -> dict[str, Any]:
    place = finding.place
    plain = {name: getattr(finding, name) for name in StoredFinding.__slots__ if name not in ("place", "detail")}
    return {
        **plain,
        "service": place.service,
        "scope": int(place.scope),
        "key": place.key,
        "trace_id": f"\\x{finding.trace_id.hex()}",
        "detail": orjson.dumps(finding.detail).decode(),
    }


FORGET = f"""
DELETE FROM run_findings WHERE ({_KEY}) IN (
    SELECT service, scope, key, source, ordinal
    FROM unnest(%s::text[], %s::smallint[], %s::text[], %s::text[], %s::integer[])
        AS u (service, scope, key, source, ordinal))
"""


def forget(keys: Sequence[tuple[Place, str, int]]) -> None:
    """Delete findings that further steps, come late, have refuted: (place, source, ordinal) each."""
    _by_key(FORGET, keys)


OF_RUN = f"""
SELECT {_COLUMNS} FROM run_findings
WHERE service = %(service)s AND ((scope = {int(Scope.RUN)} AND key = %(key)s)
    OR (scope = {int(Scope.SESSION)} AND key = %(session)s AND detail LIKE '%%' || %(key)s || '%%'))
ORDER BY detected_at, id LIMIT {MAX_READ}
"""


def of_run(service: str, trace_id: bytes, session: str | None) -> list[StoredFinding]:
    """What was found in a run, and in its session with the run in it; the earliest first."""
    with connection.cursor() as cursor:
        cursor.execute(OF_RUN, {"service": service, "key": trace_id.hex(), "session": session or ""})
        return [_finding(row) for row in cursor.fetchall()]


WORST = """
SELECT trace_id, service, bool_or(severity = 'page'), bool_or(mode = 'salvaged'), count(*) FROM run_findings
WHERE trace_id = ANY(%s) GROUP BY trace_id, service
"""


@dataclass(frozen=True, slots=True)
class Worst:
    """What a run's findings come to."""

    severity: str
    is_salvaged: bool
    count: int


def worst_of(trace_ids: Sequence[bytes]) -> dict[tuple[bytes, str], Worst]:
    """Of the runs of some traces in which something was noticed, by trace id and service. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(WORST, [list(trace_ids)])
        return {
            (bytes(trace_id), service): Worst("page" if is_page else "warn", is_salvaged, count)
            for trace_id, service, is_page, is_salvaged, count in cursor.fetchall()
        }


QUIET = f"""
SELECT {", ".join(f"f.{name.strip()}" for name in _COLUMNS.split(","))} FROM run_findings f
WHERE f.is_open AND NOT EXISTS (
    SELECT FROM runs r WHERE r.trace_id = f.trace_id AND r.service = f.service AND r.last_received_at > %(since)s)
AND (f.scope = {int(Scope.RUN)} OR NOT EXISTS (
    SELECT FROM runs r WHERE r.session = f.key AND r.service = f.service AND r.last_received_at > %(since)s))
LIMIT 1000
"""


def open_and_quiet(since: datetime) -> list[StoredFinding]:
    """Findings that count as going on, of runs, and of sessions none of whose runs, that have sent nothing since."""
    with connection.cursor() as cursor:
        cursor.execute(QUIET, {"since": since})
        return [_finding(row) for row in cursor.fetchall()]


CLOSE = f"""
UPDATE run_findings SET is_open = false WHERE ({_KEY}) IN (
    SELECT service, scope, key, source, ordinal
    FROM unnest(%s::text[], %s::smallint[], %s::text[], %s::text[], %s::integer[])
        AS u (service, scope, key, source, ordinal))
"""


def close(findings: Sequence[StoredFinding]) -> None:
    """They go on no more."""
    _by_key(CLOSE, [(f.place, f.source, f.ordinal) for f in findings])


def _by_key(statement: str, keys: Sequence[tuple[Place, str, int]]) -> None:
    if keys:
        rows = [(place.service, int(place.scope), place.key, source, ordinal) for place, source, ordinal in keys]
        columns = [[row[at] for row in rows] for at in range(5)]
        with connection.cursor() as cursor:
            cursor.execute(statement, columns)


def _finding(row: Sequence[Any]) -> StoredFinding:
    service, scope, key, *rest = row
    values: dict[str, Any] = dict(zip(_FIELDS, rest, strict=True))
    values |= {"trace_id": bytes(values["trace_id"]), "detail": orjson.loads(values["detail"])}
    return StoredFinding(place=Place(service, Scope(scope), key), **values)


FORGET_OLD = "DELETE FROM run_findings WHERE latest_at < %s AND NOT is_open"


def forget_before(moment: datetime) -> None:
    """Delete what had ended before: the spans that would show it are gone as well."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET_OLD, [moment])
