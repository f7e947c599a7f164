"""The hint that something waits to be watched."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
import redis
from django.conf import settings

from agentops.celery import app
from agentops.ingest import nudge
from agentops.ingest.nudge import Nudger


def eventually(queue: str) -> int:
    broker = redis.Redis.from_url(settings.VALKEY_URL)
    deadline = time.monotonic() + 10
    while not (waiting := int(broker.llen(queue))) and time.monotonic() < deadline:  # type: ignore[arg-type]
        time.sleep(0.02)
    time.sleep(2 * nudge.EVERY)
    waiting = int(broker.llen(queue))  # type: ignore[arg-type]
    broker.delete(queue)
    return waiting


def test_many_hints_at_once_are_a_few_tasks_in_the_queue_of_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.conf.task_routes["agentops.watch.tasks.*"] == {"queue": nudge.QUEUE}
    queue = f"watch-{uuid.uuid4().hex}"
    monkeypatch.setattr(nudge, "QUEUE", queue)
    nudger = Nudger()
    for _ in range(50):
        nudger.nudge()
    assert 1 <= eventually(queue) <= 3


def test_a_broker_that_is_away_is_left_alone_for_a_while_and_nobody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def away(*_: object, **__: object) -> None:
        tried.set()
        message = "no broker"
        raise OSError(message)

    monkeypatch.setattr(nudge.current_app, "send_task", away)
    Nudger().nudge()
    assert tried.wait(5)
