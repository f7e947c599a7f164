"""What frameworks spell in their own way, where no capture shows it: old versions, and frameworks without one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agentops.domain.spans import Event, Kind, TokenUsage
from tests.understanding import CHAT, START, understood

TL = "traceloop.association.properties."
LANGCHAIN = "opentelemetry.instrumentation.langchain"
STRANDS = "strands.telemetry.tracer"
USED = {"gen_ai.usage.output_tokens": 5}
OLD_CALL = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.prompt_tokens": 9,
    "gen_ai.usage.completion_tokens": 5,
    "llm.usage.total_tokens": 14,
    "llm.is_streaming": True,
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be kind.",
    "gen_ai.prompt.1.content": "Weather?",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.completion.0.finish_reason": "tool_calls",
    "gen_ai.completion.0.content": "I look.",
    "gen_ai.completion.0.tool_calls.1.arguments": '{"city": "Rome"}',
    "gen_ai.completion.0.tool_calls.1.name": "get_weather",
    "gen_ai.completion.0.tool_calls.0.name": "get_time",
    "gen_ai.completion.0.tool_calls.0.arguments": "{}",
}


def test_a_call_of_openllmetry_before_operation_names() -> None:
    span = understood(OLD_CALL)
    assert (span.kind, span.provider, span.request_model) == (Kind.LLM, "openai", "gpt-4o")
    assert (span.response_model, span.finish_reason, span.streaming) == ("gpt-4o-2024-08-06", "tool_calls", True)
    assert span.usage == TokenUsage(9, 5)
    assert span.content["requested_tools"] == [
        {"tool": "get_time", "arguments": {}},
        {"tool": "get_weather", "arguments": {"city": "Rome"}},
    ]
    assert span.content["output"] == "I look."
    assert orjson.loads(str(span.content["input"])) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Weather?"},
    ]
    assert "attributes" not in span.content or not [
        name
        for name in span.content["attributes"]  # type: ignore[attr-defined]
        if name.startswith("gen_ai.prompt")
    ]


def test_a_call_of_openllmetry_before_the_conventions() -> None:
    span = understood(
        {
            "llm.request.type": "completion",
            "llm.vendor": "Anthropic",
            "llm.request.model": "claude-2",
            "llm.response.model": "claude-2.1",
            "llm.usage.prompt_tokens": 9,
            "llm.usage.completion_tokens": 5,
            "llm.completions.0.content": "Hello",
        }
    )
    assert (span.kind, span.provider, span.request_model) == (Kind.LLM, "anthropic", "claude-2")
    assert (span.response_model, span.usage, span.content["output"]) == ("claude-2.1", TokenUsage(9, 5), "Hello")


def test_a_function_call_of_old_is_a_tool_that_was_asked_for() -> None:
    call = {
        "gen_ai.completion.0.function_call.name": "search",
        "gen_ai.completion.0.function_call.arguments": '{"q": 1}',
    }
    span = understood({"llm.request.type": "chat", **call})
    assert span.content["requested_tools"] == [{"tool": "search", "arguments": {"q": 1}}]


@pytest.mark.parametrize(
    ("attributes", "scope", "kind"),
    [
        ({"traceloop.span.kind": "workflow"}, "", Kind.WORKFLOW),
        ({"traceloop.span.kind": "task"}, "", Kind.WORKFLOW),
        ({"traceloop.span.kind": "agent"}, "", Kind.AGENT),
        ({"traceloop.span.kind": "tool"}, "", Kind.TOOL),
        ({"traceloop.span.kind": "session"}, "", Kind.OTHER),
        ({"traceloop.span.kind": 5}, "", Kind.OTHER),
        ({"traceloop.span.kind": "tool", **CHAT}, "", Kind.LLM),
        ({"llm.request.type": "embedding"}, "", Kind.EMBEDDING),
        ({"llm.request.type": "rerank"}, "", Kind.RETRIEVAL),
        ({"llm.request.type": "chat"}, LANGCHAIN, Kind.LLM),
        ({"gen_ai.operation.name": "vector_db_retrieve"}, LANGCHAIN, Kind.RETRIEVAL),
        ({"gen_ai.operation.name": "chat.completions"}, "", Kind.LLM),
        ({"gen_ai.operation.name": "text_completions"}, "", Kind.LLM),
        ({"gen_ai.operation.name": "fetch_response", "gen_ai.request.model": "m", **USED}, "", Kind.OTHER),
        ({"gen_ai.operation.name": "invoke_swarm"}, STRANDS, Kind.WORKFLOW),
        ({"spring.ai.kind": "chat_client", "gen_ai.operation.name": "framework"}, "", Kind.WORKFLOW),
        ({"spring.ai.kind": "tool_call", "gen_ai.operation.name": "framework"}, "", Kind.TOOL),
        ({"spring.ai.kind": "vector_store"}, "", Kind.RETRIEVAL),
        ({"http.request.method": "GET"}, "org.springframework.boot", Kind.OTHER),
    ],
)
def test_what_a_span_of_a_framework_is(attributes: dict[str, Any], scope: str, kind: Kind) -> None:
    assert understood(attributes, scope=scope).kind is kind


CHAIN = {"traceloop.span.kind": "workflow", "traceloop.entity.name": "a"}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}


@pytest.mark.parametrize(
    ("attributes", "kind", "agent"),
    [
        ({**AGENT, "gen_ai.workflow.nodes": ["model", "tools"]}, Kind.AGENT, "a"),
        ({**AGENT, "gen_ai.workflow.nodes": '["agent", "tools"]'}, Kind.AGENT, "a"),
        ({**AGENT, "gen_ai.workflow.nodes": ["triage", "billing"]}, Kind.WORKFLOW, None),
        ({**AGENT, "gen_ai.workflow.nodes": [["model"], {}, 5]}, Kind.AGENT, "a"),
        ({**AGENT}, Kind.AGENT, "a"),
        ({**AGENT, **CHAIN, f"{TL}lc_agent_name": "a"}, Kind.AGENT, "a"),
        ({**AGENT, **CHAIN, f"{TL}lc_agent_name": "b"}, Kind.WORKFLOW, None),
        ({**AGENT, **CHAIN}, Kind.WORKFLOW, None),
        ({**CHAIN, f"{TL}lc_agent_name": "a"}, Kind.AGENT, "a"),
        ({**CHAIN, f"{TL}lc_agent_name": ["a"]}, Kind.WORKFLOW, None),
        ({"traceloop.span.kind": "agent", "traceloop.entity.name": "e"}, Kind.AGENT, "e"),
        ({**CHAT, "gen_ai.agent.name": "a", f"{TL}lc_agent_name": "c"}, Kind.LLM, "c"),
        ({**CHAT, "gen_ai.agent.name": "a", f"{TL}langgraph_node": "planner"}, Kind.LLM, "planner"),
        ({**CHAT, "gen_ai.agent.name": "a", f"{TL}langgraph_node": "model"}, Kind.LLM, None),
        ({**CHAT, f"{TL}langgraph_node": ["planner"]}, Kind.LLM, None),
    ],
)
def test_who_is_an_agent_in_langgraph(attributes: dict[str, Any], kind: Kind, agent: str | None) -> None:
    span = understood(attributes, scope=LANGCHAIN)
    assert (span.kind, span.agent_name) == (kind, agent)


@pytest.mark.parametrize(
    ("carried", "arguments"),
    [
        ({"input_str": "{'q': 1}", "inputs": {"q": 1}, "tags": [], "metadata": {}}, {"q": 1}),
        ({"input_str": '{"q": 1}', "inputs": None}, {"q": 1}),
        ({"input_str": "rome"}, "rome"),
        ({"args": [], "kwargs": {"q": 1}}, {"q": 1}),
        ({"q": 1}, {"q": 1}),
    ],
)
def test_a_tools_arguments_are_taken_out_of_what_langchain_says(carried: object, arguments: object) -> None:
    attributes = {"traceloop.span.kind": "tool", "traceloop.entity.input": orjson.dumps(carried).decode()}
    assert understood(attributes).content["arguments"] == arguments


def test_what_the_application_says_stands_on_every_span_below_it() -> None:
    said = {f"{TL}user_id": "u", f"{TL}chatId": "c", f"{TL}feature": "f"}
    for attributes in ({}, CHAT, {"traceloop.span.kind": "task"}, {"openinference.span.kind": "LLM"}):
        found = understood({**attributes, **said}).attribution
        assert {dimension: value for dimension, (value, _) in found.items()} == {
            "user": "u",
            "session": "c",
            "feature": "f",
        }


def test_the_sessions_of_the_application_come_before_those_of_the_graph() -> None:
    said = {f"{TL}session_id": "s", f"{TL}thread_id": "t", "gen_ai.conversation.id": "t"}
    assert understood({"traceloop.span.kind": "workflow", **said}).attribution["session"][0] == "s"


@pytest.mark.parametrize(("scope", "feature"), [("traceloop.tracer", "trip"), ("another", None)])
def test_a_workflow_that_was_given_its_name_is_a_feature(scope: str, feature: str | None) -> None:
    found = understood({"traceloop.span.kind": "workflow", "traceloop.workflow.name": "trip"}, scope=scope).attribution
    assert found.get("feature", (None,))[0] == feature


@pytest.mark.parametrize(
    "attributes",
    [
        {**CHAT, "traceloop.workflow.name": "w"},
        {"traceloop.span.kind": "tool", "traceloop.entity.name": "t"},
        {"traceloop.span.kind": "workflow", "traceloop.entity.name": "w"},
    ],
)
def test_the_agent_that_was_called_last_is_not_the_one_that_calls(attributes: dict[str, Any]) -> None:
    assert understood({**attributes, "gen_ai.agent.name": "billing"}).agent_name is None
    assert understood({**AGENT, "traceloop.workflow.name": "w"}).agent_name == "a"


def test_the_id_of_an_answer_is_no_session() -> None:
    conversation = {**CHAT, "gen_ai.conversation.id": "resp_1"}
    assert "session" not in understood(conversation).attribution
    assert understood({**conversation, "session.id": "s"}).attribution["session"][0] == "s"
    assert understood({**CHAT, "user.id": "resp_1"}).attribution["user"][0] == "resp_1"


def test_strands_before_its_first_release() -> None:
    call = {
        "gen_ai.system": "strands-agents",
        "agent.name": "a",
        "gen_ai.agent.name": "a",
        "gen_ai.request.model": "m",
        "gen_ai.usage.prompt_tokens": 9,
        "gen_ai.usage.completion_tokens": 5,
    }
    span = understood(call, scope="strands-agents", name="Model invoke")
    assert (span.kind, span.agent_name, span.usage) == (Kind.LLM, "a", TokenUsage(9, 5))
    assert understood(call, scope="strands-agents", name="a").kind is Kind.AGENT
    assert understood({}, scope="strands-agents", name="Cycle 1").kind is Kind.WORKFLOW
    tool = understood({"tool.name": "t", "tool.id": "i", "tool.parameters": '{"q": 1}'}, scope="strands-agents")
    assert (tool.kind, tool.tool_name, tool.tool_call_id) == (Kind.TOOL, "t", "i")
    assert tool.content["arguments"] == {"q": 1}


def test_events_tell_what_no_attribute_does() -> None:
    events = [
        Event("gen_ai.system.message", START, {"content": "Be kind."}),
        Event("gen_ai.user.message", START, {"content": "Weather?"}),
        Event("gen_ai.choice", START, {"message": '[{"toolUse": {"name": "t", "input": {"q": 1}}}]'}),
    ]
    span = understood(CHAT, events=events)
    assert span.content["requested_tools"] == [{"tool": "t", "arguments": {"q": 1}}]
    assert "Weather?" in str(span.content["input"])
    assert "toolUse" in str(span.content["output"])
    details = {
        "gen_ai.input.messages": "in",
        "gen_ai.output.messages": '[{"parts": [{"type": "tool_call", "name": "t", "arguments": {"q": 1}}]}]',
    }
    span = understood(CHAT, events=[Event("gen_ai.client.inference.operation.details", START, details)])
    assert span.content["requested_tools"] == [{"tool": "t", "arguments": {"q": 1}}]
    assert span.content["input"] == "in"


def test_crewai_names_its_agents_by_role_and_its_model_once() -> None:
    crew = {"crewai.event_name": "e", "crewai.agent.role": "triage", "gen_ai.conversation.id": "task"}
    call = understood({**CHAT, **crew, "gen_ai.request.model": "m", "gen_ai.response.model": "m"})
    assert (call.agent_name, call.request_model, call.response_model) == ("triage", "m", None)
    assert "session" not in call.attribution
    agent = understood({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "5ef2", **crew})
    assert (agent.kind, agent.agent_name, agent.attribution["session"][0]) == (Kind.AGENT, "triage", "task")
    failure = understood({"gen_ai.operation.name": "execute_tool", **crew}, name="tool failure")
    assert failure.kind is Kind.OTHER


def test_spring_says_none_for_nothing() -> None:
    said = {"gen_ai.system": "openai", "gen_ai.response.model": "none", "gen_ai.usage.input_tokens": "12"}
    call = understood({**CHAT, **said}, scope="org.springframework.boot")
    assert (call.response_model, call.provider, call.usage.input) == (None, "openai", 12)
    tool = understood(
        {"spring.ai.kind": "tool_call", "spring.ai.tool.definition.name": "t", "spring.ai.tool.call.arguments": "{}"}
    )
    assert (tool.tool_name, tool.content["arguments"]) == ("t", {})


def test_genkit_names_models_after_their_provider_and_keeps_tokens_in_the_output() -> None:
    message = {"role": "model", "content": [{"toolRequest": {"name": "t", "input": {"q": 1}, "ref": "1"}}]}
    usage = {"inputTokens": 9, "outputTokens": 5, "thoughtsTokens": 3, "totalTokens": 17, "cachedContentTokens": 4}
    call = {
        "genkit:type": "action",
        "genkit:metadata:subtype": "model",
        "genkit:name": "googleai/gemini-2.5-flash",
        "genkit:output": orjson.dumps({"message": message, "usage": usage, "finishReason": "stop"}).decode(),
        "genkit:sessionId": "s",
    }
    span = understood(call)
    assert (span.kind, span.provider, span.request_model) == (Kind.LLM, "google", "gemini-2.5-flash")
    assert (span.finish_reason, span.attribution["session"][0]) == ("stop", "s")
    # Google counts what was thought apart; the total tells.
    assert span.usage == TokenUsage(9, 8, 4, None, 3)
    assert span.content["requested_tools"] == [{"tool": "t", "arguments": {"q": 1}}]
    tool = understood(
        {**call, "genkit:metadata:subtype": "tool.v2", "genkit:name": "t", "genkit:input": '{"q": 1}'}
        | {"genkit:state": "error"}
    )
    assert (tool.kind, tool.tool_name, tool.is_error) == (Kind.TOOL, "t", True)
    assert tool.content["arguments"] == {"q": 1}
    assert understood({"genkit:type": "action", "genkit:metadata:subtype": "flow"}).kind is Kind.WORKFLOW
    assert understood({"genkit:type": "util"}).kind is Kind.WORKFLOW


def test_a_tool_of_strands_may_fail_without_its_span() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
    assert understood({**tool, "tool.status": "error"}, scope=STRANDS).is_error
    assert not understood({**tool, "gen_ai.tool.status": "success"}, scope=STRANDS).is_error


def test_an_error_type_may_be_a_class_of_python() -> None:
    assert understood({**CHAT, "error.type": "<class 'openai.RateLimitError'>"}).error_type == "openai.RateLimitError"


def test_parts_of_a_workflow_have_no_operation() -> None:
    assert understood({}, scope="agent_framework", name="executor.process writer").kind is Kind.WORKFLOW
    assert understood({}, scope="agent_framework", name="message.send").kind is Kind.OTHER


def test_googles_sdk_gives_each_argument_an_attribute() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "code.args.keyword.count": 1}
    assert "arguments" not in understood(tool).content
    given = {"code.function.parameters.city.type": "str", "code.function.parameters.city.value": "Rome"}
    assert understood({**tool, **given}).content["arguments"] == {"city": "Rome"}


@pytest.mark.parametrize("system", ["autogen", "spring_ai", "langchain", "microsoft.agent_framework"])
def test_a_framework_is_no_provider(system: str) -> None:
    assert understood({**CHAT, "gen_ai.system": system}).provider is None


@pytest.mark.parametrize("system", ["gemini", "gcp.vertex_ai", "vertex_ai", "GCP.Gemini"])
def test_google_has_many_names(system: str) -> None:
    assert understood({**CHAT, "gen_ai.system": system}).provider == "google"
