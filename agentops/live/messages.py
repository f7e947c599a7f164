"""What a browser that is slower than the events hears of several about one topic: one message.

The latest stands for all of them: it only says that something has changed. Alerts are told one by one, though, so those
of earlier messages are carried on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentops.domain.alerting import rank

ALERTS, MORE = "alerts", "more"
#: Alerts in one message; further ones are only counted, in ``more``.
MAX_ALERTS = 300


def merge(earlier: Mapping[str, Any] | None, later: Mapping[str, Any]) -> dict[str, Any]:
    """The later message with the alerts of both, in their order; what else it says is of the most severe one."""
    if earlier is None or not _list(earlier):
        return dict(later)
    told = {_key(alert): alert for alert in _list(earlier)}
    more = _count(earlier) + _count(later)
    for alert in _list(later):
        key = _key(alert)
        if key not in told and len(told) >= MAX_ALERTS:
            more += 1
        else:
            told[key] = alert
    outranked = not _list(later) or rank(str(later.get("severity"))) < rank(str(earlier.get("severity")))
    shown = earlier if outranked else later
    return {**shown, "topic": later["topic"], "event_id": later["event_id"], ALERTS: [*told.values()], MORE: more}


def _key(alert: Mapping[str, Any]) -> tuple[Any, Any]:
    """What happened to which: of the same twice, the latest is told."""
    return alert.get("id"), alert.get("change")


def _list(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = message.get(ALERTS)
    return found if isinstance(found, list) else []


def _count(message: Mapping[str, Any]) -> int:
    found = message.get(MORE)
    return found if isinstance(found, int) else 0
