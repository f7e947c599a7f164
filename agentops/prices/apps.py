"""The prices app."""

from django.apps import AppConfig


class PricesConfig(AppConfig):
    """Registers agentops.prices."""

    name = "agentops.prices"
    label = "prices"
    default_auto_field = "django.db.models.BigAutoField"
