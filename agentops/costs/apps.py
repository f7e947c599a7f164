"""The costs app."""

from django.apps import AppConfig


class CostsConfig(AppConfig):
    """Registers agentops.costs."""

    name = "agentops.costs"
    label = "costs"
    default_auto_field = "django.db.models.BigAutoField"
