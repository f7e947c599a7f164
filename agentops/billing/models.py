"""What is settled: months that are closed, and providers' invoices with what they may differ by from the books."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class Closing(models.Model):
    """A month (UTC) that somebody closed: its charges stand, and what changes later is charged with the next one."""

    month = models.DateField(unique=True)
    total_nano = models.DecimalField(max_digits=38, decimal_places=0, default=0)
    closed_at = models.DateTimeField(auto_now_add=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ("-month",)

    def __str__(self) -> str:
        return f"{self.month:%B %Y}"


class Charge(models.Model):
    """What a closed month charges for one day: the spend of its own days, and what changed of days closed before.

    ``team`` is the slug of the team that is charged, empty for none: see ``ChargedTeam``. The sum of a day's charges
    over all closings is what is recognised of it.
    """

    pk = models.CompositePrimaryKey("closing", "day", "environment", "service", "feature", "model", "tool")
    closing = models.ForeignKey(Closing, on_delete=models.PROTECT, related_name="charges", db_index=False)
    day = models.DateField()
    environment = models.TextField(db_collation="C")
    service = models.TextField(db_collation="C")
    feature = models.TextField(db_collation="C")
    model = models.TextField(db_collation="C")
    tool = models.TextField(db_collation="C")
    team = models.TextField(db_collation="C")
    team_name = models.TextField()
    cost_nano = models.DecimalField(max_digits=38, decimal_places=0)
    unpriced_calls = models.BigIntegerField()
    llm_calls = models.BigIntegerField()
    tool_calls = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cache_read_input_tokens = models.BigIntegerField()
    cache_creation_input_tokens = models.BigIntegerField()
    reasoning_output_tokens = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=("day",), name="billing_charge_of_day"),)

    def __str__(self) -> str:
        return f"{self.day} {self.service} {self.feature} {self.model}"


class ClosedDay(models.Model):
    """What was booked for a day when it was last charged for, as a number: see ``charges.CHANGED``."""

    day = models.DateField(primary_key=True)
    digest = models.DecimalField(max_digits=38, decimal_places=0)

    def __str__(self) -> str:
        return str(self.day)


class ChargedTeam(models.Model):
    """The team that was charged for a service and month first, empty for none; what changes later goes to the same."""

    pk = models.CompositePrimaryKey("month", "service")
    month = models.DateField()
    service = models.TextField(db_collation="C")
    team = models.TextField(db_collation="C")
    team_name = models.TextField()

    def __str__(self) -> str:
        return f"{self.month:%B %Y}, {self.service}: {self.team}"


class Invoice(models.Model):
    """A provider's bill as it was imported from one file; a corrected file is another one that replaces it.

    ``digest`` is of the file and of how it is read: the same again is the same invoice. ``service`` is the only one
    whose spend it is compared with; empty for all.
    """

    name = models.CharField(max_length=120)
    provider = models.CharField(max_length=32, blank=True)
    service = models.CharField(max_length=128, blank=True)
    layout = models.CharField(max_length=16)
    columns = models.JSONField(default=dict)
    filename = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    is_current = models.BooleanField(default=True)
    replaces = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="replaced_by")
    is_monthly = models.BooleanField(default=False)
    first_day = models.DateField(null=True)
    last_day = models.DateField(null=True)
    lines_count = models.IntegerField()
    problems_count = models.IntegerField()
    rounded_count = models.IntegerField()
    left_out = models.JSONField(default=dict)
    left_out_nano = models.DecimalField(max_digits=38, decimal_places=0)
    total_nano = models.DecimalField(max_digits=38, decimal_places=0)
    uploaded_at = models.DateTimeField(auto_now_add=True)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ("-last_day", "-uploaded_at")
        constraints = (
            models.UniqueConstraint(fields=("digest",), condition=Q(is_current=True), name="one_invoice_for_a_file"),
        )

    def __str__(self) -> str:
        return self.name


class InvoiceLine(models.Model):
    """One charge of an invoice; ``model`` as the provider calls it. ``number`` is its line in the file."""

    pk = models.CompositePrimaryKey("invoice", "number")
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines", db_index=False)
    number = models.IntegerField()
    day = models.DateField()
    model = models.TextField()
    amount_nano = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=50, decimal_places=20, null=True)
    unit = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class InvoiceProblem(models.Model):
    """A line of the file that could not be read, as it is written, and why."""

    pk = models.CompositePrimaryKey("invoice", "number")
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="problems", db_index=False)
    number = models.IntegerField()
    message = models.TextField()
    text = models.TextField()

    def __str__(self) -> str:
        return f"{self.number}: {self.message}"


class InvoiceTolerance(models.Model):
    """What an invoice's amounts may differ by from the books; the last one that somebody set counts."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="tolerances")
    absolute_nano = models.BigIntegerField()
    percent = models.DecimalField(max_digits=5, decimal_places=2)
    set_at = models.DateTimeField(auto_now_add=True)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(absolute_nano__gte=0, percent__gte=0), name="tolerance_is_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.absolute_nano} nano-dollars or {self.percent} %"
