"""The watch over the API: how far behind it is, and its rules, read and decided."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, Role, User
from agentops.watch import decisions, rules
from agentops.watch.models import RuleChange
from agentops.watch.numbers import DEFAULTS, SWITCHES

pytestmark = pytest.mark.django_db
SOUND = {
    "numbers": {"warn": 2, "page": 3.5, "least_budget": 80},
    "switches": {"loop.cycle": False},
    "tools": {"poll": "patient", "noise": "ignored"},
    "reason": "it waits for mail",
}


class Caller:
    """Somebody with a token."""

    def __init__(self, name: str, role: Role, scope: str = ApiToken.Scope.WRITE) -> None:
        user = User.objects.create_user(name, role=role)
        self._headers = {"authorization": f"Bearer {create_token(user=user, scope=scope)}"}
        self._client = Client()

    def get(self, address: str) -> Any:
        return self._client.get(f"/api/v1/{address}", headers=self._headers)

    def put(self, service: str, body: dict[str, Any]) -> Any:
        return self._client.put(
            f"/api/v1/watch/rules/{service}", json.dumps(body), content_type="application/json", headers=self._headers
        )


@pytest.fixture
def olga() -> Caller:
    return Caller("olga", Role.OWNER)


def test_without_any_decision_the_defaults_hold(olga: Caller) -> None:
    for address in ("watch/rules", "watch/rules?service=", "watch/rules?service=*"):
        found = olga.get(address).json()
        assert (found["service"], found["change"], found["changed_at"], found["changed_by"]) == ("", 0, None, None)
        assert (found["numbers"], found["switches"], found["tools"]) == ({}, {}, {})
        assert found["effective"] == {
            "numbers": DEFAULTS,
            "switches": dict.fromkeys(SWITCHES, True),
            "ignored_tools": [],
            "patient_tools": [],
            "step_budget": 50,
        }


def test_rules_of_a_service_are_decided_at_once_with_who_and_why(olga: Caller) -> None:
    answer = olga.put("shop", SOUND)
    assert answer.status_code == 200
    found = answer.json()
    assert {name: found[name] for name in SOUND} == SOUND
    assert (found["service"], found["changed_by"]) == ("shop", "olga")
    assert found["change"] == decisions.latest_change("shop")
    effective = found["effective"]
    assert (effective["numbers"]["warn"], effective["numbers"]["page"], effective["step_budget"]) == (2, 3.5, 80)
    assert (effective["patient_tools"], effective["ignored_tools"]) == (["poll"], ["noise"])
    assert not effective["switches"]["loop.cycle"]
    assert olga.get("watch/rules?service=shop").json() == found
    assert rules.current().get().of("shop").rules.warn == 2
    assert olga.put("shop", {"change": found["change"]}).json()["numbers"] == {}
    assert rules.current().get().of("shop").rules.warn == 1


def test_what_is_decided_for_all_is_in_force_for_each(olga: Caller) -> None:
    assert olga.put("*", {"numbers": {"talk_warn": 6, "warn": 1.0}}).json()["numbers"] == {"talk_warn": 6}
    assert olga.get("watch/rules?service=shop").json()["effective"]["numbers"]["talk_warn"] == 6
    assert olga.put("team/shop", {"numbers": {"talk_warn": 7}}).json()["service"] == "team/shop"
    assert olga.get("watch/rules?service=team/shop").json()["effective"]["numbers"]["talk_warn"] == 7


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"numbers": {"warn": 0.1}}, "warn: It must be between 0.3 and 20."),
        ({"numbers": {"talk_warn": 2.5}}, "talk_warn: It must be a whole number."),
        ({"numbers": {"warned": 2}}, "warned: There is no such setting."),
        ({"numbers": {"warn": 5}}, "warn: To page must not take less than to warn: 1.4 is below 5."),
        ({"switches": {"budget.exhausted": False}}, "budget.exhausted: There is no such kind."),
        ({"tools": {"x": "loved"}}, "x: It must be one of normal, patient, ignored."),
        ({"tools": {"": "ignored"}}, "tools: The name of a tool has 1 to 256 characters."),
        ({"tools": {f"t{n}": "ignored" for n in range(201)}}, "tools: There may be 200 tools at most."),
        ({"numbers": {"warn": "much"}}, "valid number"),
        ({"reason": "x" * 401}, "reason"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(olga: Caller, body: dict[str, Any], words: str) -> None:
    answer = olga.put("shop", body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert not RuleChange.objects.exists()


def test_a_change_that_was_not_looked_at_is_a_conflict(olga: Caller) -> None:
    first = olga.put("shop", SOUND | {"change": 0}).json()["change"]
    answer = olga.put("shop", {"change": 0})
    assert (answer.status_code, "by olga meanwhile" in answer.json()["detail"]) == (409, True)
    assert olga.put("shop", {"change": first}).status_code == 200
    assert olga.put("shop", SOUND).status_code == 200  # whoever does not say what they looked at overrides


def test_only_owners_with_a_token_for_writing_decide() -> None:
    responder = Caller("rosa", Role.RESPONDER)
    assert responder.put("shop", SOUND).status_code == 403
    assert responder.get("watch/rules?service=shop").status_code == 200
    assert Caller("ada", Role.ADMIN, ApiToken.Scope.READ).put("shop", SOUND).status_code == 403
    assert Client().get("/api/v1/watch/rules").status_code == 401
    assert not RuleChange.objects.exists()


def test_a_service_with_an_impossible_name_is_refused(olga: Caller) -> None:
    assert olga.put("x" * 300, SOUND).status_code == 422
    assert olga.get(f"watch/rules?service={'x' * 300}").status_code == 422
