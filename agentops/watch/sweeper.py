"""Looks at what waits without being asked: threads of the watch's process, for which no broker is needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections

log = logging.getLogger(__name__)

#: How long after a look that failed the next one is, in seconds.
AFTER_FAILURE = 2.0


class Sweeper:
    """Looks again and again until stopped.

    ``look`` answers whether there may be more to look at; if not, the next look is ``every`` seconds later.
    """

    def __init__(self, look: Callable[[], bool], *, every: float, name: str) -> None:
        """Do nothing yet."""
        self._look, self._every = look, every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the present look, then end."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                close_old_connections()
                pause = 0.0 if self._look() else self._every
            except DatabaseError as error:
                log.warning("nothing can be looked at just now: %s", error)
                pause = AFTER_FAILURE
            except Exception:
                log.exception("a look failed")
                pause = AFTER_FAILURE
