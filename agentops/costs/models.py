"""What it cost: spend rollups by dimension, by hour and by day (UTC), and their reconciliation."""

from __future__ import annotations

from django.db import models

from agentops.domain.spans import MEASURES as MEASURES  # noqa: PLC0414  (its users know it from here)


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
