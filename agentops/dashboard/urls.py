"""The pages of the dashboard app."""

from __future__ import annotations

from django.urls import path

from agentops.dashboard import health, operations, overview, setup, whatif

app_name = "dashboard"
urlpatterns = [
    path("", overview.overview, name="overview"),
    path("spend.json", overview.spend_chart, name="spend_chart"),
    path("what-if/", whatif.what_if, name="what_if"),
    path("setup/", setup.setup, name="setup"),
    path("setup/keys/", setup.keys, name="keys"),
    path("setup/keys/<slug:key_id>/", setup.waiting, name="waiting"),
    path("setup/keys/<slug:key_id>/revoke/", setup.revoke, name="revoke"),
    path("operations/", operations.operations, name="operations"),
    path("operations/watch-again", operations.watch_again, name="watch_again"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.prometheus, name="metrics"),
]
