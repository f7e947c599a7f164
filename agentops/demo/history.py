"""Fills in the past: the same days always have the same runs, so that loading them twice changes nothing."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from agentops.demo import rhythm
from agentops.demo.exporter import Exporter, ExportError
from agentops.demo.fleet import BY_SLUG, SERVICES
from agentops.demo.incidents import INCIDENTS
from agentops.demo.plan import NS, RunPlan
from agentops.demo.scenario import plan_session
from agentops.demo.writers import WireSpan, spans_of

#: Spans that thirty days ending on the anchor have at scale 1, about.
SPANS_AT_SCALE_1 = 68_000
BATCH = 512
_SENDERS = 2


@dataclass(frozen=True, slots=True)
class Past:
    """Which past: its seed, how much of it, when it ends, and the day from which on traffic no longer grows."""

    seed: str
    anchor: date
    until: datetime
    scale: float = 1.0

    def plans(self, day: date) -> Iterator[RunPlan]:
        """The runs of the sessions that start on one UTC day, service by service, then those of incidents."""
        for service in SERVICES:
            rng = random.Random(f"day:{self.seed}:{service.slug}:{day}")
            for number, start_ns in enumerate(rhythm.arrivals(service, day, self.anchor, self.scale, rng)):
                yield from plan_session(service, f"{self.seed}:{day}:{number}", start_ns)
        for incident in INCIDENTS:
            if day == self.anchor - timedelta(days=incident.days_back):
                yield from incident.plans(self.seed, day)

    def days(self, count: int) -> list[date]:
        """The last ``count`` days, newest first: what people look at first is there first."""
        return [self.until.astimezone(UTC).date() - timedelta(days=back) for back in range(count)]

    def spans(self, day: date) -> list[WireSpan]:
        """The spans of the runs that start on a day and have ended by then, in the order in which they end."""
        until_ns = int(self.until.timestamp()) * NS
        plans = (plan for plan in self.plans(day) if plan.root.end_ns <= until_ns)
        return sorted((span for plan in plans for span in spans_of(plan)), key=lambda span: span.end_ns)


def batches(spans: list[WireSpan]) -> Iterator[tuple[str, list[WireSpan]]]:
    """Requests as two collectors would send them: most services speak protobuf, some JSON."""
    by_encoding: dict[str, list[WireSpan]] = {}
    encodings = {slug: service.encoding for slug, service in BY_SLUG.items()}
    for span in spans:
        by_encoding.setdefault(encodings[span.resource[0][1]], []).append(span)
    for encoding, members in by_encoding.items():
        content_type = "application/json" if encoding == "json" else "application/x-protobuf"
        for start in range(0, len(members), BATCH):
            yield content_type, members[start : start + BATCH]


def load(
    past: Past,
    days: int,
    connect: Callable[[], Exporter],
    stop: threading.Event,
    said: Callable[[date, int], None],
) -> int:
    """Send the last ``days`` days and return how many spans were acknowledged.

    ``said`` is told each day and its number of spans once it is handed over. Raises ``ExportError``.
    """
    senders = _Senders(connect, stop)
    try:
        for day in past.days(days):
            spans = past.spans(day)
            for request in batches(spans):
                senders.put(request)
            said(day, len(spans))
    finally:
        senders.finish()
    return senders.acknowledged


class _Senders:
    """A few connections that work off one short queue."""

    def __init__(self, connect: Callable[[], Exporter], stop: threading.Event) -> None:
        self._waiting: queue.Queue[tuple[str, list[WireSpan]] | None] = queue.Queue(maxsize=2 * _SENDERS)
        self._stop = stop
        self._lock = threading.Lock()
        self._error: ExportError | None = None
        self.acknowledged = 0
        self._threads = [threading.Thread(target=self._work, args=(connect(),), daemon=True) for _ in range(_SENDERS)]
        for thread in self._threads:
            thread.start()

    def put(self, request: tuple[str, list[WireSpan]]) -> None:
        """Hand a request over. Raises the ``ExportError`` that a sender met before."""
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            message = "stopped"
            raise ExportError(message)
        self._waiting.put(request)

    def finish(self) -> None:
        """Wait until everything is sent. After an error the rest is dropped."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, exporter: Exporter) -> None:
        with closing(exporter):
            while (request := self._waiting.get()) is not None:
                if self._error is not None:
                    continue  # keep taking, so that nobody waits at the queue
                content_type, spans = request
                try:
                    exporter.send(spans, content_type)
                except ExportError as error:
                    self._error = error
                    continue
                with self._lock:
                    self.acknowledged += len(spans)
