"""What is done about the books on a timetable."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from agentops.costs import books, windows
from agentops.costs import fold as folding


@shared_task
def reconcile(*, whole: bool = False) -> None:
    """Check that the books agree, and record the outcome; may run twice."""
    books.reconcile(now=timezone.now(), whole=whole)


@shared_task
def close_days() -> None:
    """Move days that are over out of ingest's way, and the sums of the windows along; may run twice."""
    windows.close_days(now=timezone.now())


@shared_task
def fold() -> None:
    """Move what ingest has noted into the rollups of several keys; may run twice."""
    folding.fold(now=timezone.now())
