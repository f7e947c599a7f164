"""The watch app."""

from django.apps import AppConfig


class WatchConfig(AppConfig):
    """Registers agentops.watch."""

    name = "agentops.watch"
    label = "watch"
    default_auto_field = "django.db.models.BigAutoField"
