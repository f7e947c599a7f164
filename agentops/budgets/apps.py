"""The budgets app."""

from django.apps import AppConfig


class BudgetsConfig(AppConfig):
    """Registers agentops.budgets."""

    name = "agentops.budgets"
    label = "budgets"
    default_auto_field = "django.db.models.BigAutoField"
