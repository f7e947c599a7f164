"""The SDKs of OpenAI and Anthropic through the transports: what they are stopped by, and what is metered of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from agentops.client import BudgetExceeded, Guard, GuardStopped, GuardUnavailable, LoopDetected, Stopped
from tests.client.sdks import (
    MESSAGES,
    PROMPT,
    anthropic_of,
    async_anthropic_of,
    async_openai_of,
    for_ever,
    for_ever_awaiting,
    legacy_openai_of,
    openai_of,
)
from tests.client.servers import CALL, INPUT, OUTPUT, ScriptedGuard, ScriptedProvider

Call = Callable[[], Any]


@pytest.fixture(params=["openai", "openai on httpx", "responses", "anthropic"])
def call(request: pytest.FixtureRequest, guard: Guard, provider: ScriptedProvider) -> Iterator[Call]:
    """One model call by each SDK, as an agent makes it."""
    if request.param == "anthropic":
        with anthropic_of(guard, provider) as claude:
            yield lambda: claude.messages.create(model="claude-test", max_tokens=500, messages=MESSAGES)
        return
    with (legacy_openai_of if "httpx" in request.param else openai_of)(guard, provider) as client:
        if request.param == "responses":
            yield lambda: client.responses.create(model="gpt-5", max_output_tokens=500, input=PROMPT)
        else:
            yield lambda: client.chat.completions.create(model="gpt-5", max_tokens=500, messages=MESSAGES)


def test_a_runaway_agent_is_stopped_at_its_ceiling_without_a_retry(
    call: Call, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.10")
    with pytest.raises(BudgetExceeded, match="no room") as stopped:
        for_ever(call)
    assert server.limit - 2 * CALL < server.spent <= server.limit
    made = len(provider.calls)
    assert made == len(server.settled) <= server.limit / CALL
    assert len(server.checks) == made + 1
    assert not server.reserved
    assert stopped.value.resets_at is not None
    assert [reason.name for reason in stopped.value.reasons] == ["agents a day"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("budget", BudgetExceeded), ("step_budget", BudgetExceeded), ("loop", LoopDetected), ("kill_switch", Stopped)],
)
def test_each_kind_of_stop_is_an_exception_of_its_own(
    call: Call, server: ScriptedGuard, provider: ScriptedProvider, mode: str, expected: type[GuardStopped]
) -> None:
    server.stop_with = {"mode": mode, "action": "stop", "message": f"Stopped by {mode}.", "observed": {"count": 4}}
    with pytest.raises(expected, match=f"Stopped by {mode}") as stopped:
        call()
    assert (stopped.value.decision.decision, stopped.value.reasons[0].observed) == ("stop", {"count": 4})
    assert (len(server.checks), provider.calls) == (1, [])


def test_a_guard_that_cannot_be_reached_stops_the_sdk_without_a_retry(
    call: Call, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.fail("503")
    with pytest.raises(GuardUnavailable):
        call()
    assert ([name for name, _ in server.tried], provider.calls) == (["check", "check"], [])


def test_what_the_provider_counted_is_what_is_settled(call: Call, server: ScriptedGuard) -> None:
    call()
    [told] = server.settled
    assert told["outcome"] == "ok"
    assert told["response_id"] in ("chatcmpl-1", "resp_1", "msg_1")
    assert told["model"] in ("gpt-5", "claude-test")
    assert told["usage"]["output_tokens"] == OUTPUT
    caches = 500 if told["response_id"] == "msg_1" else 0
    assert told["usage"]["input_tokens"] == INPUT + caches


def test_an_error_of_the_provider_costs_nothing_and_each_retry_is_asked_for(
    call: Call, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.failures.extend([500])
    call()
    assert [told["outcome"] for told in server.settled] == ["error", "ok"]
    assert "usage" not in server.settled[0]
    assert len(provider.calls) == 2


def test_compressed_replies_are_metered(call: Call, server: ScriptedGuard, provider: ScriptedProvider) -> None:
    provider.is_zipped = True
    call()
    assert server.settled[0]["usage"]["output_tokens"] == OUTPUT


def test_the_question_names_model_and_tokens(call: Call, server: ScriptedGuard) -> None:
    call()
    [asked] = server.checks
    assert asked["step"]["kind"] == "llm"
    assert asked["estimate"]["max_output_tokens"] == 500
    assert asked["estimate"]["input_tokens"] >= len(PROMPT) / 3


def test_a_run_around_a_call_is_told_of(call: Call, guard: Guard, server: ScriptedGuard) -> None:
    with guard.run(user="ada", feature="search") as run:
        call()
    assert run.id is not None
    assert len(run.id) == 32
    assert [server.checks[0][name] for name in ("run", "user", "feature")] == [run.id, "ada", "search"]


@pytest.mark.parametrize(("mode", "status"), [("budget", 402), ("loop", 429), ("kill_switch", 403)])
def test_a_stop_may_be_answered_as_the_provider_would_and_is_not_tried_again(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider, mode: str, status: int
) -> None:
    server.stop_with = {"mode": mode, "action": "stop", "message": "Enough."}
    with openai_of(guard, provider, on_stop="response") as client, pytest.raises(openai.APIStatusError) as told:
        client.chat.completions.create(model="gpt-5", messages=MESSAGES)
    assert (told.value.status_code, told.value.body["message"]) == (status, "Enough.")  # type: ignore[index]
    with anthropic_of(guard, provider, on_stop="response") as claude, pytest.raises(anthropic.APIStatusError) as said:
        claude.messages.create(model="claude-test", max_tokens=5, messages=MESSAGES)
    assert (said.value.status_code, said.value.body["error"]["message"]) == (status, "Enough.")  # type: ignore[index, call-overload]
    assert (len(server.checks), provider.calls) == (2, [])


def test_a_chat_that_streams_is_passed_on_unchanged_and_metered(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    with openai_of(guard, provider) as client:
        options: Any = {"include_usage": True}
        chunks = list(
            client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True, stream_options=options)
        )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "".join(provider.words)
    [told] = server.settled
    assert (told["outcome"], told["response_id"]) == ("ok", "chatcmpl-1")
    assert told["usage"] == {"input_tokens": INPUT, "output_tokens": OUTPUT}


def test_a_stream_that_tells_no_usage_is_counted_by_its_texts(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    with openai_of(guard, provider) as client:
        list(client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True))
    [told] = server.settled
    size = len("".join(provider.words))
    assert told["usage"]["output_tokens"] == -(-size // 3)
    assert told["usage"]["input_tokens"] == server.checks[0]["estimate"]["input_tokens"]
    assert told["outcome"] == "ok"


@pytest.mark.parametrize("is_zipped", [False, True])
def test_streams_of_responses_and_messages_tell_their_usage_at_the_end(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider, is_zipped: bool
) -> None:
    provider.is_zipped = is_zipped
    with openai_of(guard, provider) as client:
        list(client.responses.create(model="gpt-5", input="Hello", stream=True))
    with (
        anthropic_of(guard, provider) as claude,
        claude.messages.stream(model="claude-test", max_tokens=5, messages=MESSAGES) as stream,
    ):
        assert stream.get_final_text() == "".join(provider.words)
    ours, theirs = server.settled
    assert (ours["usage"]["input_tokens"], ours["usage"]["output_tokens"], ours["response_id"]) == (
        INPUT,
        OUTPUT,
        "resp_1",
    )
    assert ours["usage"]["reasoning_output_tokens"] == 20
    assert theirs["usage"] == {
        "input_tokens": INPUT + 500,
        "output_tokens": OUTPUT,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 200,
    }
    assert [told["outcome"] for told in server.settled] == ["ok", "ok"]


def test_a_stream_that_is_left_early_is_billed_for_what_was_seen(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.breaks_after, provider.stalls = 4, True
    with openai_of(guard, provider) as client:
        for stream in (
            client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True),
            client.responses.create(model="gpt-5", input="Hello there", stream=True),
        ):
            for _, _ in zip(range(3), stream, strict=False):
                pass
            stream.close()
    with (
        anthropic_of(guard, provider) as claude,
        claude.messages.create(model="claude-test", max_tokens=5, messages=MESSAGES, stream=True) as stream,
    ):
        for _, _ in zip(range(4), stream, strict=False):
            pass
    assert [told["outcome"] for told in server.settled] == ["error"] * 3
    assert all(told["usage"]["output_tokens"] >= 3 for told in server.settled)
    chat, _, message = server.settled
    assert chat["usage"]["input_tokens"] == server.checks[0]["estimate"]["input_tokens"]
    assert message["usage"]["input_tokens"] == INPUT + 500
    assert [told["response_id"] for told in server.settled] == ["chatcmpl-1", "resp_1", "msg_1"]


def test_a_stream_that_breaks_off_is_billed_for_what_was_seen(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.breaks_after = 3
    with openai_of(guard, provider) as client, pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True))
    [told] = server.settled
    assert (told["outcome"], told["usage"]["output_tokens"]) == ("error", 5)


def test_a_model_step_around_a_call_is_the_call_s_own(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    with openai_of(guard, provider) as client, guard.run() as run:
        with run.step("llm", model="gpt-5", cost_usd="0.02") as step:
            client.chat.completions.create(model="gpt-5", messages=MESSAGES)
            assert step.is_settled
            client.chat.completions.create(model="gpt-5", messages=MESSAGES)
        with run.step("tool", tool="ask_another_model"):
            client.chat.completions.create(model="gpt-5", messages=MESSAGES)
    assert [asked["step"]["kind"] for asked in server.checks] == ["llm", "llm", "tool", "llm"]
    assert len(server.settled) == 4
    assert server.spent == 3 * CALL + OUTPUT * Decimal("0.00001")


def test_a_retry_within_a_step_uses_its_reservation(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.failures.extend([503])
    with openai_of(guard, provider) as client, guard.step("llm", model="gpt-5"):
        client.chat.completions.create(model="gpt-5", messages=MESSAGES)
    assert (len(server.checks), [told["outcome"] for told in server.settled]) == (1, ["ok"])


def test_other_requests_pass_through_unasked(guard: Guard, server: ScriptedGuard, provider: ScriptedProvider) -> None:
    with openai_of(guard, provider) as client:
        assert client.models.list().data == []
        client.embeddings.create(model="text-embedding-3-small", input=["a b c"])
    [asked] = server.checks
    assert asked["step"]["model"] == "text-embedding-3-small"
    assert server.settled[0]["usage"] == {"input_tokens": INPUT}


@pytest.mark.anyio
async def test_coroutines_are_stopped_and_metered_alike(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    server.limit = Decimal("0.10")
    async with guard, async_openai_of(guard, provider) as client, async_anthropic_of(guard, provider) as claude:
        await claude.messages.create(model="claude-test", max_tokens=500, messages=MESSAGES)
        with pytest.raises(BudgetExceeded):
            await for_ever_awaiting(lambda: client.chat.completions.create(model="gpt-5", messages=MESSAGES))
        with pytest.raises(BudgetExceeded):
            await claude.messages.create(model="claude-test", max_tokens=5_000, messages=MESSAGES)
    assert len(provider.calls) == len(server.settled) == len(server.checks) - 2
    assert server.spent <= server.limit


@pytest.mark.anyio
async def test_a_coroutine_that_is_cancelled_in_a_stream_is_billed_for_what_was_seen(
    guard: Guard, server: ScriptedGuard, provider: ScriptedProvider
) -> None:
    provider.breaks_after, provider.stalls = 3, True
    seen = asyncio.Event()

    async def agent() -> None:
        async with (
            async_openai_of(guard, provider) as client,
            await client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True) as stream,
        ):
            count = 0
            async for _ in stream:
                count += 1
                if count == 3:
                    seen.set()

    async with guard:
        task = asyncio.create_task(agent())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    [told] = server.settled
    assert told["outcome"] in ("error", "cancelled")
    assert told["usage"]["output_tokens"] == 5
