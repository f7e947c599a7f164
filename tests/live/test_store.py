"""Events: recorded with what they tell of, numbered in the order of commits."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from agentops.live import store
from agentops.live.actions import publish
from agentops.live.models import LiveEvent
from agentops.live.tasks import KEPT_FOR, prune_events

pytestmark = pytest.mark.django_db(transaction=True)


class UndoneError(Exception):
    """What rolls a transaction back."""


def test_an_event_is_recorded_with_the_transaction_and_told_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr("agentops.live.actions.tell", heard.append)
    with transaction.atomic():
        event_id = publish(["spend", "runs", "runs"], data={"title": "x"})
        assert heard == []
    assert heard == [event_id]
    assert LiveEvent.objects.get().topics == ["runs", "spend"]


def test_what_is_rolled_back_is_neither_recorded_nor_told(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr("agentops.live.actions.tell", heard.append)
    with suppress(UndoneError), transaction.atomic():
        publish(["runs"])
        raise UndoneError
    assert (heard, LiveEvent.objects.count()) == ([], 0)


def test_who_asks_for_what_came_after_an_id_misses_no_slow_transaction() -> None:
    """Two transactions overlap: the one that commits first has the lower id, whoever began first."""
    order: list[int] = []
    began = threading.Event()

    def slow() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                order.append(store.record(cursor, ["slow"]))
            began.set()
            time.sleep(0.3)
        connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    began.wait(5)
    later = publish(["quick"])  # waits for the lock, and so for the commit
    visible = [event.id for event in store.list_after(0, limit=10)]
    thread.join()
    assert visible == [*order, later]


def test_recording_is_one_statement(django_assert_num_queries: pytest.FixtureRequest) -> None:
    with transaction.atomic(), django_assert_num_queries(1), connection.cursor() as cursor:  # type: ignore[operator]
        store.record(cursor, [f"run:{n}" for n in range(200)])


def test_old_events_are_pruned_and_the_young_stay() -> None:
    old, young = publish(["runs"]), publish(["runs"])
    LiveEvent.objects.filter(id=old).update(at=timezone.now() - KEPT_FOR - timedelta(minutes=1))
    assert prune_events() == 1
    assert prune_events() == 0
    assert not store.is_kept(old)
    assert store.is_kept(young)
