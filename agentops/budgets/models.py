"""Ceilings, their windows, and what is held in them for steps under way.

What people decide (``Budget``, ``Raise``, ``Stop``) is few rows, each with its record in ``Change``; windows,
reservations and refusals are written by statements of ``store`` and its like.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from agentops.domain import budgets as rules

MAX_NAME_CHARS, MAX_NOTE_CHARS = 120, 400


class Revision(models.Model):
    """One row: a number that is another one after every decision, so that everybody notices."""

    revision = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.revision)


class Budget(models.Model):
    """A ceiling. Money is nano-dollars; ``None`` is no limit of that kind.

    It counts what came since ``counts_from``, which is when it was made unless it was asked to count older spend.
    ``kept_nano`` of its dollars only final answers may use. ``is_default``: where a service has no ceiling of its own.
    One that is switched off counts nothing, and is kept for what it says of the past.
    """

    name = models.CharField(max_length=MAX_NAME_CHARS, blank=True)
    services = ArrayField(models.TextField(), default=list, blank=True)
    team = models.TextField(blank=True)
    feature = models.TextField(blank=True)
    user = models.TextField(blank=True)
    session = models.TextField(blank=True)
    run = models.TextField(blank=True)
    environment = models.TextField(blank=True)
    each = models.CharField(max_length=8, blank=True, choices=[(e.value, e.value) for e in rules.Each])
    period = models.CharField(max_length=8, choices=[(p.value, p.value) for p in rules.Period])
    timezone = models.CharField(max_length=64, default="UTC")
    limit_nano = models.BigIntegerField(null=True)
    limit_tokens = models.BigIntegerField(null=True)
    limit_steps = models.BigIntegerField(null=True)
    thresholds = ArrayField(models.FloatField(), default=list, blank=True)
    action = models.CharField(max_length=8, choices=[(a.value, a.value) for a in rules.Action])
    kept_nano = models.BigIntegerField(default=0)
    effective_from = models.DateTimeField()
    counts_from = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=MAX_NOTE_CHARS, blank=True)
    is_default = models.BooleanField(default=False)
    is_off = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    version = models.IntegerField(default=1)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(limit_nano__isnull=False) | Q(limit_tokens__isnull=False) | Q(limit_steps__isnull=False),
                name="a_budget_limits_something",
            ),
        )

    def __str__(self) -> str:
        return self.name or f"budget {self.pk}"


class Raise(models.Model):
    """A limit raised until a moment, of one member or of all; amounts are added to the limits."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="raises")
    member = models.TextField(blank=True)
    extra_nano = models.BigIntegerField(default=0)
    extra_tokens = models.BigIntegerField(default=0)
    extra_steps = models.BigIntegerField(default=0)
    starts_at = models.DateTimeField()
    until = models.DateTimeField()
    reason = models.CharField(max_length=MAX_NOTE_CHARS)
    raised_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.budget} raised until {self.until:%F %H:%M}"


class Stop(models.Model):
    """The kill switch: nothing of this service, session, user or run is let through until somebody lifts it.

    An empty ``service`` is any, for sessions, users and runs.
    """

    class What(models.TextChoices):
        """What is stopped."""

        SERVICE = "service", "Service"
        SESSION = "session", "Session"
        USER = "user", "User"
        RUN = "run", "Run"

    what = models.CharField(max_length=8, choices=What.choices)
    value = models.TextField()
    reason = models.CharField(max_length=MAX_NOTE_CHARS)
    stopped_at = models.DateTimeField()
    stopped_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    lifted_reason = models.CharField(max_length=MAX_NOTE_CHARS, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("what", "value"), condition=Q(lifted_at=None), name="one_stop_of_a_kind"),
        )

    def __str__(self) -> str:
        return f"{self.what} {self.value}"


class Change(models.Model):
    """Something that a person decided: what it was before and after, as JSON. Never changed, never deleted."""

    class Subject(models.TextChoices):
        """What was decided about."""

        BUDGET = "budget", "Budget"
        RAISE = "raise", "Raise"
        STOP = "stop", "Kill switch"

    subject = models.CharField(max_length=8, choices=Subject.choices)
    subject_id = models.BigIntegerField()
    budget = models.ForeignKey(Budget, null=True, on_delete=models.CASCADE, related_name="changes")
    at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    what = models.CharField(max_length=40)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=MAX_NOTE_CHARS, blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.subject} {self.subject_id} {self.what}"


class Window(models.Model):
    """One window of one member of a budget: what is spent in it, and what is held. Money is nano-dollars.

    ``service`` is the one that spent last. ``fired`` is the highest threshold that has been told; at ``next_*`` the
    next one has been reached, and ``is_due`` says that somebody has to look. ``refused_nano`` is what refused steps
    were estimated to cost, each step of a run once a minute. Of ``told_refused`` refusals an alert has told.
    """

    pk = models.CompositePrimaryKey("budget_id", "member", "starts_at")
    budget_id = models.BigIntegerField()
    member = models.TextField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    service = models.TextField()
    spent_nano = models.BigIntegerField()
    spent_tokens = models.BigIntegerField()
    spent_steps = models.BigIntegerField()
    reserved_nano = models.BigIntegerField()
    reserved_tokens = models.BigIntegerField()
    reserved_steps = models.BigIntegerField()
    refused = models.BigIntegerField()
    refused_nano = models.BigIntegerField()
    told_refused = models.BigIntegerField()
    fired = models.FloatField()
    next_nano = models.BigIntegerField(null=True)
    next_tokens = models.BigIntegerField(null=True)
    next_steps = models.BigIntegerField(null=True)
    is_due = models.BooleanField()
    exhausted_at = models.DateTimeField(null=True)
    fast_burn_at = models.DateTimeField(null=True)
    slow_burn_at = models.DateTimeField(null=True)
    began_at = models.DateTimeField()
    touched_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "budget_window"

    def __str__(self) -> str:
        return f"{self.budget_id}/{self.member}/{self.starts_at:%F %H:%M}"


class Reservation(models.Model):
    """What was granted to one step: held until it is settled, or expires. Money is nano-dollars.

    ``windows`` are those it is held or spent in: ``[budget id, member, start]`` each. ``held_*`` is what was held,
    ``spent_*`` what the settlement said. ``is_counted``: its span has come, and its cost is counted from there.
    """

    id = models.UUIDField(primary_key=True)
    service = models.TextField()
    idempotency_key = models.TextField(null=True)
    body_hash = models.BinaryField(max_length=16)
    environment = models.TextField()
    run = models.TextField()
    session = models.TextField()
    user = models.TextField()
    feature = models.TextField()
    agent = models.TextField()
    kind = models.TextField()
    provider = models.TextField()
    model = models.TextField()
    tool = models.TextField()
    is_final = models.BooleanField()
    state = models.SmallIntegerField()
    held_nano = models.BigIntegerField()
    held_tokens = models.BigIntegerField()
    held_steps = models.BigIntegerField()
    windows = models.JSONField()
    answer = models.JSONField()
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    outcome = models.TextField(null=True)
    spent_nano = models.BigIntegerField(null=True)
    spent_tokens = models.BigIntegerField(null=True)
    spent_steps = models.BigIntegerField(null=True)
    is_late = models.BooleanField()
    is_counted = models.BooleanField()
    trace_id = models.BinaryField(max_length=16, null=True)
    span_id = models.BinaryField(max_length=8, null=True)
    answer_key = models.BinaryField(max_length=16, null=True)

    class Meta:
        managed = False
        db_table = "budget_reservation"

    def __str__(self) -> str:
        return str(self.id)
