"""What the frame of every page shows besides it: environments to choose, how many alerts fire, what is stopped."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from agentops.alerts.queries import count_firing
from agentops.costs.models import Dimension, SpendDaily
from agentops.guard.queries import list_stops

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest

#: An environment that booked nothing for this long is no longer offered.
OFFERED_FOR = timedelta(days=95)


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context of ``base.html``; it asks the database only when a template uses it."""
    chosen = request.GET.get("environment", "")
    return {
        "environments": SimpleLazyObject(lambda: list_environments(chosen, now=timezone.now())),
        "alerts_firing": SimpleLazyObject(count_firing),
        "stopped": SimpleLazyObject(list_stops),
    }


def list_environments(chosen: str, *, now: datetime) -> list[str]:
    """The environments that booked anything lately, by name, with the chosen one among them."""
    rows = SpendDaily.objects.filter(dimension=Dimension.SERVICE, start__gte=now - OFFERED_FOR)
    names = set(rows.values_list("environment", flat=True).distinct())
    return sorted(names | {chosen} if chosen else names)
