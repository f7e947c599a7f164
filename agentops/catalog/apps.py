"""The catalog app."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    """Registers agentops.catalog."""

    name = "agentops.catalog"
    label = "catalog"
    default_auto_field = "django.db.models.BigAutoField"
