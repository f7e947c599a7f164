"""Agent services: what runs, and who answers for it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from agentops.accounts.models import Team


class Service(models.Model):
    """An agent service. One that telemetry names first registers itself, unowned.

    ``slug`` is what every other table stores as ``service``: text, never a foreign key, because
    the hot path does not wait for the catalog.
    """

    slug = models.CharField(max_length=128, unique=True)
    name = models.CharField(max_length=120, blank=True)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.SET_NULL, related_name="services")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="owned_services"
    )
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug
