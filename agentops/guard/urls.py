"""The pages of the guard app."""

from __future__ import annotations

from django.urls import path

from agentops.guard import edit_views, preview, regions, stop_views, views

app_name = "guard"
urlpatterns = [
    path("", views.budget_list, name="budgets"),
    path("new/", edit_views.new_budget, name="new"),
    path("preview", preview.preview, name="preview"),
    path("brief", regions.brief, name="brief"),
    path("stopped", regions.stopped, name="stopped"),
    path("of-run/<trace:trace_id>/", regions.of_run, name="of_run"),
    path("stops/", stop_views.stops, name="stops"),
    path("stops/<int:pk>/lift", stop_views.lift, name="lift"),
    path("<int:pk>/", views.budget_page, name="budget"),
    path("<int:pk>/edit/", edit_views.edit_budget, name="edit"),
    path("<int:pk>/passed", views.passed_by, name="passed"),
    path("<int:pk>/raise", views.raise_limit, name="raise"),
    path("<int:pk>/raises/<int:raise_pk>/end", views.end_raise, name="end_raise"),
    path("<int:pk>/chart/<str:which>", views.budget_chart, name="chart"),
]
