"""The price book as people decided it, and what was priced again by it.

Entries and aliases are never changed: each row is a version, made by one revision of the book. Who it was, when, and
what it was before stays on record, and the book of any revision can be read again.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from agentops.domain.pricebook import STANDARD_TIER
from agentops.jobs import Job


class Kind(models.TextChoices):
    """What an entry prices."""

    MODEL = "model", "Price of a model"
    DISCOUNT = "discount", "Discount on public prices"
    TOOL = "tool", "Price of a tool"


class BookRevision(models.Model):
    """One change of the book. Revisions follow each other: a later one has the larger id, and commits later."""

    at = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    note = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"revision {self.pk}"


class Version(models.Model):
    """A version of something in the book: ``number`` is whose, ``version`` counts from 1.

    Empty ``provider`` and ``service`` mean any. ``pattern`` is a name, or the beginning of names with ``*`` after it.
    It holds from ``effective_from`` (``None``: ever since) until before ``effective_until`` (``None``: for ever);
    ``is_withdrawn``: never.
    """

    revision = models.ForeignKey(BookRevision, on_delete=models.PROTECT, related_name="+")
    number = models.BigIntegerField()
    version = models.IntegerField()
    pattern = models.CharField(max_length=256)
    provider = models.CharField(max_length=64, blank=True)
    service = models.CharField(max_length=128, blank=True)
    effective_from = models.DateTimeField(null=True)
    effective_until = models.DateTimeField(null=True)
    is_withdrawn = models.BooleanField(default=False)

    class Meta:
        abstract = True
        ordering = ("number", "-version")


class PriceEntry(Version):
    """A version of a price. Money is dollars; ``rates`` are the ``TokenPrices`` of each length of context, as text."""

    kind = models.CharField(max_length=16, choices=Kind.choices)
    tier = models.CharField(max_length=32, default=STANDARD_TIER)
    overrides = models.BooleanField(default=False)
    rates = models.JSONField(default=list)
    per_call_usd = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    per_second_usd = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    percent_off = models.DecimalField(max_digits=7, decimal_places=4, null=True)

    class Meta(Version.Meta):
        constraints = (
            models.UniqueConstraint(fields=("number", "version"), name="one_version_of_a_price"),
            models.CheckConstraint(
                condition=Q(effective_until=None) | Q(effective_from=None) | Q(effective_until__gt=F("effective_from")),
                name="price_holds_for_some_time",
            ),
            models.CheckConstraint(condition=Q(per_call_usd=None) | Q(per_call_usd__gte=0), name="call_costs"),
            models.CheckConstraint(condition=Q(per_second_usd=None) | Q(per_second_usd__gte=0), name="second_costs"),
            models.CheckConstraint(
                condition=Q(percent_off=None) | Q(percent_off__gt=0, percent_off__lte=100), name="discount_in_percent"
            ),
        )

    def __str__(self) -> str:
        return f"book {self.number} v{self.version}"


class ModelAlias(Version):
    """A version of what a name stands for: an Azure deployment, a gateway's own name."""

    means_provider = models.CharField(max_length=64, blank=True)
    means_model = models.CharField(max_length=256)

    class Meta(Version.Meta):
        constraints = (
            models.UniqueConstraint(fields=("number", "version"), name="one_version_of_an_alias"),
            models.CheckConstraint(
                condition=Q(effective_until=None) | Q(effective_from=None) | Q(effective_until__gt=F("effective_from")),
                name="alias_holds_for_some_time",
            ),
        )

    def __str__(self) -> str:
        return f"alias {self.number} v{self.version}"


class Repricing(Job):
    """What the calls of a period cost by the book as it was at ``revision``: a dry run or, of one, what was applied.

    Calls that started in ``[from_at, until_at)``; ``service``, ``provider`` and ``name`` (of a model or a tool) are
    filters, empty for any. Its units of work are runs; ``position`` of them are done, and of the next one the spans up
    to (``after_ns``, ``after_span``). A dry run changes nothing but its own lines.
    """

    dry_run = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="applications")
    revision = models.ForeignKey(BookRevision, null=True, on_delete=models.PROTECT, related_name="+")
    list_version = models.CharField(max_length=64)
    from_at = models.DateTimeField()
    until_at = models.DateTimeField()
    service = models.CharField(max_length=128, blank=True)
    provider = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=256, blank=True)
    is_collected = models.BooleanField(default=False)
    position = models.BigIntegerField(default=0)
    after_ns = models.BigIntegerField(default=-1)
    after_span = models.BinaryField(max_length=8, default=b"")
    spans = models.BigIntegerField(default=0)

    class Meta(Job.Meta):
        constraints = (models.CheckConstraint(condition=Q(until_at__gt=F("from_at")), name="repricing_of_some_time"),)

    def __str__(self) -> str:
        return f"{'application' if self.dry_run_id else 'dry run'} {self.pk}"


class RepricingRun(models.Model):
    """A run that a job has to look at, in its order. They go when the job is over."""

    pk = models.CompositePrimaryKey("repricing", "ordinal")
    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="+", db_index=False)
    ordinal = models.BigIntegerField()
    trace_id = models.BinaryField(max_length=16)
    service = models.TextField()

    def __str__(self) -> str:
        return f"{self.service}/{bytes(self.trace_id).hex()}"


class RepricingLine(models.Model):
    """What changes, or changed, for one model or tool of one service in one month (UTC).

    ``calls`` are those whose price changes, and count in the books; ``*_unpriced`` those of them without a known cost.
    """

    pk = models.CompositePrimaryKey("repricing", "service", "month", "is_tool", "name")
    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="lines", db_index=False)
    service = models.TextField()
    month = models.DateField()
    is_tool = models.BooleanField()
    name = models.TextField()
    calls = models.BigIntegerField(default=0)
    old_nano = models.DecimalField(max_digits=38, decimal_places=0, default=0)
    new_nano = models.DecimalField(max_digits=38, decimal_places=0, default=0)
    old_unpriced = models.BigIntegerField(default=0)
    new_unpriced = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("month", "service", "is_tool", "name")

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.service} {self.name}"


class CostAdjustment(models.Model):
    """One booked span whose cost was changed: what it was and what it is. Written once, never changed.

    Who applied it is in ``repricing``. A span that was merged into another ``is_counted`` nowhere: its own cost is put
    right all the same, and no sum moves.
    """

    pk = models.CompositePrimaryKey("repricing", "trace_id", "span_id", "service")
    repricing = models.ForeignKey(Repricing, on_delete=models.PROTECT, related_name="adjustments", db_index=False)
    trace_id = models.BinaryField(max_length=16)
    span_id = models.BinaryField(max_length=8)
    service = models.TextField()
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    started_at = models.DateTimeField()
    is_counted = models.BooleanField()
    old_nano = models.BigIntegerField(null=True)
    new_nano = models.BigIntegerField(null=True)
    old_source = models.SmallIntegerField(null=True)
    new_source = models.SmallIntegerField(null=True)
    old_price_id = models.TextField(null=True)
    new_price_id = models.TextField(null=True)

    def __str__(self) -> str:
        return f"{self.service}/{bytes(self.trace_id).hex()}/{bytes(self.span_id).hex()}"
