"""What people do to attribution: previews of what rules would move, their application, and stopping them."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial

from celery import current_app
from django.db import transaction
from django.utils import timezone

from agentops.accounts.models import User
from agentops.costs.models import Reattribution
from agentops.costs.reattribution import starts_in
from agentops.costs.rules import TOPIC, latest_revision
from agentops.jobs import JobState
from agentops.live.actions import publish

log = logging.getLogger(__name__)

TASK = "agentops.costs.tasks.reattribute"


class EmptyPeriod(ValueError):
    """A period that ends before it begins."""


class NotApplicable(ValueError):
    """What a preview found cannot be applied, or not any more; the reason is a sentence."""


@transaction.atomic
def start_preview(*, from_at: datetime, until_at: datetime, service: str = "", by: User | None) -> Reattribution:
    """Have it worked out what the rules as they are now would move. Raises ``EmptyPeriod``."""
    if from_at >= until_at:
        message = "The period ends before it begins."
        raise EmptyPeriod(message)
    job = Reattribution.objects.create(
        revision=latest_revision(), from_at=from_at, until_at=until_at, service=service, requested_by=by
    )
    transaction.on_commit(partial(ask_for, job.pk))
    publish([TOPIC])
    return job


@transaction.atomic
def apply_preview(*, preview: Reattribution, by: User | None) -> Reattribution:
    """Have what a preview found moved. Raises ``NotApplicable``."""
    preview = Reattribution.objects.select_for_update().get(pk=preview.pk)
    if (reason := why_not_applicable(preview)) is not None:
        raise NotApplicable(reason)
    job = Reattribution.objects.create(
        preview=preview,
        revision=preview.revision,
        from_at=preview.from_at,
        until_at=preview.until_at,
        service=preview.service,
        requested_by=by,
    )
    transaction.on_commit(partial(ask_for, job.pk))
    publish([TOPIC])
    return job


def why_not_applicable(preview: Reattribution) -> str | None:
    """A sentence that says why a job cannot be applied now; ``None`` when it can."""
    if preview.preview_id:
        return "This is an application already."
    if preview.state != JobState.DONE:
        return "Only a preview that is done can be applied."
    if preview.applications.exclude(state__in=(JobState.CANCELLED, JobState.FAILED)).exists():
        return "It was applied already."
    if preview.revision != latest_revision():
        return "The rules were changed since. Make a new preview."
    return None if preview.changed else "Nothing would move."


@transaction.atomic
def cancel_reattribution(*, job: Reattribution) -> bool:
    """Stop a job before its next page; whether there was anything to stop. What is done stays done."""
    stopped = job.ask_to_cancel(now=timezone.now())
    publish([TOPIC])
    return stopped


def ask_for(pk: int) -> None:
    """Have a worker do some of a job, now or when it may begin. Without a broker, who looks for work finds it."""
    wait = starts_in(Reattribution.objects.get(pk=pk), timezone.now()).total_seconds()
    try:
        current_app.send_task(TASK, args=[pk], countdown=wait or None)
    except Exception as error:  # noqa: BLE001  (the row is the record; a task is only a hint)
        log.warning("re-attribution %s begins a little later: %s", pk, error)
