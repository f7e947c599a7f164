"""The API: who may call it, the shapes of the contract, errors as problem+json, and its own documentation."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.decorators import login_not_required
from django.db import OperationalError, connection
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from ninja import NinjaAPI, Router

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, User
from agentops.api import api
from agentops.domain.spans import Kind, PriceSource
from agentops.runs import queries
from agentops.runs.models import Run
from tests.factories import RunFactory, SpanFactory, to_ns

pytestmark = pytest.mark.django_db

STARTED = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
TOTALS = {
    "cost_usd", "unpriced_calls", "llm_calls", "tool_calls", "steps", "errors", "input_tokens", "output_tokens",
    "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_output_tokens",
}  # fmt: skip
RUN = TOTALS | {
    "trace_id", "service", "release", "environment", "session", "user", "feature", "status", "agents", "started_at",
    "latest_at", "duration_ms",
}  # fmt: skip
STEP = {
    "span_id", "parent_span_id", "kind", "name", "agent", "provider", "request_model", "response_model", "tool",
    "arguments", "requested_tools", "status", "error_type", "started_at", "duration_ms", "cost_usd", "price",
    "is_estimate", "merged_into", "merged_trace_id", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "reasoning_output_tokens",
}  # fmt: skip


@pytest.fixture
def user() -> User:
    return User.objects.create_user("maria", password="a-long-password")


@pytest.fixture
def caller(user: User) -> Client:
    """A program with a token for reading."""
    return Client(headers={"Authorization": f"Bearer {create_token(user=user)}"})


def hex_id(run: Run) -> str:
    return bytes(run.trace_id).hex()


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content)
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


# --- Who may call


@pytest.mark.parametrize(
    "header",
    [None, "Bearer ", "Bearer agt_0123456789ab_" + "x" * 43, "Bearer nonsense", "Basic bWFyaWE6eA==", "agt_x"],
)
def test_without_a_token_nothing_is_answered(header: str | None) -> None:
    answer = Client(headers={"Authorization": header} if header else {}).get("/api/v1/runs")
    assert_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("end", ["revoked", "expired", "inactive"])
def test_a_token_that_ended_opens_nothing(user: User, caller: Client, end: str) -> None:
    assert caller.get("/api/v1/runs").status_code == 200
    past = STARTED - timedelta(days=1000)
    if end == "revoked":
        ApiToken.objects.update(revoked_at=past)
    elif end == "expired":
        ApiToken.objects.update(expires_at=past)
    else:
        User.objects.filter(pk=user.pk).update(is_active=False)
    assert_problem(caller.get("/api/v1/runs"), 401)


def test_a_session_reads_too_but_not_beside_a_bad_token(user: User) -> None:
    client = Client()
    client.force_login(user)
    assert client.get("/api/v1/runs").status_code == 200
    assert_problem(client.get("/api/v1/runs", headers={"Authorization": "Bearer agt_bad"}), 401)


@pytest.fixture
def guarded(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of our API one with a call that changes something, guarded as ours is."""
    router = Router()

    @router.post("/things")
    def change(request: HttpRequest) -> dict[str, str]:
        return {"by": str(request.user)}

    guarded = NinjaAPI(auth=api.auth, urls_namespace="guarded", docs_url=None)
    guarded._exception_handlers = api._exception_handlers
    guarded.add_router("", router)
    urls = guarded.urls
    for pattern in urls[0]:
        pattern.callback = login_not_required(pattern.callback)
    module = ModuleType("guarded_urls")
    module.urlpatterns = [path("api/v1/", urls)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "guarded_urls", module)
    settings.ROOT_URLCONF = "guarded_urls"


@pytest.mark.usefixtures("guarded")
def test_a_token_for_reading_changes_nothing(user: User, caller: Client) -> None:
    assert "only read" in assert_problem(caller.post("/api/v1/things"), 403)["detail"]
    writer = Client(headers={"Authorization": f"Bearer {create_token(user=user, scope='write')}"})
    assert writer.post("/api/v1/things").json() == {"by": "maria"}


@pytest.mark.usefixtures("guarded")
def test_a_session_changes_something_only_with_its_csrf_token(user: User) -> None:
    assert_problem(Client(enforce_csrf_checks=True).post("/api/v1/things"), 401)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert_problem(client.post("/api/v1/things"), 403)
    client.cookies["csrftoken"] = "a" * 32
    assert client.post("/api/v1/things", headers={"X-CSRFToken": "a" * 32}).json() == {"by": "maria"}


# --- Errors


@pytest.mark.parametrize(
    "path",
    [
        "runs?limit=0",
        "runs?limit=1001",
        "runs?limit=x",
        "runs?cursor=x",
        "runs?sort=size",
        "runs?status=gone",
        "runs?from=yesterday",
        "runs?until=2026-13-01T00:00:00Z",
        "runs?from=0001-01-01T00:00:00%2B14:00",
        "runs?min_cost_usd=-1",
        "runs?min_cost_usd=NaN",
    ],
)
def test_what_is_not_valid_is_refused_with_the_parameters_name(caller: Client, path: str) -> None:
    body = assert_problem(caller.get(f"/api/v1/{path}"), 422)
    assert path.partition("?")[2].partition("=")[0] in body["detail"]


@pytest.mark.parametrize("path", ["nothing", "runs/zz", "runs/" + "0" * 32, "runs/%00", "runs/a/b"])
def test_what_does_not_exist_is_not_found(caller: Client, path: str) -> None:
    assert_problem(caller.get(f"/api/v1/{path}"), 404)


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("secret detail"), 500), (OperationalError("gone"), 503)])
def test_a_fault_of_ours_is_a_problem_that_tells_no_secret(
    caller: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(*_args: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(queries, "list_runs", fail)
    answer = caller.get("/api/v1/runs")
    assert str(error) not in json.dumps(assert_problem(answer, status))
    assert ("Retry-After" in answer.headers) == (status == 503)


# --- Runs


def test_a_run_has_the_shape_of_the_contract(caller: Client) -> None:
    run = RunFactory(started_at=STARTED, cost_nano=1_234_500_000, environment=None)
    body = caller.get("/api/v1/runs").json()
    (item,) = body["items"]
    assert body["next_cursor"] is None
    assert set(item) == RUN
    assert item["trace_id"] == hex_id(run)
    assert (item["cost_usd"], item["environment"], item["status"]) == ("1.2345", "production", "ok")
    assert (item["started_at"], item["latest_at"]) == ("2026-11-23T12:00:00.123456Z", "2026-11-23T12:00:18.123456Z")
    assert item["duration_ms"] == 18_000


@pytest.mark.parametrize(
    ("nano", "unpriced", "usd"),
    [
        (0, 0, "0"),
        (1, 0, "0.000000001"),
        (10**15, 0, "1000000"),
        (5 * 10**8, 3, "0.5"),
        (0, 3, None),
        (10**10, 0, "10"),
    ],
)
def test_money_is_a_plain_decimal_string_and_null_when_unknown(
    caller: Client, nano: int, unpriced: int, usd: str | None
) -> None:
    RunFactory(cost_nano=nano, unpriced_calls=unpriced)
    (item,) = caller.get("/api/v1/runs").json()["items"]
    assert item["cost_usd"] == usd


def test_cursors_lead_through_all_runs(caller: Client) -> None:
    RunFactory.create_batch(7)
    seen, cursor = [], ""
    while cursor is not None:
        body = caller.get("/api/v1/runs", {"limit": 3, "cursor": cursor}).json()
        seen += [item["trace_id"] for item in body["items"]]
        cursor = body["next_cursor"]
    assert len(set(seen)) == len(seen) == 7


def test_from_and_until_bound_the_start_in_any_time_zone(caller: Client) -> None:
    run = RunFactory(started_at=STARTED)
    inside = {"from": "2026-11-23T13:00:00+01:00", "until": "2026-11-23T12:00:01Z"}
    assert [item["trace_id"] for item in caller.get("/api/v1/runs", inside).json()["items"]] == [hex_id(run)]
    # A plus sign that was not escaped arrives as a space.
    assert len(caller.get("/api/v1/runs?from=2026-11-23T13:00:00+01:00").json()["items"]) == 1
    assert caller.get("/api/v1/runs", {"from": "2026-11-23T12:00:00.123457"}).json()["items"] == []
    assert caller.get("/api/v1/runs", {"until": "2026-11-23T12:00:00.123456Z"}).json()["items"] == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"service": "svc"}, {"user": "jun"}, {"feature": "triage"}, {"session": "s-9"}, {"environment": "staging"},
        {"release": "2.0"}, {"agent": "writer"}, {"status": "error"}, {"min_cost_usd": "5.00"}, {"q": "jun"},
    ],
)  # fmt: skip
def test_filters_reach_the_query(caller: Client, wanted: dict[str, str]) -> None:
    mine = RunFactory(
        service="svc", user="jun", feature="triage", session="s-9", environment="staging", release="2.0",
        agents=["writer"], root_error=True, cost_nano=5 * 10**9,
    )  # fmt: skip
    RunFactory()
    assert [item["trace_id"] for item in caller.get("/api/v1/runs", wanted).json()["items"]] == [hex_id(mine)]


# --- Steps


def test_a_step_has_the_shape_of_the_contract(caller: Client) -> None:
    run = RunFactory()
    asked = [{"tool": "search", "arguments": {"q": "churn"}}]
    span = SpanFactory(run=run, start_ns=to_ns(STARTED), took_ms=1_500, content={"requested_tools": asked})
    body = caller.get(f"/api/v1/runs/{hex_id(run)}").json()
    (step,) = body["steps"]
    assert RUN | {"findings", "steps_cursor"} <= set(body)
    assert (body["findings"], body["steps_cursor"], body["steps_count"]) == ([], None, 3)
    assert set(step) == STEP
    assert step | {"requested_tools": asked} == step
    assert (step["span_id"], step["parent_span_id"], step["kind"]) == (span.span_id.hex(), None, "llm")
    assert (step["started_at"], step["duration_ms"]) == ("2026-11-23T12:00:00.123456Z", 1_500)
    assert (step["cost_usd"], step["price"]) == (
        "0.0045", {"source": "genai-prices", "id": "genai-prices 0.2.3 openai/gpt-4o"},
    )  # fmt: skip


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_name(caller: Client, kind: Kind) -> None:
    run = RunFactory()
    SpanFactory(run=run, kind=kind)
    (step,) = caller.get(f"/api/v1/runs/{hex_id(run)}").json()["steps"]
    assert step["kind"] == kind.name.lower()


@pytest.mark.parametrize(
    ("source", "name"),
    [(PriceSource.PROVIDER, "provider"), (PriceSource.BOOK, "book"), (PriceSource.GENAI_PRICES, "genai-prices")],
)
def test_a_price_names_its_source(caller: Client, source: PriceSource, name: str) -> None:
    run = RunFactory()
    SpanFactory(run=run, price_source=source)
    assert caller.get(f"/api/v1/runs/{hex_id(run)}").json()["steps"][0]["price"]["source"] == name


def test_the_cost_of_a_failed_call_is_an_estimate(caller: Client) -> None:
    run = RunFactory()
    SpanFactory(run=run)
    SpanFactory(run=run, is_error=True, is_estimate=True, after_ms=2_000)
    SpanFactory(run=run, is_error=True, cost_nano=None, is_estimate=False, after_ms=3_000)
    steps = caller.get(f"/api/v1/runs/{hex_id(run)}").json()["steps"]
    assert [step["is_estimate"] for step in steps] == [False, True, False]


def test_an_unknown_cost_is_null_and_a_merged_call_costs_nothing_itself(caller: Client) -> None:
    run = RunFactory()
    kept = SpanFactory(run=run, cost_nano=None)
    SpanFactory(run=run, merged_into=kept.span_id, after_ms=2_000)
    unknown, merged = caller.get(f"/api/v1/runs/{hex_id(run)}").json()["steps"]
    assert (unknown["cost_usd"], unknown["price"], unknown["merged_into"]) == (None, {"source": None, "id": None}, None)
    assert (merged["cost_usd"], merged["price"]["source"], merged["merged_into"]) == (None, None, kept.span_id.hex())


@pytest.mark.parametrize(
    ("kept", "arguments"),
    [
        ({"q": 1}, {"q": 1}),
        ('{"q": 1}', {"q": 1}),
        ("[1]", [1]),
        ("plain", "plain"),
        ('{"cut": "o', '{"cut": "o'),
        (None, None),
    ],
)
def test_arguments_are_json_where_they_can_be_read(caller: Client, kept: object, arguments: object) -> None:
    run = RunFactory()
    SpanFactory(run=run, kind=Kind.TOOL, content=None if kept is None else {"arguments": kept})
    (step,) = caller.get(f"/api/v1/runs/{hex_id(run)}").json()["steps"]
    assert (step["arguments"], step["requested_tools"]) == (arguments, [])


def test_steps_cursors_lead_through_all_steps(caller: Client) -> None:
    run = RunFactory()
    spans = [SpanFactory(run=run, after_ms=n // 2) for n in range(8)]
    seen, cursor = [], ""
    while cursor is not None:
        body = caller.get(f"/api/v1/runs/{hex_id(run)}", {"steps_limit": 3, "steps_cursor": cursor}).json()
        seen += [step["span_id"] for step in body["steps"]]
        cursor = body["steps_cursor"]
    assert seen == [span.span_id.hex() for span in spans]


@pytest.mark.parametrize(
    "cursor", ["x", "WzEsMl0", "WyIxIiwieiJd", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LCIwMCJd", "Wy0xLCIwMCJd"]
)
def test_a_bad_steps_cursor_is_refused(caller: Client, cursor: str) -> None:
    run = RunFactory()
    answer = caller.get(f"/api/v1/runs/{hex_id(run)}", {"steps_cursor": cursor})
    assert "steps_cursor" in assert_problem(answer, 422)["detail"]


def test_of_a_trace_in_several_services_one_is_answered_and_the_others_named(caller: Client) -> None:
    run = RunFactory()
    RunFactory(trace_id=run.trace_id, service="another", has_root=False)
    body = caller.get(f"/api/v1/runs/{hex_id(run)}").json()
    assert (body["service"], body["other_services"]) == (run.service, ["another"])
    assert caller.get(f"/api/v1/runs/{hex_id(run)}?service=another").json()["service"] == "another"
    assert_problem(caller.get(f"/api/v1/runs/{hex_id(run)}?service=none"), 404)


def test_the_same_number_of_queries_whatever_the_size(caller: Client) -> None:
    small, large = RunFactory(), RunFactory()
    SpanFactory(run=small)
    SpanFactory.create_batch(120, run=large)
    counts = []
    for address in ("runs?limit=1", "runs?limit=1000", f"runs/{hex_id(small)}", f"runs/{hex_id(large)}"):
        with CaptureQueriesContext(connection) as asked:
            assert caller.get(f"/api/v1/{address}").status_code == 200
        counts.append(len(asked))
    assert counts == [2, 2, 8, 8]


# --- Documentation


def test_the_documentation_names_every_call_and_loads_nothing_from_elsewhere(user: User) -> None:
    client = Client()
    client.force_login(user)
    answer = client.get("/api/v1/docs")
    page = answer.content.decode()
    for address, methods in api.get_openapi_schema()["paths"].items():
        assert address in page
        assert all(method.upper() in page for method in methods)
    sources = re.findall(r"<(?:script|link)[^>]*?(?:src|href)=\"([^\"]+)", page)
    assert sources
    assert all(source.startswith("/") for source in sources)
    assert not re.search(r"<script(?![^>]*src=)", page)


def test_the_documentation_is_for_people_who_are_signed_in_and_the_schema_for_all() -> None:
    assert Client().get("/api/v1/docs").status_code == 302
    schema = Client().get("/api/v1/openapi.json").json()
    assert set(schema["paths"]) >= {"/api/v1/runs", "/api/v1/runs/{trace_id}"}
    parameters = {parameter["name"] for parameter in schema["paths"]["/api/v1/runs"]["get"]["parameters"]}
    assert parameters >= {"service", "user", "feature", "session", "environment", "status", "from", "until", "cursor"}
