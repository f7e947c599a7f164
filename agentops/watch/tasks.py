"""What the watch does when it is nudged, and on a timetable. Each task may run twice, or at the same time again."""

from __future__ import annotations

import time
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from agentops.runs import findings
from agentops.watch import dry_run, streams, usual
from agentops.watch import look as looking
from agentops.watch.models import DryRun

#: A task goes on while there is something to do, but leaves its thread to others then, in seconds.
AT_ONCE = 20.0


@shared_task
def look() -> None:
    """Look at everything that waits."""
    until = time.monotonic() + AT_ONCE
    while looking.look() and time.monotonic() < until:
        pass


@shared_task
def look_at_quiet() -> None:
    """End what goes on no more: runs that have gone quiet, services that spend as usual again."""
    now = timezone.now()
    looking.look_at_quiet(now=now)
    looking.look_at_speeds(now=now)


@shared_task
def prune() -> None:
    """Forget runs and five minutes that nobody has asked about for days."""
    now = timezone.now()
    streams.prune(now=now)
    usual.prune(now=now)
    findings.forget_before(now - timedelta(days=settings.SPAN_RETENTION_DAYS))


@shared_task
def take_up_dry_runs() -> None:
    """Do some of every dry run that nobody does just now. Not of the watch's own queue: nothing may hold that up."""
    dry_run.sweep(now=timezone.now())
    jobs = DryRun.unfinished(now=timezone.now())
    for pk in jobs:
        dry_run.work(pk, slice_seconds=dry_run.SLICE_SECONDS / len(jobs))
