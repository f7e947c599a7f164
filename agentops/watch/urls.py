"""The pages of the watch app."""

from __future__ import annotations

from django.urls import path

from agentops.watch import views

app_name = "watch"
urlpatterns = [
    path("rules/", views.rule_list, name="rules"),
    # A service's name may hold slashes.
    path("rules/<path:service>/", views.service_rules, name="service"),
    path("dry-runs/<int:pk>/", views.show_dry_run, name="dry_run"),
    path("dry-runs/<int:pk>/save", views.save_dry_run, name="save_dry_run"),
    path("dry-runs/<int:pk>/cancel", views.cancel_dry_run, name="cancel_dry_run"),
]
