"""Every URL of the product. OTLP paths never come here: the receiver answers them before Django."""

from django.urls import include, path

from agentops.api import api

urlpatterns = [
    path("", include("agentops.dashboard.urls")),
    path("", include("agentops.accounts.urls")),
    path("runs/", include("agentops.runs.urls")),
    path("spend/", include("agentops.costs.urls")),
    path("api/v1/", api.urls),
]
