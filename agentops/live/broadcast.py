"""How open browsers hear of a change: through the channel layer, coalesced, never in the way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from channels.layers import get_channel_layer

log = logging.getLogger(__name__)

GROUP = "live"
#: At most four messages a second from one process; what comes in between goes with the next.
INTERVAL_SECONDS = 0.25
TIMEOUT_SECONDS = 1.0
#: How long a broker that failed is left alone; browsers catch up from the table meanwhile.
REST_SECONDS = 5.0


class _Outbox:
    """What one process has not told yet."""

    def __init__(self) -> None:
        self.event_id = 0
        self.topics: set[str] = set()
        self.sending = False
        self.resting_until = 0.0

    def add(self, event_id: int, topics: Sequence[str]) -> None:
        """Take up an event; runs in the event loop."""
        self.event_id = max(self.event_id, event_id)
        self.topics.update(topics)
        if not self.sending:
            self.sending = True
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self.topics:
            event_id, topics = self.event_id, sorted(self.topics)
            self.topics.clear()
            if time.monotonic() >= self.resting_until:
                layer = get_channel_layer()
                message = {"type": "live.event", "event_id": event_id, "topics": topics}
                try:
                    async with asyncio.timeout(TIMEOUT_SECONDS):
                        await layer.group_send(GROUP, message)
                except Exception as error:  # noqa: BLE001  (live is a comfort: no failure of it may reach the books)
                    self.resting_until = time.monotonic() + REST_SECONDS
                    log.warning("browsers cannot be told just now: %s", error)
            await asyncio.sleep(INTERVAL_SECONDS)
        self.sending = False


_outbox = _Outbox()


def broadcast(loop: asyncio.AbstractEventLoop, event_id: int | None, topics: Sequence[str]) -> None:
    """Tell browsers of a committed event, from any thread; returns at once and never raises."""
    if event_id is None:
        return
    try:
        loop.call_soon_threadsafe(_outbox.add, event_id, topics)
    except RuntimeError:  # the loop is closed: nobody listens any more
        log.debug("an event came after the end of its server")
