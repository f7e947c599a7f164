"""Settlements that could not be sent: kept, bounded, until the guard answers again."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from agentops.client.errors import GuardMisconfigured
from agentops.client.questions import Told

log = logging.getLogger("agentops.client")


class Outbox:
    """Settlements in the order in which they came. When it is full the oldest goes: its reservation expires."""

    def __init__(self, capacity: int) -> None:
        self._waiting: deque[Told] = deque()
        self._capacity = capacity
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, told: Told) -> None:
        """Keep one."""
        with self._lock:
            self._waiting.append(told)
            if len(self._waiting) > self._capacity:
                self._waiting.popleft()
                log.error("A settlement was given up: %d wait for a guard that does not answer.", self._capacity)

    def some(self, most: int) -> Iterator[Told]:
        """Take the oldest ones, each when it is about to be sent."""
        for _ in range(most):
            with self._lock:
                if not self._waiting:
                    return
                told = self._waiting.popleft()
            yield told

    @contextmanager
    def sending(self, told: Told) -> Iterator[None]:
        """Keep one that was taken, before all others, unless it is sent within, or refused."""
        try:
            with giving_up():
                yield
        except BaseException:
            with self._lock:
                self._waiting.appendleft(told)
            raise


@contextmanager
def giving_up() -> Iterator[None]:
    """Give up a settlement that is refused within: its step is made already, and nobody is stopped for it."""
    try:
        yield
    except GuardMisconfigured as error:
        log.error("A settlement was refused: %s", error)  # noqa: TRY400  (what is wrong is in the message)
