"""What the watch remembers between two looks, and the rules that people have set for it."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class RuleChange(models.Model):
    """A decision about the rules of a service, or of a tool of it; the latest of each is in force.

    An empty ``service`` is all of them, an empty ``tool`` the service itself. ``chosen`` holds what differs from the
    defaults (see ``agentops.watch.rules``); nothing in it goes back to them.
    """

    service = models.TextField(blank=True)
    tool = models.TextField(blank=True)
    chosen = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    changed_at = models.DateTimeField()
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("service", "tool", "-id"), name="watch_rule_latest"),)

    def __str__(self) -> str:
        return f"{self.service or 'all services'} {self.tool}".strip()


class Stream(models.Model):
    """A run, or a session, as far as it has been judged. ``state`` is JSON text of ``agentops.watch.streams``."""

    pk = models.CompositePrimaryKey("service", "scope", "key")
    service = models.TextField()
    scope = models.SmallIntegerField()
    key = models.TextField()
    state = models.TextField()
    version = models.IntegerField(default=1)
    touched_at = models.DateTimeField()

    class Meta:
        indexes = (models.Index(fields=("touched_at",), name="watch_stream_touched"),)

    def __str__(self) -> str:
        return f"{self.service}/{self.key}"


class Habit(models.Model):
    """What is usual of the runs of a service that ended well: how many steps, and how fast they used tokens.

    ``name`` is the class of runs, empty for all of them. ``steps`` counts runs by their number of steps, in the classes
    of ``agentops.domain.habits``; ``mean`` and ``squares`` are of the logarithm of tokens a minute, by Welford.
    """

    pk = models.CompositePrimaryKey("service", "name")
    service = models.TextField()
    name = models.TextField()
    runs = models.BigIntegerField(default=0)
    steps = models.JSONField(default=list)
    timed = models.BigIntegerField(default=0)
    mean = models.FloatField(default=0.0)
    squares = models.FloatField(default=0.0)

    def __str__(self) -> str:
        return f"{self.service}/{self.name}"


class Moment(models.Model):
    """What a service spent in five minutes, by when its calls ended; nano-dollars. Kept for some days."""

    pk = models.CompositePrimaryKey("service", "start")
    service = models.TextField()
    start = models.DateTimeField()
    cost_nano = models.BigIntegerField(default=0)

    class Meta:
        indexes = (models.Index(fields=("start",), name="watch_moment_start"),)

    def __str__(self) -> str:
        return f"{self.service} {self.start:%F %H:%M}"
