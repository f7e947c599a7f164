"""The guard app."""

from django.apps import AppConfig


class GuardConfig(AppConfig):
    """Registers agentops.guard."""

    name = "agentops.guard"
    label = "guard"
    default_auto_field = "django.db.models.BigAutoField"
