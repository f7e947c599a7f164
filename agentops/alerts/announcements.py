"""What open browsers are told of alerts: one event for each transaction, however many alerts it touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentops.alerts.models import Alert
from agentops.alerts.moves import NEWS
from agentops.domain.alerting import State, rank
from agentops.live.actions import publish

TOPIC = "alerts"
#: Alerts that an event tells of by name.
TOLD = 20
#: Runs that an event names; of more, every run is told.
NAMED_RUNS = 100
EVERY_RUN = "run:*"


def announce(alerts: Sequence[Alert], *, always: bool = False) -> int | None:
    """Tell browsers of alerts that changed, the ones that matter most by name; the event's id, if there is one.

    It must be the last thing in a transaction: it holds the lock that orders all events. ``always`` tells of nothing,
    too: then something else about alerts has changed.
    """
    if not alerts and not always:
        return None
    ordered = sorted(alerts, key=_weight, reverse=True)
    told = [describe(alert) for alert in ordered[:TOLD]]
    runs = {f"run:{alert.run_hex}" for alert in alerts if alert.run}
    topics = {TOPIC} | (runs if len(runs) <= NAMED_RUNS else {EVERY_RUN})
    return publish(topics, data={**(told[0] if told else {}), "alerts": told, "more": len(ordered) - len(told)})


def describe(alert: Alert) -> dict[str, Any]:
    """An alert in a message; ``version`` tells its moves apart."""
    names = ("title", "severity", "state", "kind", "service", "change", "version")
    return {"id": alert.pk, "run": alert.run_hex} | {name: getattr(alert, name) for name in names}


def _weight(alert: Alert) -> tuple[bool, int, int, int]:
    is_news = alert.state == State.FIRING and alert.change in NEWS
    return is_news, rank(alert.severity), alert.nano_per_hour or 0, alert.pk
