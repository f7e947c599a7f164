"""What went wrong in the demo's past is found as what it was, by the rule that judges any spend."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import pytest

from agentops.demo.history import Past
from agentops.demo.incidents import INCIDENTS
from agentops.demo.plan import NS, RunPlan
from agentops.domain.anomalies import Anomaly, find_anomalies
from agentops.domain.baseline import Hours
from agentops.domain.periods import DAY, HOUR

DAYS = 30
ANCHORS = (date(2026, 11, 18), date(2026, 11, 22))  # a Wednesday, a Sunday


def anomalies(past: Past) -> dict[str, list[Anomaly]]:
    """Of each service, of the last two weeks."""
    costs: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for day in past.days(DAYS):
        for plan in past.plans(day):
            for step in plan.steps():
                costs[plan.service][step.start_ns // (3600 * NS)] += step.cost_nano or 0
    end = past.until.replace(minute=0)
    begin = end - DAYS * DAY
    first = int(begin.timestamp()) // 3600
    return {
        service: find_anomalies(Hours(begin, [of[first + n] for n in range(DAYS * 24)]), end - 14 * DAY, end)
        for service, of in costs.items()
    }


@pytest.mark.parametrize("anchor", ANCHORS)
def test_each_incident_is_an_anomaly_of_its_service_and_little_else_is_one(anchor: date) -> None:
    found = anomalies(Past("test", anchor, datetime(anchor.year, anchor.month, anchor.day, 23, 30, tzinfo=UTC)))
    for incident in INCIDENTS:
        begins = datetime.combine(anchor - incident.days_back * DAY, incident.begins, UTC)
        (anomaly,) = [a for a in found[incident.service] if a.start < begins + incident.lasts and a.end > begins]
        assert anomaly.kind == "spike"
        assert anomaly.start >= begins - 2 * HOUR
        assert anomaly.end <= begins + incident.lasts + 3 * HOUR
        assert anomaly.excess_nano > 3 * anomaly.expected_nano
        found[incident.service].remove(anomaly)
    assert sum(map(len, found.values())) <= 3


def test_agents_that_ask_each_other_what_is_meant_cost_more_with_each_turn() -> None:
    (incident,) = [incident for incident in INCIDENTS if incident.pattern == "clarify"]
    plans: list[RunPlan] = list(incident.plans("test", ANCHORS[0]))
    assert len(plans) == incident.sessions
    for plan in plans:
        assert plan.agents() == ["analysis", "research"]
        calls = [step for step in plan.steps() if step.usage.input is not None]
        assert 50 < len(calls) < 80
        assert calls[-1].usage.input > 20 * (calls[0].usage.input or 0)
        assert plan.truth().cost_nano > 5 * 10**9


def test_the_same_incident_is_the_same_to_the_span() -> None:
    for incident in INCIDENTS:
        first, again = (list(incident.plans("test", ANCHORS[0])) for _ in range(2))
        assert [plan.trace_id for plan in first] == [plan.trace_id for plan in again]
        assert len({plan.trace_id for plan in first}) == len(first) >= incident.sessions
        assert timedelta() < incident.lasts < timedelta(hours=3)
