"""Workers, the clock and people at the same alerts at once: nobody fails, and the record says what was done."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.utils import timezone

from agentops.accounts.models import User
from agentops.alerts import actions
from agentops.alerts.actions import announce, clear, report
from agentops.alerts.models import Alert
from agentops.domain.alerting import Move
from tests.alerts.signalling import signal

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 3.0


def work(chance: random.Random) -> None:
    now = timezone.now()
    kinds = ("loop.repeat", "loop.cycle")
    found = [signal(chance.randrange(60), kind=chance.choice(kinds), service=chance.choice("abc")) for _ in range(30)]
    with transaction.atomic():
        changed = report(found, now=now)
        announce([*changed, *clear([one.fingerprint for one in chance.sample(found, 10)], now=now)])


def settle(chance: random.Random) -> None:
    actions.settle(now=timezone.now() + timedelta(minutes=chance.choice((0, 2))))


def move(chance: random.Random) -> None:
    ids = list(Alert.objects.order_by("-pk").values_list("pk", flat=True)[:40])
    chance.shuffle(ids)
    what = chance.choice((Move.ACKNOWLEDGE, Move.UNACKNOWLEDGE, Move.RESOLVE))
    actions.move_all(ids=ids, move=what, by=User.objects.get(), now=timezone.now())


def test_nobody_fails_and_every_alert_is_where_its_last_move_led() -> None:
    User.objects.create_user("ada")
    errors: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def keep_on(act: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        try:
            while time.monotonic() < end:
                act(chance)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connection.close()

    roles = (work, work, work, settle, settle, move, move)
    threads = [threading.Thread(target=keep_on, args=(act, seed)) for seed, act in enumerate(roles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Alert.objects.exists()
    for alert in Alert.objects.prefetch_related("moves"):
        moves = sorted(alert.moves.all(), key=lambda one: one.pk)
        assert (moves[-1].to_state, len(moves) - 1) == (alert.state, alert.version), alert
        assert all(before.to_state == after.from_state for before, after in pairwise(moves)), alert
