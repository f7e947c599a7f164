"""The simulated fleet is the same every time, and behaves as its story says."""

from __future__ import annotations

import random
import statistics
from datetime import UTC, date, datetime, timedelta

from agentops.demo import rhythm
from agentops.demo.fleet import BY_SLUG, SERVICES
from agentops.demo.history import Past, batches
from agentops.demo.live import Traffic
from agentops.demo.plan import DIMENSIONS, NS, Dialect, RunPlan, Truth, truth_by
from agentops.demo.scenario import plan_session
from agentops.demo.writers import encode, spans_of

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * NS
PAST = Past("test", date(2026, 11, 18), NOON)


def answers(slug: str, count: int) -> list[RunPlan]:
    return [run for number in range(count) for run in plan_session(BY_SLUG[slug], f"scenario:{number}", NOON_NS)]


def test_the_same_day_is_the_same_to_the_byte() -> None:
    first, again = PAST.spans(date(2026, 11, 10)), PAST.spans(date(2026, 11, 10))
    assert encode(first) == encode(again)
    assert len(first) > 500


def test_another_seed_shares_no_trace() -> None:
    other = Past("other", PAST.anchor, NOON)
    mine, theirs = ({span.trace_id for span in past.spans(date(2026, 11, 10))} for past in (PAST, other))
    assert mine
    assert not mine & theirs


def test_later_the_day_has_the_same_runs_and_more() -> None:
    evening = Past(PAST.seed, PAST.anchor, NOON + timedelta(hours=8))
    at_noon, at_night = ({span.span_id for span in past.spans(date(2026, 11, 18))} for past in (PAST, evening))
    assert at_noon < at_night


def test_nothing_ends_after_the_present() -> None:
    assert max(span.end_ns for span in PAST.spans(date(2026, 11, 18))) <= NOON_NS


def test_a_research_answer_costs_forty_cents_and_takes_eight_seconds() -> None:
    runs = answers("research-assistant", 200)
    assert 0.36 < statistics.mean(run.truth().cost_nano for run in runs) / 1e9 < 0.44
    assert 6.5 < statistics.median((run.root.end_ns - run.root.start_ns) / NS for run in runs) < 9.5
    assert all(
        run.agents() == ["analysis", "research", "summary", "verification"] for run in runs if not run.root.failure
    )


def test_every_dialect_and_a_dozen_services_are_there() -> None:
    assert len(SERVICES) >= 12
    assert {service.dialect for service in SERVICES} == set(Dialect)
    assert [service.slug for service in SERVICES if service.owner is None] == ["onboarding-guide"]


def test_a_month_has_what_an_operator_meets() -> None:
    runs = [run for back in range(6) for run in PAST.plans(PAST.anchor - timedelta(days=back))]
    total = sum((run.truth() for run in runs), Truth())
    assert total.unpriced_calls
    assert total.cache_read_input_tokens
    assert total.cache_creation_input_tokens
    assert total.reasoning_output_tokens
    assert 0 < total.errors < total.steps / 10
    assert {run.environment for run in runs} == {"production", "staging", "demo"}
    assert any(run.user is None for run in runs)
    assert any(run.feature is None for run in runs)
    assert any(run.turn for run in runs)
    failures = {step.failure.type.split(".")[-1] for run in runs for step in run.steps() if step.failure}
    assert {"RateLimitError", "InternalServerError", "APITimeoutError", "ToolExecutionError"} <= failures


def test_releases_change_within_a_month() -> None:
    for service in SERVICES:
        seen = {rhythm.release(service, NOON - timedelta(days=back), random.Random(back)) for back in range(30)}
        assert len(seen) > 1, service.slug


def test_every_dimension_sums_to_the_same_totals() -> None:
    runs = answers("support-triage", 20) + answers("sql-analyst", 20)
    total = sum((run.truth() for run in runs), Truth())
    for dimension in DIMENSIONS:
        assert sum(truth_by(runs, dimension).values(), Truth()) == total, dimension


def test_offices_sleep_at_night_and_rest_at_weekends() -> None:
    service = BY_SLUG["sql-analyst"]
    wednesday, saturday = datetime(2026, 11, 18, 11, tzinfo=UTC), datetime(2026, 11, 21, 11, tzinfo=UTC)
    night = wednesday.replace(hour=3)
    busy, weekend, quiet = (rhythm.activity(service, at) for at in (wednesday, saturday, night))
    assert busy > 5 * weekend > quiet


def test_live_spans_leave_when_they_have_ended_and_each_once() -> None:
    clock = [NOON_NS]
    traffic = Traffic("live", session_seconds=2.0, clock=lambda: clock[0])
    seen = []
    for _ in range(400):
        clock[0] += NS
        for span in traffic.due():
            assert clock[0] - NS < span.end_ns <= clock[0]
            seen.append((span.trace_id, span.span_id))
    assert len(seen) == len(set(seen)) > 500


def test_a_long_run_is_partly_sent_while_it_runs() -> None:
    clock = [NOON_NS]
    traffic = Traffic("live", session_seconds=1e9, clock=lambda: clock[0])
    (run,) = traffic.begin(BY_SLUG["code-reviewer"], NOON_NS)
    clock[0] = (run.root.start_ns + run.root.end_ns) // 2
    early = [span for span in traffic.due() if span.trace_id == run.trace_id]
    assert early
    assert all(span.parent_span_id for span in early)


def test_batches_hold_every_span_once_and_both_encodings() -> None:
    spans = PAST.spans(date(2026, 11, 17))
    requests = list(batches(spans))
    assert {content_type for content_type, _ in requests} == {"application/json", "application/x-protobuf"}
    assert sorted(span.span_id for _, part in requests for span in part) == sorted(span.span_id for span in spans)
    assert all(len(part) <= 512 for _, part in requests)


def test_span_ids_are_unique_within_a_run() -> None:
    for run in answers("code-reviewer", 20):
        spans = spans_of(run)
        assert len({span.span_id for span in spans}) == len(spans)
