"""Long work that people start, watch and may cancel: a row says how far it is, whoever does it.

An app derives its own model. Its task claims the row, does the work in steps of one transaction each, and reports each
step in the same transaction: what was done and what the row says are never apart, and whoever comes after a crash goes
on from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import OperationalError, models, transaction
from django.db.models import Q
from django.utils import timezone

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Who has reported nothing for so long is taken to be dead.
STALE = timedelta(minutes=2)
MAX_MESSAGE_CHARS = 500


class JobState(models.TextChoices):
    """How far a job is."""

    PENDING = "pending", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"


class Job(models.Model):
    """One piece of long work. ``done`` of ``total`` units are finished; ``total`` is ``None`` while nobody knows."""

    state = models.CharField(max_length=16, choices=JobState.choices, default=JobState.PENDING)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True)
    message = models.CharField(max_length=MAX_MESSAGE_CHARS, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    requested_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancel_requested = models.BooleanField(default=False)

    class Meta:  # noqa: D106  (Meta needs no docstring)
        abstract = True
        ordering = ("-requested_at",)

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self.state in (JobState.DONE, JobState.CANCELLED, JobState.FAILED)

    @property
    def percent(self) -> float | None:
        """How much is done; ``None`` while nobody knows how much there is."""
        return None if self.total is None else 100.0 if not self.total else min(100.0, 100 * self.done / self.total)

    @classmethod
    def claim(cls, pk: int, *, now: datetime) -> Self | None:
        """Take a job that waits, or whose worker is dead; ``None`` when there is nothing to do."""
        free = Q(state=JobState.PENDING) | Q(state=JobState.RUNNING, reported_at__lt=now - STALE)
        changes: dict[str, Any] = {"state": JobState.RUNNING, "reported_at": now}
        if not cls._default_manager.filter(free, pk=pk).update(**changes):
            return None
        job = cls._default_manager.get(pk=pk)
        if job.started_at is None:
            job.started_at = now
            job.save(update_fields=["started_at"])
        return job

    @classmethod
    def unfinished(cls, *, now: datetime) -> list[int]:
        """Jobs that somebody should take up."""
        free = Q(state=JobState.PENDING) | Q(state=JobState.RUNNING, reported_at__lt=now - STALE)
        return list(cls._default_manager.filter(free).order_by("requested_at").values_list("pk", flat=True))

    def report(self, done: int, *, now: datetime) -> bool:
        """Say how far it is, inside the transaction of the step; whether to go on: not when it was cancelled."""
        self.done, self.reported_at = done, now
        self.save(update_fields=["done", "reported_at"])
        self.refresh_from_db(fields=["cancel_requested"])
        return not self.cancel_requested

    def release(self) -> None:
        """Let whoever comes next go on, without waiting until this one is taken for dead."""
        type(self)._default_manager.filter(pk=self.pk, state=JobState.RUNNING).update(  # noqa: SLF001  (Django's own name)
            state=JobState.PENDING
        )

    def work(
        self,
        prepare: Callable[[], T],
        step: Callable[[T], bool],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        failed: Callable[[], object] = lambda: None,
    ) -> bool:
        """Take steps for a while with what they need prepared; whether there is more to do.

        Each is a transaction of its own that says whether to go on.
        A step that a lock, a deadlock or the end of its time undid is tried again by whoever comes next. Any other
        fault ends the job; ``failed`` is called in the transaction that says so.
        """
        until = clock() + seconds
        try:
            prepared = prepare()
            while (more := step(prepared)) and clock() < until:
                pass
        except (OperationalError, SoftTimeLimitExceeded):
            log.warning("%s will be tried again", self, exc_info=True)
            more = True
        except Exception as error:
            log.exception("%s failed", self)
            with transaction.atomic():
                self.end(JobState.FAILED, now=timezone.now(), message=f"{type(error).__name__}: {error}")
                failed()
            return False
        if more:
            self.release()
        return more

    def end(self, state: JobState, *, now: datetime, message: str = "") -> None:
        """Say how it ended."""
        self.state, self.ended_at, self.message = state, now, message[:MAX_MESSAGE_CHARS]
        self.save(update_fields=["state", "ended_at", "message"])

    def ask_to_cancel(self, *, now: datetime) -> bool:
        """Stop it before its next step; whether there was anything to stop. What is done stays done."""
        live = type(self)._default_manager.filter(pk=self.pk)  # noqa: SLF001  (Django's own name)
        waiting = live.filter(state=JobState.PENDING).update(
            state=JobState.CANCELLED, cancel_requested=True, ended_at=now
        )
        return bool(waiting or live.filter(state=JobState.RUNNING).update(cancel_requested=True))
