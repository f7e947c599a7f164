"""Rules and re-attribution over the API: the same as on the pages, with the same roles."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, Role, User
from agentops.costs import reattribution
from agentops.costs.reattribution import work
from agentops.domain.attribution import Rules
from tests.costs.booking import START, book_entries
from tests.costs.test_reattribution import spans

FROM, UNTIL = START - timedelta(days=1), START + timedelta(days=3)
RULE = {
    "service": "service-0",
    "conditions": [{"subject": "tag", "value": "blue"}, {"subject": "attribute", "key": "tier", "value": "*"}],
    "dimension": "feature",
    "value": "checkout",
    "effective_from": "2025-11-01T00:00:00Z",
    "note": "finance",
}
Call = Callable[..., Any]


@pytest.fixture
def call(db: None, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Ask as somebody with a role; the status and the answer."""
    monkeypatch.setattr(reattribution, "KNOWN_EVERYWHERE", timedelta(0))
    tokens: dict[Role, str] = {}

    def ask(method: str, path: str, body: Any = None, *, role: Role = Role.ADMIN, scope: str = "write") -> Any:
        if role not in tokens or scope != "write":
            user = User.objects.get_or_create(username=role.value, defaults={"role": role})[0]
            tokens[role] = create_token(user=user, name="", scope=ApiToken.Scope(scope))
        answer = Client().generic(
            method, f"/api/v1/attribution/{path}", json.dumps(body) if body is not None else "",
            content_type="application/json", headers={"Authorization": f"Bearer {tokens[role]}"},
        )  # fmt: skip
        return answer.status_code, answer.json()

    return ask


def test_a_rule_is_written_changed_and_read_with_its_history(call: Call) -> None:
    status, first = call("POST", "rules", RULE, role=Role.OWNER)
    assert status == 201
    assert (first["number"], first["version"], first["by"], first["is_enabled"]) == (1, 1, "owner", True)
    assert first["conditions"][1] == {"subject": "attribute", "value": "*", "key": "tier"}
    status, second = call("POST", "rules/1?version=1", RULE | {"is_enabled": False})
    assert (status, second["version"], second["is_enabled"]) == (200, 2, False)
    assert [row["version"] for row in call("GET", "rules/1")[1]["versions"]] == [2, 1]
    assert [row["version"] for row in call("GET", "rules")[1]["items"]] == [2]
    assert call("POST", "rules/1?version=1", RULE)[0] == 409
    assert call("POST", "rules/9?version=1", RULE)[0] == 404
    assert call("GET", "rules/9")[0] == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": "release"},
        {"value": ""},
        {"conditions": [{"subject": "colour", "value": "x"}]},
        {"conditions": [{"subject": "attribute", "value": "x"}]},
        {"conditions": [{"subject": "tag", "value": "x"}] * 9},
        {"service": "", "conditions": []},
        {"effective_from": "soon"},
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_meant_is_refused(call: Call, wrong: dict[str, Any]) -> None:
    status, answer = call("POST", "rules", RULE | wrong)
    assert status == 422
    assert answer["detail"]
    assert call("GET", "rules")[1]["items"] == []


def test_a_preview_is_made_read_and_applied(call: Call) -> None:
    book_entries(spans(3, Rules(), runs=8))
    call("POST", "rules", RULE | {"conditions": []})
    status, preview = call("POST", "jobs", {"from": FROM.isoformat(), "until": UNTIL.isoformat()}, role=Role.OWNER)
    assert (status, preview["state"], preview["preview"]) == (201, "pending", None)
    assert call("POST", f"jobs/{preview['id']}/apply")[0] == 409
    work(preview["id"])
    _, found = call("GET", f"jobs/{preview['id']}")
    assert found["state"] == "done"
    assert {line["new_value"] for line in found["lines"]} == {"checkout"}
    assert None in {line["old_value"] for line in found["lines"]}
    assert all(isinstance(line["cost_usd"], str) and line["month"] == "2025-11" for line in found["lines"])
    assert sum(line["runs"] for line in found["lines"]) == found["changed"]
    assert call("POST", f"jobs/{preview['id']}/apply", role=Role.OWNER)[0] == 403
    status, job = call("POST", f"jobs/{preview['id']}/apply")
    assert (status, job["preview"]) == (201, preview["id"])
    work(job["id"])
    _, applied = call("GET", f"jobs/{job['id']}")
    assert applied["lines"] == found["lines"]
    assert sum(Decimal(line["cost_usd"]) for line in applied["lines"]) > 0
    assert [one["id"] for one in call("GET", "jobs")[1]["items"]] == [job["id"], preview["id"]]
    assert call("POST", f"jobs/{job['id']}/cancel")[0] == 409


def test_a_job_that_waits_is_cancelled(call: Call) -> None:
    _, preview = call("POST", "jobs", {"from": FROM.isoformat()})
    assert call("POST", f"jobs/{preview['id']}/cancel")[1]["state"] == "cancelled"
    assert call("POST", "jobs", {"from": UNTIL.isoformat(), "until": FROM.isoformat()})[0] == 422


def test_who_may_only_look_changes_nothing(call: Call) -> None:
    call("POST", "rules", RULE)
    for path, body in (("rules", RULE), ("rules/1?version=1", RULE), ("jobs", {"from": FROM.isoformat()})):
        assert call("POST", path, body, role=Role.RESPONDER)[0] == 403
    assert call("GET", "rules", role=Role.VIEWER, scope="read")[0] == 200
    assert call("POST", "rules", RULE, scope="read")[0] == 403
