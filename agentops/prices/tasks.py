"""Who does re-pricings: whoever looks for work finds their rows."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from agentops.prices import repricing
from agentops.prices.models import Repricing


@shared_task
def take_up() -> None:
    """Do some of every re-pricing that nobody does just now; may run twice, also at once."""
    repricing.sweep()
    jobs = Repricing.unfinished(now=timezone.now())
    for pk in jobs:
        repricing.work(pk, slice_seconds=repricing.SLICE_SECONDS / len(jobs))
