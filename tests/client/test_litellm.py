"""LiteLLM, really: its coroutines through the hook, its proxy's calls of the hook, its client through the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agentops.client import BudgetExceeded, Guard, GuardTransport
from tests.client.sdks import MESSAGES, for_ever, for_ever_awaiting
from tests.client.servers import CALL, INPUT, OUTPUT, ScriptedGuard, ScriptedProvider

# What LiteLLM makes of Pydantic is its own affair.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:Item '\w+' on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:Accessing the 'model_\w+' attribute:DeprecationWarning"),
]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # Imported late: whoever runs other tests need not wait for it.
    module = import_module("litellm")
    monkeypatch.setattr(module, "suppress_debug_info", True)
    monkeypatch.setattr(module, "num_retries", None)
    # It keeps a copy of its callbacks in lists of its own.
    module.logging_callback_manager._reset_all_callbacks()
    module.in_memory_llm_clients_cache.flush_cache()
    yield module
    module.logging_callback_manager._reset_all_callbacks()
    module.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture
async def litellm(library: Any, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[Any]:
    """The library for coroutines, with connections that are closed after."""
    async with httpx.AsyncClient() as client:
        monkeypatch.setattr(library, "aclient_session", client)
        yield library


@pytest.fixture
def hook(library: Any, guard: Guard) -> Any:
    made = import_module("agentops.client.litellm").GuardHook(guard)
    library.callbacks = [made]
    return made


@pytest.fixture
def asked(provider: ScriptedProvider) -> dict[str, Any]:
    return {
        "model": "openai/gpt-5",
        "messages": MESSAGES,
        "api_base": f"{provider.url}/v1",
        "api_key": "sk-test",
        "max_tokens": 500,
    }


async def settled(server: ScriptedGuard, count: int) -> None:
    # LiteLLM tells its callbacks of a success from a queue of its own.
    for _ in range(200):
        if len(server.settled) >= count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{len(server.settled)} of {count} were settled")


@pytest.mark.anyio
async def test_a_runaway_agent_is_stopped_at_its_ceiling(
    litellm: Any, hook: Any, asked: dict[str, Any], server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.06")

    async def call() -> None:
        await litellm.acompletion(**asked)
        await settled(server, len(provider.calls))

    async with hook.guard:
        with pytest.raises(BudgetExceeded, match="no room"):
            await for_ever_awaiting(call)
    assert len(provider.calls) == len(server.settled) == 3
    assert server.spent == 3 * CALL
    assert server.settled[0]["usage"]["input_tokens"] == INPUT
    assert not hook._open


@pytest.mark.anyio
async def test_a_stop_is_not_tried_again_where_retries_are_wanted(
    litellm: Any, hook: Any, asked: dict[str, Any], server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal(0)
    async with hook.guard:
        with pytest.raises(litellm.APIError, match="no room") as stopped:
            await litellm.acompletion(num_retries=3, **asked)
    assert stopped.value.status_code == 402
    assert (len(server.checks), provider.calls) == (1, [])


@pytest.mark.anyio
async def test_streams_and_failures_are_settled(
    litellm: Any, hook: Any, asked: dict[str, Any], server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    async with hook.guard:
        provider.failures.extend([400])
        with pytest.raises(litellm.BadRequestError):
            await litellm.acompletion(**asked)
        await settled(server, 1)
        async for _ in await litellm.acompletion(stream=True, stream_options={"include_usage": True}, **asked):
            pass
        await settled(server, 2)
    failed, streamed = server.settled
    assert (failed["outcome"], failed.get("usage")) == ("error", None)
    assert (streamed["outcome"], streamed["usage"]["output_tokens"]) == ("ok", OUTPUT)


@pytest.mark.anyio
async def test_a_proxy_asks_once_and_settles_when_it_is_done(
    litellm: Any, hook: Any, asked: dict[str, Any], server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    key = SimpleNamespace(end_user_id="ada", user_id="team-key")
    data = {**asked, "litellm_call_id": "call-1", "metadata": {"session_id": "s-1", "feature": "search"}}
    async with hook.guard:
        data = await hook.async_pre_call_hook(key, None, data, "acompletion")
        # The proxy calls the library under the same id; a failed try leaves the reservation to the next one.
        await hook.async_log_failure_event(data, None, None, None)
        await litellm.acompletion(**data)
        await settled(server, 1)
        assert await hook.async_pre_call_hook(key, None, {"litellm_call_id": "file-1"}, "acreate_file")
    [check] = server.checks
    assert [check[name] for name in ("user", "session", "feature")] == ["ada", "s-1", "search"]
    assert check["estimate"]["max_output_tokens"] == 500
    assert server.settled[0]["outcome"] == "ok"


@pytest.mark.anyio
async def test_a_proxy_answers_a_stop_with_its_status_and_settles_what_it_gives_up(
    hook: Any, asked: dict[str, Any], server: ScriptedGuard
) -> None:
    async with hook.guard:
        data = await hook.async_pre_call_hook(None, None, dict(asked), "acompletion")
        await hook.async_post_call_failure_hook(data, RuntimeError("gone"), None)
        server.stop_with = {"mode": "kill_switch", "action": "stop", "message": "Stopped by Ada."}
        with pytest.raises(Exception, match="Stopped by Ada") as stopped:
            await hook.async_pre_call_hook(None, None, dict(asked), "acompletion")
    assert vars(stopped.value)["status_code"] == 403
    assert [told["outcome"] for told in server.settled] == ["error"]


def test_the_hook_of_a_configuration_needs_the_environment_only_when_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedGuard
) -> None:
    made = import_module("agentops.client.litellm").GuardHook()
    monkeypatch.setenv("AGENTOPS_URL", server.url)
    monkeypatch.setenv("AGENTOPS_INGEST_KEY", "agk_test")
    asyncio.run(_ask_and_close(made))
    assert len(server.checks) == 1


async def _ask_and_close(hook: Any) -> None:
    async with hook.guard:
        await hook.async_pre_call_hook(None, None, {"model": "m"}, "acompletion")


def test_without_coroutines_the_transport_stops_it_and_the_model_is_not_called(
    library: Any,
    guard: Guard,
    asked: dict[str, Any],
    server: ScriptedGuard,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.limit = Decimal("0.06")
    with httpx.Client(transport=GuardTransport(guard)) as client:
        monkeypatch.setattr(library, "client_session", client)
        with pytest.raises(library.InternalServerError, match="no room"):
            for_ever(lambda: library.completion(**asked))
    assert len(provider.calls) == len(server.settled) == 3
    assert len(server.checks) == 4
