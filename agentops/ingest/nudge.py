"""Tells the watch that something waits: a hint through the broker, after the commit and never in its way.

Nothing depends on it: the watch looks by itself several times a second.
"""

from __future__ import annotations

import logging
import threading
import time

from celery import current_app

log = logging.getLogger(__name__)

TASK, QUEUE = "agentops.watch.tasks.look", "watch"
#: At most one hint in this time, and none for a while after one that failed; seconds. A hint is worth nothing later.
EVERY, REST, EXPIRES = 0.1, 5.0, 10.0


class Nudger:
    """One thread that passes hints on, however many come."""

    def __init__(self) -> None:
        """Start at the first hint."""
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def nudge(self) -> None:
        """Something waits. Returns at once and never raises."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="watch-nudger", daemon=True)
                    self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                current_app.send_task(TASK, queue=QUEUE, expires=EXPIRES, ignore_result=True, retry=False)
            except Exception as error:  # noqa: BLE001  (a hint: whatever is wrong with the broker, the watch goes on)
                log.info("the watch could not be nudged: %s", error)
                time.sleep(REST)
            time.sleep(EVERY)
