"""What the overview asks: money today and this month, runs in flight, how each service does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from agentops.catalog.queries import Ownership, ownership
from agentops.costs import queries as costs
from agentops.costs.outlook import MonthOutlook, month_outlook
from agentops.costs.queries import Point, Totals
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import DAY, HOUR, Interval, buckets, truncate
from agentops.domain.spans import DEFAULT_ENVIRONMENT

WEEK = 7 * DAY
#: Services beyond this many are not listed.
MAX_SERVICES = 50
#: A service's p95 is that of its newest runs in the window, so that it costs the same for any window.
SAMPLED_RUNS = 500


@dataclass(frozen=True, slots=True)
class Money:
    """Spend of today and of this month so far (UTC), each with what it is compared with."""

    today_nano: int
    before_nano: int
    before_words: str
    month_nano: int
    outlook: MonthOutlook
    today_hours: list[int]
    month_days: list[int]

    @property
    def growth(self) -> float | None:
        """Today against the same part of the day before it; ``None`` when nothing was spent then."""
        return self.today_nano / self.before_nano - 1 if self.before_nano > 0 else None


def money(environment: str, *, now: datetime) -> Money:
    """Today up to now, against the same part of the same weekday or else of yesterday; the month and its outlook."""
    filters = SpendFilters(environment=environment)
    today, month = truncate(now, "day"), truncate(now, "month")
    hours = costs.spend("environment", filters, today, now, interval="hour")
    before, words = 0, ""
    for back, said in ((WEEK, f"last {now:%A}"), (DAY, "yesterday")):
        if not before:
            before, words = costs.costs_by_key("environment", filters, today - back, now - back, [])[0], said
    days = costs.spend("environment", filters, month, now, interval="day")
    return Money(
        today_nano=hours.total.cost_nano,
        before_nano=before,
        before_words=words,
        month_nano=days.total.cost_nano,
        outlook=month_outlook(filters, now=now),
        today_hours=_by_bucket(hours.series, today, now, "hour"),
        month_days=_by_bucket(days.series, month, now, "day"),
    )


def _by_bucket(points: Sequence[Point], from_: datetime, until: datetime, interval: Interval) -> list[int]:
    sums = dict.fromkeys(buckets(from_, until, interval).starts, 0)
    for point in points:
        sums[point.start] += point.value
    return list(sums.values())


@dataclass(frozen=True, slots=True)
class Flight:
    """Runs under way now, and how the window's runs did; ``p95_ms`` is of the newest of them."""

    running: int = 0
    runs: int = 0
    failed: int = 0
    p95_ms: float | None = None

    @property
    def error_rate(self) -> float | None:
        """The share of runs that failed."""
        return self.failed / self.runs if self.runs else None


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """How one service did in the window, and its cost by hour in the last day."""

    service: str
    totals: Totals
    flight: Flight
    hours: list[int]
    owner: Ownership | None


_IN_ENVIRONMENT = f"coalesce(environment, '{DEFAULT_ENVIRONMENT}') = %(environment)s"
# Two counts, because an index knows how many runs there are, and another one those that failed.
RUNS = """
SELECT service, sum(runs)::bigint, sum(failed)::bigint FROM (
    SELECT service, count(*) AS runs, 0 AS failed
    FROM runs WHERE NOT is_absorbed AND started_at >= %(from)s AND started_at < %(until)s {environment} GROUP BY service
    UNION ALL
    SELECT service, 0, count(*)
    FROM runs WHERE NOT is_absorbed AND started_at >= %(from)s AND started_at < %(until)s {environment}
        AND (root_error OR last_error) AND (has_root OR last_received_at <= now() - %(idle)s) GROUP BY service
) AS counted GROUP BY service
"""
DURATIONS = """
SELECT service, percentile_disc(0.95) WITHIN GROUP (ORDER BY lasted)
FROM (
    SELECT asked.service, newest.lasted FROM unnest(%(services)s::text[]) AS asked (service), LATERAL (
        SELECT latest_at - started_at AS lasted FROM runs
        WHERE runs.service = asked.service AND NOT is_absorbed
            AND started_at >= %(from)s AND started_at < %(until)s {environment}
            AND (has_root OR last_received_at <= now() - %(idle)s)
        ORDER BY started_at DESC, trace_id DESC LIMIT %(sampled)s
    ) AS newest
) AS sample GROUP BY GROUPING SETS ((service), ())
"""
PULSE = """
SELECT date_trunc('hour', started_at, 'UTC'), count(*), count(*) FILTER (WHERE root_error OR last_error)
FROM runs WHERE NOT is_absorbed AND started_at >= %(from)s {environment} GROUP BY 1
"""
RUNNING = """
SELECT service, count(*) FROM runs
WHERE NOT has_root AND NOT is_absorbed AND last_received_at > now() - %(idle)s {environment} GROUP BY service
"""


def flights(environment: str, from_: datetime, until: datetime) -> tuple[Flight, dict[str, Flight]]:
    """Runs of the window and those under way: of all services together, and of each. Three statements."""
    parameters: dict[str, Any] = {
        "environment": environment,
        "from": from_,
        "until": until,
        "idle": timedelta(seconds=settings.RUN_IDLE_SECONDS),
        "sampled": SAMPLED_RUNS,
    }
    condition = f"AND {_IN_ENVIRONMENT}" if environment else ""
    with connection.cursor() as cursor:
        cursor.execute(RUNNING.format(environment=condition), parameters)
        running: dict[str, int] = dict(cursor.fetchall())
        cursor.execute(RUNS.format(environment=condition), parameters)
        counted = {service: (runs, failed) for service, runs, failed in cursor.fetchall()}
        cursor.execute(DURATIONS.format(environment=condition), parameters | {"services": list(counted)})
        lasted = {service: p95 / timedelta(milliseconds=1) for service, p95 in cursor.fetchall() if p95 is not None}
    by_service = {
        service: Flight(running.get(service, 0), *counted.get(service, (0, 0)), lasted.get(service))
        for service in counted.keys() | running.keys()
    }
    runs, failed = (sum(column) for column in zip((0, 0), *counted.values(), strict=True))
    return Flight(sum(running.values()), runs, failed, lasted.get(None)), by_service


@dataclass(frozen=True, slots=True)
class Pulse:
    """Runs that started, and of these the failed ones, in each of the last 24 hours, the running one last."""

    started: list[int]
    failed: list[int]


def pulse(environment: str, *, now: datetime) -> Pulse:
    """The rhythm of the last day."""
    begin = truncate(now - 23 * HOUR, "hour")
    condition = f"AND {_IN_ENVIRONMENT}" if environment else ""
    with connection.cursor() as cursor:
        cursor.execute(PULSE.format(environment=condition), {"from": begin, "environment": environment})
        hours = {hour: (started, failed) for hour, started, failed in cursor.fetchall()}
    rhythm = [hours.get(start, (0, 0)) for start in buckets(begin, now, "hour").starts]
    return Pulse([started for started, _ in rhythm], [failed for _, failed in rhythm])


def service_lines(
    environment: str, from_: datetime, until: datetime, flying: dict[str, Flight], *, now: datetime
) -> list[ServiceLine]:
    """All services of the window, the most expensive first, and those that only run."""
    filters = SpendFilters(environment=environment)
    report = costs.spend("service", filters, from_, until, limit=MAX_SERVICES)
    found = {item.key or "": item.totals for item in report.items}
    found |= {service: Totals() for service in sorted(flying) if service not in found}
    day = costs.spend("service", filters, now - 23 * HOUR, now, interval="hour", limit=MAX_SERVICES)
    points: dict[str, list[Point]] = {}
    for point in day.series:
        if not point.is_other:
            points.setdefault(point.key or "", []).append(point)
    owners = ownership()
    return [
        ServiceLine(
            service=service,
            totals=totals,
            flight=flying.get(service, Flight()),
            hours=_by_bucket(points.get(service, []), now - 23 * HOUR, now, "hour"),
            owner=owners.get(service),
        )
        for service, totals in found.items()
    ]
