"""What Prometheus reads: taken from the database at each scrape, so that every web process says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from django.db import DatabaseError
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from agentops.alerts.queries import count_open
from agentops.costs import queries
from agentops.dashboard import insight
from agentops.domain.alerting import State
from agentops.domain.periods import DAY
from agentops.domain.spans import OTHER
from agentops.ingest.models import Heartbeat
from agentops.watch import aside

__all__ = ["CONTENT_TYPE", "render"]

NANO = 1_000_000_000
PREFIX = "agentops"


class _Collector:
    """Reads the database when it is asked."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def collect(self) -> Iterator[Metric]:
        """``agentops_up`` always; the rest when the database answers."""
        try:
            found = [*self._ingest(), *self._books(), *self._alerts(), *self._watch(), *self._processes()]
        except DatabaseError:
            found = []
        yield GaugeMetricFamily(f"{PREFIX}_database_up", "Whether the database answers.", value=bool(found))
        yield from found

    def _ingest(self) -> Iterator[Metric]:
        """Counters of the UTC day: they start from 0 at midnight, which ``rate()`` takes for a restart."""
        midnight = self.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        totals = insight.sum_ingest(since=midnight)
        yield CounterMetricFamily(f"{PREFIX}_ingest_requests", "OTLP requests, this UTC day.", value=totals.requests)
        yield CounterMetricFamily(f"{PREFIX}_ingest_bytes", "OTLP bytes received, this UTC day.", value=totals.bytes)
        spans = CounterMetricFamily(f"{PREFIX}_ingest_spans", "Spans received, this UTC day.", labels=["outcome"])
        for outcome in ("accepted", "duplicate", "conflicting", "rejected"):
            spans.add_metric([outcome], getattr(totals, outcome))
        yield spans
        beyond = GaugeMetricFamily(
            f"{PREFIX}_other_steps", f"Steps of 24 hours under {OTHER}: too many values.", labels=["dimension"]
        )
        counted = Counter[str]()
        for found in queries.booked_under_other(self.now - DAY, self.now):
            counted[found.dimension] += found.totals.steps
        for dimension in queries.LIMITED:
            beyond.add_metric([dimension], counted[dimension])
        yield beyond
        kept = insight.quarantine(now=self.now)
        yield GaugeMetricFamily(f"{PREFIX}_quarantine_requests", "Requests not digested yet.", value=kept.waiting)
        age = kept.oldest_seconds
        yield GaugeMetricFamily(f"{PREFIX}_quarantine_oldest_seconds", "Age of the oldest of them.", value=age)

    def _books(self) -> Iterator[Metric]:
        last = insight.last_reconciliation()
        if last is not None:
            off, at = float(last.discrepancy_nano) / NANO, last.checked_at.timestamp()
            yield GaugeMetricFamily(f"{PREFIX}_books_discrepancy_usd", "Spans against rollups.", value=off)
            yield GaugeMetricFamily(f"{PREFIX}_books_checked_timestamp_seconds", "When that was.", value=at)
        yield GaugeMetricFamily(f"{PREFIX}_database_bytes", "Size of the database.", value=insight.database_bytes())
        yield CounterMetricFamily(f"{PREFIX}_live_events", "Events recorded for browsers.", value=insight.last_event())

    def _alerts(self) -> Iterator[Metric]:
        """Those that fire or somebody is at; what is silenced is not among them."""
        found = GaugeMetricFamily(f"{PREFIX}_alerts_open", "Alerts firing or acknowledged.", labels=["severity"])
        counted = Counter[str]()
        for (severity, state), number in count_open().items():
            counted[severity] += number if state != State.SILENCED else 0
        for severity, number in counted.items():
            found.add_metric([severity], number)
        yield found

    def _watch(self) -> Iterator[Metric]:
        work = aside.work(now=self.now)
        yield GaugeMetricFamily(f"{PREFIX}_watch_pending", "Runs that wait to be watched.", value=work.pending)
        age = work.oldest_seconds
        yield GaugeMetricFamily(f"{PREFIX}_watch_oldest_pending_seconds", "Age of the oldest of them.", value=age)
        yield GaugeMetricFamily(f"{PREFIX}_watch_set_aside", "Runs that could not be judged.", value=work.set_aside)
        yield GaugeMetricFamily(f"{PREFIX}_watch_judged", "Runs and sessions judged in an hour.", value=work.judged)
        of_hour = GaugeMetricFamily(f"{PREFIX}_watch_findings", "Findings of an hour.", labels=["severity"])
        still = GaugeMetricFamily(f"{PREFIX}_watch_findings_open", "Findings that go on.", labels=["severity"])
        for family, counted in ((of_hour, work.found), (still, work.open)):
            for severity, number in counted.items():
                family.add_metric([severity], number)
            yield family

    def _processes(self) -> Iterator[Metric]:
        beats = GaugeMetricFamily(f"{PREFIX}_heartbeat_timestamp_seconds", "Last heartbeat.", labels=["process"])
        for beat in Heartbeat.objects.order_by("name"):
            beats.add_metric([beat.name], beat.at.timestamp())
        yield beats


def render(now: datetime) -> bytes:
    """The exposition text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(now))
    return generate_latest(registry)
