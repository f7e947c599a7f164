"""The project as a Django app: it loads Celery, and owns management commands and template tags."""

from django.apps import AppConfig


class AgentopsConfig(AppConfig):
    """Loads the Celery application once Django is ready."""

    name = "agentops"
    label = "agentops"

    def ready(self) -> None:
        """Load the Celery application, so that tasks find it as the current one."""
        from agentops.celery import app  # noqa: PLC0415  (Django must be ready first)

        app.set_default()
