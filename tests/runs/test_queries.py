"""Which runs are found, in which order, and page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agentops.domain.spans import Kind
from agentops.pages import InvalidCursorError
from agentops.runs import excerpts, queries
from agentops.runs.models import Run
from agentops.runs.queries import RunFilters, RunKey
from tests.factories import RunFactory, SpanFactory

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def found(filters: RunFilters | None = None, sort: str = "-started") -> list[str]:
    """The names of the runs that a filter finds."""
    return [run.name or "" for run in queries.list_runs(filters or RunFilters(), sort=sort).runs]


@pytest.mark.parametrize("sort", ["-started", "started", "-cost", "cost", "-duration", "duration"])
def test_pages_of_any_order_hold_every_run_once_even_among_equals(sort: str) -> None:
    for n in range(23):
        started_at = NOON + timedelta(seconds=n // 5)
        RunFactory(started_at=started_at, latest_at=started_at + timedelta(seconds=n // 7), cost_nano=n // 4)
    one = RunFactory(started_at=NOON)
    RunFactory(trace_id=one.trace_id, service="another", started_at=NOON)
    whole = [(run.trace_id, run.service) for run in queries.list_runs(RunFilters(), sort=sort).runs]
    paged: list[tuple[bytes, str]] = []
    after = None
    while True:
        page = queries.list_runs(RunFilters(), sort=sort, after=after, limit=4)
        paged += [(run.trace_id, run.service) for run in page.runs]
        if page.next_key is None:
            break
        after = RunKey.decode(page.next_key.encode())
    assert len(whole) == 25
    assert paged == whole


def test_a_run_that_comes_while_one_pages_is_not_shown_twice_and_hides_nothing() -> None:
    for n in range(6):
        RunFactory(name=str(n), started_at=NOON - timedelta(minutes=n))
    first = queries.list_runs(RunFilters(), limit=3)
    RunFactory(name="new", started_at=NOON + timedelta(minutes=1))
    second = queries.list_runs(RunFilters(), after=first.next_key, limit=3)
    assert [run.name for run in (*first.runs, *second.runs)] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("mine", "wanted"),
    [
        ({"service": "svc"}, {"service": ("svc",)}),
        ({"user": "jun"}, {"user": ("jun", "nobody")}),
        ({"feature": "triage"}, {"feature": ("triage",)}),
        ({"session": "s-9"}, {"session": ("s-9",)}),
        ({"release": "2.0"}, {"release": ("2.0",)}),
        ({"user": None}, {"user": ("",)}),
        ({"feature": None}, {"feature": ("", "nothing")}),
        ({"environment": "staging"}, {"environment": "staging"}),
        ({"agents": ["x", "writer"]}, {"agent": ("writer",)}),
        ({"cost_nano": 5 * 10**9}, {"min_cost_nano": 5 * 10**9}),
        ({"root_error": True}, {"status": "error"}),
        ({"last_error": True}, {"status": "error"}),
        ({"user": "Jun.Watanabe@example.com"}, {"q": "watanabe"}),
        ({"session": "sess-abc"}, {"q": "SS-AB"}),
        ({"agents": ["x", "needle"]}, {"q": "needle"}),
        ({"name": "mine", "service": "a_service"}, {"q": "a_ser"}),
        ({"trace_id": bytes.fromhex("00ff12" + "00" * 13)}, {"q": "00ff12"}),
    ],
)
def test_a_filter_finds_its_run_alone(mine: dict[str, Any], wanted: dict[str, Any]) -> None:
    RunFactory(**{"name": "mine", **mine})
    RunFactory(name="other")
    assert found(RunFilters(**wanted)) == ["mine"]


def test_a_wildcard_in_a_search_is_an_ordinary_character() -> None:
    RunFactory(name="mine", user="100%_sure")
    RunFactory(name="other", user="maria")
    assert found(RunFilters(q="%")) == ["mine"]
    assert found(RunFilters(q="_sure")) == ["mine"]


def test_what_names_no_environment_counts_as_production() -> None:
    RunFactory(name="silent")
    RunFactory(name="staging", environment="staging")
    assert found(RunFilters(environment="production")) == ["silent"]


def test_the_range_is_half_open() -> None:
    for name, minutes in (("before", -1), ("at the start", 0), ("inside", 30), ("at the end", 60)):
        RunFactory(name=name, started_at=NOON + timedelta(minutes=minutes))
    inside = RunFilters(from_=NOON, until=NOON + timedelta(hours=1))
    assert found(inside) == ["inside", "at the start"]


def test_the_first_digits_of_a_trace_id_find_it_outside_the_range() -> None:
    RunFactory(name="old", trace_id=bytes.fromhex("beef" * 8), started_at=NOON - timedelta(days=40))
    RunFactory(name="new", user="beef@example.com", started_at=NOON)
    assert found(RunFilters(q="beefbe", from_=NOON)) == ["old"]
    assert found(RunFilters(q="beef", from_=NOON)) == ["new", "old"]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"has_root": True}, "ok"),
        ({"has_root": True, "root_error": True}, "error"),
        ({"has_root": True, "last_error": True}, "error"),
        ({"has_root": False}, "running"),
        ({"has_root": False, "last_error": True}, "running"),
        ({"has_root": False, "silent": 1}, "ok"),
        ({"has_root": False, "silent": 1, "last_error": True}, "error"),
    ],
)
def test_the_status_follows_from_root_silence_and_errors(state: dict[str, Any], status: str) -> None:
    silent = timedelta(seconds=settings.RUN_IDLE_SECONDS + 60) * state.pop("silent", 0)
    RunFactory(last_received_at=timezone.now() - silent, **state)
    (run,) = queries.list_runs(RunFilters()).runs
    assert run.status == status
    for asked in queries.STATUSES:
        assert len(queries.list_runs(RunFilters(status=asked)).runs) == (asked == status)


def test_a_model_and_a_tool_lead_to_the_runs_that_used_them() -> None:
    RunFactory(name="mine", model_names=["claude-sonnet-4-5", "gpt-4o"], tool_names=["search"])
    RunFactory(name="other", model_names=["gpt-4o"])
    assert found(RunFilters(model=("claude-sonnet-4-5",))) == ["mine"]
    assert found(RunFilters(model=("gpt-4o",))) == ["other", "mine"]
    assert found(RunFilters(tool=("search",))) == ["mine"]
    assert found(RunFilters(model=("claude-sonnet-4-5", "gpt-4o"), tool=("search", "fetch"))) == ["mine"]


def test_steps_without_an_agent_a_model_or_a_name_lead_to_their_runs() -> None:
    named = RunFactory(name="named", agents=["writer"])
    SpanFactory(run=named, agent="writer")
    SpanFactory(run=named, kind=Kind.TOOL, tool="search", agent="writer")
    bare = RunFactory(name="bare")
    SpanFactory(run=bare, agent=None, request_model=None, response_model=None)
    SpanFactory(run=bare, kind=Kind.TOOL, tool=None, agent=None)
    for dimension in ("agent", "model", "tool"):
        assert found(RunFilters(**{dimension: ("",)})) == ["bare"], dimension
    assert found(RunFilters(agent=("", "writer"))) == ["bare", "named"]


def test_the_cost_is_unknown_only_when_no_call_has_a_price() -> None:
    for name, cost, unpriced in (("none", 0, 2), ("some", 5, 2), ("all", 5, 0), ("no call", 0, 0)):
        RunFactory(name=name, cost_nano=cost, unpriced_calls=unpriced)
    costs = {run.name: run.cost_nano for run in queries.list_runs(RunFilters()).runs}
    assert costs == {"none": None, "some": 5, "all": 5, "no call": 0}


@pytest.mark.parametrize(
    "text",
    ["", "x", "W10", RunKey(10**17, b"", "s").encode(), RunKey(1, b"", "a\0b").encode(), "é", "WzEsInoiLCIiXQ"],
)
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        RunKey.decode(text)


@pytest.mark.parametrize("sort", ["-started", "-cost", "-duration"])
@pytest.mark.parametrize("value", [-queries.MAX_VALUE, 0, queries.MAX_VALUE])
def test_a_cursor_with_any_value_asks_the_database_something_it_understands(sort: str, value: int) -> None:
    RunFactory()
    assert len(queries.list_runs(RunFilters(), sort=sort, after=RunKey(value, b"", "")).runs) <= 1


def test_a_list_is_one_statement_however_many_runs_there_are() -> None:
    RunFactory.create_batch(30)
    with CaptureQueriesContext(connection) as asked:
        queries.list_runs(RunFilters(q="maria", model=(), status="ok"), limit=20)
    assert len(asked) == 1


def test_services_are_listed_once_by_name() -> None:
    for service in ("b", "a", "b", "c"):
        RunFactory(service=service)
    assert queries.list_services() == ["a", "b", "c"]
    Run.objects.all().delete()
    assert queries.list_services() == []


def test_of_several_runs_of_one_trace_the_one_with_the_root_comes_first() -> None:
    trace_id = b"t" * 16
    RunFactory(trace_id=trace_id, service="a", has_root=False, spans=90)
    RunFactory(trace_id=trace_id, service="c", has_root=True, spans=5)
    RunFactory(trace_id=trace_id, service="b", has_root=False, spans=100)
    runs = queries.runs_of_trace(trace_id)
    assert [run.service for run in runs] == ["c", "b", "a"]
    assert queries.choose_run(runs) is runs[0]
    assert queries.choose_run(runs, "a") is runs[2]
    assert queries.choose_run(runs, "none") is None


def test_steps_come_in_order_of_start_page_by_page_and_of_their_own_service_only() -> None:
    run = RunFactory()
    spans = [SpanFactory(run=run, after_ms=100 * (n // 2)) for n in range(7)]
    SpanFactory(run=RunFactory(trace_id=run.trace_id, service="another"))
    row = queries.runs_of_trace(run.trace_id)[0]
    row = row if row.service == run.service else queries.runs_of_trace(run.trace_id)[1]
    whole = [step.span_id for step in queries.list_steps(row)]
    assert whole == [span.span_id for span in spans]
    first = queries.list_steps(row, limit=3)
    rest = queries.list_steps(row, after=(first[-1].start_ns, first[-1].span_id))
    assert [step.span_id for step in (*first, *rest)] == whole


def test_steps_are_found_on_every_day_on_which_the_run_received_some() -> None:
    run = RunFactory(first_received_at=NOON, last_received_at=NOON + timedelta(days=2))
    for days in range(3):
        SpanFactory(run=run, received_on=(NOON + timedelta(days=days)).date())
    (row,) = queries.runs_of_trace(run.trace_id)
    assert len(queries.list_steps(row)) == 3


def test_an_excerpt_is_the_error_or_else_the_arguments_in_one_short_line() -> None:
    run = RunFactory()
    tool = SpanFactory(run=run, kind=Kind.TOOL, content={"arguments": {"q": "x" * 500}})
    failed = SpanFactory(run=run, kind=Kind.TOOL, content={"arguments": {"q": 1}, "error_message": "no\n  route"})
    nul = SpanFactory(run=run, kind=Kind.TOOL, content={"arguments": "a\0b"})
    bare = SpanFactory(run=run, kind=Kind.TOOL)
    (row,) = queries.runs_of_trace(run.trace_id)
    found = excerpts.list_excerpts(row, [span.span_id for span in (tool, failed, nul, bare)])
    assert set(found) == {tool.span_id, failed.span_id}
    assert found[failed.span_id] == "no route"
    assert len(found[tool.span_id]) == excerpts.EXCERPT_CHARS


def test_models_are_summed_over_the_calls_that_count() -> None:
    run = RunFactory()
    kept = SpanFactory(run=run, cost_nano=5)
    SpanFactory(run=run, cost_nano=7)
    SpanFactory(run=run, cost_nano=5, merged_into=kept.span_id)
    SpanFactory(run=run, response_model="ours", cost_nano=None)
    SpanFactory(run=run, kind=Kind.AGENT, response_model="gpt-4o", cost_nano=99)
    (row,) = queries.runs_of_trace(run.trace_id)
    shares = [(share.model, share.calls, share.cost_nano, share.unpriced) for share in queries.list_models(row)]
    assert shares == [("gpt-4o-2024-08-06", 2, 12, 0), ("ours", 1, None, 1)]
