"""Pydantic AI, really: its agents, their models and their tools, stopped and metered."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from typing import Any

import httpx2
import pytest

from agentops.client import BudgetExceeded, Guard
from agentops.client.httpx2 import AsyncGuardTransport
from tests.client.sdks import PROMPT
from tests.client.servers import INPUT, OUTPUT, ScriptedGuard, ScriptedProvider

LIMITS: dict[str, Any] = {"request_limit": 500}


def model_of(provider: ScriptedProvider, client: httpx2.AsyncClient) -> Any:
    chat = import_module("pydantic_ai.models.openai").OpenAIChatModel
    makes = import_module("pydantic_ai.providers.openai").OpenAIProvider
    return chat("gpt-5", provider=makes(base_url=f"{provider.url}/v1", api_key="sk-test", http_client=client))


def agent_of(model: Any, guard: Guard | None = None) -> Any:
    """An agent whose model always wants its tool again; with a guard its tools are asked for too."""

    def look_up(word: str) -> str:
        return f"{word} is a word"

    tools = import_module("pydantic_ai.toolsets").FunctionToolset([look_up], max_retries=500)
    if guard is not None:
        tools = import_module("agentops.client.pydantic_ai").GuardedToolset(tools, guard)
    settings: Any = {"max_tokens": 500}
    return import_module("pydantic_ai").Agent(model, toolsets=[tools], model_settings=settings)


def guarded(model: Any, guard: Guard) -> Any:
    return import_module("agentops.client.pydantic_ai").GuardedModel(model, guard)


def limits() -> Any:
    return import_module("pydantic_ai.usage").UsageLimits(**LIMITS)


@pytest.mark.anyio
async def test_a_runaway_agent_is_stopped_at_its_ceiling(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.10")
    async with guard, httpx2.AsyncClient() as client:
        agent = agent_of(guarded(model_of(provider, client), guard), guard)
        with pytest.raises(BudgetExceeded):
            await agent.run(PROMPT, usage_limits=limits())
    assert 1 < len(provider.calls) <= 10
    assert server.spent <= server.limit
    assert not server.reserved
    assert {asked["step"]["kind"] for asked in server.checks} == {"llm", "tool"}


@pytest.mark.anyio
async def test_the_transport_stops_an_agent_too(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.06")
    async with guard, httpx2.AsyncClient(transport=AsyncGuardTransport(guard)) as client:
        with pytest.raises(BudgetExceeded):
            await agent_of(model_of(provider, client)).run(PROMPT, usage_limits=limits())
    assert len(provider.calls) == len(server.settled) == 3
    assert server.spent <= server.limit


@pytest.mark.anyio
async def test_model_and_transport_together_ask_once_for_each_call(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.06")
    async with guard, httpx2.AsyncClient(transport=AsyncGuardTransport(guard)) as client:
        agent = agent_of(guarded(model_of(provider, client), guard))
        with pytest.raises(BudgetExceeded):
            await agent.run(PROMPT, usage_limits=limits())
    assert len(server.checks) == len(provider.calls) + 1 == 4


@pytest.mark.anyio
async def test_what_a_call_took_is_told_streamed_or_not(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    async with guard, httpx2.AsyncClient() as client:
        agent = import_module("pydantic_ai").Agent(guarded(model_of(provider, client), guard))
        await agent.run(PROMPT)
        async with agent.run_stream(PROMPT) as result:
            assert await result.get_output() == "".join(provider.words)
    whole, streamed = server.settled
    assert whole["usage"]["cache_read_input_tokens"] == 100
    for told in (whole, streamed):
        assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (INPUT, OUTPUT)
        assert (told["outcome"], told["model"], told["response_id"]) == ("ok", "gpt-5", "chatcmpl-1")
    assert server.checks[0]["estimate"]["input_tokens"] >= len(PROMPT) / 3


@pytest.mark.anyio
async def test_a_stream_that_is_left_is_billed_for_what_was_seen(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.breaks_after, provider.stalls = 3, True

    async def read_and_leave(model: Any) -> None:
        async with import_module("pydantic_ai").Agent(model).run_stream(PROMPT) as result:
            async for _ in result.stream_text(debounce_by=None):
                raise InterruptedError

    async with guard, httpx2.AsyncClient() as client:
        with pytest.raises(InterruptedError):
            await read_and_leave(guarded(model_of(provider, client), guard))
    [told] = server.settled
    assert told["outcome"] in ("error", "cancelled")
    assert told["usage"]["output_tokens"] >= 2
    assert told["usage"]["input_tokens"] > 0
