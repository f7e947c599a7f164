"""OpenTelemetry's ids: which span a reservation is tied to, and which it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, format_span_id, format_trace_id, use_span

from agentops.client import Guard, telemetry
from tests.client.sdks import MESSAGES, openai_of
from tests.client.servers import ScriptedGuard, ScriptedProvider


@pytest.fixture
def tracer() -> Tracer:
    made = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    assert isinstance(made, Tracer)
    return made


@pytest.mark.parametrize(
    ("attributes", "is_claimed", "is_marked"),
    [
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}, True, True),
        ({"gen_ai.request.model": "gpt-5"}, True, True),
        ({"llm.model_name": "gpt-5"}, True, True),
        ({"openinference.span.kind": "LLM"}, True, True),
        ({}, False, True),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-5"}, False, False),
        ({"openinference.span.kind": "AGENT"}, False, False),
        ({"gen_ai.operation.name": "execute_tool"}, False, False),
    ],
)
def test_only_a_span_that_says_it_is_the_call_is_claimed(
    guard: Guard,
    server: ScriptedGuard,
    provider: ScriptedProvider,
    tracer: Tracer,
    attributes: Mapping[str, str],
    is_claimed: bool,
    is_marked: bool,
) -> None:
    with openai_of(guard, provider) as client, tracer.start_as_current_span("call", attributes=attributes) as span:
        client.chat.completions.create(model="gpt-5", messages=MESSAGES)
    context, [asked], [told] = span.get_span_context(), server.checks, server.settled
    ids = {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
    assert asked["run"] == ids["trace_id"]
    for body in (asked, told):
        assert {name: body.get(name) for name in ids} == (ids if is_claimed else dict.fromkeys(ids))
    marked = getattr(span, "attributes", {}).get(telemetry.RESERVATION)
    assert marked == (told["reservation"] if is_marked else None)
    assert told["response_id"] == "chatcmpl-1"


def test_a_run_is_called_by_its_trace_unless_it_has_a_name(guard: Guard, server: ScriptedGuard, tracer: Tracer) -> None:
    with tracer.start_as_current_span("agent") as span:
        with guard.run() as run, guard.step("llm"):
            assert run.id == format_trace_id(span.get_span_context().trace_id)
        with guard.run("r-1"), guard.run(agent="writer"), guard.step("llm"):
            pass
    assert [asked["run"] for asked in server.checks] == [run.id, "r-1"]


def test_a_tool_claims_its_own_span(guard: Guard, server: ScriptedGuard, tracer: Tracer) -> None:
    with (
        tracer.start_as_current_span("tool", attributes={"gen_ai.operation.name": "execute_tool"}) as span,
        guard.step("tool", tool="search"),
    ):
        pass
    assert server.settled[0]["span_id"] == format_span_id(span.get_span_context().span_id)


def test_a_span_that_records_nothing_tells_nothing(guard: Guard, server: ScriptedGuard) -> None:
    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False))), guard.step("llm"):
        pass
    assert not {"run", "trace_id", "span_id"} & server.checks[0].keys()


def test_without_opentelemetry_it_works_all_the_same(
    guard: Guard, server: ScriptedGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Any = None
    monkeypatch.setattr(telemetry, "trace", nothing)
    with guard.run() as run, guard.step("llm"):
        pass
    assert server.checks[0]["run"] == run.id
