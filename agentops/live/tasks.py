"""What keeps the list of events short."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from agentops.live.models import LiveEvent

#: A browser that was away for longer is told that everything has changed.
KEPT_FOR = timedelta(hours=1)


@shared_task
def prune_events() -> int:
    """Delete old events; answers how many. It may run twice."""
    deleted, _ = LiveEvent.objects.filter(at__lt=timezone.now() - KEPT_FOR).delete()
    return deleted
