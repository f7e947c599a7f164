"""The pages of the billing app."""

from __future__ import annotations

from django.urls import path

from agentops.billing import views

app_name = "billing"
urlpatterns = [
    path("spend/focus.csv", views.focus_csv, name="focus_csv"),
    path("invoices/", views.invoices, name="invoices"),
    path("invoices/<int:pk>/", views.invoice, name="invoice"),
    path("invoices/<int:pk>/comparison.csv", views.comparison_csv, name="comparison_csv"),
    path("invoices/<int:pk>/tolerance", views.tolerance, name="tolerance"),
]
