"""What ceilings need the clock for. Each task may run twice, or at the same time again."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from agentops.guard import estimates, queries, reconciliation


@shared_task
def note_habits() -> None:
    """Work out what steps usually need."""
    estimates.note_habits()


@shared_task
def prune() -> None:
    """Forget what is long over."""
    queries.prune(now=timezone.now(), days=settings.SPAN_RETENTION_DAYS)


@shared_task
def reconcile() -> None:
    """Compare windows with the books."""
    reconciliation.reconcile()
