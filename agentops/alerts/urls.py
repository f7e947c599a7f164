"""The pages of the alerts app."""

from __future__ import annotations

from django.urls import path, re_path

from agentops.alerts import silence_views, views

app_name = "alerts"
urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("badge", views.badge, name="badge"),
    re_path(r"^of-run/(?P<trace_id>[0-9a-f]{32})/$", views.of_run, name="of_run"),
    path("move", views.move_picked, name="move_picked"),
    path("silences/", silence_views.silences, name="silences"),
    path("silences/<int:pk>/end", silence_views.end, name="end_silence"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/move", views.move, name="move"),
    path("<int:pk>/notes", views.add_note, name="add_note"),
]
