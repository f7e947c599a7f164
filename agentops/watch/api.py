"""The watch over ``/api/v1``."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema

from agentops.runs import pending
from agentops.runs.api import Moment

router = Router(tags=["watch"])


class Lag(Schema):
    """What has been committed and not been looked at."""

    pending: int = Field(description="Runs that wait; 0: everything committed so far has been looked at.")
    oldest_pending_at: Moment | None
    set_aside: int = Field(description="Runs that could not be judged: an operator has to look.")


@router.get("/watch/lag", response=Lag)
def lag(request: HttpRequest) -> dict[str, Any]:
    """How far behind the watch is."""
    del request
    found = pending.lag()
    return {
        "pending": found.pending,
        "oldest_pending_at": found.oldest_pending_at,
        "set_aside": found.set_aside,
    }
