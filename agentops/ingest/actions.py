"""What the receiver does about itself: heartbeats, and the quarantine digested again."""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils import timezone

from agentops.ingest.batch import Batch
from agentops.ingest.models import Heartbeat, Quarantine
from agentops.ingest.pipeline import Pipeline
from agentops.ingest.receiver import decode

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
AT_ONCE = 20


@transaction.atomic
def beat() -> None:
    """Note that beat sent a task and that a worker ran it."""
    for name in ("beat", "worker"):
        Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now()})


def redigest() -> int:
    """Try the quarantined requests again; how many were digested. What is booked is not booked again."""
    waiting = Quarantine.objects.filter(digested_at=None, attempts__lt=MAX_ATTEMPTS).order_by("attempts", "id")
    digested = 0
    pipeline = Pipeline()
    for kept in waiting[:AT_ONCE]:
        kept.attempts += 1
        try:
            # At the time of its receipt, so that wrong clocks are put right as they would have been.
            now_ns = int(kept.received_at.timestamp() * 1_000_000) * 1_000
            decoded = decode(bytes(kept.body), kept.content_type, kept.encoding, now_ns)
            pipeline.book_now(Batch(decoded.spans, kept.service))
        except Exception as error:  # noqa: BLE001  (it stays in quarantine, and says why)
            kept.error = f"{type(error).__name__}: {error}"[:2_000]
            log.warning("quarantine %s cannot be digested: %s", kept.pk, kept.error)
        else:
            kept.digested_at = timezone.now()
            digested += 1
        kept.save(update_fields=["attempts", "error", "digested_at"])
    pipeline.close()
    return digested
