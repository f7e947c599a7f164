"""Looks at what waits without being asked: a thread of the watch's process, for which no broker is needed."""

from __future__ import annotations

import logging
import threading

from django.db import DatabaseError, close_old_connections

from agentops.watch.look import look

log = logging.getLogger(__name__)

#: How long after a look that found nothing the next one is, and after one that failed; in seconds.
EVERY, AFTER_FAILURE = 0.25, 2.0


class Sweeper:
    """Looks again and again until stopped."""

    def __init__(self) -> None:
        """Do nothing yet."""
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
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                close_old_connections()
                pause = 0.0 if look() else EVERY
            except DatabaseError as error:
                log.warning("nothing can be watched just now: %s", error)
                pause = AFTER_FAILURE
            except Exception:
                log.exception("a look failed")
                pause = AFTER_FAILURE
