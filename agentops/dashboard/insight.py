"""What the product knows of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q, QuerySet, Sum

from agentops.accounts.models import IngestKey
from agentops.costs.models import Reconciliation
from agentops.ingest.actions import MAX_ATTEMPTS
from agentops.ingest.models import IngestMinute, Quarantine
from agentops.live import store as live
from agentops.runs.models import Run

MINUTE = timedelta(minutes=1)
#: The counters of ``IngestMinute``, by their names here.
COUNTERS = {
    "requests": "requests",
    "accepted": "accepted_spans",
    "duplicate": "duplicate_spans",
    "conflicting": "conflicting_spans",
    "rejected": "rejected_spans",
    "bytes": "bytes_received",
}


@dataclass(frozen=True, slots=True)
class Ingest:
    """What came in, of one service or of all, and what became of it; counts of spans, bytes and requests."""

    requests: int = 0
    accepted: int = 0
    duplicate: int = 0
    conflicting: int = 0
    rejected: int = 0
    bytes: int = 0
    service: str = ""


@dataclass(frozen=True, slots=True)
class QuarantineState:
    """What is kept aside: still tried, its oldest age in seconds, and given up."""

    waiting: int
    oldest_seconds: float
    given_up: int

    @property
    def oldest_ms(self) -> float:
        """The oldest age in milliseconds."""
        return self.oldest_seconds * 1_000


def sum_ingest(*, since: datetime) -> Ingest:
    """All services together."""
    return _ingest(IngestMinute.objects.filter(minute__gte=since).aggregate(**_sums()))


def list_ingest(*, since: datetime, limit: int = 50) -> list[Ingest]:
    """Each service that sent spans, the busiest first; requests and bytes are counted for all together."""
    spans = Q(accepted_spans__gt=0) | Q(duplicate_spans__gt=0) | Q(rejected_spans__gt=0)
    rows = IngestMinute.objects.filter(spans, minute__gte=since).values("service").annotate(**_sums())
    found = [_ingest(row, service=row["service"]) for row in rows]
    return sorted(found, key=lambda one: (-one.accepted, one.service))[:limit]


def accepted_by_minute(*, now: datetime, minutes: int = 60) -> list[int]:
    """Accepted spans of each of the last minutes, the current one last."""
    last = now.astimezone(UTC).replace(second=0, microsecond=0)
    first = last - MINUTE * (minutes - 1)
    rows = IngestMinute.objects.filter(minute__gte=first).values_list("minute").annotate(n=Sum("accepted_spans"))
    found = dict(rows)
    return [int(found.get(first + MINUTE * n, 0)) for n in range(minutes)]


def quarantine(*, now: datetime) -> QuarantineState:
    """How much is kept aside."""
    waiting = Q(attempts__lt=MAX_ATTEMPTS)
    found = Quarantine.objects.filter(digested_at=None).aggregate(
        waiting=Count("id", filter=waiting),
        oldest=Min("received_at", filter=waiting),
        given_up=Count("id", filter=~waiting),
    )
    age = (now - found["oldest"]).total_seconds() if found["oldest"] else 0.0
    return QuarantineState(found["waiting"], age, found["given_up"])


def list_quarantined(limit: int = 5) -> QuerySet[Quarantine]:
    """The latest requests kept aside, without their bodies."""
    return Quarantine.objects.filter(digested_at=None).defer("body").order_by("-id")[:limit]


def last_reconciliation() -> Reconciliation | None:
    """The latest check of the books."""
    return Reconciliation.objects.order_by("-checked_at").first()


def database_bytes() -> int:
    """Size of the database on disk."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchall()[0][0])


def last_event() -> int:
    """How many events were ever recorded, about."""
    return live.latest_id()


def first_run_after(key: IngestKey) -> Run | None:
    """The latest run that came since a key was made, of its service or, for a collector's key, of any."""
    runs = Run.objects.filter(last_received_at__gte=key.created_at, started_at__gte=key.created_at - timedelta(days=1))
    if key.service:
        runs = runs.filter(service=key.service)
    return runs.order_by("-started_at").only("trace_id", "service", "last_received_at").first()


def _ingest(row: Mapping[str, Any], service: str = "") -> Ingest:
    return Ingest(**{name: int(row[name] or 0) for name in COUNTERS}, service=service)


def _sums() -> dict[str, Sum]:
    return {name: Sum(column) for name, column in COUNTERS.items()}
