"""How fast services spend: five minutes added up, judged against the hour of the week, and said when it is too much."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from agentops.alerts.actions import Signal
from agentops.costs.outlook import usual as usual_hours
from agentops.domain import velocity
from agentops.domain.baseline import Baseline
from agentops.domain.velocity import Speeding
from agentops.runs.api import usd
from agentops.watch import rules, usual

KIND = "cost.velocity"
#: What is usual is asked for again no sooner, and a service is judged again no sooner, in seconds.
_FRESH_SECONDS, _COLD_SECONDS, _EVERY_SECONDS = 600.0, 60.0, 5.0
#: Services of which one look asks what is usual: it holds up what else was found.
_BASELINES = 8


class Speeds:
    """What one process knows of how fast services spend."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._baselines: dict[str, tuple[float, Baseline]] = {}
        self._judged_at: dict[str, float] = {}
        self._rulebook = rules.current()

    def signals(self, spent: Mapping[str, Sequence[tuple[datetime, int]]], *, now: datetime) -> list[Signal]:
        """Book what services spent, and tell of those that spend too fast."""
        amounts: dict[tuple[str, datetime], int] = {}
        since = velocity.floor(now) - velocity.LENGTH * velocity.LOOKED_AT
        for service, calls in spent.items():
            for moment, cost in calls:
                if since <= moment:  # what came late changes nothing now
                    key = (service, velocity.floor(min(moment, now)))
                    amounts[key] = amounts.get(key, 0) + cost
        usual.spend(amounts)
        clock = time.monotonic()
        due = [s for s in {service for service, _ in amounts} if clock - self._judged_at.get(s, 0.0) >= _EVERY_SECONDS]
        stale = [service for service in due if not self._is_fresh(service, clock)]
        due = [service for service in due if service not in stale[_BASELINES:]]  # the others with a later look
        self._judged_at |= dict.fromkeys(due, clock)
        return [_signal(service, found, now) for service, found in self.judge(due, now=now).items() if found]

    def judge(self, services: Iterable[str], *, now: datetime) -> dict[str, Speeding | None]:
        """Which of some services spend too fast."""
        book = self._rulebook.get()
        found: dict[str, Speeding | None] = {}
        for service, amounts in usual.spent(services, now=now).items():
            effective = book.of(service)
            if not effective.is_on(KIND):
                continue
            cap = int(effective.numbers["cold_cap_usd"] * 10**9)
            too_much = effective.numbers["too_much"]
            baseline = self._baseline(service, now)
            found[service] = velocity.judge(amounts, baseline, now=now, cold_cap_nano=cap, too_much=too_much)
        return found

    def _baseline(self, service: str, now: datetime) -> Baseline:
        clock = time.monotonic()
        if not self._is_fresh(service, clock):
            self._baselines[service] = (clock, usual_hours(service, now=now))
        return self._baselines[service][1]

    def _is_fresh(self, service: str, clock: float) -> bool:
        known = self._baselines.get(service)
        return known is not None and clock - known[0] < (_COLD_SECONDS if known[1].is_cold else _FRESH_SECONDS)


def _signal(service: str, found: Speeding, now: datetime) -> Signal:
    minutes = max(1, (now - found.since) // timedelta(minutes=1))
    usually = f"${found.usual_nano / 1e9:,.2f} an hour" if found.usual_nano else "nothing"
    spent = f"${found.spent_nano / 1e9:,.2f} in {minutes} minutes"
    title = (
        f"{service} spends {spent}, and nothing is usual yet"
        if found.is_cold
        else f"{service} spends {spent}, usually {usually} at this hour"
    )
    return Signal(
        kind=KIND,
        severity="page",
        service=service,
        title=title,
        seen_at=now,
        evidence={
            "mode": "service",
            "since": found.since.isoformat(),
            "cost_usd": usd(found.spent_nano),
            "usd_per_hour": usd(found.per_hour_nano),
            "usual_usd_per_hour": usd(found.usual_nano),
            "score": round(found.score, 1),
            "steps": [],
            "count": 1,
        },
    )
