"""Telling browsers: few messages, and never a failure for whoever tells."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test.utils import override_settings

from agentops.live import broadcast as module
from agentops.live.broadcast import broadcast, tell

GONE = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
    }
}


class Layer:
    """Counts what is sent."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[int] = []
        self.tries = 0
        self.error = error

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        assert group == module.GROUP
        self.tries += 1
        if self.error:
            raise self.error
        self.sent.append(message["event_id"])


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Layer:
    layer = Layer()
    monkeypatch.setattr(module, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(module, "_outbox", module._Outbox())
    return layer


def test_many_events_at_once_are_few_messages_and_the_last_one_is_told(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.05)

    async def burst() -> None:
        for event_id in range(1, 101):
            broadcast(asyncio.get_running_loop(), event_id, ["runs"])
        await asyncio.sleep(0.3)

    asyncio.run(burst())
    assert layer.sent[-1] == 100
    assert len(layer.sent) <= 2


def test_a_broker_that_fails_is_left_alone_for_a_while(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.01)
    layer.error = ConnectionError("gone")

    async def events() -> None:
        for event_id in range(1, 6):
            broadcast(asyncio.get_running_loop(), event_id, ["runs"])
            await asyncio.sleep(0.03)

    asyncio.run(events())
    assert layer.tries == 1


def test_telling_without_a_broker_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_outbox", module._Outbox())
    with override_settings(CHANNEL_LAYERS=GONE):
        tell(1)
    assert module._outbox.resting_until > 0


def test_a_closed_loop_and_no_event_are_no_error() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    broadcast(loop, 1, ["runs"])
    broadcast(loop, None, [])
