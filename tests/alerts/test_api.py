"""Alerts over the API: the contract, whom it obeys, what it refuses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, User
from agentops.alerts.models import Alert
from tests.alerts.signalling import raised, run_of, signal

pytestmark = pytest.mark.django_db


class Caller:
    """Somebody with a token."""

    def __init__(self, user: User, scope: str = ApiToken.Scope.WRITE) -> None:
        self._headers = {"authorization": f"Bearer {create_token(user=user, scope=scope)}"}
        self._client = Client()

    def get(self, address: str) -> Any:
        return self._client.get(f"/api/v1/{address}", headers=self._headers)

    def delete(self, address: str) -> Any:
        return self._client.delete(f"/api/v1/{address}", headers=self._headers)

    def post(self, address: str, body: dict[str, Any] | None = None) -> Any:
        return self._client.post(
            f"/api/v1/{address}",
            json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers=self._headers,
        )


@pytest.fixture
def caller(ada: User) -> Caller:
    return Caller(ada)


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    body: dict[str, Any] = answer.json()
    assert body["detail"]
    return body


def test_alerts_are_listed_newest_first_as_the_contract_says(caller: Caller) -> None:
    raised(signal(1))
    raised(signal(2, severity="page", kind="loop.repeat", service="other"))
    body = caller.get("alerts").json()
    assert body["next_cursor"] is None
    assert [item["run"] for item in body["items"]] == [run_of(2).hex(), run_of(1).hex()]
    item = body["items"][1]
    expected = {
        "kind": "loop.ping_pong", "severity": "warn", "state": "firing", "service": "research-assistant",
        "session": "session-1", "acknowledged_by": None, "oncall": None, "count": 1,
    }  # fmt: skip
    assert expected.items() <= item.items()
    assert item["evidence"]["cost_usd"] == "41.20"
    assert item["opened_at"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("state=firing", [2, 1]), ("state=acknowledged", [3]), ("severity=page", [2]), ("kind=loop.repeat", [2]),
        ("service=other", [3]), (f"run={run_of(1).hex()}", [1]), ("session=session-2", [2]), ("state=resolved", []),
        ("environment=staging", [3, 2]),
    ],
)  # fmt: skip
def test_they_are_filtered(caller: Caller, query: str, numbers: list[int]) -> None:
    raised(signal(1, environment="production"))
    raised(signal(2, severity="page", kind="loop.repeat", environment="staging"))
    raised(signal(3, service="other"))
    caller.post(f"alerts/{Alert.objects.get(service='other').pk}/acknowledge")
    found = caller.get(f"alerts?{query}").json()["items"]
    assert [item["run"] for item in found] == [run_of(n).hex() for n in numbers]


def test_they_are_paged_by_cursor_and_none_is_told_twice(caller: Caller) -> None:
    raised(*(signal(n) for n in range(7)))
    seen: list[int] = []
    cursor = ""
    while cursor is not None:
        body = caller.get(f"alerts?limit=3&cursor={cursor}").json()
        seen += [item["id"] for item in body["items"]]
        cursor = body["next_cursor"]
    assert seen == list(Alert.objects.order_by("-pk").values_list("pk", flat=True))


@pytest.mark.parametrize(
    "query", ["state=gone", "severity=high", "limit=0", "limit=1001", "cursor=x", "cursor=WyJ4Il0", "run=zz", "run=ab"]
)
def test_what_cannot_be_asked_is_said(caller: Caller, query: str) -> None:
    assert query.partition("=")[0] in assert_problem(caller.get(f"alerts?{query}"), 422)["detail"]


def test_an_alert_goes_its_way_and_keeps_its_story(caller: Caller) -> None:
    [alert] = raised(signal())
    assert caller.post(f"alerts/{alert.pk}/acknowledge").json()["acknowledged_by"] == "ada"
    assert caller.post(f"alerts/{alert.pk}/unacknowledge").json()["state"] == "firing"
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    assert caller.post(f"alerts/{alert.pk}/snooze", {"until": until}).json()["state"] == "silenced"
    assert caller.post(f"alerts/{alert.pk}/notes", {"text": "looking"}).json()["id"] == alert.pk
    resolved = caller.post(f"alerts/{alert.pk}/resolve", {"reason": "restarted"}).json()
    assert (resolved["state"], resolved["resolved_by"]) == ("resolved", "ada")
    body = caller.get(f"alerts/{alert.pk}").json()
    assert [(move["move"], move["by"]) for move in body["moves"]] == [
        ("open", None), ("acknowledge", "ada"), ("unacknowledge", "ada"), ("snooze", "ada"), ("resolve", "ada"),
    ]  # fmt: skip
    assert (body["moves"][0]["from_state"], body["moves"][4]["reason"]) == (None, "restarted")
    assert [(note["text"], note["by"]) for note in body["notes"]] == [("looking", "ada")]


def test_a_move_that_is_not_allowed_is_a_conflict_that_tells_the_state(caller: Caller, tom: User) -> None:
    [alert] = raised(signal())
    Caller(tom).post(f"alerts/{alert.pk}/acknowledge")
    body = assert_problem(caller.post(f"alerts/{alert.pk}/acknowledge"), 409)
    assert (body["state"], body["acknowledged_by"]) == ("acknowledged", "tom")
    assert "tom" in body["detail"]
    caller.post(f"alerts/{alert.pk}/resolve")
    assert assert_problem(caller.post(f"alerts/{alert.pk}/resolve"), 409)["state"] == "resolved"


@pytest.mark.parametrize(
    "body",
    [{}, {"until": ""}, {"until": "soon"}, {"until": "2020-01-01T00:00:00Z"}, {"until": "9999-01-01T00:00:00Z"}],
)
def test_a_bad_until_is_refused(caller: Caller, body: dict[str, Any]) -> None:
    [alert] = raised(signal())
    assert "until" in assert_problem(caller.post(f"alerts/{alert.pk}/snooze", body), 422)["detail"]


@pytest.mark.parametrize("body", [{}, {"text": " "}, {"text": "x" * 10_001}])
def test_a_bad_note_is_refused(caller: Caller, body: dict[str, Any]) -> None:
    [alert] = raised(signal())
    assert_problem(caller.post(f"alerts/{alert.pk}/notes", body), 422)


@pytest.mark.parametrize("number", ["0", "999", str(2**63), str(10**30)])
def test_what_does_not_exist_is_not_found(caller: Caller, number: str) -> None:
    assert_problem(caller.get(f"alerts/{number}"), 404)
    for move in ("acknowledge", "unacknowledge", "resolve"):
        assert_problem(caller.post(f"alerts/{number}/{move}"), 404)
    assert_problem(caller.delete(f"silences/{number}"), 404)


def test_who_only_looks_moves_nothing(viewer: User, ada: User) -> None:
    [alert] = raised(signal())
    for caller in (Caller(viewer), Caller(ada, ApiToken.Scope.READ)):
        assert caller.get("alerts").status_code == 200
        assert caller.get("silences").status_code == 200
        for move in ("acknowledge", "unacknowledge", "resolve"):
            assert_problem(caller.post(f"alerts/{alert.pk}/{move}"), 403)
        assert_problem(caller.post(f"alerts/{alert.pk}/snooze", {"until": "2020-01-01T00:00:00Z"}), 403)
        assert_problem(caller.post(f"alerts/{alert.pk}/notes", {"text": "x"}), 403)
        assert_problem(caller.post("silences", {"matchers": {"kind": "x"}, "ends_at": "2099-01-01T00:00:00Z"}), 403)
        assert_problem(caller.delete("silences/1"), 403)
    alert.refresh_from_db()
    assert alert.version == 0


def test_silences_are_made_listed_and_ended(caller: Caller) -> None:
    raised(signal())
    ends = (timezone.now() + timedelta(hours=2)).isoformat()
    made = caller.post("silences", {"matchers": {"service": "research-*"}, "ends_at": ends, "comment": "a drill"})
    assert made.status_code == 201
    silence = made.json()
    assert (silence["matchers"], silence["created_by"], silence["is_active"]) == (
        {"service": "research-*"},
        "ada",
        True,
    )
    assert caller.get("alerts?state=silenced").json()["items"][0]["state"] == "silenced"
    ended = caller.delete(f"silences/{silence['id']}").json()
    assert (ended["is_active"], ended["ended_by"]) == (False, "ada")
    assert [item["id"] for item in caller.get("silences").json()["items"]] == [silence["id"]]
    assert caller.get("alerts?state=firing").json()["items"]


@pytest.mark.parametrize(
    ("matchers", "ends_at", "word"),
    [({}, "2099-12-31T00:00:00Z", "matchers"), ({"kind": "*"}, "2099-12-31T00:00:00Z", "matchers"),
     ({"kind": "x"}, "2020-01-01T00:00:00Z", "ends_at"), ({"kind": "x"}, "", "ends_at")],
)  # fmt: skip
def test_a_silence_that_makes_no_sense_is_refused(caller: Caller, matchers: Any, ends_at: str, word: str) -> None:
    body = assert_problem(caller.post("silences", {"matchers": matchers, "ends_at": ends_at}), 422)
    assert word in body["detail"]


def test_a_list_takes_few_statements(caller: Caller, django_assert_max_num_queries: Any) -> None:
    raised(*(signal(n) for n in range(20)))
    for alert in Alert.objects.all()[:5]:
        caller.post(f"alerts/{alert.pk}/acknowledge")
    with django_assert_max_num_queries(3):
        assert len(caller.get("alerts").json()["items"]) == 20
