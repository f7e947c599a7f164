"""The dashboard app."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Registers agentops.dashboard."""

    name = "agentops.dashboard"
    label = "dashboard"
    default_auto_field = "django.db.models.BigAutoField"
