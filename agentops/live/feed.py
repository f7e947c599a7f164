"""What the sockets of one event loop share: one reader of the events, however many browsers listen."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import DatabaseError

from agentops.live import store

log = logging.getLogger(__name__)

GROUP = "live"
#: How often events are looked for without a nudge.
POLL_SECONDS = 2.0
#: How long to wait before the channel layer is tried again.
RETRY_SECONDS = 5.0
BATCH = 1000


class Listener(Protocol):
    """Somebody who is told of events; ``offer`` must return at once."""

    def offer(self, event: store.Event) -> None:
        """Take up an event."""


class Feed:
    """Reads events while somebody listens, and stops when the last one leaves."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._awake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._last: int | None = None

    def add(self, listener: Listener) -> None:
        """Tell a listener of every event from now on."""
        self._listeners.add(listener)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._hear())]

    def remove(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.discard(listener)
        if not self._listeners:
            for task in self._tasks:
                task.cancel()
            self._tasks, self._last = [], None

    def wake(self) -> None:
        """Look for events now."""
        self._awake.set()

    async def _read(self) -> None:
        while True:
            self._awake.clear()
            try:
                more = await self._hand_on()
            except DatabaseError as error:
                log.warning("events cannot be read just now: %s", error)
                more = False
            if not more:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._awake.wait()
                except TimeoutError:
                    continue

    async def _hand_on(self) -> bool:
        """Hand new events to every listener; whether there may be more."""
        if self._last is None:
            self._last = await database_sync_to_async(store.latest_id)()
            return False
        events = await database_sync_to_async(store.list_after)(self._last, limit=BATCH)
        for event in events:
            self._last = event.id
            for listener in tuple(self._listeners):
                listener.offer(event)
        return len(events) == BATCH

    async def _hear(self) -> None:
        """Wake at every nudge of the channel layer; without one, polling goes on."""
        while True:
            try:
                layer = get_channel_layer()
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                while True:
                    await layer.receive(channel)
                    self.wake()
            except Exception as error:  # noqa: BLE001  (whatever a broker does, the table is polled)
                log.warning("no nudges for browsers just now: %s", error)
                await asyncio.sleep(RETRY_SECONDS)


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, Feed] = WeakKeyDictionary()


def feed() -> Feed:
    """The feed of the running event loop."""
    return _feeds.setdefault(asyncio.get_running_loop(), Feed())


def wake() -> None:
    """Wake the feed of the running event loop, if it has one."""
    if (running := _feeds.get(asyncio.get_running_loop())) is not None:
        running.wake()
