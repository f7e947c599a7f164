"""How open browsers hear of a change at once: through the channel layer, coalesced, never in the way.

What is sent is only a nudge: each process reads the events themselves from PostgreSQL, and does so
by itself every few seconds, so that a lost nudge costs a moment and never an event.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from agentops.live.feed import GROUP, wake

log = logging.getLogger(__name__)

#: At most four messages a second from one process; what comes in between goes with the next.
INTERVAL_SECONDS = 0.25
TIMEOUT_SECONDS = 1.0
#: How long a broker that failed is left alone; browsers catch up from the table meanwhile.
REST_SECONDS = 5.0


class _Outbox:
    """What one process has not told yet."""

    def __init__(self) -> None:
        self.event_id = 0
        self.sent_id = 0
        self.sending = False
        self.resting_until = 0.0

    def add(self, event_id: int) -> None:
        """Take up an event; runs in the event loop."""
        self.event_id = max(self.event_id, event_id)
        if not self.sending:
            self.sending = True
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            while self.sent_id < self.event_id:
                self.sent_id = self.event_id
                wake()  # the sockets of this very process need no broker
                await self.nudge(self.sent_id)
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self.sending = False

    async def nudge(self, event_id: int) -> None:
        """Send one message to every process; a broker that fails is left alone for a while."""
        if time.monotonic() < self.resting_until:
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await get_channel_layer().group_send(GROUP, {"type": "live.event", "event_id": event_id})
        except Exception as error:  # noqa: BLE001  (live is a comfort: no failure of it may reach the books)
            self.resting_until = time.monotonic() + REST_SECONDS
            log.warning("browsers hear of changes a little later: %s", error)


_outbox = _Outbox()


def broadcast(loop: asyncio.AbstractEventLoop, event_id: int | None, topics: Sequence[str] = ()) -> None:
    """Tell browsers of a committed event, from any thread; returns at once and never raises."""
    del topics  # they stand in the event
    if event_id is None:
        return
    try:
        loop.call_soon_threadsafe(_outbox.add, event_id)
    except RuntimeError:  # the loop is closed: nobody listens any more
        log.debug("an event came after the end of its server")


def tell(event_id: int) -> None:
    """Tell browsers of a committed event, from code without an event loop; waits a second at most."""
    async_to_sync(_outbox.nudge)(event_id)
