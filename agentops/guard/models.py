"""What clients could not ask, and whether windows agree with the books."""

from __future__ import annotations

from django.db import models


class Missed(models.Model):
    """How often in a minute clients of a service could not ask: steps not made then (closed), and made (open)."""

    pk = models.CompositePrimaryKey("minute", "service")
    minute = models.DateTimeField()
    service = models.TextField()
    closed = models.BigIntegerField(default=0)
    open = models.BigIntegerField(default=0)

    class Meta:
        db_table = "guard_missed"

    def __str__(self) -> str:
        return f"{self.service} {self.minute:%F %H:%M}"


class Reconciliation(models.Model):
    """What a comparison of windows with their rows found: how many windows, and those that were off, with numbers."""

    at = models.DateTimeField(auto_now_add=True)
    windows = models.IntegerField()
    off = models.IntegerField()
    detail = models.JSONField(default=list)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.at:%F %H:%M}: {self.off} of {self.windows}"
