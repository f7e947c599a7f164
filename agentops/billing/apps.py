"""The billing app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Registers agentops.billing."""

    name = "agentops.billing"
    label = "billing"
    default_auto_field = "django.db.models.BigAutoField"
