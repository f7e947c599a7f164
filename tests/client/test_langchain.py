"""LangChain and LangGraph, really: their models, their agents and their tools, stopped and metered by the handler."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from agentops.client import BudgetExceeded, Guard, GuardTransport, LoopDetected
from tests.client.sdks import PROMPT, TOOL, for_ever
from tests.client.servers import INPUT, OUTPUT, ScriptedGuard, ScriptedProvider

PATIENT = {"recursion_limit": 500}


@pytest.fixture
def handler(guard: Guard) -> Any:
    # Imported late: whoever runs other tests need not wait for it.
    return import_module("agentops.client.langchain").GuardHandler(guard)


@pytest.fixture
def model(provider: ScriptedProvider) -> Any:
    openai = import_module("langchain_openai")
    return openai.ChatOpenAI(
        model="gpt-5", api_key="sk-test", base_url=f"{provider.url}/v1", max_tokens=500, use_responses_api=False
    )


@pytest.fixture
def agent(model: Any) -> Any:
    """A graph whose model always wants its tool again."""
    graphs = import_module("langgraph.graph")
    prebuilt = import_module("langgraph.prebuilt")
    tool = import_module("langchain_core.tools").tool

    @tool
    def look_up(word: str) -> str:
        """Look a word up."""
        return f"{word} is a word"

    knowing = model.bind_tools([look_up])
    graph = graphs.StateGraph(graphs.MessagesState)
    graph.add_node("think", lambda state: {"messages": [knowing.invoke(state["messages"])]})
    graph.add_node("act", prebuilt.ToolNode([look_up]))
    graph.add_edge(graphs.START, "think")
    graph.add_conditional_edges("think", prebuilt.tools_condition, {"tools": "act", graphs.END: graphs.END})
    graph.add_edge("act", "think")
    return graph.compile()


def test_a_runaway_graph_is_stopped_at_its_ceiling(
    agent: Any, handler: Any, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.10")
    with pytest.raises(BudgetExceeded):
        agent.invoke({"messages": [("user", PROMPT)]}, {"callbacks": [handler], **PATIENT})
    assert 1 < len(provider.calls) <= server.limit / (INPUT * Decimal("0.00001"))
    assert server.spent <= server.limit
    assert not server.reserved
    assert not handler._steps
    assert {asked["step"]["kind"] for asked in server.checks} == {"llm", "tool"}


@pytest.mark.anyio
async def test_a_runaway_graph_of_coroutines_is_stopped_too(
    agent: Any, handler: Any, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.05")
    with pytest.raises(BudgetExceeded):
        await agent.ainvoke({"messages": [("user", PROMPT)]}, {"callbacks": [handler], **PATIENT})
    assert server.spent <= server.limit
    assert not server.reserved


def test_a_tool_is_asked_for_by_name_and_arguments_and_can_be_stopped(
    agent: Any, handler: Any, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    decide = server._decide
    server._decide = lambda body: (  # type: ignore[method-assign]
        setattr(server, "stop_with", {"mode": "loop", "action": "stop", "message": "Round in circles."})  # type: ignore[func-returns-value]
        or decide(body)
        if len(server.checks) == 4
        else decide(body)
    )
    with pytest.raises(LoopDetected, match="Round in circles"):
        agent.invoke({"messages": [("user", PROMPT)]}, {"callbacks": [handler], **PATIENT})
    tools = [asked["step"] for asked in server.checks if asked["step"]["kind"] == "tool"]
    assert [tool["tool"] for tool in tools] == ["look_up", "look_up"]
    assert len({tool["arguments_hash"] for tool in tools}) == 1
    assert len(provider.calls) == 2


def test_what_a_model_took_and_for_whom_is_told(model: Any, handler: Any, guard: Guard, server: ScriptedGuard) -> None:
    config = {"callbacks": [handler], "metadata": {"user_id": "ada", "thread_id": "t-1", "feature": "search"}}
    with guard.run("r-1"):
        model.invoke(PROMPT, config)
    [asked], [told] = server.checks, server.settled
    assert [asked[name] for name in ("run", "user", "session", "feature")] == ["r-1", "ada", "t-1", "search"]
    assert (asked["step"]["model"], asked["step"]["provider"]) == ("gpt-5", "openai")
    assert asked["estimate"]["max_output_tokens"] == 500
    assert asked["estimate"]["input_tokens"] >= len(PROMPT) / 3
    assert told["usage"] == {
        "input_tokens": INPUT,
        "output_tokens": OUTPUT,
        "cache_read_input_tokens": 100,
        "reasoning_output_tokens": 50,
    }
    assert (told["outcome"], told["response_id"], told["model"]) == ("ok", "chatcmpl-1", "gpt-5")


def test_a_model_that_fails_is_settled_as_nothing_and_a_stream_that_is_left_as_what_was_seen(
    model: Any, handler: Any, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.failures.extend([400])
    with pytest.raises(Exception, match="scripted"):
        model.invoke(PROMPT, {"callbacks": [handler]})
    provider.breaks_after, provider.stalls = 3, True
    stream = model.stream(PROMPT, {"callbacks": [handler]})
    next(stream)
    next(stream)
    stream.close()
    failed, left = server.settled
    assert (failed["outcome"], failed.get("usage")) == ("error", None)
    assert left["outcome"] in ("error", "cancelled")
    assert left["usage"]["output_tokens"] >= 2


def test_the_transport_stops_a_graph_without_the_handler(
    agent: Any, guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    # LangChain hands its client on to the SDK of OpenAI; httpx2's transport would do as well.
    httpx, openai = import_module("httpx"), import_module("langchain_openai")
    server.limit = Decimal("0.06")
    with httpx.Client(transport=GuardTransport(guard)) as client:
        model = openai.ChatOpenAI(
            model="gpt-5", api_key="sk-test", base_url=f"{provider.url}/v1", http_client=client, max_tokens=500
        ).bind(tools=[TOOL])
        with pytest.raises(BudgetExceeded):
            for_ever(lambda: model.invoke(PROMPT))
    assert len(provider.calls) == len(server.settled) == 3
    assert len(server.checks) == 4
