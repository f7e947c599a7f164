"""What is done about the books on a timetable, and long work that people ask for."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from agentops.costs import books, reattribution, windows
from agentops.costs import fold as folding
from agentops.costs.actions import ask_for
from agentops.costs.models import Reattribution


@shared_task
def reconcile() -> None:
    """Check that the books of the last hours agree, and record the outcome; may run twice."""
    books.reconcile(now=timezone.now())


# Half a minute for a million spans: it grows with the books, and nothing waits for it.
@shared_task(soft_time_limit=1_800, time_limit=1_860)
def reconcile_all() -> None:
    """The same of everything."""
    books.reconcile(now=timezone.now(), whole=True)


@shared_task
def close_days() -> None:
    """Move days that are over out of ingest's way, and the sums of the windows along; may run twice."""
    windows.close_days(now=timezone.now())


@shared_task
def fold() -> None:
    """Move what ingest has noted into the rollups of several keys; may run twice."""
    folding.fold(now=timezone.now())


@shared_task
def reattribute(pk: int) -> None:
    """Do some of a re-attribution, and ask for another task to go on; may run twice."""
    if reattribution.work(pk):
        ask_for(pk)


@shared_task
def take_up() -> None:
    """Go on with re-attributions that nobody does: those whose task was lost, or whose worker died."""
    for pk in Reattribution.unfinished(now=timezone.now()):
        reattribute(pk)
