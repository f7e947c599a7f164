"""The runs app."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """Registers agentops.runs."""

    name = "agentops.runs"
    label = "runs"
    default_auto_field = "django.db.models.BigAutoField"
