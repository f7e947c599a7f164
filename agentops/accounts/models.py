"""People, teams, roles, and the keys that programs use."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class Team(models.Model):
    """People who own services together."""

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a person may do; each role may do all that those before it may."""

    VIEWER = "viewer", "Viewer: sees everything, changes nothing"
    RESPONDER = "responder", "Responder: acknowledges alerts"
    OWNER = "owner", "Owner: signs off readiness, edits services"
    ADMIN = "admin", "Admin: sets ceilings, keys and people"


class User(AbstractUser):
    """A person who signs in."""

    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    teams = models.ManyToManyField(Team, related_name="members", blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")


class IngestKey(models.Model):
    """A key that lets a program send telemetry; only its keyed hash is stored.

    ``service`` is empty for a collector key, which books each span to its ``service.name``.
    """

    key_id = models.CharField(max_length=16, unique=True)
    digest = models.BinaryField(max_length=32)
    name = models.CharField(max_length=120, blank=True)
    service = models.CharField(max_length=128, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"agk_{self.key_id}… ({self.service or 'collector'})"


class ApiToken(models.Model):
    """An operator's token for ``/api/v1``; only its keyed hash is stored."""

    class Scope(models.TextChoices):
        READ = "read", "Read"
        WRITE = "write", "Read and write"

    token_id = models.CharField(max_length=16, unique=True)
    digest = models.BinaryField(max_length=32)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=120, blank=True)
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.READ)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"agt_{self.token_id}… ({self.user})"
