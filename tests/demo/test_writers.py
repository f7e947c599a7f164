"""What the simulated services send is understood as what was planned, to the token and the nano-dollar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from agentops.demo.fleet import SERVICES, Service
from agentops.demo.plan import NS, STEP_KINDS, RunPlan, Step, Truth, sum_steps
from agentops.demo.scenario import plan_session
from agentops.demo.writers import WireSpan, encode, spans_of
from agentops.domain.dialects import normalise
from agentops.domain.pricing import PriceList, counts_as_unpriced, span_cost
from agentops.domain.runtree import Node, resolve
from agentops.domain.spans import COSTED_KINDS, Kind, Span
from agentops.ingest.receiver import decode

NOON = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * NS
PRICES = PriceList()


def plans(service: Service) -> Iterator[RunPlan]:
    for number in range(15):
        yield from plan_session(service, f"writers:{number}", NOON)


def received(spans: list[WireSpan], content_type: str) -> list[Span]:
    decoded = decode(encode(spans, content_type), content_type, "identity", NOON + 3600 * NS)
    assert decoded.rejected == 0
    assert not decoded.notes
    return [normalise(raw, str(raw.resource.attributes["service.name"])) for raw in decoded.spans]


def booked(spans: list[Span]) -> Truth:
    """The totals that the books make of the spans of one run."""
    tree = resolve([node(span) for span in spans])
    total = Truth()
    for span in spans:
        if span.kind not in STEP_KINDS or tree[span.span_id].merged_into is not None:
            continue
        total.steps += 1
        total.errors += span.is_error
        total.tool_calls += span.kind is Kind.TOOL
        if span.kind in COSTED_KINDS:
            cost = span_cost(span, PRICES)
            total.llm_calls += 1
            # What is estimated of a call that failed is no part of the truth.
            total.cost_nano += 0 if cost.is_estimate else cost.nano or 0
            total.unpriced_calls += counts_as_unpriced(span, cost)
            total.input_tokens += span.usage.input or 0
            total.output_tokens += span.usage.output or 0
            total.cache_read_input_tokens += span.usage.cache_read or 0
            total.cache_creation_input_tokens += span.usage.cache_creation or 0
            total.reasoning_output_tokens += span.usage.reasoning or 0
    return total


def node(span: Span) -> Node:
    usage = (
        span.usage.input,
        span.usage.output,
        span.usage.cache_read,
        span.usage.cache_creation,
        span.usage.reasoning,
    )
    return Node(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kind=span.kind,
        own_agent=span.agent_name,
        scope=span.scope,
        response_id=span.response_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        usage_fields=sum(field is not None for field in usage),
    )


each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.slug)


@each_service
@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json"])
def test_every_run_books_to_its_truth(service: Service, content_type: str) -> None:
    for plan in plans(service):
        truth = plan.truth()
        truth.spans = 0
        assert booked(received(spans_of(plan), content_type)) == truth


@each_service
def test_every_span_is_understood_as_the_step_it_was_written_for(service: Service) -> None:
    for plan in plans(service):
        sent = spans_of(plan)
        understood = received(sent, "application/x-protobuf")
        tree = resolve([node(span) for span in understood])
        by_id = {span.span_id: span for span in understood}
        steps_written = []
        for wire in sent:
            span = by_id[wire.span_id]
            assert span.kind is wire.kind, (wire.name, wire.scope)
            if wire.step is not None:
                steps_written.append(id(wire.step))
                check(wire.step, span, tree[span.span_id].agent)
        assert sorted(steps_written) == sorted(id(step) for step in plan.steps() if written(step, plan))


def written(step: Step, plan: RunPlan) -> bool:
    """OpenInference's graphs and workflows have containers of their own instead of the plan's root."""
    return not (step is plan.root and step.kind is Kind.WORKFLOW and "OpenInference" in plan.dialect)


def check(step: Step, span: Span, agent: str | None) -> None:
    assert (agent or "") == step.agent
    assert span.is_error == (step.failure is not None)
    assert span.start_ns == step.start_ns
    assert span.end_ns == step.end_ns
    if step.kind is Kind.TOOL:
        assert span.tool_name == step.name
        if step.arguments:
            assert span.content["arguments"] == step.arguments
    if step.kind is Kind.LLM and not step.failure:
        assert (span.response_model or span.request_model) == step.asked.snapshot
        asked = [(tool["tool"], tool["arguments"]) for tool in span.content.get("requested_tools", [])]  # type: ignore[attr-defined]
        assert asked == [(tool.name, tool.arguments) for tool in step.requests]


@each_service
def test_who_and_what_for_arrive(service: Service) -> None:
    for plan in plans(service):
        best: dict[str, tuple[int, str]] = {}
        for span in received(spans_of(plan), "application/x-protobuf"):
            for dimension, (value, rank) in span.attribution.items():
                best[dimension] = min(best.get(dimension, (rank, value)), (rank, value))
        found = {dimension: value for dimension, (_, value) in best.items()}
        wanted = {
            "user": plan.user,
            "session": plan.session,
            "feature": plan.feature,
            "release": plan.release,
            "environment": plan.environment,
        }
        assert found == {dimension: value for dimension, value in wanted.items() if value is not None}


@each_service
def test_spans_leave_in_the_order_in_which_they_end_and_the_root_last(service: Service) -> None:
    for plan in plans(service):
        sent = spans_of(plan)
        ends = {span.span_id: span.end_ns for span in sent}
        assert [span.end_ns for span in sent] == sorted(ends.values())
        assert [span.parent_span_id == b"" for span in sent] == [False] * (len(sent) - 1) + [True]
        assert all(not span.parent_span_id or ends[span.parent_span_id] >= span.end_ns for span in sent)


def test_a_sum_over_all_spans_of_pydantic_ai_would_be_wrong() -> None:
    service = next(service for service in SERVICES if service.slug == "lead-scout")
    plan = next(plans(service))
    naive = sum(span.usage.input or 0 for span in received(spans_of(plan), "application/x-protobuf"))
    assert naive > sum_steps(plan.steps()).input_tokens
