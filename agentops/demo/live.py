"""Sends simulated traffic as it happens: sessions begin, spans go out when they end, long runs show as running.

Some sessions misbehave on purpose; ``agentops.demo.story`` says which, and when.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from agentops.demo.exporter import Exporter, ExportError
from agentops.demo.fleet import SERVICES, Service
from agentops.demo.guarded import Asking
from agentops.demo.history import batches
from agentops.demo.plan import NS, RunPlan
from agentops.demo.rhythm import activity
from agentops.demo.scenario import plan_session
from agentops.demo.story import Story, troubles
from agentops.demo.writers import WireSpan, spans_of

logger = logging.getLogger(__name__)

#: Mean seconds between two sessions; a session has about two runs.
SESSION_SECONDS = 4.5
_FLUSH_SECONDS = 0.4
#: What a service sends in the dead of night, as a share of its busiest hour.
_AT_NIGHT = 0.3


class Traffic:
    """Endless simulated traffic of the whole fleet. ``clock`` gives ns since the epoch; ``asking`` asks the guard."""

    def __init__(
        self,
        seed: str,
        *,
        session_seconds: float = SESSION_SECONDS,
        story: Story = Story.USUAL,
        clock: Callable[[], int] = time.time_ns,
        asking: Asking | None = None,
    ) -> None:
        self._rng = random.Random(f"traffic:{seed}")
        self._seed = seed
        self._clock = clock
        self._asking = asking
        self._rate = 1.0 / session_seconds
        self._numbers = itertools.count()
        self._next_ns = clock()
        self._troubles = troubles(story, seed, self._next_ns)
        self._trouble = next(self._troubles, None)
        self._due: list[tuple[int, int, WireSpan]] = []
        self._order = itertools.count()

    def due(self) -> list[WireSpan]:
        """Begin the sessions whose time has come; the spans that have ended since the last time."""
        now = self._clock()
        while self._next_ns <= now:
            self._begin(self._next_ns)
            self._next_ns += int(self._rng.expovariate(self._rate) * NS)
        while self._trouble is not None and self._trouble.at_ns <= now:
            self.begin(self._trouble.service, self._trouble.at_ns, pattern=self._trouble.pattern)
            self._trouble = next(self._troubles, None)
        ended = []
        if self._asking is not None:
            self._asking.ask(now)
        while self._due and self._due[0][0] <= now:
            span = heapq.heappop(self._due)[2]
            if self._asking is None or self._asking.keeps(span):
                ended.append(span)
        return ended

    def _begin(self, start_ns: int) -> None:
        at = datetime.fromtimestamp(start_ns / NS, UTC)
        weights = [service.live * (_AT_NIGHT + activity(service, at)) for service in SERVICES]
        (service,) = self._rng.choices(SERVICES, weights)
        self.begin(service, start_ns)

    def begin(self, service: Service, start_ns: int, *, pattern: str | None = None) -> list[RunPlan]:
        """Begin a session of a service; its runs. One that misbehaves, by a ``pattern``, does so in production."""
        seed = f"{self._seed}:live:{next(self._numbers)}"
        environment = None if pattern is None else "production"
        plans = plan_session(service, seed, start_ns, pattern=pattern, environment=environment)
        for plan in plans:
            spans = spans_of(plan)
            for span in spans:
                heapq.heappush(self._due, (span.end_ns, next(self._order), span))
            if self._asking is not None:
                self._asking.plan(plan, spans)
        return plans


def run(traffic: Traffic, exporter: Exporter, stop: threading.Event) -> None:
    """Send what is due, about twice a second, until stopped. A receiver that is away is waited for."""
    with closing(exporter):
        while not stop.wait(_FLUSH_SECONDS):
            for content_type, spans in batches(traffic.due()):
                try:
                    exporter.send(spans, content_type)
                except ExportError as error:
                    if stop.is_set():
                        return
                    logger.warning("%d spans are lost: %s", len(spans), error)
