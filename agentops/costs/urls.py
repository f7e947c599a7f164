"""The pages of the costs app."""

from __future__ import annotations

from django.urls import path

from agentops.costs import outlook_page, saved_pages, views

app_name = "costs"
urlpatterns = [
    path("", views.spend, name="spend"),
    path("chart.json", views.spend_chart, name="chart"),
    path("outlook/", outlook_page.outlook, name="outlook"),
    path("suggestions", views.suggestions, name="suggest"),
    path("views/", saved_pages.saved_views, name="views"),
    path("views/<int:pk>/", saved_pages.open_view, name="view"),
    path("views/<int:pk>/change", saved_pages.change, name="change_view"),
    path("views/<int:pk>/delete", saved_pages.delete, name="delete_view"),
    path("views/default", saved_pages.choose_default, name="default_view"),
    path("export.csv", views.spend_csv, name="spend_csv"),
]
