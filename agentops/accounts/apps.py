"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Registers agentops.accounts."""

    name = "agentops.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"
