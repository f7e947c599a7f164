"""Rules of attribution hold for what comes in, within seconds, and cost nothing where there are none."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from django.db import DatabaseError

from agentops.costs.rules import rule_of, save_rule
from agentops.domain.attribution import Condition, Rule
from agentops.domain.spans import RANK_EXPLICIT, RANK_RULE, Attributes, RawSpan, Resource
from agentops.ingest import pipeline
from agentops.ingest.batch import Batch, Unavailable
from agentops.ingest.pipeline import Pipeline

pytestmark = pytest.mark.django_db
CALL: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "customer.tier": "gold"}
RULE = Rule(0, 0, "bot", (Condition("attribute", "gold", "customer.tier"),), "feature", "checkout", 0)


def understood(line: Pipeline, service: str = "bot", **more: str) -> dict[str, tuple[str, int]]:
    """How a call of a service is attributed."""
    raw = RawSpan(b"t" * 16, b"s" * 8, b"", "chat", 1, 2, 0, "", {**CALL, **more}, [], "scope", Resource({}))
    entries, failures = line.understand(Batch(spans=[raw], service=service))
    assert not failures
    return entries[0].span.attribution


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr("agentops.current.FRESH_SECONDS", 0.0)
    return Pipeline()


def test_a_rule_holds_for_the_spans_of_its_service_until_it_is_switched_off(line: Pipeline) -> None:
    assert understood(line) == {}
    row = save_rule(rule=RULE, by=None)
    assert understood(line) == {"feature": ("checkout", RANK_RULE)}
    assert understood(line, "another") == {}
    assert understood(line, **{"agentops.feature": "own"}) == {"feature": ("own", RANK_EXPLICIT)}
    save_rule(rule=rule_of(row), by=None, is_enabled=False)
    assert understood(line) == {}


def test_a_service_without_rules_is_not_asked_about_its_spans(line: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    save_rule(rule=RULE, by=None)
    asked = Mock()
    monkeypatch.setattr(pipeline, "attribute", asked)
    understood(line, "another")
    asked.assert_not_called()
    understood(line)
    asked.assert_called_once()


def test_nothing_is_booked_while_the_rules_cannot_be_read(line: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line._rules, "_latest", Mock(side_effect=DatabaseError))
    with pytest.raises(Unavailable):
        understood(line)
