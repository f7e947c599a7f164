"""What was found in a run, as its page, its steps and the list of runs say it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agentops.domain.findings import KIND_OF, Mode
from agentops.domain.spans import Kind
from agentops.runs import charts, findings, notices, sequence
from agentops.runs.findings import Place, Scope, StoredFinding
from agentops.runs.models import Run
from agentops.runs.tree import Talk
from agentops.templatetags.formats import TIMES
from tests.factories import RunFactory, SpanFactory
from tests.runs.test_folding import finding, tool
from tests.runs.test_tree import call
from tests.runs.test_views import EVIL, HTMX, Tags, client, detail, spans_in, step_page

__all__ = ["client"]
pytestmark = pytest.mark.django_db


def stored(run: Run, mode: Mode, spans: list[Any], **more: Any) -> StoredFinding:
    """A finding of a run, saved; it goes on unless it says otherwise."""
    trace_id, now = bytes(run.trace_id), timezone.now()
    evidence = {
        "steps": [span.span_id.hex() for span in spans], "agents": ["planner"], "what": ["grep"],
        "traces": [trace_id.hex()], "detected_span_id": spans[3].span_id.hex() if spans else "0" * 16,
        "paged_span_id": None,
    }  # fmt: skip
    values: dict[str, Any] = {
        "place": Place(run.service, Scope.RUN, trace_id.hex()), "source": "loops", "ordinal": 0, "trace_id": trace_id,
        "kind": KIND_OF[mode], "mode": str(mode), "severity": "page", "title": "grep again and again",
        "began_at": run.started_at, "detected_at": now, "latest_at": run.latest_at + timedelta(hours=1),
        "is_open": True, "count": len(spans), "period": 1, "cost_nano": 4_080_000_000, "per_hour_nano": 178_000_000_000,
        "detail": evidence | more.pop("detail", {}),
    }  # fmt: skip
    found = StoredFinding(**(values | more))
    findings.save([found])
    return found


def looping(times: int = 12, **more: Any) -> tuple[Run, list[Any]]:
    """A run of model calls and the tool that each of them calls; the tool's spans."""
    run, calls = RunFactory(**more), []
    for n in range(times):
        SpanFactory(run=run, after_ms=1_000 + 1_000 * n, took_ms=400)
        calls.append(SpanFactory(run=run, kind=Kind.TOOL, tool="grep", after_ms=1_500 + 1_000 * n, took_ms=100))
    return run, calls


def page_of(client: Client, run: Run, **parameters: str) -> str:
    return client.get(detail(run), parameters).content.decode()


def test_an_open_finding_says_what_it_costs_and_asks_for_its_alert(client: Client) -> None:
    run, calls = looping()
    stored(run, Mode.REPEAT, calls)
    page = page_of(client, run)
    for words in ("grep again and again", "loop.repeat", "12 times", "$4.08", "$178.00 an hour", "spent inside"):
        assert words in page
    assert f"{reverse('alerts:of_run', args=[bytes(run.trace_id).hex()])}?kind=loop.repeat&amp;service=" in page


def test_an_ended_finding_says_what_it_cost_and_has_no_actions(client: Client) -> None:
    run, calls = looping()
    stored(run, Mode.REPEAT, calls, is_open=False)
    page = page_of(client, run)
    assert "until it ended" in page
    assert "an hour" not in page
    assert reverse("alerts:of_run", args=[bytes(run.trace_id).hex()]) not in page


def test_a_finding_of_a_session_says_across_how_many_runs(client: Client) -> None:
    run, calls = looping()
    traces = [bytes(run.trace_id).hex(), "0" * 32]
    stored(
        run, Mode.TALK, calls, place=Place(run.service, Scope.SESSION, "sess-1"), period=2, count=10,
        detail={"traces": traces, "what": []},
    )  # fmt: skip
    page = page_of(client, run)
    assert "Across 2 runs of" in page
    assert "10 rounds, period 2, no tool call in between" in page
    assert "session=sess-1" in page


def test_the_worst_comes_first_and_after_three_the_others_are_counted(client: Client) -> None:
    run, calls = looping()
    for at, severity in enumerate(("warn", "warn", "page", "warn", "page")):
        stored(run, Mode.REPEAT, calls, ordinal=at, severity=severity, title=f"number {at}", cost_nano=at)
    answer = client.get(detail(run))
    assert [notice.finding.ordinal for notice in answer.context["notices"]] == [4, 2, 3]
    assert "2 more found in this run" in answer.content.decode()


def test_a_cause_stands_before_its_effects() -> None:
    budget, loop = finding(Mode.BUDGET, [1], until=1, cost_nano=9), finding(Mode.REPEAT, [1], until=1, cost_nano=1)
    assert notices.worst_first([budget, loop]) == [loop, budget]


def test_repetitions_are_folded_until_one_asks_for_all_of_them(client: Client) -> None:
    run, calls = looping()
    stored(run, Mode.REPEAT, calls)
    folded = client.get(detail(run))
    assert len(spans_in(folded)) == 4
    for words in (f"grep {TIMES} 10", "12 in all", "20 steps folded", "warned here", "fold=off"):
        assert words in folded.content.decode()
    for parameters, headers in (({}, {}), ({"part": "live"}, HTMX), ({"part": "live", "shown": "200"}, HTMX)):
        answer = client.get(detail(run), parameters | {"fold": "off"}, headers=headers)
        assert len(spans_in(answer)) == 24
        assert 'name="fold" value="off"' in answer.content.decode()
    assert "Fold repetitions" in page_of(client, run, fold="off")


def test_the_tabs_count_and_show_every_step(client: Client) -> None:
    run, calls = looping()
    stored(run, Mode.REPEAT, calls)
    answer = client.get(detail(run), {"show": "tools"})
    assert len(spans_in(answer)) == 12
    assert answer.context["tabs"][0] == ("", "All", 24)
    assert answer.content.decode().count("is-found found-page") == 12


def test_a_fold_is_one_row_of_a_page(client: Client) -> None:
    run, calls = looping(30)
    extra = SpanFactory.create_batch(250, run=run, after_ms=60_000, agent="other")
    stored(run, Mode.REPEAT, calls)
    first = client.get(detail(run))
    assert len(first.context["rows"]) == 200
    rest = client.get(detail(run), {"part": "more", "line": "200"}, headers=HTMX)
    shown = {*spans_in(first), *spans_in(rest)}
    assert {span.span_id.hex() for span in extra} <= shown
    assert len(shown) == 254


def test_a_run_with_findings_asks_two_statements_more_at_most(client: Client) -> None:
    counts = []
    for has_findings in (False, True, True):
        run, calls = looping(20)
        if has_findings:
            for at in range(5):
                stored(run, Mode.CYCLE if at else Mode.TALK, calls, ordinal=at, period=2)
        with CaptureQueriesContext(connection) as asked:
            client.get(detail(run))
        counts.append(len(asked))
    assert counts[1] == counts[2] <= counts[0] + 1


def test_the_step_at_which_it_was_found_leads_back_to_the_finding(client: Client) -> None:
    run, calls = looping()
    found = stored(run, Mode.REPEAT, calls, detail={"paged_span_id": calls[5].span_id.hex()})
    for span, words in ((calls[3], "warned here"), (calls[5], "paged here"), (calls[0], "part of")):
        page = client.get(step_page(run, span), headers=HTMX).content.decode()
        assert words in page
        assert f"#{notices.anchor(found)}" in page
    other = SpanFactory(run=run)
    assert "grep again" not in client.get(step_page(run, other)).content.decode()


def test_a_salvaged_run_is_called_so(client: Client) -> None:
    run = RunFactory(errors=5)
    stored(
        run, Mode.SALVAGED, [], severity="warn", is_open=False, title="The run ended well with 5 failed steps inside"
    )
    assert page_of(client, run).count(">salvaged<") == 2
    assert ">salvaged<" in client.get(reverse("runs:list")).content.decode()


def test_the_list_marks_runs_by_their_worst_finding_and_filters_by_it(client: Client) -> None:
    warned, paged, quiet = RunFactory(name="warned"), RunFactory(name="paged"), RunFactory(name="quiet")
    stored(warned, Mode.REPEAT, [], severity="warn")
    stored(paged, Mode.REPEAT, [])
    stored(paged, Mode.CYCLE, [], severity="warn", ordinal=1)

    def names(**parameters: str) -> dict[str, str | None]:
        runs = client.get(reverse("runs:list"), parameters).context["runs"]
        return {run.name: worst and worst.severity for run, worst in runs}

    assert names() == {"warned": "warn", "paged": "page", quiet.name: None}
    assert names(found="page") == {"paged": "page"}
    assert names(found="warn") == names(found="any") == {"warned": "warn", "paged": "page"}
    assert len(names(found="nonsense")) == 3


def test_text_from_outside_stays_text_in_what_was_found(client: Client) -> None:
    run = RunFactory(session=EVIL)
    spans = [
        SpanFactory(run=run, agent=(EVIL, "b")[n % 2], after_ms=1_000 * n, took_ms=10, content={"output": EVIL})
        for n in range(24)
    ]
    evidence = {"agents": [EVIL, "b"], "what": []}
    stored(run, Mode.TALK, spans, period=2, count=12, title=EVIL, detail=evidence)
    stored(run, Mode.CYCLE, spans, period=2, title=EVIL, detail=evidence | {"what": [EVIL]}, ordinal=1)
    stored(run, Mode.REPEAT, spans, title=EVIL, place=Place(run.service, Scope.SESSION, EVIL))
    for url in (detail(run), f"{detail(run)}?fold=off", step_page(run, spans[3]), reverse("runs:list")):
        tags = Tags()
        tags.feed(client.get(url).content.decode())
        assert tags.found == []


# --- Pictures


def talking(**more: Any) -> StoredFinding:
    values: dict[str, Any] = {"until": 9, "agents": ["analyst", "verifier"], "period": 2, "count": 23}
    return finding(Mode.TALK, [1, 2, 3, 4], **(values | more))


def test_a_talk_is_drawn_as_one_round_with_its_first_words() -> None:
    steps = [call(n, agent=("verifier", "analyst")[n % 2]) for n in range(1, 9)]
    (scene,) = sequence.scenes([talking()], steps)
    said = {steps[0].span_id: "Could you clarify the period that is meant?", steps[1].span_id: "Which?"}
    drawn = sequence.picture(scene, said)
    assert [line.name for line in drawn.lifelines] == ["analyst", "verifier"]
    assert [arrow.label for arrow in drawn.arrows] == ["Could you clarify the p…", "Which?"]
    (there, back) = drawn.arrows
    assert (there.x_from, there.x_to) == (back.x_to, back.x_from)
    assert "One of 23 rounds: analyst to verifier, then verifier to analyst" in drawn.words


def test_a_circle_of_tools_is_drawn_from_their_agent() -> None:
    names = ("grep", "read", "edit")
    steps = [tool(n + 1, names[n % 3]) for n in range(9)]
    (scene,) = sequence.scenes([finding(Mode.CYCLE, range(1, 10), until=9, what=names, period=3)], steps)
    drawn = sequence.picture(scene, {steps[0].span_id: "{}"})
    assert [line.name for line in drawn.lifelines] == ["a", *names]
    assert [arrow.label for arrow in drawn.arrows] == [*names]
    assert all(0 <= arrow.label_x <= drawn.width for arrow in drawn.arrows)


def test_a_talk_whose_steps_are_in_other_runs_is_drawn_by_its_agents() -> None:
    (scene,) = sequence.scenes([talking()], [])
    assert [(passed.source, passed.target) for passed in scene.passes] == [
        ("analyst", "verifier"), ("verifier", "analyst"),
    ]  # fmt: skip
    assert sequence.scenes([talking(agents=["analyst"])], []) == []


def test_who_goes_on_talking_stands_out_and_how_often_is_written_once() -> None:
    talks = [Talk("a", "b", 23, is_call=False), Talk("b", "a", 22, is_call=False), Talk("c", "a", 1, is_call=False)]
    found = talking(agents=["a", "b"], count=23)
    graph = charts.talk_graph(talks, (), charts.loops_between([found]))
    assert graph is not None
    assert [(arc.weight, arc.count) for arc in graph.arcs] == [("critical", 23), ("critical", 0), ("light", 1)]
    assert [spot.is_looping for spot in graph.spots] == [True, True, False]
    of_session = replace(found, place=Place("shop", Scope.SESSION, "s"))
    graph = charts.talk_graph(talks, (), charts.loops_between([of_session]))
    assert graph is not None
    assert [arc.count for arc in graph.arcs] == [23, 22, 1]


def test_a_notice_that_goes_on_has_lasted_until_now() -> None:
    now = datetime.fromisoformat("1970-01-01T01:00:00+00:00")
    (going_on, ended) = notices.notices([talking(), talking(is_open=False)], now=now)
    assert (going_on.lasted, ended.lasted) == (timedelta(seconds=3_599), timedelta(seconds=9))
