"""What went wrong in the demo's past: bursts of sessions that cost more than anybody expected."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from agentops.demo.fleet import BY_SLUG
from agentops.demo.plan import NS, RunPlan
from agentops.demo.scenario import plan_session


@dataclass(frozen=True, slots=True)
class Incident:
    """So many sessions of a service, spread over a while from a time (UTC) of one day on.

    ``days_back`` counts from the history's anchor. ``pattern`` is how its agents misbehave, if they do.
    """

    days_back: int
    begins: time
    lasts: timedelta
    service: str
    sessions: int
    pattern: str | None = None

    def plans(self, seed: str, day: date) -> Iterator[RunPlan]:
        """The runs."""
        rng = random.Random(f"incident:{seed}:{self.service}:{day}")
        start_ns = int(datetime.combine(day, self.begins, UTC).timestamp()) * NS
        lasts_ns = int(self.lasts.total_seconds()) * NS
        for number in range(self.sessions):
            at_ns = start_ns + rng.randrange(lasts_ns)
            yield from plan_session(
                BY_SLUG[self.service], f"{seed}:incident:{day}:{number}", at_ns, pattern=self.pattern
            )


INCIDENTS = (
    # A bot raised a dependency in every repository at once, and each of its pull requests was reviewed.
    Incident(4, time(13, 5), timedelta(minutes=110), "code-reviewer", 36),
    # Malformed questions: research and analysis asked each other what was meant until somebody came back from dinner.
    Incident(10, time(21, 10), timedelta(minutes=50), "research-assistant", 4, "clarify"),
)
