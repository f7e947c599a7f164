"""What the watch remembers between two looks, and the rules that people have set for it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from agentops.jobs import Job


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


class DryRun(Job):
    """What proposed rules would have found in runs of some days, beside what those of ``revision`` find in them.

    ``proposed`` are the decisions for ``service`` (empty: for all) that are tried, ``seen`` the latest decision that
    whoever proposes them looked at. Its units of work are runs; ``position`` of them are done, and of the next one the
    spans up to (``after_ns``, ``after_span``). ``carried`` is the state of what goes on there, as JSON text.
    ``counts`` is by kind: warnings and pages by the present rules, then by the proposed ones. ``is_cut``: older runs
    were left out.
    """

    service = models.TextField(blank=True)
    revision = models.BigIntegerField()
    seen = models.BigIntegerField()
    proposed = models.JSONField()
    since_at = models.DateTimeField()
    until_at = models.DateTimeField()
    budget_now = models.BigIntegerField(null=True)
    budget_proposed = models.BigIntegerField(null=True)
    is_collected = models.BooleanField(default=False)
    is_cut = models.BooleanField(default=False)
    position = models.BigIntegerField(default=0)
    after_ns = models.BigIntegerField(default=-1)
    after_span = models.BinaryField(max_length=8, default=b"")
    carried = models.TextField(blank=True)
    spans = models.BigIntegerField(default=0)
    counts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"dry run {self.pk}"


class DryRunRun(models.Model):
    """A run that a dry run has to look at, in its order: runs of a session follow one another. They go when it ends."""

    pk = models.CompositePrimaryKey("dry_run", "ordinal")
    dry_run = models.ForeignKey(DryRun, on_delete=models.CASCADE, related_name="+", db_index=False)
    ordinal = models.BigIntegerField()
    trace_id = models.BinaryField(max_length=16)
    service = models.TextField()

    def __str__(self) -> str:
        return f"{self.service}/{bytes(self.trace_id).hex()}"


class DryRunFinding(models.Model):
    """A finding that one of the two sets of rules makes alone, or louder than the other. Money is nano-dollars.

    ``*_now`` is by the present rules, ``*_proposed`` by the proposed ones; a severity is empty where nothing is found.
    """

    dry_run = models.ForeignKey(DryRun, on_delete=models.CASCADE, related_name="findings")
    service = models.TextField()
    session = models.TextField(null=True)
    trace_id = models.BinaryField(max_length=16)
    kind = models.TextField()
    title = models.TextField()
    severity_now = models.CharField(max_length=8, blank=True)
    severity_proposed = models.CharField(max_length=8, blank=True)
    detected_at = models.DateTimeField()
    cost_nano = models.BigIntegerField(null=True)

    class Meta:
        ordering = ("-detected_at", "pk")

    def __str__(self) -> str:
        return f"{self.kind} in {self.service}/{bytes(self.trace_id).hex()}"
