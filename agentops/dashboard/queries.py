"""What the first page asks: money today and this month, runs in flight, how each service does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from agentops.catalog.queries import Ownership, ownership
from agentops.costs.queries import SpendFilters, Totals, ceil_hour, floor_hour, spend, truncate
from agentops.domain.spans import DEFAULT_ENVIRONMENT

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: Services beyond this many are summed in the table's last line.
MAX_SERVICES = 50


@dataclass(frozen=True, slots=True)
class Money:
    """Spend of today and of this month so far (UTC), each with what it is compared with."""

    today_nano: int
    week_ago_nano: int
    month_nano: int
    forecast_nano: int | None
    today_hours: list[int]
    month_days: list[int]

    @property
    def growth(self) -> float | None:
        """Today against the same hours of the same weekday last week."""
        return self.today_nano / self.week_ago_nano - 1 if self.week_ago_nano else None


def money(environment: str, *, now: datetime) -> Money:
    """Today up to now, the same part of the day a week ago, and the month with a straight-line forecast."""
    filters = SpendFilters(environment=environment)
    today, month = truncate(now, "day"), truncate(now, "month")
    hours = spend("environment", filters, today, now, interval="hour")
    week_ago = spend("environment", filters, today - 7 * DAY, floor_hour(now) - 7 * DAY).total.cost_nano
    # The running hour of last week counts as far as this week's has come.
    partial = spend("environment", filters, floor_hour(now) - 7 * DAY, ceil_hour(now) - 7 * DAY).total.cost_nano
    share = (now - floor_hour(now)) / HOUR
    days = spend("environment", filters, month, now, interval="day")
    elapsed = (now - month) / DAY
    length = (truncate(month + 32 * DAY, "month") - month) / DAY
    return Money(
        today_nano=hours.total.cost_nano,
        week_ago_nano=week_ago + int(partial * share),
        month_nano=days.total.cost_nano,
        forecast_nano=int(days.total.cost_nano / elapsed * length) if elapsed >= 1 else None,
        today_hours=_sums(hours.series, today, now, HOUR),
        month_days=_sums(days.series, month, now, DAY),
    )


def _sums(points: Any, begin: datetime, until: datetime, step: timedelta) -> list[int]:
    sums: dict[datetime, int] = {}
    for point in points:
        sums[point.start] = sums.get(point.start, 0) + point.cost_nano
    return [sums.get(begin + n * step, 0) for n in range(max(1, -((begin - until) // step)))]


@dataclass(frozen=True, slots=True)
class Flight:
    """Runs under way now, and how the window's runs did."""

    running: int
    runs: int
    failed: int
    p95_ms: float | None

    @property
    def error_rate(self) -> float | None:
        """The share of runs that failed."""
        return self.failed / self.runs if self.runs else None


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """How one service did in the window."""

    service: str
    totals: Totals
    flight: Flight
    hours: list[int]
    owner: Ownership | None


_IN_ENVIRONMENT = f"(%(environment)s = '' OR coalesce(environment, '{DEFAULT_ENVIRONMENT}') = %(environment)s)"
RUNS = f"""
SELECT service, count(*), count(*) FILTER (WHERE root_error OR last_error),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM latest_at - started_at) * 1000)
FROM runs WHERE started_at >= %(from)s AND started_at < %(until)s AND {_IN_ENVIRONMENT}
GROUP BY GROUPING SETS ((service), ())
"""
RUNNING = f"""
SELECT service, count(*) FROM runs
WHERE NOT has_root AND last_received_at > now() - %(idle)s AND {_IN_ENVIRONMENT} GROUP BY service
"""


def flights(environment: str, from_: datetime, until: datetime) -> tuple[Flight, dict[str, Flight]]:
    """Runs of the window and those under way: of all services together, and of each. Two statements."""
    parameters: dict[str, Any] = {
        "environment": environment,
        "from": from_,
        "until": until,
        "idle": timedelta(seconds=settings.RUN_IDLE_SECONDS),
    }
    with connection.cursor() as cursor:
        cursor.execute(RUNNING, parameters)
        running = dict(cursor.fetchall())
        cursor.execute(RUNS, parameters)
        rows = cursor.fetchall()
    found = {row[0]: Flight(running.get(row[0], 0), row[1], row[2], row[3]) for row in rows}
    everything = found.pop(None, Flight(0, 0, 0, None))
    total = Flight(sum(running.values()), everything.runs, everything.failed, everything.p95_ms)
    return total, found | {s: Flight(n, 0, 0, None) for s, n in running.items() if s not in found}


def services(environment: str, from_: datetime, until: datetime) -> tuple[Flight, list[ServiceLine]]:
    """All services of the window, the most expensive first, and the runs of all of them together."""
    total, by_service = flights(environment, from_, until)
    filters = SpendFilters(environment=environment)
    interval = "hour" if until - from_ <= 8 * DAY else "day"
    step = HOUR if interval == "hour" else DAY
    begin = truncate(from_, interval)
    hours: dict[str, dict[datetime, int]] = {}
    report = spend("service", filters, from_, until, limit=MAX_SERVICES)
    series = spend("service", filters, from_, until, interval=interval)
    for point in series.series:
        hours.setdefault(point.key or "", {})[point.start] = point.cost_nano
    owners = ownership()
    buckets = range(max(1, -((begin - until) // step)))
    lines = []
    for item in report.items:
        name = item.key or ""
        cells = hours.get(name, {})
        lines.append(
            ServiceLine(
                service=name,
                totals=item.totals,
                flight=by_service.get(name, Flight(0, 0, 0, None)),
                hours=[cells.get(begin + n * step, 0) for n in buckets],
                owner=owners.get(name),
            )
        )
    return total, lines
