"""Several messages about one topic as one: the latest, with every alert."""

from __future__ import annotations

from typing import Any

import pytest

from agentops.live.messages import MAX_ALERTS, merge


def alert(number: int, severity: str = "warn", change: str = "opened") -> dict[str, Any]:
    return {"id": number, "severity": severity, "change": change, "title": f"alert {number}"}


def message(event_id: int, *alerts: dict[str, Any], more: int = 0) -> dict[str, Any]:
    first = alerts[0] if alerts else {}
    return {"topic": "alerts", "event_id": event_id, **first, "alerts": list(alerts), "more": more}


def test_of_messages_without_alerts_the_latest_is_left() -> None:
    assert merge({"topic": "runs", "event_id": 1, "a": 1}, {"topic": "runs", "event_id": 2}) == {
        "topic": "runs",
        "event_id": 2,
    }
    assert merge(None, {"topic": "runs", "event_id": 2}) == {"topic": "runs", "event_id": 2}


def test_no_alert_is_lost_and_the_most_severe_one_stands_for_all() -> None:
    found = merge(message(1, alert(1, "page"), more=2), message(2, alert(2), alert(3), more=1))
    assert ([one["id"] for one in found["alerts"]], found["more"]) == ([1, 2, 3], 3)
    assert (found["event_id"], found["id"], found["severity"]) == (2, 1, "page")
    assert merge(message(1, alert(1)), message(2, alert(2, "page")))["id"] == 2


def test_the_same_twice_is_told_once_and_as_it_was_last() -> None:
    found = merge(message(1, alert(1), alert(1, change="counted")), message(2, alert(1, "page", change="counted")))
    assert [(one["change"], one["severity"]) for one in found["alerts"]] == [("opened", "warn"), ("counted", "page")]


@pytest.mark.parametrize("later", [{}, {"alerts": None, "more": None}])
def test_an_event_that_tells_nothing_by_name_keeps_what_was_told(later: dict[str, Any]) -> None:
    found = merge(message(1, alert(1)), {"topic": "alerts", "event_id": 5, **later})
    assert (found["event_id"], found["id"], len(found["alerts"]), found["more"]) == (5, 1, 1, 0)


def test_beyond_a_few_hundred_they_are_only_counted() -> None:
    found = message(0, *(alert(n) for n in range(MAX_ALERTS)), more=1)
    found = merge(found, message(1, alert(5_000), alert(5_001), alert(3, "page"), more=2))
    assert (len(found["alerts"]), found["more"]) == (MAX_ALERTS, 5)
    assert found["alerts"][3]["severity"] == "page"
