"""The alerts app."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """Registers agentops.alerts."""

    name = "agentops.alerts"
    label = "alerts"
    default_auto_field = "django.db.models.BigAutoField"
