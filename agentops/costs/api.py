"""Spend over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from ninja.errors import HttpError

from agentops.costs import exports, queries
from agentops.costs.models import MEASURES
from agentops.costs.queries import SpendFilters, Totals
from agentops.runs.api import clean, moment, usd

router = Router(tags=["spend"])
DEFAULT_RANGE = timedelta(days=30)
INTERVALS = ("hour", "day", "month")
MAX_HOURLY = timedelta(days=366)


class Filters(Schema):
    """Which spend."""

    service: str = ""
    team: str = ""
    user: str = ""
    feature: str = ""
    session: str = ""
    release: str = ""
    environment: str = ""
    agent: str = ""
    model: str = ""
    tool: str = ""


def totals_shape(totals: Totals) -> dict[str, Any]:
    """Totals as the contract spells them."""
    shape = {m: getattr(totals, m) for m in MEASURES if m != "cost_nano"}
    return {"cost_usd": usd(totals.known_cost_nano), **shape}


def read_range(request: HttpRequest) -> tuple[datetime, datetime]:
    """``from`` and ``until``; the last 30 days when they are missing. Raises 422."""
    until = moment(request, "until") or timezone.now()
    from_ = moment(request, "from") or until - DEFAULT_RANGE
    if from_ >= until:
        raise HttpError(422, "from must be before until.")
    return from_, until


def read_filters(filters: Filters) -> SpendFilters:
    """The filters, safe to ask the database with."""
    return SpendFilters(**{name: clean(value) for name, value in filters.dict().items()})


@router.get("/spend", response=dict[str, Any])
def get_spend(
    request: HttpRequest, filters: Query[Filters], by: str = "service", interval: str = "", limit: int = 100
) -> dict[str, Any]:
    """Spend by a dimension, the largest first; with ``interval`` also as a series over time."""
    if by not in queries.BYS:
        raise HttpError(422, f"by must be one of {', '.join(queries.BYS)}.")
    if interval and interval not in INTERVALS:
        raise HttpError(422, f"interval must be one of {', '.join(INTERVALS)}.")
    from_, until = read_range(request)
    if interval == "hour" and until - from_ > MAX_HOURLY:
        raise HttpError(422, "By the hour, ask for at most a year.")
    chosen = read_filters(filters)
    report = queries.spend(by, chosen, from_, until, interval=interval, limit=max(1, min(limit, queries.MAX_LIMIT)))
    covered = queries.coverage(chosen, from_, until)
    return {
        "total": totals_shape(report.total),
        "items": [{"key": item.key, **totals_shape(item.totals)} for item in report.items],
        "other": totals_shape(report.other) if report.other else None,
        "series": [
            {
                "start": point.start.isoformat().replace("+00:00", "Z"),
                "key": point.key,
                "cost_usd": usd(point.cost_nano),
            }
            for point in report.series
        ],
        "coverage": {"user": covered.user, "feature": covered.feature, "owner": covered.owner},
    }


@router.get("/export/spend.csv", include_in_schema=True)
def export_spend(
    request: HttpRequest, filters: Query[Filters], by: str = "service", interval: str = "day"
) -> StreamingHttpResponse:
    """The same as CSV: a row for each key and interval."""
    if by not in queries.BYS or interval not in INTERVALS:
        raise HttpError(422, "by or interval is not known.")
    return exports.spend_csv(by, read_filters(filters), *read_range(request), interval)


@router.get("/export/focus.csv")
def export_focus(request: HttpRequest, filters: Query[Filters]) -> StreamingHttpResponse:
    """Spend by day, service and model in the columns of FOCUS 1.2."""
    return exports.focus_csv(read_filters(filters), *read_range(request))
