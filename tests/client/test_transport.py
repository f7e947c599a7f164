"""The transports by themselves: what they take for a model call, and what they leave alone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from agentops.client import AsyncGuardTransport, BudgetExceeded, Guard, GuardStopped, GuardTransport
from agentops.client.httpx2 import GuardTransport as GuardTransport2
from tests.client.sdks import MESSAGES
from tests.client.servers import INPUT, OUTPUT, ScriptedGuard, ScriptedProvider

CHAT = {"model": "gpt-5", "messages": MESSAGES}
PATH = "/v1/chat/completions"
STOP = {"mode": "budget", "action": "stop", "message": "Enough."}


def usage(**more: Any) -> dict[str, Any]:
    return {"id": "c-1", "model": "gpt-5", "usage": {"prompt_tokens": 7, "completion_tokens": 3}, "choices": [], **more}


def client_of(guard: Guard, answer: Any, **more: Any) -> httpx.Client:
    """A client whose provider is a function."""
    return httpx.Client(transport=GuardTransport(guard, httpx.MockTransport(answer), **more), base_url="https://x")


def test_a_program_without_an_sdk_gets_the_exception_itself(guard: Guard, server: ScriptedGuard) -> None:
    server.stop_with = STOP
    with (
        client_of(guard, lambda _: pytest.fail("it was not to be called")) as client,
        pytest.raises(BudgetExceeded, match="Enough"),
    ):
        client.post("/v1/chat/completions", json=CHAT)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/v1/chat/completions",
            {"message": "Enough.", "type": "budget_exceeded", "code": "budget_exceeded", "param": None},
        ),
        ("/v1/messages", {"type": "billing_error", "message": "Enough."}),
        ("/v1/models/gemini-3:generateContent", {"code": 402, "message": "Enough.", "status": "RESOURCE_EXHAUSTED"}),
    ],
)
def test_a_stop_is_spelled_as_the_provider_would(
    guard: Guard, server: ScriptedGuard, path: str, expected: dict[str, Any]
) -> None:
    server.stop_with = STOP
    with client_of(guard, lambda _: pytest.fail("it was not to be called"), on_stop="response") as client:
        answer = client.post(path, json=CHAT)
    assert (answer.status_code, answer.json()["error"]) == (402, expected)
    assert answer.headers["x-should-retry"] == "false"


def test_a_reply_that_is_made_of_bytes_is_metered(guard: Guard, server: ScriptedGuard) -> None:
    with client_of(guard, lambda _: httpx.Response(200, json=usage())) as client:
        assert client.post("/v1/chat/completions", json=CHAT).json() == usage()
    assert server.settled[0]["usage"] == {"input_tokens": 7, "output_tokens": 3}


@pytest.mark.parametrize(("encoding", "encode"), [("deflate", zlib.compress), ("identity", bytes), ("br", bytes)])
def test_bytes_go_through_unchanged_whatever_their_encoding(
    guard: Guard, server: ScriptedGuard, encoding: str, encode: Any
) -> None:
    sent = encode(json.dumps(usage()).encode())

    def answer(_: httpx.Request) -> httpx.Response:
        headers = {"content-type": "application/json", "content-encoding": encoding}
        return httpx.Response(200, headers=headers, stream=Pieces([sent[:9], sent[9:]]))

    with client_of(guard, answer) as client, client.stream("POST", "/v1/chat/completions", json=CHAT) as reply:
        assert b"".join(reply.iter_raw()) == sent
    assert server.settled[0]["usage"] == {"input_tokens": 7, "output_tokens": 3}


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-type": "application/json"}, b'{"broken'),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"no gzip"),
        ({"content-type": "application/vnd.amazon.eventstream"}, b"\x00\x01"),
        ({"content-type": "application/json"}, b"[[[" * 100_000),
    ],
)
def test_a_reply_that_cannot_be_read_goes_through_and_is_booked_as_estimated(
    guard: Guard, server: ScriptedGuard, headers: dict[str, str], content: bytes
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, stream=Pieces([content]))

    with client_of(guard, answer) as client, client.stream("POST", "/v1/chat/completions", json=CHAT) as reply:
        assert b"".join(reply.iter_raw()) == content
    assert (server.settled[0]["outcome"], server.settled[0].get("usage")) == ("ok", None)


@pytest.mark.parametrize(
    ("error", "input_is_billed"),
    [
        (httpx.ConnectError("gone"), False),
        (httpx.ConnectTimeout("gone"), False),
        (httpx.ReadTimeout("gone"), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_what_was_sent_and_not_answered_may_be_billed(
    guard: Guard, server: ScriptedGuard, error: BaseException, input_is_billed: bool
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with client_of(guard, answer) as client, pytest.raises(type(error)):
        client.post("/v1/chat/completions", json=CHAT)
    [told] = server.settled
    estimate = server.checks[0]["estimate"]["input_tokens"]
    assert told.get("usage") == ({"input_tokens": estimate} if input_is_billed else None)
    assert told["outcome"] == ("cancelled" if isinstance(error, KeyboardInterrupt) else "error")


def test_a_response_in_the_background_is_booked_as_estimated(guard: Guard, server: ScriptedGuard) -> None:
    queued = {"id": "resp_9", "object": "response", "model": "gpt-5", "status": "queued", "usage": None}
    with client_of(guard, lambda _: httpx.Response(200, json=queued)) as client:
        client.post("/v1/responses", json={"model": "gpt-5", "input": "x", "background": True})
    [told] = server.settled
    assert (told["outcome"], told.get("usage"), told["response_id"]) == ("ok", None, "resp_9")


def test_transports_of_the_other_httpx_are_told_apart(guard: Guard) -> None:
    mixed: Any = GuardTransport(guard)
    with httpx2.Client(transport=mixed) as client, pytest.raises(TypeError, match=r"agentops\.client\.httpx2"):
        client.get("http://127.0.0.1:9")
    other: Any = GuardTransport2(guard)
    with httpx.Client(transport=other) as legacy, pytest.raises(TypeError):
        legacy.get("http://127.0.0.1:9")


@pytest.mark.anyio
async def test_coroutines_with_httpx_itself(guard: Guard, server: ScriptedGuard, provider: ScriptedProvider) -> None:
    async with guard, httpx.AsyncClient(transport=AsyncGuardTransport(guard), base_url=provider.url) as client:
        await client.post("/v1/messages", json={**CHAT, "max_tokens": 5})
        server.stop_with = STOP
        with pytest.raises(GuardStopped):
            await client.post("/v1/messages", json=CHAT)
        assert (await client.get("/v1/models")).status_code == 200
    assert server.settled[0]["usage"]["output_tokens"] == OUTPUT
    assert server.settled[0]["usage"]["input_tokens"] == INPUT + 500


def test_a_stream_that_is_left_says_that_its_numbers_are_estimated(guard: Guard, server: ScriptedGuard) -> None:
    with client_of(guard, streamed) as client, guard.step("llm") as step, client.stream("POST", PATH, json=CHAT):
        pass
    assert step.usage_is_estimated
    assert server.settled[0]["usage"]["output_tokens"] == 0


def test_it_says_nothing_of_what_the_program_settled_before_it(guard: Guard, server: ScriptedGuard) -> None:
    with client_of(guard, streamed) as client, guard.step("llm") as step, client.stream("POST", PATH, json=CHAT):
        step.settle(input_tokens=7, output_tokens=3)
    assert not step.usage_is_estimated
    assert server.settled[0]["usage"] == {"input_tokens": 7, "output_tokens": 3}


def streamed(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces([b"data: [DONE]\n\n"]))


class Pieces(httpx.SyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
