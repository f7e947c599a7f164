"""Spend over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from django.http import HttpRequest, StreamingHttpResponse
from django.utils.timezone import now
from ninja import Field, Query, Router, Schema
from ninja.errors import HttpError
from pydantic import BeforeValidator, WithJsonSchema

from agentops.costs import exports, outlook, queries
from agentops.costs.models import MEASURES
from agentops.costs.sources import By, SpendFilters
from agentops.domain.forecast import CONFIDENCE
from agentops.domain.periods import Interval, ceil_hour, floor_hour
from agentops.pages import UTC_ZONE, find_zone
from agentops.runs.api import AskedMoment, Moment, Money, Text, Totals, usd
from agentops.runs.filters import read_values

router = Router(tags=["spend"])
DEFAULT_RANGE = timedelta(days=30)
#: Longer ranges have more points than anybody reads, and more than one answer should hold.
LONGEST = {
    "hour": timedelta(days=92), "day": timedelta(days=3_660), "week": timedelta(days=36_600),
    "month": timedelta(days=36_600),
}  # fmt: skip
#: What the key of the series is called that sums all keys past the limit.
OTHER = "other"
#: Items that are taken apart at most.
MAX_NESTED = 50


def parse_zone(name: object) -> ZoneInfo:
    """A time zone by its name. Raises ``ValueError`` for what is none."""
    zone = find_zone(str(name or "UTC"))
    if zone is None:
        message = "There is no time zone of this name."
        raise ValueError(message)
    return zone


_ZONE_NAME = WithJsonSchema(
    {
        "type": "string",
        "description": "Whose days, weeks and months are meant, by its IANA name. An hour is of the day it begins in.",
    }
)
Zone = Annotated[ZoneInfo, BeforeValidator(parse_zone), _ZONE_NAME]
WithoutName = Literal["team", "user", "feature", "session", "release", "agent", "model", "tool"]


class WhichSpend(Schema):
    """Which spend. Any value of a repeated filter does."""

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


class Filters(WhichSpend):
    """Which spend, and when; ``from`` and ``until`` are widened to whole hours."""

    from_: AskedMoment = Field(None, alias="from", description="30 days before until, when missing.")
    until: AskedMoment = Field(None, description="Now, when missing.")


class Share(Totals):
    """The totals of one key; ``null`` is what carries none."""

    key: str | None


class SpendItem(Share):
    """The totals of one key; asked with ``then`` also what is inside it."""

    items: list[Share] | None = None
    other: Totals | None = None


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


class DayForecast(Schema):
    """What one day (UTC) will add; of today, what is still to come."""

    day: date
    expected_usd: str
    low_usd: str
    high_usd: str


class MonthForecast(Schema):
    """How the running month (UTC) will end; ``null`` with the reason where that cannot be told."""

    month: date = Field(description="Its first day.")
    booked_usd: Money
    expected_usd: Money
    low_usd: Money
    high_usd: Money
    confidence: float = Field(description="The share of months that end between low and high.")
    previous_usd: Money = Field(description="The whole month before.")
    reason: str | None
    known_days: int = Field(description="Whole days that it is told from.")
    left_out: int = Field(description="How many of them were too far off what is usual to be a guide.")
    days: list[DayForecast] = Field(description="Today and later.")


class Maker(Schema):
    """A key that made a share, 0 to 1, of what an anomaly cost more than usual."""

    by: By
    key: str
    share: float


class AnomalyRun(Schema):
    """One of the most expensive runs that were under way in the hours of an anomaly; its cost as a whole."""

    trace_id: str
    service: str
    started_at: Moment
    cost_usd: Money


class Anomaly(Schema):
    """Hours that cost unusually much (``spike``) or little (``drop``) for their hour of the week (UTC)."""

    kind: Literal["spike", "drop"]
    is_total: bool = Field(description="It is one of everything; else of the key, null for what carries none.")
    key: str | None
    from_: Moment = Field(alias="from")
    until: Moment
    expected_usd: str
    observed_usd: str
    excess_usd: str = Field(description="What it cost more than expected; of a drop, less.")
    score: float = Field(description="In standard deviations.")
    made_by: list[Maker]
    runs: list[AnomalyRun]


class Anomalies(Schema):
    """The most expensive first; those of everything only as far as no key's own account for them."""

    items: list[Anomaly]
    from_: Moment = Field(alias="from", description="Hours are judged from here: at most 92 days.")
    is_cold: bool = Field(description="There is less than a week of history: nothing can be judged.")


def totals_shape(totals: queries.Totals) -> dict[str, Any]:
    """Totals as the contract spells them."""
    shape = {m: getattr(totals, m) for m in MEASURES if m != "cost_nano"}
    return {"cost_usd": usd(totals.known_cost_nano), **shape}


def read_filters(filters: Filters) -> tuple[SpendFilters, datetime, datetime]:
    """The filters and the range. Raises 422 when the range ends before it starts."""
    asked = filters.dict()
    until = asked.pop("until") or now()
    try:
        from_ = asked.pop("from_") or until - DEFAULT_RANGE
        ceil_hour(until), floor_hour(from_) - outlook.HISTORY
    except OverflowError as error:
        raise HttpError(422, "from or until is out of range.") from error
    if from_ >= until:
        raise HttpError(422, "from must be before until.")
    return _chosen(asked), from_, until


def _chosen(asked: dict[str, Any]) -> SpendFilters:
    without, environment = asked.pop("without"), asked.pop("environment")
    return SpendFilters(**read_values(asked, without), environment=environment)


def _check_length(interval: Interval | None, from_: datetime, until: datetime) -> None:
    if interval and until - from_ > LONGEST[interval]:
        raise HttpError(422, f"By the {interval}, ask for at most {LONGEST[interval].days} days.")


def _item_shape(item: queries.Item, inside: queries.SpendReport | None) -> dict[str, Any]:
    shape = {"key": item.key, **totals_shape(item.totals)}
    if inside is not None:
        shape["items"] = [{"key": inner.key, **totals_shape(inner.totals)} for inner in inside.items]
        shape["other"] = totals_shape(inside.other) if inside.other else None
    return shape


@router.get("/spend", response=Spend, exclude_unset=True)
def get_spend(
    request: HttpRequest,
    filters: Query[Filters],
    by: By = "service",
    then: By | None = None,
    interval: Interval | None = None,
    timezone: Zone = UTC_ZONE,
    limit: Annotated[int, Field(ge=1, le=queries.MAX_LIMIT)] = 100,
) -> dict[str, Any]:
    """Spend by a dimension, the largest first; with ``interval`` also as a series over time.

    With ``then``, each item holds the largest by that dimension inside it, and their rest, of at most 50 items.
    """
    del request
    chosen, from_, until = read_filters(filters)
    _check_length(interval, from_, until)
    if then and (then == by or limit > MAX_NESTED):
        raise HttpError(422, f"then must differ from by, with a limit of at most {MAX_NESTED}.")
    report = queries.spend(by, chosen, from_, until, interval=interval, zone=timezone, limit=limit)
    inside: dict[str | None, queries.SpendReport] = {}
    if then:
        inside = queries.nested(by, then, chosen, from_, until, [item.key for item in report.items], limit=limit)
    return {
        "total": totals_shape(report.total),
        "items": [_item_shape(item, inside.get(item.key)) for item in report.items],
        "other": totals_shape(report.other) if report.other else None,
        "series": [
            {"start": point.start, "key": OTHER if point.is_other else point.key, "cost_usd": usd(point.value)}
            for point in report.series
        ],
        "coverage": queries.coverage(chosen, from_, until, report.total.cost_nano),
    }


@router.get("/export/spend.csv", response={200: None})
def export_spend(
    request: HttpRequest,
    filters: Query[Filters],
    by: By = "service",
    interval: Interval = "day",
    timezone: Zone = UTC_ZONE,
) -> StreamingHttpResponse:
    """The same as CSV: a row for each key and interval, without a limit."""
    chosen, from_, until = read_filters(filters)
    _check_length(interval, from_, until)
    return exports.spend_csv(request, by, chosen, from_, until, interval, timezone)


@router.get("/spend/forecast", response=MonthForecast)
def get_forecast(request: HttpRequest, filters: Query[WhichSpend]) -> dict[str, Any]:
    """What the running month (UTC) will have cost: what is booked, and a band for the days to come."""
    del request
    told = outlook.month_outlook(_chosen(filters.dict()), now=now())
    found = told.forecast
    return {
        "month": told.month,
        "booked_usd": usd(told.booked_nano),
        "expected_usd": usd(found.expected_nano) if found else None,
        "low_usd": usd(found.low_nano) if found else None,
        "high_usd": usd(found.high_nano) if found else None,
        "confidence": CONFIDENCE,
        "previous_usd": usd(told.previous_nano),
        "reason": told.reason or None,
        "known_days": found.known_days if found else 0,
        "left_out": found.left_out if found else 0,
        "days": [
            {
                "day": day.day,
                "expected_usd": usd(day.expected_nano),
                "low_usd": usd(day.low_nano),
                "high_usd": usd(day.high_nano),
            }
            for day in (found.days if found else ())
        ],
    }


@router.get("/spend/anomalies", response=Anomalies, by_alias=True)
def get_anomalies(request: HttpRequest, filters: Query[Filters], by: By = "service") -> dict[str, Any]:
    """Hours that cost unusually much or little for their hour of the week, of everything and of the largest keys."""
    del request
    chosen, from_, until = read_filters(filters)
    told = outlook.unusual_hours(by, chosen, from_, until, now=now())
    return {
        "items": [_anomaly_shape(unusual) for unusual in told.found],
        "from": told.judged_from,
        "is_cold": told.is_cold,
    }


def _anomaly_shape(unusual: outlook.Unusual) -> dict[str, Any]:
    anomaly = unusual.anomaly
    return {
        "kind": anomaly.kind,
        "is_total": unusual.is_total,
        "key": unusual.key,
        "from": anomaly.start,
        "until": anomaly.end,
        "expected_usd": usd(anomaly.expected_nano),
        "observed_usd": usd(anomaly.observed_nano),
        "excess_usd": usd(anomaly.excess_nano),
        "score": round(anomaly.score, 1),
        "made_by": [{"by": maker.by, "key": maker.key, "share": round(maker.share, 3)} for maker in unusual.makers],
        "runs": [
            {
                "trace_id": run.hex_id,
                "service": run.service,
                "started_at": run.started_at,
                "cost_usd": usd(run.cost_nano),
            }
            for run in unusual.runs
        ],
    }
