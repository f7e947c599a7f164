"""The price book over the API: what it answers, and whom it obeys."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, User
from agentops.domain.spans import TokenUsage
from agentops.prices import repricing
from agentops.prices.models import BookRevision, Repricing
from tests.costs.booking import START, book_entries, book_runs
from tests.prices.test_unpriced import call, priced

pytestmark = pytest.mark.django_db

PRICE = {
    "pattern": "our-llama", "provider": "vllm", "service": "support", "note": "GPU hours",
    "effective_from": "2026-01-01T00:00:00Z",
    "tokens": [{"input": "0.25", "output": "1"}, {"above": 200000, "input": "0.500", "output": "2"}],
}  # fmt: skip


class Caller:
    """Somebody with a token."""

    def __init__(self, user: User, scope: str = ApiToken.Scope.WRITE) -> None:
        self._headers = {"authorization": f"Bearer {create_token(user=user, scope=scope)}"}
        self._client = Client()

    def get(self, address: str) -> Any:
        return self._client.get(f"/api/v1/{address}", headers=self._headers)

    def post(self, address: str, body: dict[str, Any] | None = None) -> Any:
        return self._client.post(
            f"/api/v1/{address}", json.dumps(body or {}), content_type="application/json", headers=self._headers
        )


@pytest.fixture
def ada(admin: User) -> Caller:
    return Caller(admin)


def test_a_price_is_entered_changed_ended_and_withdrawn_with_its_history(ada: Caller) -> None:
    made = ada.post("prices", PRICE)
    assert made.status_code == 201
    price = made.json()
    assert price["tokens"][1] == {
        "above": 200_000, "input": "0.5", "output": "2", "cache_read": None, "cache_creation": None,
        "cache_creation_1h": None, "reasoning": None, "audio_input": None, "audio_output": None,
    }  # fmt: skip
    expected = {
        "price_id": "book 1 v1", "kind": "model", "tier": "standard", "number": 1, "version": 1, "changed_by": "ada",
        "effective_from": "2026-01-01T00:00:00Z", "effective_until": None, "note": "GPU hours", "is_withdrawn": False,
    }  # fmt: skip
    assert price | expected == price
    changed = ada.post("prices/1?version=1", PRICE | {"tokens": [], "per_second_usd": "0.002"}).json()
    assert (changed["price_id"], changed["per_second_usd"], changed["tokens"]) == ("book 1 v2", "0.002", [])
    ended = ada.post("prices/1/end", {"version": 2, "until": "2026-12-31T00:00:00Z"}).json()
    assert (ended["version"], ended["effective_until"]) == (3, "2026-12-31T00:00:00Z")
    withdrawn = ada.post("prices/1/end", {"version": 3, "is_withdrawn": True, "note": "a mistake"}).json()
    assert (withdrawn["is_withdrawn"], withdrawn["effective_until"]) == (True, "2026-12-31T00:00:00Z")
    history = ada.get("prices/1").json()["versions"]
    assert [each["version"] for each in history] == [4, 3, 2, 1]
    assert ada.get("prices").json()["items"] == history[:1]


def test_discounts_and_tools_are_prices_too(ada: Caller) -> None:
    discount = ada.post("prices", {"kind": "discount", "pattern": "*", "tier": "any", "percent_off": "12.5"}).json()
    tool = ada.post("prices", {"kind": "tool", "pattern": "web_search", "per_call_usd": "0.005"}).json()
    assert (discount["percent_off"], tool["per_call_usd"]) == ("12.5", "0.005")


def test_a_name_is_mapped_changed_and_ended(ada: Caller) -> None:
    alias = {"pattern": "prod-chat", "provider": "azure", "means_model": "gpt-4o"}
    assert ada.post("aliases", alias).status_code == 201
    assert ada.post("aliases/1?version=1", alias | {"means_model": "gpt-5"}).json()["means_model"] == "gpt-5"
    assert ada.post("aliases/1/end", {"version": 2}).json()["effective_until"] is not None
    assert len(ada.get("aliases/1").json()["versions"]) == 3
    assert [each["version"] for each in ada.get("aliases").json()["items"]] == [3]


@pytest.mark.parametrize(
    ("address", "body", "status", "says"),
    [
        ("prices", {"pattern": "x"}, 422, "tokens"),
        ("prices", {"pattern": "x", "tokens": [{"input": "-1", "output": "1"}]}, 422, "greater than or equal"),
        ("prices", {"pattern": "x", "tokens": [{"input": "nan", "output": "1"}]}, 422, "tokens"),
        ("prices", {"pattern": "", "per_call_usd": "1"}, 422, "pattern"),
        ("prices", {"pattern": "x", "kind": "nothing"}, 422, "kind"),
        ("aliases", {"pattern": "x", "means_model": "x"}, 422, "means_model"),
        ("prices/1?version=7", PRICE, 409, "look at version 1"),
        ("prices/9?version=1", PRICE, 404, "nothing of that number"),
        ("prices/9/end", {"version": 1}, 404, "nothing of that number"),
        ("aliases/9?version=1", {"pattern": "x", "means_model": "y"}, 404, "nothing of that number"),
        ("repricings", {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422, "ends before"),
        ("repricings", {}, 422, "from"),
        ("repricings/9/apply", {}, 404, ""),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    ada: Caller, address: str, body: dict[str, Any], status: int, says: str
) -> None:
    ada.post("prices", PRICE)
    answer = ada.post(address, body)
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert says in answer.json()["detail"]


ACTIONS = (
    "prices", "prices/1?version=1", "prices/1/end", "aliases", "aliases/1?version=1", "aliases/1/end", "repricings",
    "repricings/1/apply", "repricings/1/cancel",
)  # fmt: skip
BODY = PRICE | {"means_model": "gpt-4o", "version": 1, "from": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize("address", ACTIONS)
def test_only_an_admin_with_a_token_that_may_write_changes_anything(
    admin: User, viewer: User, ada: Caller, address: str
) -> None:
    ada.post("prices", PRICE)
    ada.post("aliases", {"pattern": "x", "means_model": "y"})
    before = (BookRevision.objects.count(), Repricing.objects.count())
    for refused in (Caller(viewer), Caller(admin, ApiToken.Scope.READ)):
        assert refused.post(address, BODY).status_code == 403
    assert Client().post(f"/api/v1/{address}", BODY, content_type="application/json").status_code == 401
    assert (BookRevision.objects.count(), Repricing.objects.count()) == before
    for open_to_all in ("prices", "aliases", "repricings", "unpriced", "prices/1", "aliases/1"):
        assert Caller(viewer, ApiToken.Scope.READ).get(open_to_all).status_code == 200


def test_unpriced_calls_are_listed_with_what_they_may_cost(ada: Caller) -> None:
    book_entries(
        [call("our-llama", TokenUsage(1_000, 1_000)), call("", TokenUsage(), provider=None, response_model=None),
         priced("gpt-4o", TokenUsage(90, 10), 100_000)]
    )  # fmt: skip
    answer = ada.get("unpriced?from=2025-11-20T00:00:00Z&until=2025-12-10T00:00:00Z").json()
    group, silent = answer.pop("items")
    cost = {"low_usd": "0.002", "mean_usd": "0.002", "high_usd": "0.002"}
    assert answer == {
        "calls": 2, "tokens": 2_000, "calls_without_tokens": 1, "share_of_calls": 2 / 3,
        "share_of_tokens": 2_000 / 2_100, "known_cost_usd": "0.0001", "may_cost": cost,
        "compared_with": ["gpt-4o", "gpt-4o"],
    }  # fmt: skip
    assert group == {
        "provider": "vllm", "model": "our-llama", "service": "support", "calls": 1, "input_tokens": 1_000,
        "output_tokens": 1_000, "calls_without_tokens": 0, "may_cost": cost,
    }  # fmt: skip
    assert (silent["provider"], silent["model"], silent["may_cost"]) == (None, None, None)
    assert ada.get("unpriced").json()["calls"] == 0
    assert ada.get("unpriced?from=2025-12-10T00:00:00Z&until=2025-12-10T00:00:00Z").status_code == 422


def test_a_period_is_priced_again(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "KNOWN_EVERYWHERE", timedelta(0))
    book_runs(range(3))
    ada.post("prices", {"pattern": "*", "tokens": [{"input": "2", "output": "8"}]})
    asked = {"from": "2025-11-20T00:00:00Z", "until": "2025-12-10T00:00:00Z", "service": "service-0"}
    answer = ada.post("repricings", asked)
    assert answer.status_code == 201
    job = answer.json()
    expected = asked | {"state": "pending", "dry_run": None, "requested_by": "ada", "done": 0, "total": None}
    assert job | expected == job
    assert ada.post(f"repricings/{job['id']}/apply").status_code == 409
    repricing.work(job["id"])
    found = ada.get(f"repricings/{job['id']}").json()
    assert (found["state"], found["total"]) == ("done", 2)
    line = next(each for each in found["lines"] if each["name"] == "gpt-4o")
    assert (line["service"], line["month"], line["kind"]) == ("service-0", "2025-11", "model")
    applied = ada.post(f"repricings/{job['id']}/apply").json()
    assert applied["dry_run"] == job["id"]
    repricing.work(applied["id"])
    page = ada.get(f"repricings/{applied['id']}/adjustments").json()
    assert page["next_cursor"] is None
    assert len(page["items"]) >= sum(each["calls"] for each in found["lines"])
    assert {"source": "book", "id": "book 1 v1"} in [each["new_price"] for each in page["items"]]
    assert {each["service"] for each in page["items"]} == {"service-0"}
    assert len(ada.get("repricings").json()["items"]) == 2
    assert ada.post(f"repricings/{applied['id']}/cancel").status_code == 409


def test_a_job_is_cancelled(ada: Caller) -> None:
    job = ada.post("repricings", {"from": START.isoformat()}).json()
    assert ada.post(f"repricings/{job['id']}/cancel").json()["state"] == "cancelled"


def test_adjustments_come_by_the_page(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "KNOWN_EVERYWHERE", timedelta(0))
    monkeypatch.setattr("agentops.prices.api.repricing.ADJUSTMENTS", 4)
    book_runs(range(3))
    ada.post("prices", {"pattern": "*", "tokens": [{"input": "2", "output": "8"}]})
    job = ada.post("repricings", {"from": "2025-11-20T00:00:00Z"}).json()
    repricing.work(job["id"])
    applied = ada.post(f"repricings/{job['id']}/apply").json()["id"]
    repricing.work(applied)
    spans: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page = ada.get(f"repricings/{applied}/adjustments?cursor={cursor}").json()
        assert len(page["items"]) <= 4
        spans += [each["span_id"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert len(spans) == len(set(spans)) > 4
