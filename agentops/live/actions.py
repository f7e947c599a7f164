"""What tells browsers that something they show has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from django.db import connection, transaction

from agentops.live import store
from agentops.live.broadcast import tell


def publish(topics: Iterable[str], *, data: Mapping[str, Any] | None = None) -> int:
    """Record that topics changed, with the transaction at hand, and tell browsers when it commits.

    ``data`` goes into the message of each topic. Answers the event's id. Call it last in a
    transaction: it holds the lock that orders all events until the commit.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        event_id = store.record(cursor, sorted(set(topics)), data)
        transaction.on_commit(partial(tell, event_id))
    return event_id
