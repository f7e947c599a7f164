"""What is wrong, who has it, and everything that was ever done about it.

One row is one alert. What happens to it is added to its moves and notes, and never taken away.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from agentops.domain import alerting

#: How many characters of a title are kept.
MAX_TITLE_CHARS = 400
MAX_REASON_CHARS = 400


class Severity(models.TextChoices):
    """Whether somebody should look, or must."""

    WARN = alerting.Severity.WARN.value, "Warning"
    PAGE = alerting.Severity.PAGE.value, "Page"


class State(models.TextChoices):
    """Where an alert is."""

    FIRING = alerting.State.FIRING.value, "Firing"
    ACKNOWLEDGED = alerting.State.ACKNOWLEDGED.value, "Acknowledged"
    SILENCED = alerting.State.SILENCED.value, "Silenced"
    RESOLVED = alerting.State.RESOLVED.value, "Resolved"


class Alert(models.Model):
    """Something that is, or was, wrong. ``version`` counts its moves; signals that only count it up do not change it.

    ``cost_nano`` and ``nano_per_hour`` repeat the money of ``evidence`` as numbers. ``group`` is the storm that took
    an alert in; ``is_storm``: it stands for its ``members``. ``resolved_by`` is empty when the system resolved it.
    """

    fingerprint = models.CharField(max_length=32)
    kind = models.CharField(max_length=32)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.FIRING)
    version = models.IntegerField(default=0)
    service = models.TextField()
    run = models.BinaryField(max_length=16, null=True)
    session = models.TextField(null=True)
    user = models.TextField(null=True)
    feature = models.TextField(null=True)
    environment = models.TextField(null=True)
    title = models.CharField(max_length=MAX_TITLE_CHARS)
    evidence = models.JSONField(default=dict)
    cost_nano = models.BigIntegerField(null=True)
    nano_per_hour = models.BigIntegerField(null=True)
    count = models.BigIntegerField(default=1)
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)
    cleared_reason = models.CharField(max_length=MAX_REASON_CHARS, blank=True)
    snoozed_until = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    acknowledged_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    resolved_at = models.DateTimeField(null=True)
    resolved_reason = models.CharField(max_length=MAX_REASON_CHARS, blank=True)
    group = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="taken_in")
    is_storm = models.BooleanField(default=False)
    reopened = models.IntegerField(default=0)

    #: What has just happened to it, for whoever announces it; not stored.
    change = ""

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("fingerprint",), condition=~Q(state=State.RESOLVED), name="one_open_alert_of_a_fingerprint"
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="alert_is_in_a_state"),
            models.CheckConstraint(condition=Q(severity__in=Severity.values), name="alert_has_a_severity"),
        )
        indexes = (
            models.Index(fields=("fingerprint", "-id"), name="alert_latest"),
            models.Index(fields=("state", "-id"), name="alert_inbox"),
            models.Index(fields=("service", "kind", "opened_at"), name="alert_storm"),
            models.Index(fields=("run",), condition=Q(run__isnull=False), name="alert_run"),
            models.Index(fields=("session",), condition=Q(session__isnull=False), name="alert_session"),
            models.Index(fields=("cleared_at",), condition=~Q(state=State.RESOLVED), name="alert_cleared"),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.kind} of {self.service}"

    @property
    def run_hex(self) -> str | None:
        """The trace id of its run, if it has one."""
        return bytes(self.run).hex() if self.run else None

    @property
    def names_service(self) -> bool:
        """Whether the title says which service it is about."""
        return self.is_storm or self.title.startswith(self.service)

    @property
    def labels(self) -> dict[str, str | None]:
        """What silences look at."""
        texts = {name: getattr(self, name) for name in alerting.MATCHED if name != "run"}
        return texts | {"run": self.run_hex}


class StormMember(models.Model):
    """One fingerprint that a storm stands for, with its latest cost."""

    storm = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="members")
    fingerprint = models.CharField(max_length=32)
    run = models.BinaryField(max_length=16, null=True)
    cost_nano = models.BigIntegerField(null=True)
    nano_per_hour = models.BigIntegerField(null=True)
    cleared_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("storm", "fingerprint"), name="one_member_of_a_storm"),)
        indexes = (models.Index(fields=("fingerprint",), name="storm_member"),)

    def __str__(self) -> str:
        return f"{self.fingerprint} of storm {self.storm_id}"


class AlertMove(models.Model):
    """What took an alert from one state to another; ``by`` is empty when the system did. Rows are only added."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="moves")
    at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    move = models.CharField(max_length=16)
    from_state = models.CharField(max_length=16, blank=True)
    to_state = models.CharField(max_length=16)
    reason = models.CharField(max_length=MAX_REASON_CHARS, blank=True)

    class Meta:
        ordering = ("at", "id")
        indexes = (models.Index(fields=("alert", "at"), name="alert_moves"),)

    def __str__(self) -> str:
        return f"{self.move} of alert {self.alert_id}"


class Note(models.Model):
    """What somebody wrote about an alert."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="notes")
    at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    text = models.TextField()

    class Meta:
        ordering = ("at", "id")

    def __str__(self) -> str:
        return f"note on alert {self.alert_id}"


class Silence(models.Model):
    """For some time, alerts that fit all ``matchers`` make no noise."""

    matchers = models.JSONField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    comment = models.CharField(max_length=MAX_REASON_CHARS, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="silence_lasts_for_some_time"),
        )
        indexes = (models.Index(fields=("ends_at",), condition=Q(ended_at=None), name="silence_active"),)

    def __str__(self) -> str:
        return f"silence {self.pk}"
