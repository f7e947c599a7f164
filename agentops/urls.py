"""Every URL of the product. OTLP paths never come here: the receiver answers them before Django."""

from django.contrib.auth.decorators import login_not_required
from django.urls import include, path

from agentops.api import api

# The API authenticates by itself, with tokens too, and answers 401 rather than a login page.
_api = api.urls  # built anew at each access
for _pattern in _api[0]:
    if _pattern.callback is not None:
        _pattern.callback = login_not_required(_pattern.callback)

urlpatterns = [
    path("", include("agentops.dashboard.urls")),
    path("", include("agentops.accounts.urls")),
    path("runs/", include("agentops.runs.urls")),
    path("spend/", include("agentops.costs.urls")),
    path("alerts/", include("agentops.alerts.urls")),
    path("", include("agentops.billing.urls")),
    path("prices/", include("agentops.prices.urls")),
    path("watch/", include("agentops.watch.urls")),
    path("budgets/", include("agentops.guard.urls")),
    path("api/v1/", _api),
]
