"""What it cost: spend rollups by dimension, by hour and by day (UTC), their reconciliation, rules and saved views."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from agentops.domain.spans import MEASURES as MEASURES  # noqa: PLC0414  (its users know it from here)
from agentops.jobs import Job


class Dimension(models.IntegerChoices):
    """By what spend is rolled up. ``SERVICE`` rows carry an empty key: their key is ``service``."""

    SERVICE = 0
    USER = 1
    FEATURE = 2
    SESSION = 3
    RELEASE = 4
    AGENT = 5
    MODEL = 6
    TOOL = 7


class Spend(models.Model):
    """Totals of one dimension's key in one service and environment, from ``start`` on.

    ``key`` is empty for what carries no value. Booked at the start time of the span.
    """

    pk = models.CompositePrimaryKey("dimension", "start", "environment", "service", "key")
    dimension = models.SmallIntegerField(choices=Dimension.choices)
    start = models.DateTimeField()
    environment = models.TextField()
    service = models.TextField()
    key = models.TextField()
    cost_nano = models.DecimalField(max_digits=38, decimal_places=0, default=0)
    unpriced_calls = models.BigIntegerField(default=0)
    llm_calls = models.BigIntegerField(default=0)
    tool_calls = models.BigIntegerField(default=0)
    steps = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read_input_tokens = models.BigIntegerField(default=0)
    cache_creation_input_tokens = models.BigIntegerField(default=0)
    reasoning_output_tokens = models.BigIntegerField(default=0)

    class Meta:
        abstract = True
        managed = False

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} {self.service} {self.key}"


class SpendHourly(Spend):
    """Spend by hour."""

    class Meta(Spend.Meta):
        db_table = "spend_hourly"


class SpendDaily(Spend):
    """Spend by day (UTC)."""

    class Meta(Spend.Meta):
        db_table = "spend_daily"


class Reconciliation(models.Model):
    """One check that spans, runs and every rollup agree: what differed, in nano-dollars and rows."""

    checked_at = models.DateTimeField(auto_now_add=True, db_index=True)
    duration_ms = models.IntegerField()
    spans = models.BigIntegerField()
    cost_nano = models.DecimalField(max_digits=38, decimal_places=0)
    discrepancy_nano = models.DecimalField(max_digits=38, decimal_places=0)
    findings = models.JSONField(default=list)

    class Meta:
        ordering = ("-checked_at",)

    def __str__(self) -> str:
        return f"{self.checked_at:%Y-%m-%d %H:%M}: {self.discrepancy_nano} nano-dollars off"


class AttributionRule(models.Model):
    """A version of a rule that says whose spans are: ``number`` names the rule, versions count from 1. Never changed.

    The id of the last version of all is the revision that the rules are at: later ones have larger ids, and commit
    later. ``conditions`` are ``{subject, value, key}``; ``service`` is empty for any.
    """

    number = models.BigIntegerField()
    version = models.IntegerField()
    service = models.CharField(max_length=128, blank=True)
    conditions = models.JSONField(default=list)
    dimension = models.CharField(max_length=16)
    value = models.CharField(max_length=256)
    effective_from = models.DateTimeField()
    is_enabled = models.BooleanField(default=True)
    at = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    note = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering = ("number", "-version")
        constraints = (models.UniqueConstraint(fields=("number", "version"), name="one_version_of_a_rule"),)

    def __str__(self) -> str:
        return f"rule {self.number} v{self.version}"


class Reattribution(Job):
    """What the rules as they were at ``revision`` would move among booked runs: a preview or, of one, what was moved.

    Runs of ``service`` (empty for any) that started in ``[from_at, until_at)``. Its units of work are runs; those up to
    (``after_at``, ``after_trace``, ``after_service``) are done, and of them ``changed`` have another attribution: where
    the value stays, it may be a rule that gives it now. A preview changes nothing but its own lines.
    """

    preview = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="applications")
    revision = models.BigIntegerField()
    from_at = models.DateTimeField()
    until_at = models.DateTimeField()
    service = models.CharField(max_length=128, blank=True)
    after_at = models.DateTimeField(null=True)
    after_trace = models.BinaryField(max_length=16, default=b"")
    after_service = models.TextField(blank=True)
    changed = models.BigIntegerField(default=0)

    class Meta(Job.Meta):
        constraints = (
            models.CheckConstraint(condition=Q(until_at__gt=F("from_at")), name="reattribution_of_some_time"),
        )

    def __str__(self) -> str:
        return f"{'application' if self.preview_id else 'preview'} {self.pk}"


class ReattributionLine(models.Model):
    """How much moves, or moved, from one value of a dimension to another, in one service and month (UTC).

    Empty values are what carries none. ``runs`` counts a run in the month in which it started.
    """

    pk = models.CompositePrimaryKey("reattribution", "month", "service", "dimension", "old_value", "new_value")
    reattribution = models.ForeignKey(Reattribution, on_delete=models.CASCADE, related_name="lines", db_index=False)
    month = models.DateField()
    service = models.TextField()
    dimension = models.TextField()
    old_value = models.TextField()
    new_value = models.TextField()
    runs = models.BigIntegerField(default=0)
    cost_nano = models.DecimalField(max_digits=38, decimal_places=0, default=0)

    class Meta:
        ordering = ("month", "service", "dimension", "old_value", "new_value")

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.service} {self.old_value} to {self.new_value}"


class AttributionChange(models.Model):
    """One booked run whose attribution was changed: what it was and what it is. Written once, never changed.

    Who applied it is in ``reattribution``. An order says how good a value is (``agentops.domain.attribution``).
    """

    pk = models.CompositePrimaryKey("reattribution", "trace_id", "service", "dimension")
    reattribution = models.ForeignKey(Reattribution, on_delete=models.PROTECT, related_name="changes", db_index=False)
    trace_id = models.BinaryField(max_length=16)
    service = models.TextField()
    dimension = models.TextField()
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    old_value = models.TextField(null=True)
    old_order = models.BigIntegerField(null=True)
    new_value = models.TextField(null=True)
    new_order = models.BigIntegerField(null=True)

    class Meta:
        indexes = (models.Index(fields=("trace_id", "service"), name="changes_of_a_run"),)

    def __str__(self) -> str:
        return f"{self.service}/{bytes(self.trace_id).hex()} {self.dimension}"


class SavedView(models.Model):
    """A state of the spend page under a name: its query string. Private, unless its owner shares it with everybody."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=80)
    query = models.TextField()
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name", "owner_id")
        constraints = (models.UniqueConstraint(fields=("owner", "name"), name="one_view_of_a_name"),)

    def __str__(self) -> str:
        return self.name


class DefaultView(models.Model):
    """The saved view that a person's spend page opens with."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="+")
    view = models.ForeignKey(SavedView, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.view_id}"
