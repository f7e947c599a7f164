"""The providers' own SDKs, through the guard's transport, at the scripted provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx
import httpx2
import openai

import agentops.client as plain
import agentops.client.httpx2 as second
from agentops.client import Guard
from tests.client.servers import ScriptedProvider

#: As long as the scripted provider says that it is.
PROMPT = "What is it? " * 400
MESSAGES: list[Any] = [{"role": "user", "content": PROMPT}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}

# Without TLS nobody needs to read the authorities, which takes a while each time.
_PLAIN: Any = {"verify": False}


def openai_of(guard: Guard, provider: ScriptedProvider, **more: Any) -> openai.OpenAI:
    client = httpx2.Client(transport=second.GuardTransport(guard, httpx2.HTTPTransport(**_PLAIN), **more))
    return openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1", http_client=client)


def legacy_openai_of(guard: Guard, provider: ScriptedProvider, **more: Any) -> openai.OpenAI:
    client: Any = httpx.Client(transport=plain.GuardTransport(guard, httpx.HTTPTransport(**_PLAIN), **more))
    return openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1", http_client=client)


def async_openai_of(guard: Guard, provider: ScriptedProvider, **more: Any) -> openai.AsyncOpenAI:
    transport = second.AsyncGuardTransport(guard, httpx2.AsyncHTTPTransport(**_PLAIN), **more)
    client = httpx2.AsyncClient(transport=transport)
    return openai.AsyncOpenAI(api_key="sk-test", base_url=f"{provider.url}/v1", http_client=client)


def anthropic_of(guard: Guard, provider: ScriptedProvider, **more: Any) -> anthropic.Anthropic:
    client = httpx2.Client(transport=second.GuardTransport(guard, httpx2.HTTPTransport(**_PLAIN), **more))
    return anthropic.Anthropic(api_key="sk-test", base_url=provider.url, http_client=client)


def async_anthropic_of(guard: Guard, provider: ScriptedProvider, **more: Any) -> anthropic.AsyncAnthropic:
    transport = second.AsyncGuardTransport(guard, httpx2.AsyncHTTPTransport(**_PLAIN), **more)
    client = httpx2.AsyncClient(transport=transport)
    return anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url, http_client=client)


def for_ever(call: Callable[[], Any]) -> None:
    """What an agent does that has lost its way."""
    for _ in range(1_000):
        call()


async def for_ever_awaiting(call: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(1_000):
        await call()
