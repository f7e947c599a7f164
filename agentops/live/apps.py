"""The live app."""

from django.apps import AppConfig


class LiveConfig(AppConfig):
    """Registers agentops.live."""

    name = "agentops.live"
    label = "live"
    default_auto_field = "django.db.models.BigAutoField"
