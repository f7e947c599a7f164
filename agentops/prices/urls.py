"""The pages of the prices app."""

from __future__ import annotations

from django.urls import URLPattern, path

from agentops.prices import repricing_views, views
from agentops.prices.views import ALIASES, ENTRIES, Shelf


def _shelf(at: str, shelf: Shelf) -> list[URLPattern]:
    name, given = shelf.name, {"shelf": shelf}
    return [
        path(at, views.rows, given, name=f"list_{name}"),
        path(f"{at}new/", views.new, given, name=f"new_{name}"),
        path(f"{at}<int:number>/", views.row, given, name=name),
        path(f"{at}<int:number>/edit/", views.edit, given, name=f"edit_{name}"),
        path(f"{at}<int:number>/end", views.end, given, name=f"end_{name}"),
        path(f"{at}<int:number>/withdraw", views.withdraw, given, name=f"withdraw_{name}"),
    ]


app_name = "prices"
urlpatterns = [
    *_shelf("", ENTRIES),
    *_shelf("mapping/", ALIASES),
    path("unpriced/", repricing_views.unpriced, name="unpriced"),
    path("repricing/", repricing_views.repricings, name="repricings"),
    path("repricing/<int:pk>/", repricing_views.repricing, name="repricing"),
    path("repricing/<int:pk>/apply", repricing_views.apply, name="apply"),
    path("repricing/<int:pk>/cancel", repricing_views.cancel, name="cancel"),
]
