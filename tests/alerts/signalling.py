"""Signals for tests, as detectors make them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from agentops.alerts.actions import Signal, announce, report
from agentops.alerts.models import Alert

RUN = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")


def run_of(number: int) -> bytes:
    """A trace id."""
    return number.to_bytes(16, "big")


def signal(number: int = 1, **changes: Any) -> Signal:
    """A loop in a run of research-assistant that costs $41.20 so far and $178 an hour."""
    given: dict[str, Any] = {
        "kind": "loop.ping_pong",
        "severity": "warn",
        "service": "research-assistant",
        "title": f"analyst and verifier ask each other, run {number}",
        "evidence": {
            "cost_usd": "41.20",
            "usd_per_hour": "178",
            "period": 2,
            "count": 23,
            "steps": ["00f067aa0ba902b7"],
        },
        "seen_at": changes.get("now") or timezone.now(),
        "run": run_of(number),
        "session": f"session-{number}",
        "user": "maria",
    } | {name: value for name, value in changes.items() if name != "now"}
    return Signal(**given)


def raised(*signals: Signal, now: datetime | None = None) -> list[Alert]:
    """What a worker does with what it found: report and announce, in one transaction."""
    with transaction.atomic():
        found = report(signals, now=now or timezone.now())
        announce(found)
    return found
