"""What the receiver knows of itself: counters, heartbeats, and what it could not digest."""

from __future__ import annotations

from django.db import models


class IngestMinute(models.Model):
    """Counters of one minute: what came in, and what became of it."""

    pk = models.CompositePrimaryKey("minute", "service")
    minute = models.DateTimeField()
    service = models.TextField()
    requests = models.BigIntegerField(default=0)
    accepted_spans = models.BigIntegerField(default=0)
    duplicate_spans = models.BigIntegerField(default=0)
    conflicting_spans = models.BigIntegerField(default=0)
    rejected_spans = models.BigIntegerField(default=0)
    bytes_received = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.minute:%H:%M} {self.service}"


class Quarantine(models.Model):
    """A request that our own fault kept us from digesting: kept, answered with a warning, tried again."""

    received_at = models.DateTimeField(auto_now_add=True)
    service = models.TextField(blank=True)
    content_type = models.CharField(max_length=64)
    encoding = models.CharField(max_length=16, default="identity")
    body = models.BinaryField()
    error = models.TextField()
    attempts = models.IntegerField(default=0)
    digested_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.received_at:%Y-%m-%d %H:%M}: {self.error[:80]}"


class Heartbeat(models.Model):
    """When a process of ours last showed that it works: ``beat``, ``worker``."""

    name = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.at:%H:%M:%S}"
