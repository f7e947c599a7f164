"""What single clients are known to do that their captures do not show: other versions, other providers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agentops.domain.dialects import normalise
from agentops.domain.spans import CostBasis, Kind, RawSpan, Resource, Span, TokenUsage

START = 1_790_000_000_000_000_000
LF, LS, VA, ML = "langfuse.observation.", "langsmith.", "ai.", "mlflow."


def understood(attributes: dict[str, Any], *, name: str = "span", scope: str = "scope", **more: Any) -> Span:
    facts: dict[str, Any] = {"parent_span_id": b"p" * 8, "status_code": 0, "status_message": "", "events": []} | more
    raw = RawSpan(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        name=name,
        start_ns=START,
        end_ns=START + 5,
        attributes=attributes,
        scope=scope,
        resource=Resource({}),
        **facts,
    )
    return normalise(raw, "service")


def text(value: object) -> str:
    return orjson.dumps(value).decode()


def asked(span: Span) -> list[tuple[str, object]]:
    return [(call["tool"], call["arguments"]) for call in span.content.get("requested_tools", ())]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("attributes", "name", "kind"),
    [
        ({f"{LF}type": "generation"}, "x", Kind.LLM),
        ({f"{LF}type": "embedding"}, "x", Kind.EMBEDDING),
        ({f"{LF}type": "retriever"}, "x", Kind.RETRIEVAL),
        ({f"{LF}type": "tool"}, "x", Kind.TOOL),
        ({f"{LF}type": "span"}, "x", Kind.WORKFLOW),
        ({f"{LF}type": "guardrail"}, "x", Kind.WORKFLOW),
        ({f"{LF}type": "event"}, "x", Kind.OTHER),
        ({f"{LF}type": "agent"}, "planner", Kind.AGENT),
        ({f"{LF}type": "agent"}, "agent", Kind.WORKFLOW),
        ({f"{LF}type": "chain", f"{LF}metadata.lc_agent_name": '"planner"'}, "planner", Kind.AGENT),
        ({f"{LF}type": "chain", f"{LF}metadata.lc_agent_name": '"planner"'}, "tools", Kind.WORKFLOW),
        ({f"{LF}type": "span", "gen_ai.operation.name": "chat"}, "x", Kind.LLM),
        ({f"{VA}operationId": "ai.generateText"}, "x", Kind.AGENT),
        ({f"{VA}operationId": "ai.streamObject"}, "x", Kind.AGENT),
        ({f"{VA}operationId": "ai.streamText.doStream"}, "x", Kind.LLM),
        ({f"{VA}operationId": "ai.generateObject.doGenerate"}, "x", Kind.LLM),
        ({f"{VA}operationId": "ai.embedMany"}, "x", Kind.WORKFLOW),
        ({f"{VA}operationId": "ai.embedMany.doEmbed"}, "x", Kind.EMBEDDING),
        ({f"{VA}operationId": "ai.toolCall"}, "x", Kind.TOOL),
        ({f"{ML}spanType": '"CHAT_MODEL"'}, "x", Kind.LLM),
        ({f"{ML}spanType": '"LLM"'}, "x", Kind.LLM),
        ({f"{ML}spanType": "AGENT"}, "x", Kind.AGENT),
        ({f"{ML}spanType": '"RERANKER"'}, "x", Kind.RETRIEVAL),
        ({f"{ML}spanType": '"UNKNOWN"'}, "x", Kind.WORKFLOW),
        ({f"{LS}span.kind": "llm", "gen_ai.operation.name": "chat"}, "x", Kind.LLM),
        ({f"{LS}span.kind": "retriever", "gen_ai.operation.name": "embeddings"}, "x", Kind.RETRIEVAL),
        ({f"{LS}span.kind": "prompt", "gen_ai.operation.name": "chat"}, "x", Kind.WORKFLOW),
        ({f"{LS}span.kind": "chain", f"{LS}metadata.lc_agent_name": "x"}, "x", Kind.AGENT),
        ({"haystack.agent.max_steps": 5}, "haystack.agent.run", Kind.AGENT),
        ({}, "haystack.agent.step", Kind.WORKFLOW),
        ({}, "haystack.agent.step.llm", Kind.LLM),
        ({"haystack.tool.name": "t"}, "haystack.agent.step.tool", Kind.TOOL),
        ({"haystack.component.type": "OpenAIChatGenerator"}, "haystack.component.run", Kind.LLM),
        ({"haystack.component.type": "OpenAITextEmbedder"}, "haystack.component.run", Kind.EMBEDDING),
        ({"haystack.component.type": "InMemoryBM25Retriever"}, "haystack.component.run", Kind.RETRIEVAL),
        ({"haystack.component.type": "Agent", "haystack.component.name": "x"}, "haystack.component.run", Kind.AGENT),
        ({"haystack.component.type": "PromptBuilder"}, "haystack.component.run", Kind.WORKFLOW),
        ({"hidden_params": "{}", "llm.request.type": "acompletion"}, "x", Kind.LLM),
        ({"hidden_params": "{}", "llm.request.type": "aembedding"}, "x", Kind.EMBEDDING),
        ({"hidden_params": "{}", "llm.request.type": "arerank"}, "x", Kind.RETRIEVAL),
        ({"logfire.span_type": "span", "gen_ai.operation.name": "execute_tool"}, "x", Kind.TOOL),
        ({"logfire.span_type": "pending_span", "gen_ai.operation.name": "chat"}, "x", Kind.OTHER),
        ({"logfire.span_type": "span", "request_data": "{}"}, "Message with {request_data[model]!r}", Kind.LLM),
        ({"logfire.span_type": "span", "request_data": "{}"}, "Embedding Creation with {x}", Kind.EMBEDDING),
        ({"logfire.span_type": "span", "request_data": "{}"}, "OpenAI API call to {url!r}", Kind.OTHER),
        ({"logfire.span_type": "span"}, "GET /", Kind.OTHER),
    ],
)
def test_what_a_span_is(attributes: dict[str, Any], name: str, kind: Kind) -> None:
    assert understood(attributes, name=name).kind is kind


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "agent", "tool"),
    [
        ("agent_run [planner]", {}, Kind.AGENT, "planner", None),
        ("tool_call [search]", {}, Kind.TOOL, None, "search"),
        ("call_llm", {"gen_ai.request.model": "gemini-2.0-flash"}, Kind.LLM, None, None),
        ("invocation", {}, Kind.WORKFLOW, None, None),
        ("tool_response", {}, Kind.OTHER, None, None),
    ],
)
def test_adk_named_its_spans_before_it_had_operations(
    name: str, attributes: dict[str, Any], kind: Kind, agent: str | None, tool: str | None
) -> None:
    span = understood(attributes | {"gen_ai.system": "gcp.vertex.agent"}, name=name, scope="gcp.vertex.agent")
    assert (span.kind, span.agent_name, span.tool_name, span.provider) == (kind, agent, tool, None)


def test_adk_1_keeps_the_answer_as_gemini_gives_it() -> None:
    usage = {"prompt_token_count": 100, "candidates_token_count": 20, "thoughts_token_count": 30}
    usage |= {"cached_content_token_count": 40, "total_token_count": 150}
    call = {"function_call": {"name": "search", "args": {"query": "refund"}}}
    span = understood(
        {
            "gcp.vertex.agent.llm_response": text(
                {"content": {"parts": [{"text": "a"}, call]}, "usage_metadata": usage}
            ),
            "gcp.vertex.agent.session_id": "s",
            "gen_ai.usage.output_tokens": 20,
        },
        name="call_llm",
        scope="gcp.vertex.agent",
    )
    assert span.usage == TokenUsage(100, 50, 40, None, 30)
    assert asked(span) == [("search", {"query": "refund"})]
    assert span.attribution["session"][0] == "s"


def test_adk_tells_arguments_that_it_must_not_tell_as_none() -> None:
    attributes = {"gen_ai.operation.name": "execute_tool", "gcp.vertex.agent.tool_call_args": "{}"}
    assert "arguments" not in understood(attributes, scope="gcp.vertex.agent").content
    attributes["gcp.vertex.agent.tool_call_args"] = '{"a": 1}'
    assert understood(attributes, scope="gcp.vertex.agent").content["arguments"] == {"a": 1}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # The wrapper of OpenAI's SDK, chat and responses.
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
            TokenUsage(9, 5, 4),
        ),
        (
            {"input_tokens": 9, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}},
            TokenUsage(9, 5, None, None, 3),
        ),
        ({"input": 11}, TokenUsage(11)),
        # The LangChain handler takes the details out.
        (
            {"input": 465, "output": 41, "total": 1594, "input_cache_read": 1024, "output_reasoning": 64},
            TokenUsage(1489, 105, 1024, None, 64),
        ),
        ({"input": 465, "output": 41, "input_cache_read": 1024}, TokenUsage(1489, 41, 1024)),
        # It takes what is written to the cache out twice where Anthropic tells it twice.
        (
            {
                "input": 0,
                "output": 58,
                "total": 2408,
                "input_cache_creation": 0,
                "input_ephemeral_5m_input_tokens": 2048,
            },
            TokenUsage(2350, 58, None, 2048),
        ),
        # Anthropic's usage as it is.
        (
            {"input": 302, "output": 58, "cache_creation_input_tokens": 8, "cache_read_input_tokens": 20},
            TokenUsage(330, 58, 20, 8),
        ),
        ({"input": 100, "output": 5, "input_priority": 100, "input_cache_read": 20}, TokenUsage(120, 5, 20)),
        # LiteLLM, for Langfuse.
        (
            {"input": 10, "input_cached_tokens": 4, "output": 5, "output_reasoning_tokens": 2, "total": 21},
            TokenUsage(14, 7, 4, None, 2),
        ),
    ],
)
def test_langfuse_counts_apart_what_has_a_name_of_its_own(usage: dict[str, Any], expected: TokenUsage) -> None:
    span = understood({f"{LF}type": "generation", f"{LF}usage_details": text(usage)})
    assert span.usage == expected
    assert span.warnings == []


def test_langfuses_one_model_is_the_one_that_answered_unless_none_did() -> None:
    given = {f"{LF}type": "generation", f"{LF}model.name": "m-2025"}
    answered = understood(given)
    failed = understood(given | {f"{LF}level": "ERROR", f"{LF}status_message": "RateLimitError: slow down"})
    langchains = understood(given | {f"{LF}metadata.ls_model_name": '"m"', f"{LF}metadata.ls_provider": '"OpenAI"'})
    streamed = understood(given | {f"{LF}metadata.ls_model_name": '"m-2025"'})
    assert (answered.request_model, answered.response_model, answered.provider) == (None, "m-2025", None)
    assert (failed.request_model, failed.response_model, failed.is_error) == ("m-2025", None, True)
    assert (failed.error_type, failed.content["error_message"]) == ("RateLimitError", "RateLimitError: slow down")
    assert (langchains.request_model, langchains.response_model, langchains.provider) == ("m", "m-2025", "openai")
    assert (streamed.request_model, streamed.response_model) == ("m-2025", None)


@pytest.mark.parametrize(
    "output",
    [
        {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": '{"q": 1}'}}]},
        [{"tool_calls": [{"function": {"name": "search", "arguments": '{"q": 1}'}}]}],
        {"role": "assistant", "tool_calls": [{"name": "search", "args": {"q": 1}, "type": "tool_call"}]},
        [{"type": "reasoning"}, {"type": "function_call", "name": "search", "arguments": '{"q": 1}'}],
        {"content": [{"type": "text", "text": "a"}, {"type": "tool_use", "name": "search", "input": {"q": 1}}]},
        {"output": [{"type": "function_call", "name": "search", "arguments": '{"q": 1}'}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": "search", "arguments": '{"q": 1}'}}]}}]},
        {"candidates": [{"content": {"parts": [{"function_call": {"name": "search", "args": {"q": 1}}}]}}]},
        {"replies": [{"content": [{"tool_call": {"tool_name": "search", "arguments": {"q": 1}}}]}]},
        {"generations": [[{"message": {"kwargs": {"tool_calls": [{"name": "search", "args": {"q": 1}}]}}}]]},
    ],
)
def test_tool_calls_are_found_in_every_shape_of_an_answer(output: object) -> None:
    assert asked(understood({f"{LF}type": "generation", f"{LF}output": text(output)})) == [("search", {"q": 1})]
    assert asked(understood({f"{ML}spanType": '"LLM"', f"{ML}spanOutputs": text(output)})) == [("search", {"q": 1})]
    assert asked(understood({f"{LS}span.kind": "llm", "gen_ai.completion": text(output)})) == [("search", {"q": 1})]


@pytest.mark.parametrize(
    "output", ["text", 5, None, [[[[]]]], {"tool_calls": 5}, {"tool_calls": [5]}, {"content": "a"}]
)
def test_what_asks_for_no_tool_is_passed_over(output: object) -> None:
    assert asked(understood({f"{LF}type": "generation", f"{LF}output": text(output)})) == []


def test_langfuses_trace_speaks_for_spans_of_every_dialect() -> None:
    trace = {"langfuse.session.id": "s", "langfuse.user.id": "u", "langfuse.trace.metadata.feature": '"f"'}
    for own in ({"gen_ai.operation.name": "chat"}, {f"{LF}type": "tool"}, {"openinference.span.kind": "LLM"}, {}):
        span = understood(trace | {"langfuse.trace.tags": ["a", "b"]} | own)
        assert {name: value for name, (value, _) in span.attribution.items()} == {
            "session": "s",
            "user": "u",
            "feature": "f",
        }
        assert span.content["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    ("attributes", "usage"),
    [
        # Version 4: other names; counts that never came are NaN.
        ({"ai.usage.promptTokens": 9, "ai.usage.completionTokens": 5}, TokenUsage(9, 5)),
        ({"ai.usage.promptTokens": float("nan"), "ai.usage.completionTokens": float("nan")}, TokenUsage()),
        (
            {
                "gen_ai.usage.input_tokens": 9,
                "gen_ai.usage.output_tokens": 5,
                "ai.response.providerMetadata": text({"openai": {"reasoningTokens": 2, "cachedPromptTokens": 4}}),
            },
            TokenUsage(9, 5, 4, None, 2),
        ),
        # Version 5: Anthropic's numbers as they are, Google's without the thoughts.
        (
            {
                "gen_ai.usage.input_tokens": 9,
                "gen_ai.usage.output_tokens": 5,
                "ai.response.providerMetadata": text(
                    {
                        "google": {
                            "usageMetadata": {
                                "cachedContentTokenCount": 4,
                                "thoughtsTokenCount": 6,
                                "totalTokenCount": 20,
                            }
                        }
                    }
                ),
            },
            TokenUsage(9, 11, 4, None, 6),
        ),
        (
            {
                "ai.usage.inputTokens": 302,
                "ai.usage.outputTokens": 58,
                "ai.usage.cachedInputTokens": 100,
                "ai.response.providerMetadata": text(
                    {
                        "anthropic": {
                            "usage": {"input_tokens": 302, "cache_read_input_tokens": 100},
                            "cacheCreationInputTokens": 50,
                        }
                    }
                ),
            },
            TokenUsage(452, 58, 100, 50),
        ),
        (
            {
                "ai.usage.inputTokens": 9,
                "ai.usage.outputTokens": 5,
                "ai.usage.reasoningTokens": 30,
                "ai.usage.totalTokens": 44,
            },
            TokenUsage(9, 35, None, None, 30),
        ),
        # Version 6: whole.
        (
            {
                "ai.usage.inputTokens": 2350,
                "ai.usage.outputTokens": 58,
                "ai.usage.inputTokenDetails.cacheReadTokens": 0,
                "ai.usage.inputTokenDetails.cacheWriteTokens": 2048,
                "ai.response.providerMetadata": text({"anthropic": {"usage": {"cache_creation_input_tokens": 2048}}}),
            },
            TokenUsage(2350, 58, 0, 2048),
        ),
    ],
)
def test_the_vercel_ai_sdk_counts_otherwise_in_each_version(attributes: dict[str, Any], usage: TokenUsage) -> None:
    span = understood({"ai.operationId": "ai.generateText.doGenerate"} | attributes)
    assert span.usage == usage
    assert span.warnings == []


def test_the_vercel_gateway_tells_what_it_charges() -> None:
    metadata = text({"gateway": {"cost": "0.0125", "generationId": "g"}})
    span = understood({"ai.operationId": "ai.streamText.doStream", "ai.response.providerMetadata": metadata})
    assert (span.reported_cost_nano, span.reported_cost_basis) == (12_500_000, CostBasis.BILL)
    assert span.streaming is True


def test_a_function_of_the_vercel_ai_sdk_is_an_agent_where_it_loops() -> None:
    function = {"ai.telemetry.functionId": "support", "ai.model.provider": "anthropic.messages"}
    call = understood({"ai.operationId": "ai.generateText.doGenerate"} | function)
    embedding = understood({"ai.operationId": "ai.embed.doEmbed"} | function)
    assert (call.agent_name, call.provider) == ("support", "anthropic")
    assert (embedding.agent_name, embedding.provider) == (None, "anthropic")


def test_litellm_writes_down_python() -> None:
    usage = "{'prompt_tokens': 9, 'prompt_tokens_details': {'cached_tokens': 4}, 'cache_creation_input_tokens': None}"
    span = understood(
        {
            "litellm.call_id": "c",
            "llm.request.type": "acompletion",
            "llm.is_streaming": "True",
            "gen_ai.request.model": "m",
            "gen_ai.response.model": "m",
            "metadata.usage_object": usage,
            "metadata.requester_metadata": "{'feature': 'search', 'user_id': None}",
            "hidden_params": '{"response_cost": 0.5}',
        }
    )
    assert span.usage == TokenUsage(9, None, 4)
    assert (span.attribution["feature"][0], "user" in span.attribution) == ("search", False)
    assert (span.streaming, span.response_model, span.reported_cost_nano) == (True, None, 500_000_000)


def test_a_raw_answer_that_litellm_keeps_is_a_call_where_it_tells_its_tokens() -> None:
    usage = "{'input_tokens': 302, 'output_tokens': 58, 'cache_read_input_tokens': 20, 'cache_creation': None}"
    call = "[{'type': 'tool_use', 'name': 'search', 'input': {'q': 1}}]"
    raw = {"llm.anthropic.usage": usage, "llm.anthropic.id": "msg_1", "llm.anthropic.content": call}
    span = understood(raw | {"llm.anthropic.model": "claude"}, scope="litellm", name="raw_gen_ai_request")
    assert (span.kind, span.provider, span.response_model, span.response_id) == (
        Kind.LLM,
        "anthropic",
        "claude",
        "msg_1",
    )
    assert span.usage == TokenUsage(322, 58, 20)
    assert asked(span) == [("search", {"q": 1})]
    embedding = {"llm.openai.usage": "{'prompt_tokens': 5}", "llm.openai.data": "[]"}
    assert understood(embedding, scope="litellm").kind is Kind.EMBEDDING
    assert understood({"llm.openai.messages": "[]"}, scope="litellm").kind is Kind.OTHER
    unknown = {"llm.request.type": "responses", "gen_ai.system": "Unknown", "llm.openai.usage": 5}
    assert understood(unknown, scope="litellm").provider is None


@pytest.mark.parametrize(
    "hostile",
    [
        "{'a': " * 500,
        "{'a': " + "-" * 60_000 + "1}",
        "{'a': " + "(" * 300 + ")" * 300 + "}",
        "{'a': " + "not " * 15_000 + "1}",
        "{'a': " + "lambda: " * 8_000 + "1}",
        "{'a': 1" + "+1" * 30_000 + "}",
        "{'a': __import__('os')}",
        "{'a': '\\d'}",
        "{'a': {}}[0]",
        "{'a'}",
        "{'a': 'x" + "x" * 70_000 + "'}",
    ],
)
def test_no_python_is_run_and_none_makes_it_raise(hostile: str) -> None:
    span = understood({"hidden_params": "{}", "llm.request.type": "completion", "metadata.usage_object": hostile})
    assert span.usage == TokenUsage()


def test_mlflow_has_a_word_for_nothing() -> None:
    span = understood({f"{ML}spanType": '"LLM"', "model": "null", f"{ML}spanInputs": '{"model": "m"}'})
    assert span.request_model == "m"
    assert understood({f"{ML}spanType": '"TOOL"', f"{ML}spanOutputs": '"sunny"'}).content["result"] == "sunny"


def test_mlflow_works_its_cost_out_of_a_list_of_its_own() -> None:
    span = understood({f"{ML}spanType": '"LLM"', f"{ML}llm.cost": '{"total_cost": 0.25}'})
    assert (span.reported_cost_nano, span.reported_cost_basis) == (250_000_000, CostBasis.OTHER_LIST)


@pytest.mark.parametrize(
    ("usage", "given", "expected"),
    [
        ({"input_tokens": 302, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 8}, 330, (330, 20, 8)),
        ({"input_tokens": 302, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 8}, 302, (330, 20, 8)),
        ({"prompt_tokens": 302, "prompt_tokens_details": {"cached_tokens": 20}}, 302, (302, 20, None)),
        ({"input_tokens": 302, "input_tokens_details": {"cached_tokens": 20}}, 302, (302, 20, None)),
        ({"input_tokens": 302, "cache_read_input_tokens": 20}, None, (322, 20, None)),
    ],
)
@pytest.mark.parametrize("holder", ["gen_ai.usage.raw", "response_data"])
def test_logfire_keeps_the_providers_usage(
    holder: str, usage: dict[str, Any], given: int | None, expected: tuple[int | None, ...]
) -> None:
    kept = {"gen_ai.usage.raw": usage, "response_data": {"message": {}, "usage": usage}}[holder]
    attributes: dict[str, Any] = {"logfire.span_type": "span", "request_data": "{}", holder: text(kept)}
    attributes |= {} if given is None else {"gen_ai.usage.input_tokens": given}
    counted = understood(attributes).usage
    assert (counted.input, counted.cache_read, counted.cache_creation) == expected


def test_logfire_repeats_the_model_asked_for_where_none_answered_and_tags_its_calls() -> None:
    attributes = {"logfire.span_type": "span", "gen_ai.operation.name": "chat", "logfire.tags": ["LLM", "beta"]}
    attributes |= {"gen_ai.request.model": "m", "gen_ai.response.model": "m"}
    span = understood(attributes)
    assert (span.request_model, span.response_model, span.content["tags"]) == ("m", None, ["beta"])
    assert understood(attributes | {"gen_ai.response.id": "r"}).response_model == "m"


def test_a_streamed_call_of_logfire_that_is_no_part_of_a_run_is_counted_where_its_answer_is() -> None:
    request = {"logfire.span_type": "span", "gen_ai.operation.name": "chat", "request_data": "{}"}
    assert understood(request, parent_span_id=b"").kind is Kind.WORKFLOW
    assert understood(request).kind is Kind.LLM
    assert understood(request, parent_span_id=b"", status_code=2).kind is Kind.LLM
    assert understood(request | {"logfire.span_type": "log"}, parent_span_id=b"").kind is Kind.LLM


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "agent", "tool"),
    [
        ("Agent run: {name!r}", {"name": "planner"}, Kind.AGENT, "planner", None),
        ("Function: {name}", {"name": "search", "input": '{"q": 1}'}, Kind.TOOL, None, "search"),
        ("Chat completion with {gen_ai.request.model!r}", {"gen_ai.request.model": "m"}, Kind.LLM, None, None),
        ("Responses API", {"gen_ai.operation.name": "chat"}, Kind.LLM, None, None),
        ("Handoff: {from_agent} → {to_agent}", {}, Kind.OTHER, None, None),
        ("Turn {turn} for agent planner", {"usage": "{}"}, Kind.WORKFLOW, None, None),
        ("OpenAI Agents trace: {name}", {"group_id": "s"}, Kind.WORKFLOW, None, None),
    ],
)
def test_logfires_spans_of_the_openai_agents_sdk(
    name: str, attributes: dict[str, Any], kind: Kind, agent: str | None, tool: str | None
) -> None:
    span = understood(attributes | {"logfire.span_type": "span"}, name=name, scope="logfire.openai_agents")
    assert (span.kind, span.agent_name, span.tool_name) == (kind, agent, tool)
    if tool:
        assert span.content["arguments"] == {"q": 1}


def test_haystack_keeps_what_the_provider_said_in_the_reply() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 2},
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    meta = {"model": "m-2025", "finish_reason": "tool_calls", "usage": usage}
    reply = {"content": [{"tool_call": {"tool_name": "search", "arguments": {"q": 1}}}], "meta": meta}
    span = understood(
        {"haystack.agent.step.llm.output": text({"replies": [reply]})}, name="haystack.agent.step.llm", scope="app"
    )
    assert span.usage == TokenUsage(9, 5, 4, None, 2)
    assert (span.response_model, span.finish_reason) == ("m-2025", "tool_calls")
    assert asked(span) == [("search", {"q": 1})]
    embedder = understood(
        {
            "haystack.component.type": "OpenAITextEmbedder",
            "haystack.component.output": text({"meta": {"model": "e", "usage": {"prompt_tokens": 7}}}),
        },
        name="haystack.component.run",
    )
    assert (embedder.response_model, embedder.usage) == ("e", TokenUsage(7))


def test_a_component_of_haystack_names_an_agent_where_it_is_one() -> None:
    def named(component: str, name: str) -> str | None:
        attributes = {"haystack.component.type": component, "haystack.component.name": name}
        return understood(attributes, name="haystack.component.run").agent_name

    assert named("Agent", "billing") == "billing"
    assert named("Agent", "agent") is None
    assert named("OpenAIChatGenerator", "llm") is None


def test_haystack_says_by_an_attribute_that_a_tool_failed() -> None:
    attributes = {"haystack.tool.name": "charge", "haystack.agent.step.tool.input": '{"amount": 42}'}
    span = understood(attributes | {"haystack.tool.error": True}, name="haystack.agent.step.tool")
    assert (span.is_error, span.tool_name, span.content["arguments"]) == (True, "charge", {"amount": 42})
    assert understood(attributes, name="haystack.agent.step.tool").is_error is False


def test_langsmith_keeps_what_the_conventions_lack_in_the_outputs() -> None:
    usage = {"input_token_details": {"cache_read": 4}, "output_token_details": {"reasoning": 2}}
    message = {"usage_metadata": usage, "response_metadata": {"model_name": "m-2025", "id": "chatcmpl-1x"}}
    span = understood(
        {
            f"{LS}span.kind": "llm",
            f"{LS}metadata.ls_provider": "openai",
            f"{LS}metadata.thread_id": "s",
            f"{LS}trace.session_id": "the project",
            f"{LS}span.tags": "seq:step:1, beta",
            "gen_ai.system": "langchain",
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.completion": text({"generations": [[{"message": {"kwargs": message}}]]}),
        }
    )
    assert span.usage == TokenUsage(9, 5, 4, None, 2)
    assert (span.provider, span.request_model, span.response_model) == ("openai", "m", "m-2025")
    assert span.attribution["session"][0] == "s"
    assert span.content["tags"] == ["beta"]


def test_langsmith_writes_details_down_as_python() -> None:
    span = understood(
        {
            f"{LS}span.kind": "llm",
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.input_token_details": "{'cache_read': 4, 'cache_creation': 1}",
            "gen_ai.usage.output_token_details": '{"reasoning": 2}',
        }
    )
    assert span.usage == TokenUsage(9, None, 4, 1, 2)


def test_what_is_written_to_the_cache_may_be_told_by_how_long_it_stays() -> None:
    details = {"cache_read": 0, "cache_creation": 0, "ephemeral_5m_input_tokens": 8, "ephemeral_1h_input_tokens": 2}
    kept = {"langsmith.usage_metadata": text({"input_tokens": 30, "input_token_details": details})}
    assert understood({f"{LS}span.kind": "llm"} | kept).usage == TokenUsage(30, None, 0, 10)


@pytest.mark.parametrize(
    "given", ['{"input": "{\'q\': 1}"}', '{"q": 1}', "{'q': 1}", '{"args": [], "kwargs": {"q": 1}}']
)
def test_langsmiths_tools_are_given_what_langchain_wrote_down(given: str) -> None:
    assert understood({f"{LS}span.kind": "tool", "gen_ai.prompt": given}).content["arguments"] == {"q": 1}
