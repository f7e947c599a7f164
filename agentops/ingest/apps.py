"""The ingest app."""

from django.apps import AppConfig


class IngestConfig(AppConfig):
    """Registers agentops.ingest."""

    name = "agentops.ingest"
    label = "ingest"
    default_auto_field = "django.db.models.BigAutoField"
