"""Settlements that could not be sent: kept, bounded, until the guard answers again."""

from __future__ import annotations

import logging
import threading
from collections import deque

from agentops.client.questions import Told

log = logging.getLogger("agentops.client")


class Outbox:
    """Settlements in the order in which they came. When it is full the oldest goes: its reservation expires."""

    def __init__(self, capacity: int) -> None:
        self._waiting: deque[Told] = deque()
        self._capacity = capacity
        self._lock = threading.Lock()
        self.delayed = 0
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, told: Told) -> None:
        """Keep one."""
        with self._lock:
            self.delayed += 1
            self._waiting.append(told)
            if len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self.lost += 1
                log.error("A settlement was given up: %d wait for a guard that does not answer.", self._capacity)

    def take(self) -> Told | None:
        """The oldest one, for whoever sends it now."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def put_back(self, told: Told) -> None:
        """Keep one that was taken and could not be sent, before all others."""
        with self._lock:
            self._waiting.appendleft(told)
