"""What is done about the books on a timetable."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from agentops.costs import books


@shared_task
def reconcile(*, whole: bool = False) -> None:
    """Check that the books agree, and record the outcome; may run twice."""
    books.reconcile(now=timezone.now(), whole=whole)
