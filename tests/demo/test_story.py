"""What goes wrong in live traffic goes wrong on time, is what it is called, and leaves the books right."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise, takewhile

import pytest

from agentops.demo.fleet import BY_SLUG
from agentops.demo.live import Traffic
from agentops.demo.plan import DIMENSIONS, NS, RunPlan, Truth, truth_by
from agentops.demo.scenario import PATTERNS, plan_session
from agentops.demo.story import FIRST_LOOP_NS, LOOP_EVERY_NS, Story, Trouble, troubles
from agentops.demo.writers import WireSpan, spans_of
from agentops.domain.alerting import Severity
from agentops.domain.findings import Finding, Mode
from agentops.domain.loops import Watch
from agentops.domain.spans import Kind
from agentops.domain.steps import Seen, Trait, step_of

NOON_NS = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * NS
MINUTE_NS = 60 * NS
HOURS = 8


def hours(story: Story) -> list[Trouble]:
    return list(takewhile(lambda one: one.at_ns < NOON_NS + HOURS * 60 * MINUTE_NS, troubles(story, "test", NOON_NS)))


def session(slug: str, pattern: str, number: int = 0) -> RunPlan:
    (run,) = plan_session(Trouble(NOON_NS, slug, pattern).service, f"story:{number}", NOON_NS, pattern=pattern)
    return run


def found(run: RunPlan) -> list[Finding]:
    """What the watch finds in a run."""
    watch = Watch()
    for number, step in enumerate(sorted(run.steps(), key=lambda step: step.end_ns)):
        content: dict[str, object] = {"output": step.answer}
        if step.kind is Kind.TOOL:
            content = {"arguments": step.arguments, "result": step.answer}
        elif step.requests:
            content["requested_tools"] = [{"tool": one.name, "arguments": one.arguments} for one in step.requests]
        tool = step.name if step.kind is Kind.TOOL else None
        span_id, failed = number.to_bytes(8), step.failure is not None
        cost = step.cost_nano
        seen = Seen(run.trace_id, span_id, int(step.kind), failed, step.agent, tool, step.start_ns, step.end_ns, cost)
        if (made := step_of(seen, content)) is not None:
            watch.see((made,))
    return watch.findings


def test_the_loop_comes_after_three_minutes_and_every_forty() -> None:
    loops = [one.at_ns for one in hours(Story.USUAL) if one.pattern == "misread"]
    assert loops[0] == NOON_NS + FIRST_LOOP_NS
    assert {later - earlier for earlier, later in pairwise(loops)} == {LOOP_EVERY_NS}
    assert hours(Story.LOOP)[0] == Trouble(NOON_NS, "research-assistant", "misread")
    assert hours(Story.QUIET) == []


def test_smaller_things_happen_a_few_times_an_hour_each_as_often() -> None:
    told = hours(Story.USUAL)
    assert told == sorted(told)
    assert told == hours(Story.USUAL)
    small = Counter(one.pattern for one in told if one.pattern != "misread")
    assert set(small) == {"repeat", "poll", "hide_an_error"}
    assert 3 * HOURS < small.total() < 6 * HOURS
    assert max(small.values()) - min(small.values()) <= 1
    assert all(one.pattern in PATTERNS and one.slug in BY_SLUG for one in told)


@pytest.mark.parametrize("number", range(4))
def test_two_agents_ask_each_other_and_the_watch_says_so_within_two_minutes(number: int) -> None:
    run = session("research-assistant", "misread", number)
    assert run.agents() == ["analysis", "research"]
    talk = next(finding for finding in found(run) if finding.mode is Mode.TALK)
    assert talk.severity is Severity.PAGE
    assert talk.detected_ns - run.root.start_ns < MINUTE_NS
    assert talk.agents == ["research", "analysis"]


def test_dollars_grow_visibly_until_a_deadline() -> None:
    run = session("research-assistant", "misread")
    calls = [step for step in run.steps() if step.usage.input is not None]
    assert 14 * MINUTE_NS < run.root.end_ns - run.root.start_ns < 17 * MINUTE_NS
    assert 60 * 10**9 < run.truth().cost_nano < 150 * 10**9
    early = sum(call.cost_nano or 0 for call in calls if call.end_ns < run.root.start_ns + 2 * MINUTE_NS)
    assert early > 2 * 10**9
    assert max(call.usage.input or 0 for call in calls) <= 128_000
    assert run.root.failure is not None
    gaps = [later.end_ns - earlier.end_ns for earlier, later in pairwise(calls)]
    assert max(gaps) < 60 * NS


def test_what_they_say_is_asked_in_ever_new_words_about_a_question_that_broke() -> None:
    run = session("research-assistant", "misread")
    calls = [step for step in run.steps() if step.kind is Kind.LLM and not step.failure]
    said = [call.answer for call in calls]
    assert len(set(said)) == len(said) > 100
    assert all(later.prompt == earlier.answer for earlier, later in pairwise(calls))
    assert calls[0].prompt == run.root.prompt
    assert any(mark in run.root.prompt for mark in ("nul", "\\u0000", ";;", "NaN"))


@pytest.mark.parametrize("number", range(4))
def test_smaller_things_are_found_as_what_they_are(number: int) -> None:
    repeated = {finding.kind for finding in found(session("code-reviewer", "repeat", number))}
    assert repeated & {"loop.repeat", "loop.no_progress"}
    (waiting,) = found(session("sql-analyst", "poll", number))
    assert waiting.labels == ["query_status"]
    assert waiting.kind in {"loop.repeat", "loop.no_progress"}


def test_a_hidden_error_is_in_no_later_input() -> None:
    run = session("incident-copilot", "hide_an_error")
    (failed,) = [step for step in run.steps() if step.kind is Kind.TOOL]
    assert failed.failure is not None
    after = [step for step in run.steps() if step.kind is Kind.LLM and step.start_ns > failed.end_ns]
    assert after
    assert all(failed.failure.message not in step.prompt for step in after)
    assert run.root.failure is None


@pytest.mark.parametrize(("slug", "pattern"), [("research-assistant", "misread"), ("sql-analyst", "poll")])
def test_the_books_of_trouble_are_right(slug: str, pattern: str) -> None:
    runs = [session(slug, pattern, number) for number in range(5)]
    total = sum((run.truth() for run in runs), Truth())
    for dimension in DIMENSIONS:
        assert sum(truth_by(runs, dimension).values(), Truth()) == total, dimension


def live(story: Story, minutes: int) -> list[list[WireSpan]]:
    """What is sent in each second."""
    clock = [NOON_NS]
    traffic = Traffic("live", session_seconds=1e9, story=story, clock=lambda: clock[0])
    sent = []
    for _ in range(minutes * 60):
        sent.append(traffic.due())
        clock[0] += NS
    return sent


def test_the_loop_is_sent_while_it_runs_and_its_root_comes_last() -> None:
    sent = [
        span
        for spans in live(Story.LOOP, 5)
        for span in spans
        if ("service.name", "research-assistant") in span.resource
    ]
    assert len(sent) > 60
    assert all(span.parent_span_id for span in sent)
    assert len({span.trace_id for span in sent}) == 1
    assert ("deployment.environment.name", "production") in sent[0].resource


def test_in_the_usual_story_nothing_goes_wrong_before_its_time() -> None:
    sent = live(Story.USUAL, 4)
    research = [
        second
        for second, spans in enumerate(sent)
        for s in spans
        if ("service.name", "research-assistant") in s.resource
    ]
    assert research
    assert min(research) >= 180


def test_the_same_trouble_is_the_same_to_the_span() -> None:
    for slug, pattern in (("research-assistant", "misread"), ("code-reviewer", "repeat")):
        first, again = (spans_of(session(slug, pattern)) for _ in range(2))
        assert first == again


def test_words_of_trouble_are_no_code() -> None:
    run = session("research-assistant", "misread")
    for step in run.steps():
        if step.kind is Kind.LLM and not step.failure:
            seen = Seen(run.trace_id, bytes(8), int(step.kind), False, step.agent, None, 0, 1, 0)
            made = step_of(seen, {"output": step.answer})
            assert made is not None
            assert made.traits & Trait.ASKS
            assert not made.traits & Trait.CODE
