"""One model call that is told in several traces counts once, where it belongs, whatever comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from psycopg import Cursor

from agentops.accounts.models import User
from agentops.costs.books import check_books
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest import trees
from agentops.ingest.booking import Entry, book
from tests.ingest.simulation import START_NS, clear_books, read_books

pytestmark = pytest.mark.django_db

RUN, STRAY, LATER = b"r" * 16, b"s" * 16, b"t" * 16
SDK = "com.anthropic.sdk.python"
SECOND = 10**9


def agent() -> Entry:
    span = Span(RUN, b"agent...", b"", "shop", Kind.AGENT, "invoke_agent", "framework", START_NS, START_NS + 9 * SECOND)
    span.agent_name = "planner"
    span.attribution = {"user": ("ada", 0), "feature": ("search", 0)}
    return Entry(span, Cost(None, None, None), None)


def call(trace_id: bytes = RUN, **more: Any) -> Entry:
    told = {"scope": "framework", "parent": b"agent...", "start": 1, "end": 3, "usage": (100, 20), "cost": 7} | more
    parent = told["parent"] if trace_id == RUN else b""
    start, end = START_NS + told["start"] * SECOND, START_NS + told["end"] * SECOND
    span = Span(trace_id, trace_id[:7] + b"c", parent, "shop", Kind.LLM, "chat", told["scope"], start, end)
    span.response_id, span.response_model = told.get("response", "msg_0001"), "claude-sonnet-4-5"
    cost = Cost(None, None, None)
    if told["usage"]:
        span.usage = TokenUsage(*told["usage"])
        cost = Cost(told["cost"], PriceSource.GENAI_PRICES, "list")
    return Entry(span, cost, None)


def stray(trace_id: bytes = STRAY, **more: Any) -> Entry:
    return call(trace_id, **({"scope": SDK} | more))


def runs_of(books: dict[str, list[Any]]) -> dict[bytes, dict[str, Any]]:
    names = {"cost_nano": 22, "llm_calls": 24, "steps": 26, "input_tokens": 28, "absorbed_spans": 34, "is_absorbed": 35}
    return {row[0]: {name: row[place] for name, place in names.items()} for row in books["runs"]}


def booked(cursor: Cursor[Any], *batches: Sequence[Entry]) -> dict[str, list[Any]]:
    clear_books(cursor)
    for batch in batches:
        book(cursor, batch, set())
    assert check_books(now=timezone.now()) == []
    return read_books(cursor)


def test_the_sdks_own_trace_is_no_run_and_costs_nothing_whatever_comes_first(cursor: Cursor[Any]) -> None:
    books = [
        booked(cursor, [agent(), call(), stray()]),
        booked(cursor, [stray()], [agent(), call()]),
        booked(cursor, [call()], [stray()], [agent()]),
        booked(cursor, [agent()], [call()], [stray()], [stray()]),
    ]
    assert all(again == books[0] for again in books)
    runs = runs_of(books[0])
    assert runs[RUN] == {
        "cost_nano": 7, "llm_calls": 1, "steps": 1, "input_tokens": 100, "absorbed_spans": 0, "is_absorbed": False,
    }  # fmt: skip
    assert runs[STRAY] == {
        "cost_nano": 0, "llm_calls": 0, "steps": 0, "input_tokens": 0, "absorbed_spans": 1, "is_absorbed": True,
    }  # fmt: skip
    users = {row[4]: row[5] for row in books[0]["daily"] if row[0] == 1}
    assert users == {"ada": 7}


def test_what_only_the_sdk_knows_counts_in_the_run(cursor: Cursor[Any]) -> None:
    books = booked(cursor, [agent(), call(usage=None)], [stray(cost=9)])
    assert books == booked(cursor, [stray(cost=9)], [call(usage=None)], [agent()])
    assert runs_of(books)[RUN]["cost_nano"] == 9
    assert runs_of(books)[RUN]["input_tokens"] == 100
    assert runs_of(books)[STRAY]["is_absorbed"]


def test_an_answer_that_comes_again_later_is_another_call(cursor: Cursor[Any]) -> None:
    runs = runs_of(booked(cursor, [agent(), call(), stray(start=4, end=5)]))
    assert [run["llm_calls"] for run in runs.values()] == [1, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"response": "msg_0002"},
        {"response": None},
        {"response": "chatcmpl-123"},  # ollama's are not unique
        {"scope": "framework"},  # the same instrumentation does not tell a call twice
    ],
)
def test_what_does_not_tell_the_same_call_is_a_call_of_its_own(cursor: Cursor[Any], other: dict[str, Any]) -> None:
    mine = {"response": other["response"]} if other.get("response") == "chatcmpl-123" else {}
    runs = runs_of(booked(cursor, [agent(), call(**mine)], [stray(**other)]))
    assert [run["llm_calls"] for run in runs.values()] == [1, 1]


def test_another_services_answer_is_another_call(cursor: Cursor[Any]) -> None:
    other = stray()
    other.span.service = "stranger"
    runs = runs_of(booked(cursor, [agent(), call()], [Entry(other.span, other.cost, None)]))
    assert [run["llm_calls"] for run in runs.values()] == [1, 1]


def test_two_strays_of_one_call_count_once(cursor: Cursor[Any]) -> None:
    runs = runs_of(booked(cursor, [stray()], [stray(LATER, scope="other")], [agent(), call()]))
    assert [run["llm_calls"] for run in runs.values()] == [1, 0, 0]


def test_a_stray_without_anybody_else_is_a_run_of_its_own(cursor: Cursor[Any]) -> None:
    runs = runs_of(booked(cursor, [stray()]))
    assert runs == {
        STRAY: {
            "cost_nano": 7, "llm_calls": 1, "steps": 1, "input_tokens": 100, "absorbed_spans": 0, "is_absorbed": False,
        }
    }  # fmt: skip


def test_the_run_says_what_was_merged_and_lists_leave_the_stray_out(cursor: Cursor[Any], client: Client) -> None:
    booked(cursor, [agent(), call()], [stray()])
    client.force_login(User.objects.create_user("viewer", password="a-long-password"))
    listed = client.get("/api/v1/runs").json()["items"]
    assert [run["trace_id"] for run in listed] == [RUN.hex()]
    detail = client.get(f"/api/v1/runs/{RUN.hex()}").json()
    assert detail["merged"] == {"within": 0, "from_traces": [STRAY.hex()], "into_traces": []}
    repeated = client.get(f"/api/v1/runs/{STRAY.hex()}").json()
    assert repeated["merged"] == {"within": 0, "from_traces": [], "into_traces": [RUN.hex()]}
    (step,) = repeated["steps"]
    assert (step["merged_into"], step["merged_trace_id"]) == (call().span.span_id.hex(), RUN.hex())
    assert step["cost_usd"] is None
    page = client.get(f"/runs/{RUN.hex()}/").content.decode()
    assert "1 repeating trace" in page
    assert "counted there" in client.get(f"/runs/{STRAY.hex()}/").content.decode()


def test_what_was_joined_in_a_large_run_stays_joined_when_another_trace_tells_the_same_answer(
    cursor: Cursor[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(span_id: bytes, **more: Any) -> Entry:
        entry = call(**more)
        entry.span.span_id = span_id
        return Entry(entry.span, entry.cost, None)

    first, around = named(b"first..."), named(b"around..", response="msg_0002", start=4, end=9)
    again = named(b"again...", parent=b"around..", start=5, end=6)
    later = named(b"later...", parent=b"around..", response="msg_0003", start=7, end=8)
    books = booked(cursor, [agent(), first, around, again, later, stray(start=6, end=20)])
    monkeypatch.setattr(trees, "LARGE", 0)
    assert booked(cursor, [agent(), first, around, again], [later, stray(start=6, end=20)]) == books
