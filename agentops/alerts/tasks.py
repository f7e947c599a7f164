"""What alerts need the clock for."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from agentops.alerts import actions


@shared_task
def settle() -> int:
    """Resolve what is over and wake what is quiet no longer; how many moved. It may run twice."""
    return len(actions.settle(now=timezone.now()))
