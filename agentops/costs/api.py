"""Spend over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema
from ninja.errors import HttpError

from agentops.costs import exports, queries, sources
from agentops.costs.models import MEASURES
from agentops.costs.sources import By, Interval, SpendFilters
from agentops.runs.api import AskedMoment, Moment, Money, Text, Totals, usd

router = Router(tags=["spend"])
DEFAULT_RANGE = timedelta(days=30)
#: Longer ranges have more points than anybody reads, and more than one answer should hold.
LONGEST = {"hour": timedelta(days=92), "day": timedelta(days=3660)}
#: What the key of the series is called that sums all keys past the limit.
OTHER = "other"


WithoutName = Literal["team", "user", "feature", "session", "release", "agent", "model", "tool"]


class Filters(Schema):
    """Which spend, and when; ``from`` and ``until`` are widened to whole hours. Any value of a repeated filter does."""

    service: list[Text] = Field([])
    team: list[Text] = Field([], description="Slugs of teams.")
    user: list[Text] = Field([])
    feature: list[Text] = Field([])
    session: list[Text] = Field([])
    release: list[Text] = Field([])
    environment: Text = Field("", description="production holds what names none.")
    agent: list[Text] = Field([])
    model: list[Text] = Field([])
    tool: list[Text] = Field([])
    without: list[WithoutName] = Field([], description="Dimensions of which only what carries no key counts.")
    from_: AskedMoment = Field(None, alias="from", description="30 days before until, when missing.")
    until: AskedMoment = Field(None, description="Now, when missing.")


class SpendItem(Totals):
    """The totals of one key; ``null`` is what carries none."""

    key: str | None


class SpendPoint(Schema):
    """The cost of one key in the interval that starts then; ``other`` sums the keys past the limit."""

    start: Moment
    key: str | None
    cost_usd: Money


class Coverage(Schema):
    """Shares of the cost, 0 to 1, that have a user, a feature, an owner; ``null`` without any cost."""

    user: float | None
    feature: float | None
    owner: float | None


class Spend(Schema):
    """Spend by a dimension, the largest first; what is past the limit is summed as ``other``."""

    total: Totals
    items: list[SpendItem]
    other: Totals | None
    series: list[SpendPoint]
    coverage: Coverage


def totals_shape(totals: queries.Totals) -> dict[str, Any]:
    """Totals as the contract spells them."""
    shape = {m: getattr(totals, m) for m in MEASURES if m != "cost_nano"}
    return {"cost_usd": usd(totals.known_cost_nano), **shape}


def _read(filters: Filters) -> tuple[SpendFilters, datetime, datetime]:
    """The filters and the range. Raises 422 when the range ends before it starts."""
    asked = filters.dict()
    until = asked.pop("until") or timezone.now()
    try:
        from_ = asked.pop("from_") or until - DEFAULT_RANGE
        sources.ceil_hour(until), sources.floor_hour(from_) - sources.DAY
    except OverflowError as error:
        raise HttpError(422, "from or until is out of range.") from error
    if from_ >= until:
        raise HttpError(422, "from must be before until.")
    without, environment = asked.pop("without"), asked.pop("environment")
    return SpendFilters.read(asked, without, environment=environment), from_, until


def _check_length(interval: Interval | None, from_: datetime, until: datetime) -> None:
    if interval in LONGEST and until - from_ > LONGEST[interval]:
        raise HttpError(422, f"By the {interval}, ask for at most {LONGEST[interval].days} days.")


@router.get("/spend", response=Spend)
def get_spend(
    request: HttpRequest,
    filters: Query[Filters],
    by: By = "service",
    interval: Interval | None = None,
    limit: Annotated[int, Field(ge=1, le=queries.MAX_LIMIT)] = 100,
) -> dict[str, Any]:
    """Spend by a dimension, the largest first; with ``interval`` also as a series over time."""
    del request
    chosen, from_, until = _read(filters)
    _check_length(interval, from_, until)
    report = queries.spend(by, chosen, from_, until, interval=interval, limit=limit)
    return {
        "total": totals_shape(report.total),
        "items": [{"key": item.key, **totals_shape(item.totals)} for item in report.items],
        "other": totals_shape(report.other) if report.other else None,
        "series": [
            {"start": point.start, "key": OTHER if point.is_other else point.key, "cost_usd": usd(point.value)}
            for point in report.series
        ],
        "coverage": queries.coverage(chosen, from_, until, report.total.cost_nano),
    }


@router.get("/export/spend.csv", response={200: None})
def export_spend(
    request: HttpRequest, filters: Query[Filters], by: By = "service", interval: Interval = "day"
) -> StreamingHttpResponse:
    """The same as CSV: a row for each key and interval, without a limit."""
    chosen, from_, until = _read(filters)
    _check_length(interval, from_, until)
    return exports.spend_csv(request, by, chosen, from_, until, interval)


@router.get("/export/focus.csv", response={200: None})
def export_focus(request: HttpRequest, filters: Query[Filters]) -> StreamingHttpResponse:
    """Charges by day, service, model, agent and feature in the columns of FOCUS 1.2; whole days, UTC."""
    chosen, from_, until = _read(filters)
    return exports.focus_csv(request, chosen, from_, until, kept_since=queries.kept_since())
