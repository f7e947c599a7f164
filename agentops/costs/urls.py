"""The pages of the costs app."""

from __future__ import annotations

from django.urls import path

from agentops.costs import views

app_name = "costs"
urlpatterns = [
    path("", views.spend, name="spend"),
    path("chart.json", views.spend_chart, name="chart"),
    path("suggestions", views.suggestions, name="suggest"),
    path("export.csv", views.spend_csv, name="spend_csv"),
]
