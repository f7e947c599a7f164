"""Looks at what waits without being asked: a thread of the watch's process, for which no broker is needed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections

log = logging.getLogger(__name__)

#: How long after a look that failed the next one is, in seconds.
AFTER_FAILURE = 2.0


class Sweeper:
    """Looks again and again until stopped, in one thread with one connection.

    ``looks`` are what looks at something, each with how many seconds after a look that found nothing the next one is;
    each answers whether there may be more to look at.
    """

    def __init__(self, *looks: tuple[Callable[[], bool], float]) -> None:
        """Do nothing yet."""
        self._due = [(0.0, look, every) for look, every in looks]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the present look, then end."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopped.wait(max(0.0, min(at for at, *_ in self._due) - time.monotonic())):
            self._due.sort(key=lambda one: one[0])
            _, look, every = self._due.pop(0)
            self._due.append((time.monotonic() + _look(look, every), look, every))


def _look(look: Callable[[], bool], every: float) -> float:
    """Look once; in how many seconds to look again."""
    try:
        close_old_connections()
        return 0.0 if look() else every
    except DatabaseError as error:
        log.warning("nothing can be looked at just now: %s", error)
    except Exception:
        log.exception("a look failed")
    return AFTER_FAILURE
