"""The statements of alerts: one each, however many alerts they are about."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import connection

from agentops.alerts.models import Alert, AlertMove, StormMember
from agentops.domain.alerting import STORM_WITHIN
from agentops.locks import Lock

#: A kind and a service.
Pair = tuple[str, str]

#: Reports about one kind and service follow each other: what a storm is depends on all of them.
LOCK = f"SELECT pg_advisory_xact_lock({Lock.ALERTS}, number) FROM unnest(%s::int[]) AS number"
#: The latest alert of each fingerprint, and what was opened lately of each kind and service.
CONCERNED = """
SELECT latest.id FROM unnest(%s::text[]) AS asked(fingerprint) CROSS JOIN LATERAL (
  SELECT id FROM alerts_alert WHERE fingerprint = asked.fingerprint ORDER BY id DESC LIMIT 1) AS latest
UNION
SELECT recent.id FROM unnest(%s::text[], %s::text[]) AS pair(kind, service) JOIN alerts_alert recent
  ON recent.kind = pair.kind AND recent.service = pair.service AND recent.opened_at > %s
  AND NOT recent.is_storm AND recent.group_id IS NULL
"""
#: By their ids alone: a row that somebody moves while this waits for it is looked at again, and must still be found.
READ = "SELECT * FROM alerts_alert WHERE id = ANY(%s) ORDER BY fingerprint, id FOR UPDATE"
#: What a move writes.
STATE_COLUMNS = {
    "state": "text",
    "version": "int",
    "snoozed_until": "timestamptz",
    "acknowledged_by_id": "bigint",
    "acknowledged_at": "timestamptz",
    "resolved_by_id": "bigint",
    "resolved_at": "timestamptz",
    "resolved_reason": "text",
}
#: What a signal writes besides.
SIGNAL_COLUMNS = {
    "severity": "text",
    "title": "text",
    "evidence": "jsonb",
    "cost_nano": "bigint",
    "nano_per_hour": "bigint",
    "count": "bigint",
    "last_seen_at": "timestamptz",
    "cleared_at": "timestamptz",
    "cleared_reason": "text",
    "group_id": "bigint",
    "reopened": "int",
}
#: Nobody overwrites what somebody else has moved meanwhile.
WRITE = """
WITH given AS MATERIALIZED (SELECT * FROM jsonb_to_recordset(%s::jsonb)
  AS given(id bigint, was_state text, was_version int, {types})),
locked AS MATERIALIZED (SELECT id FROM alerts_alert WHERE id IN (SELECT id FROM given)
  ORDER BY fingerprint, id FOR UPDATE)
UPDATE alerts_alert a SET {changes} FROM given JOIN locked USING (id)
WHERE a.id = given.id AND a.state = given.was_state AND a.version = given.was_version RETURNING a.id
"""
TAKE_IN = """
INSERT INTO alerts_stormmember (storm_id, fingerprint, run, cost_nano, nano_per_hour, cleared_at)
SELECT storm_id, fingerprint, decode(run, 'hex'), cost_nano, nano_per_hour, cleared_at
FROM jsonb_to_recordset(%s::jsonb)
  AS given(storm_id bigint, fingerprint text, run text, cost_nano bigint, nano_per_hour bigint, cleared_at timestamptz)
ORDER BY storm_id, fingerprint
ON CONFLICT (storm_id, fingerprint) DO UPDATE SET cleared_at = excluded.cleared_at,
  cost_nano = coalesce(excluded.cost_nano, alerts_stormmember.cost_nano),
  nano_per_hour = coalesce(excluded.nano_per_hour, alerts_stormmember.nano_per_hour)
"""
SUM_UP = """
SELECT storm_id, count(*), count(run), sum(cost_nano)::bigint, sum(nano_per_hour)::bigint,
  (array_agg(encode(run, 'hex') ORDER BY cost_nano DESC NULLS LAST, id) FILTER (WHERE run IS NOT NULL))[1:%s]
FROM alerts_stormmember WHERE storm_id = ANY(%s) GROUP BY storm_id
"""
CLEAR = """
WITH found AS MATERIALIZED (SELECT id FROM alerts_alert WHERE fingerprint = ANY(%s) AND state <> 'resolved'
  AND cleared_at IS NULL ORDER BY fingerprint FOR UPDATE)
UPDATE alerts_alert a SET cleared_at = %s, cleared_reason = %s FROM found WHERE a.id = found.id RETURNING a.*
"""
CLEAR_MEMBERS = """
WITH found AS MATERIALIZED (SELECT m.id FROM alerts_stormmember m JOIN alerts_alert s ON s.id = m.storm_id
  WHERE m.fingerprint = ANY(%s) AND m.cleared_at IS NULL AND s.state <> 'resolved' ORDER BY m.storm_id, m.fingerprint
  FOR UPDATE OF m)
UPDATE alerts_stormmember m SET cleared_at = %s FROM found WHERE m.id = found.id RETURNING m.storm_id
"""
LOCK_STORMS = "SELECT id FROM alerts_alert WHERE id = ANY(%s) ORDER BY fingerprint FOR UPDATE"
CLEAR_STORMS = """
UPDATE alerts_alert a SET cleared_at = %s, cleared_reason = %s WHERE a.id = ANY(%s) AND a.state <> 'resolved'
AND NOT EXISTS (SELECT FROM alerts_stormmember m WHERE m.storm_id = a.id AND m.cleared_at IS NULL) RETURNING a.*
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """The state and version in which an alert was read: it is written only if it still is like that."""

    state: str
    version: int

    @classmethod
    def of(cls, alert: Alert) -> Mark:
        """The mark of an alert as it is now."""
        return cls(alert.state, alert.version)


@dataclass(frozen=True, slots=True)
class Member:
    """What a storm takes in; ``cleared_at`` when its condition had ended before."""

    fingerprint: str
    run: bytes | memoryview | None
    cost_nano: int | None
    nano_per_hour: int | None
    cleared_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """What the members of a storm are together; ``runs`` names the most expensive ones, in hex."""

    count: int
    with_run: int
    cost_nano: int | None
    nano_per_hour: int | None
    runs: list[str]


def lock(pairs: Iterable[Pair]) -> None:
    """Wait for other reports about these kinds and services; they wait for this transaction from now on."""
    numbers = {zlib.crc32("\0".join(pair).encode("utf-8", "replace")) - 2**31 for pair in pairs}
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [sorted(numbers)])


def read(fingerprints: Iterable[str], pairs: Iterable[Pair], *, now: datetime) -> list[Alert]:
    """The latest alert of each fingerprint, and all that were opened within ``STORM_WITHIN`` of each pair; locked."""
    kinds, services = zip(*sorted(pairs), strict=True)
    parameters: list[Any] = [sorted(set(fingerprints)), list(kinds), list(services), now - STORM_WITHIN]
    with connection.cursor() as cursor:
        cursor.execute(CONCERNED, parameters)
        ids = [row[0] for row in cursor.fetchall()]
    return list(Alert.objects.raw(READ, [ids])) if ids else []


def write(alerts: Sequence[Alert], marks: Mapping[int, Mark], *, signals: bool = False) -> set[int]:
    """Write what moves changed, and with ``signals`` what signals did; the ids of those that nobody moved meanwhile."""
    if not alerts:
        return set()
    columns = STATE_COLUMNS | (SIGNAL_COLUMNS if signals else {})
    rows = [
        {name: getattr(alert, name) for name in columns}
        | {"id": alert.pk, "was_state": str(marks[alert.pk].state), "was_version": marks[alert.pk].version}
        for alert in alerts
    ]
    statement = WRITE.format(
        types=", ".join(f"{name} {type_}" for name, type_ in columns.items()),
        changes=", ".join(f"{name} = given.{name}" for name in columns),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [_json(rows)])
        return {row[0] for row in cursor.fetchall()}


def record(moves: Sequence[AlertMove]) -> None:
    """Add to what happened."""
    if moves:
        AlertMove.objects.bulk_create(moves)


def take_in(members: Mapping[int, Iterable[Member]]) -> None:
    """Note what each storm, by its id, stands for now; what it knows already has its latest cost."""
    rows = [
        {
            "storm_id": storm_id,
            "fingerprint": member.fingerprint,
            "run": bytes(member.run).hex() if member.run else None,
            "cost_nano": member.cost_nano,
            "nano_per_hour": member.nano_per_hour,
            "cleared_at": member.cleared_at,
        }
        for storm_id, group in members.items()
        for member in {member.fingerprint: member for member in group}.values()
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(TAKE_IN, [_json(rows)])


def sum_up(storm_ids: Iterable[int], *, named: int) -> dict[int, Sum]:
    """What the members of each storm are together; ``named`` runs at most."""
    with connection.cursor() as cursor:
        cursor.execute(SUM_UP, [named, list(storm_ids)])
        return {row[0]: Sum(row[1], row[2], row[3], row[4], row[5] or []) for row in cursor.fetchall()}


def members_of(storm_ids: Sequence[int], fingerprints: Iterable[str]) -> set[str]:
    """Which of the fingerprints those storms stand for."""
    if not storm_ids:
        return set()
    found = StormMember.objects.filter(storm_id__in=storm_ids, fingerprint__in=list(fingerprints))
    return set(found.values_list("fingerprint", flat=True))


def clear(fingerprints: Iterable[str], *, now: datetime, reason: str) -> list[Alert]:
    """Note that conditions have ended: of alerts, and of storms of which no member is left."""
    asked = sorted(set(fingerprints))
    cleared = list(Alert.objects.raw(CLEAR, [asked, now, reason]))
    with connection.cursor() as cursor:
        cursor.execute(CLEAR_MEMBERS, [asked, now])
        storm_ids = sorted({row[0] for row in cursor.fetchall()})
        if not storm_ids:
            return cleared
        # A statement of its own: only then does the next one see what a report added while this one waited.
        cursor.execute(LOCK_STORMS, [storm_ids])
    return cleared + list(Alert.objects.raw(CLEAR_STORMS, [now, reason, storm_ids]))


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows, default=str, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()
