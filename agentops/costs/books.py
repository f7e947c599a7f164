"""Whether the books agree: spans, runs and every rollup, to the nano-dollar and the token.

Retention drops spans before runs lose their totals, and the rollups outlive both; so what is
compared is what spans can still prove.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from agentops.costs.models import MEASURES, Dimension, Reconciliation
from agentops.costs.queries import SPAN_HOUR, SPAN_KEYS, SPAN_MEASURES, floor_hour, truncate

KEPT = timedelta(days=7)
MAX_FINDINGS = 50
#: How far back each minute's check looks.
RECENT = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Finding:
    """Two sums that should be equal: what was compared, for which key, and by how much they differ."""

    check: str
    key: str
    measure: str
    expected: int
    found: int

    def words(self) -> str:
        """A sentence."""
        return f"{self.check}, {self.key}: {self.measure} is {self.found}, the spans say {self.expected}"


_DIMENSIONS = {
    Dimension.SERVICE: "''",
    Dimension.USER: SPAN_KEYS["user"],
    Dimension.FEATURE: SPAN_KEYS["feature"],
    Dimension.SESSION: SPAN_KEYS["session"],
    Dimension.RELEASE: SPAN_KEYS["release"],
    Dimension.AGENT: SPAN_KEYS["agent"],
    Dimension.MODEL: SPAN_KEYS["model"],
    Dimension.TOOL: SPAN_KEYS["tool"],
}

RUNS = f"""
WITH told AS (
    SELECT s.trace_id, s.service, count(*) AS spans,
        {", ".join(f"{expression} AS {measure}" for expression, measure in zip(SPAN_MEASURES, MEASURES, strict=True))}
    FROM spans s JOIN runs r USING (trace_id, service)
    WHERE r.last_received_at >= %(since)s GROUP BY 1, 2)
SELECT encode(r.trace_id, 'hex') || ' ' || r.service, {", ".join(f"r.{m}, t.{m}" for m in MEASURES)}
FROM runs r JOIN told t USING (trace_id, service)
WHERE r.spans = t.spans AND ({" OR ".join(f"r.{m} <> t.{m}" for m in MEASURES)})
LIMIT {MAX_FINDINGS}
"""

ROLLUP = """
SELECT dimension, start, environment, service, key, {measures} FROM {table}
WHERE start >= %(since)s AND start < %(until)s
"""
#: One pass over the spans for all dimensions: a grouping set each.
FROM_SPANS = f"""
SELECT grouping({", ".join(f"k{int(d)}" for d in _DIMENSIONS)}), hour, environment, service,
    {", ".join(f"k{int(d)}" for d in _DIMENSIONS)}, {", ".join(f"sum({m})" for m in MEASURES)}
FROM (
    SELECT {SPAN_HOUR} AS hour, {SPAN_KEYS["environment"]} AS environment, s.service,
        {", ".join(f"{key} AS k{int(d)}" for d, key in _DIMENSIONS.items())},
        {", ".join(f"{expression} AS {measure}" for expression, measure in zip(SPAN_MEASURES, MEASURES, strict=True))}
    FROM spans s JOIN runs r USING (trace_id, service)
    WHERE s.start_ns >= %(since_ns)s AND s.start_ns < %(until_ns)s AND s.received_on >= %(since)s::date
        AND s.kind IN (3, 4, 5, 6) AND s.merged_into IS NULL
    GROUP BY 1, 2, 3, {", ".join(str(4 + i) for i in range(len(_DIMENSIONS)))}
) AS cells
GROUP BY GROUPING SETS ({", ".join(f"(hour, environment, service, k{int(d)})" for d in _DIMENSIONS)})
"""
Key = tuple[int, datetime, str, str, str]
Sums = dict[Key, tuple[int, ...]]


def _booked(cursor: Any, table: str, parameters: dict[str, Any]) -> Sums:
    cursor.execute(ROLLUP.format(table=table, measures=", ".join(MEASURES)), parameters)
    rows = ((row[:5], tuple(int(v) for v in row[5:])) for row in cursor.fetchall())
    return {key: measures for key, measures in rows if any(measures)}


def _told_by_spans(cursor: Any, parameters: dict[str, Any]) -> Sums:
    cursor.execute(FROM_SPANS, parameters)
    dimensions = list(_DIMENSIONS)
    told: Sums = {}
    for bits, hour, environment, service, *rest in cursor.fetchall():
        # grouping() has a 1 for each dimension that is not in the row's set, the first the highest.
        place = next(i for i in range(len(dimensions)) if not bits >> (len(dimensions) - 1 - i) & 1)
        measures = tuple(int(v) for v in rest[len(dimensions) :])
        if any(measures):
            told[int(dimensions[place]), hour, environment, service, rest[place]] = measures
    return told


def compare(since: datetime, until: datetime, *, daily: bool = True) -> list[Finding]:
    """Compare the rollups, in every dimension, key and hour, with the spans of ``[since, until)``.

    Both ends are starts of hours, UTC; of days, when the daily rollup is compared too. Run it in a
    transaction that sees one snapshot.
    """
    parameters = {
        "since": since,
        "until": until,
        "since_ns": int(since.timestamp()) * 10**9,
        "until_ns": int(until.timestamp()) * 10**9,
    }
    with connection.cursor() as cursor:
        told = _told_by_spans(cursor, parameters)
        findings = list(_differences("spend by hour", _booked(cursor, "spend_hourly", parameters), told))
        if daily:
            by_day: Sums = {}
            for (dimension, hour, environment, service, value), measures in told.items():
                key = (dimension, hour.replace(hour=0), environment, service, value)
                by_day[key] = tuple(map(sum, zip(by_day.get(key, NOTHING), measures, strict=True)))
            findings += _differences("spend by day", _booked(cursor, "spend_daily", parameters), by_day)
    return findings


NOTHING = (0,) * len(MEASURES)


def _differences(check: str, booked: Sums, told: Sums) -> Iterable[Finding]:
    for key in booked.keys() | told.keys():
        found, expected = booked.get(key, NOTHING), told.get(key, NOTHING)
        if found != expected:
            dimension, start, *rest = key
            words = f"{Dimension(dimension).label.lower()} {' '.join(rest)} at {start:%Y-%m-%d %H:%M}"
            for measure, a, b in zip(MEASURES, expected, found, strict=True):
                if a != b:
                    yield Finding(check, words, measure, a, b)


def compare_runs(since: datetime) -> list[Finding]:
    """Compare the totals of runs that received anything since then with their spans."""
    findings = []
    with connection.cursor() as cursor:
        cursor.execute(RUNS, {"since": since})
        for key, *pairs in cursor.fetchall():
            for i, measure in enumerate(MEASURES):
                found, expected = int(pairs[2 * i]), int(pairs[2 * i + 1])
                if found != expected:
                    findings.append(Finding("runs", key, measure, expected, found))
    return findings


EXTENT = """
SELECT min(started_at), max(latest_at), (SELECT count(*) FROM spans WHERE received_on >= %(since)s::date),
    (SELECT coalesce(sum(cost_nano), 0) FROM spend_daily WHERE dimension = 0)
FROM runs WHERE last_received_at >= %(since)s
"""


def reconcile(*, now: datetime, whole: bool = False) -> Reconciliation:
    """Check the books and record the outcome: of the last hours, or of all that spans can still prove.

    The hours' check takes the runs that received anything in the last three hours, and the hourly
    rollup of those hours; the whole one takes every run, hour and day.
    """
    began = time.monotonic()
    since = datetime(1970, 1, 1, tzinfo=UTC) if whole else floor_hour(now - RECENT)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = '60s'")
            cursor.execute(EXTENT, {"since": since})
            first, last, spans, cost = cursor.fetchone()
        findings = compare_runs(since)
        if first is not None:
            # Days from here on have all their spans still: a span is received no earlier than it starts.
            kept = truncate(now, "day") - timedelta(days=settings.SPAN_RETENTION_DAYS - 1)
            begin = max(truncate(first, "day"), kept) if whole else since
            findings += compare(begin, truncate(last, "day") + timedelta(days=1), daily=whole)
    record = Reconciliation.objects.create(
        duration_ms=round((time.monotonic() - began) * 1000),
        spans=spans,
        cost_nano=cost,
        discrepancy_nano=sum(abs(f.found - f.expected) for f in findings if f.measure == "cost_nano"),
        findings=[f.words() for f in findings[:MAX_FINDINGS]],
    )
    Reconciliation.objects.filter(checked_at__lt=now - KEPT).delete()
    return record
