"""The pages of the costs app."""

from __future__ import annotations

from django.urls import path

from agentops.costs import outlook_page, rule_pages, saved_pages, views

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
    path("rules/", rule_pages.rule_list, name="rules"),
    path("rules/new/", rule_pages.new_rule, name="new_rule"),
    path("rules/<int:number>/", rule_pages.one_rule, name="rule"),
    path("rules/<int:number>/switch", rule_pages.switch, name="switch_rule"),
    path("rules/jobs/<int:pk>/", rule_pages.reattribution, name="reattribution"),
    path("rules/jobs/<int:pk>/apply", rule_pages.apply, name="apply_reattribution"),
    path("rules/jobs/<int:pk>/cancel", rule_pages.cancel, name="cancel_reattribution"),
    path("export.csv", views.spend_csv, name="spend_csv"),
]
