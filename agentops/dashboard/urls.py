"""The pages of the dashboard app."""

from __future__ import annotations

from django.urls import path

from agentops.dashboard import overview

app_name = "dashboard"
urlpatterns = [
    path("", overview.overview, name="overview"),
    path("spend.json", overview.spend_chart, name="spend_chart"),
]
