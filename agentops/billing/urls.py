"""The pages of the billing app."""

from __future__ import annotations

from datetime import date

from django.urls import path, register_converter

from agentops.billing import views


class MonthConverter:
    """A month in an address: ``2026-10``."""

    regex = r"20\d\d-(?:0[1-9]|1[0-2])"

    def to_python(self, value: str) -> date:
        """Its first day."""
        return date.fromisoformat(f"{value}-01")

    def to_url(self, value: date) -> str:
        """As it is written."""
        return f"{value:%Y-%m}"


register_converter(MonthConverter, "month")

app_name = "billing"
urlpatterns = [
    path("spend/focus.csv", views.focus_csv, name="focus_csv"),
    path("statements/", views.statements, name="statements"),
    path("statements/<month:month>/", views.statement, name="statement"),
    path("statements/<month:month>/lines.csv", views.statement_csv, name="statement_csv"),
    path("statements/<month:month>/close", views.close, name="close"),
    path("invoices/", views.invoices, name="invoices"),
    path("invoices/<int:pk>/", views.invoice, name="invoice"),
    path("invoices/<int:pk>/comparison.csv", views.comparison_csv, name="comparison_csv"),
    path("invoices/<int:pk>/unreadable.csv", views.unreadable_csv, name="unreadable_csv"),
    path("invoices/<int:pk>/tolerance", views.tolerance, name="tolerance"),
]
