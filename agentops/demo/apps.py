"""The demo app."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """Registers agentops.demo."""

    name = "agentops.demo"
    label = "demo"
    default_auto_field = "django.db.models.BigAutoField"
