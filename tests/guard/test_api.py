"""Budgets, the guard and the kill switch over the API: the contract, whom it obeys, what it refuses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, Role, User
from agentops.budgets.models import Budget
from tests.guard.asking import RUN, SERVICE, check, settle

pytestmark = pytest.mark.django_db


class Caller:
    """Somebody with a role and a token."""

    def __init__(self, role: Role, scope: str = ApiToken.Scope.WRITE) -> None:
        user = User.objects.create(username=f"{role}-{scope}", role=role)
        self._headers = {"authorization": f"Bearer {create_token(user=user, scope=scope)}"}
        self._client = Client()

    def __call__(self, method: str, address: str, body: Any = None) -> Any:
        return self._client.generic(
            method,
            f"/api/v1/{address}",
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=self._headers,
        )


@pytest.fixture
def admin() -> Caller:
    return Caller(Role.ADMIN)


def made(admin: Caller, **fields: Any) -> Any:
    asked: dict[str, Any] = {"scope": {"service": SERVICE}, "period": "day", "limit_usd": "1.00", "action": "stop"}
    answer = admin("POST", "budgets", asked | fields)
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_a_budget_is_made_read_and_listed(admin: Caller) -> None:
    budget = made(admin, thresholds=[0.5, 1.0], note="for the launch", timezone="Europe/Berlin")
    assert budget["limit_usd"] == "1"
    assert budget["scope"]["service"] == SERVICE
    assert budget["created_by"] == "admin-write"
    assert admin("GET", f"budgets/{budget['id']}").json() == budget
    listed = admin("GET", "budgets").json()["items"]
    assert budget in listed
    assert {one["period"] for one in listed if one["default"]} == {"run", "session"}


def test_it_binds_the_next_step_and_its_position_says_where_it_stands(admin: Caller) -> None:
    budget = made(admin, limit_usd="0.15")
    settle(check()["reservation"], cost_usd="0.04")
    check()
    position = admin("GET", f"budgets/{budget['id']}/position").json()
    assert {name: position[name] for name in ("limit", "spent", "reserved", "remaining")} == {
        "limit": "0.15",
        "spent": "0.04",
        "reserved": "0.1",
        "remaining": "0.01",
    }
    assert position["resets_at"]
    assert position["burn_rate"] > 0
    assert check()["decision"] == "stop"
    assert admin("GET", f"budgets/{budget['id']}/position").json()["refused"] == 1


def test_a_member_has_a_position_of_its_own(admin: Caller) -> None:
    budget = made(admin, each="session", period="total", scope={})
    check(session="a")
    position = admin("GET", f"budgets/{budget['id']}/position?session=a").json()
    assert (position["reserved"], position["resets_at"], position["member"]) == ("0.1", None, "a")
    assert admin("GET", f"budgets/{budget['id']}/position?session=b").json()["reserved"] == "0"
    assert admin("GET", f"budgets/{budget['id']}/position").status_code == 422
    assert [one["member"] for one in admin("GET", f"budgets/{budget['id']}/members").json()["items"]] == ["a"]
    assert len(admin("GET", f"budgets/{budget['id']}/history?session=a").json()["items"]) == 1


def test_what_is_changed_is_on_record_and_the_rest_stays(admin: Caller) -> None:
    budget = made(admin, limit_usd="0.05")
    assert check()["decision"] == "stop"
    changed = admin("PATCH", f"budgets/{budget['id']}", {"limit_usd": "5", "reason": "it was a slip"}).json()
    assert (changed["limit_usd"], changed["scope"], changed["version"]) == ("5", budget["scope"], 2)
    assert check()["decision"] == "allow"
    record = admin("GET", f"budgets/{budget['id']}/changes").json()["items"]
    assert [(one["what"], one["by"], one["reason"]) for one in record] == [
        ("changed", "admin-write", "it was a slip"),
        ("created", "admin-write", ""),
    ]
    assert (record[0]["before"]["limit_nano"], record[0]["after"]["limit_nano"]) == (50_000_000, 5_000_000_000)


def test_a_limit_can_be_taken_away_but_not_the_last(admin: Caller) -> None:
    budget = made(admin, limit_steps=100)
    assert admin("PATCH", f"budgets/{budget['id']}", {"limit_usd": None}).json()["limit_usd"] is None
    assert admin("PATCH", f"budgets/{budget['id']}", {"limit_steps": None}).status_code == 422


def test_a_raise_is_made_and_ended(admin: Caller) -> None:
    budget = made(admin, limit_usd="0.05")
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    raised = admin("POST", f"budgets/{budget['id']}/raises", {"extra_usd": "1", "until": until, "reason": "demo"})
    assert raised.status_code == 201
    assert check()["decision"] == "allow"
    ended = admin("DELETE", f"budgets/{budget['id']}/raises/{raised.json()['id']}")
    assert ended.json()["ended_at"]
    assert check()["decision"] == "stop"


def test_the_kill_switch_is_thrown_and_lifted(admin: Caller) -> None:
    answer = admin("POST", "guard/stop", {"session": "s", "reason": "it writes to customers"})
    assert answer.status_code == 201
    stopped = check(session="s")
    assert [reason["mode"] for reason in stopped["reasons"]] == ["kill_switch"]
    assert "it writes to customers" in stopped["reasons"][0]["message"]
    assert [one["value"] for one in admin("GET", "guard/stops").json()["items"]] == ["s"]
    assert [one["mode"] for one in admin("GET", "guard/refusals").json()["items"]] == ["kill_switch"]
    assert admin("DELETE", "guard/stop?session=s").json()["lifted_by"] == "admin-write"
    assert check(session="s")["decision"] == "allow"
    assert admin("DELETE", "guard/stop?session=other").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"period": "day"},
        {"period": "day", "limit_usd": "-1"},
        {"period": "day", "limit_usd": "NaN"},
        {"period": "eon", "limit_usd": "1"},
        {"period": "day", "limit_usd": "1", "each": "planet"},
        {"period": "day", "limit_usd": "1", "timezone": "Mars"},
        {"period": "day", "limit_usd": "1", "thresholds": [0]},
        {"period": "day", "limit_usd": "1", "thresholds": "many"},
        {"period": "day", "limit_steps": -1},
        {"period": "day", "limit_usd": "1", "scope": {"user": "x" * 10_000}},
        [],
    ],
)
def test_a_budget_that_cannot_be_is_refused_in_words(admin: Caller, body: Any) -> None:
    answer = admin("POST", "budgets", body)
    if answer.status_code == 201:  # what is too long is cut, as in every filter
        assert len(answer.json()["scope"]["user"]) <= 512
        return
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["detail"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER, Role.OWNER])
def test_only_admins_set_ceilings(role: Role) -> None:
    budget = Budget.objects.get(is_default=True, period="run")
    caller = Caller(role)
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    for method, address, body in (
        ("POST", "budgets", {"period": "day", "limit_usd": "1"}),
        ("PATCH", f"budgets/{budget.pk}", {"limit_usd": "1000000"}),
        ("POST", f"budgets/{budget.pk}/raises", {"extra_usd": "1", "until": until, "reason": "x"}),
        ("DELETE", f"budgets/{budget.pk}/raises/1", None),
    ):
        assert caller(method, address, body).status_code == 403
    assert caller("GET", "budgets").status_code == 200
    stopped = caller("POST", "guard/stop", {"user": "u", "reason": "x"}).status_code
    assert stopped == (403 if role == Role.VIEWER else 201)


def test_a_token_for_reading_changes_nothing() -> None:
    caller = Caller(Role.ADMIN, ApiToken.Scope.READ)
    assert caller("POST", "budgets", {"period": "day", "limit_usd": "1"}).status_code == 403
    assert caller("POST", "guard/stop", {"user": "u"}).status_code == 403


def test_what_is_not_there_is_not_found(admin: Caller) -> None:
    for address in ("budgets/999999", "budgets/999999/position", "budgets/999999/changes"):
        assert admin("GET", address).status_code == 404
    assert admin("GET", f"budgets/{2**70}").status_code == 422
    assert admin("POST", "guard/stop", {"user": "a", "run": RUN}).status_code == 422
