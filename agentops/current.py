"""What people decide and every process must know within seconds: looked at every now and then, read when it changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import DatabaseError, close_old_connections, connection

log = logging.getLogger(__name__)

#: A change holds for what is understood this much later, everywhere.
FRESH_SECONDS = 2.0
T = TypeVar("T")


class Current(Generic[T]):
    """The value at the latest revision, for one process; may be asked from any thread.

    ``latest`` tells the revision, ``load`` gives the value at one; ``clock`` gives seconds and never goes back.
    """

    def __init__(
        self, latest: Callable[[], int], load: Callable[[int], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._latest, self._load, self._clock = latest, load, clock
        self._known: tuple[int, T] | None = None
        self._looked_at = 0.0
        self._lock = threading.Lock()

    def get(self) -> T:
        """The value as it was a few seconds ago at most; while it cannot be read, as it was last.

        Raises ``DatabaseError`` when it could never be read.
        """
        known = self._known
        if known is None or self._clock() - self._looked_at >= FRESH_SECONDS:
            with self._lock:
                known = self._look()
        return known[1]

    def _look(self) -> tuple[int, T]:
        _let_go()
        try:
            latest = self._latest()
            if self._known is None or self._known[0] != latest:
                self._known = (latest, self._load(latest))
        except DatabaseError as error:
            if self._known is None:
                raise
            log.warning("what was decided cannot be read now: %s", error)
        finally:
            self._looked_at = self._clock()
            _let_go()
        return self._known


def _let_go() -> None:
    """Give the connection back, unless it is in a transaction: a writer's thread ends no request that would."""
    if not connection.in_atomic_block:
        close_old_connections()
