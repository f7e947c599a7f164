"""The outlook of the spend page: how the month will end, and which hours were unusual, each leading to what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.accounts.models import Team
from agentops.catalog.queries import Ownership, ownership
from agentops.costs import marks
from agentops.costs.forms import Asked, read_spend
from agentops.costs.outlook import Maker, MakingRun, MonthOutlook, Unusual, UnusualHours, month_outlook, unusual_hours
from agentops.costs.sources import By
from agentops.domain.anomalies import Anomaly
from agentops.domain.periods import DAY, HOUR, buckets, floor_hour, truncate
from agentops.pages import page_context
from agentops.templatetags.formats import DASH, money

#: Anomalies that are listed.
LISTED = 8
LONGEST_NAME = 40
#: How far a drawing of amounts reaches beyond the largest, so that its end can be seen.
BEYOND = 1.04


@dataclass(frozen=True, slots=True)
class Band:
    """A month's amounts as places on a line, 0 to 100."""

    booked: float
    low: float
    expected: float
    high: float
    previous: float | None

    @property
    def width(self) -> float:
        """How wide the band is."""
        return self.high - self.low

    @classmethod
    def of(cls, outlook: MonthOutlook) -> Band | None:
        """The places, if there is a forecast."""
        found = outlook.forecast
        if found is None:
            return None
        previous = outlook.previous_nano or 0
        whole = max(found.high_nano, previous, 1) * BEYOND
        return cls(
            booked=100 * found.booked_nano / whole,
            low=100 * found.low_nano / whole,
            expected=100 * found.expected_nano / whole,
            high=100 * found.high_nano / whole,
            previous=100 * previous / whole if previous else None,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """An anomaly as it is listed, with where its parts lead; ``growth`` is ``None`` where nothing is usual."""

    anomaly: Anomaly
    when: str
    by: By
    key: str | None
    label: str
    is_total: bool
    growth: float | None
    drill_url: str
    runs_url: str
    makers: list[tuple[Maker, str]]
    runs: list[tuple[MakingRun, str]]


@require_safe
def outlook(request: HttpRequest) -> HttpResponse:
    """The region, or a page of its own where there is no htmx."""
    context = page_context(request)
    asked, now = read_spend(request.GET, context["page"]), context["now"]
    month = month_outlook(asked.filters, now=now)
    told = unusual_hours(asked.by, asked.filters, asked.from_, asked.until, now=now)
    names = {"team": dict(Team.objects.values_list("slug", "name"))}
    owners = ownership()
    context |= {
        "asked": asked,
        "month": month,
        "before_month": (month.month - DAY).replace(day=1),
        "band": Band.of(month),
        "told": told,
        "lines": [_line(asked, unusual, names, owners) for unusual in told.found[:LISTED]],
        "more": len(told.found) - LISTED,
        "is_cut": floor_hour(asked.from_) < told.judged_from,
        "marks": json.dumps({"traces": _marks(asked, month, told, names, now=now)}),
        "spend_url": f"{reverse('costs:spend')}?{request.GET.urlencode()}".rstrip("?"),
    }
    return render(request, f"costs/outlook.html{'#outlook' if request.headers.get('HX-Request') else ''}", context)


#: What keys are called, by dimension, where they go by another name.
Names = Mapping[str, Mapping[str, str]]


def _line(asked: Asked, unusual: Unusual, names: Names, owners: Mapping[str, Ownership]) -> Line:
    anomaly, filters = unusual.anomaly, asked.filters
    if not unusual.is_total:
        filters = filters.within(asked.by, unusual.key)
    around = _within_range(asked, anomaly.start, anomaly.end)
    # A run that was under way already is in the list too.
    begin = min([anomaly.start, *(run.started_at for run in unusual.runs)])
    runs = _within_range(asked, begin, anomaly.end).runs_query(filters, owners)
    detail = reverse("costs:spend")
    return Line(
        anomaly=anomaly,
        when=_when(anomaly, asked.zone),
        by=asked.by,
        key=unusual.key,
        label=_label(asked.by, unusual, names),
        is_total=unusual.is_total,
        growth=anomaly.observed_nano / anomaly.expected_nano - 1 if anomaly.expected_nano else None,
        drill_url="" if unusual.is_total else f"{detail}{around.of_key(asked.by, unusual.key, asked.filters)}",
        runs_url=f"{reverse('runs:list')}?{runs}&sort=-cost" if runs else "",
        makers=[(maker, f"{detail}{around.of_key(maker.by, maker.key, filters)}") for maker in unusual.makers],
        runs=[
            (run, f"{reverse('runs:detail', args=[run.hex_id])}?{urlencode(asked.kept | {'service': run.service})}")
            for run in unusual.runs
        ],
    )


def _within_range(asked: Asked, begin: datetime, end: datetime) -> Asked:
    """The same, for links that lead to a range of their own."""
    range_ = {"range": "custom", "from": f"{begin:%Y-%m-%dT%H:%MZ}", "until": f"{end:%Y-%m-%dT%H:%MZ}"}
    return replace(asked, kept=asked.kept | range_)


def _label(by: By, unusual: Unusual, names: Names) -> str:
    if unusual.is_total:
        return "everything"
    return names.get(by, {}).get(unusual.key or "", unusual.key or f"no {by}")


def _when(anomaly: Anomaly, zone: tzinfo) -> str:
    """Its hours in a zone: ``Tue 17 Nov 20:00-22:00``."""
    begin, end = anomaly.start.astimezone(zone), anomaly.end.astimezone(zone)
    if begin.date() == (end - HOUR).date():
        return f"{begin:%a %d %b %H:%M}{DASH}{end:%H:%M}"
    return f"{begin:%a %d %b %H:%M} {DASH} {end:%a %d %b %H:%M}"


def _marks(
    asked: Asked, month: MonthOutlook, told: UnusualHours, names: Names, *, now: datetime
) -> list[dict[str, Any]]:
    """What is drawn over the page's chart; nothing where it does not show money."""
    if asked.by == "tool":
        return []

    def words(unusual: Unusual) -> str:
        label, anomaly = _label(asked.by, unusual, names), unusual.anomaly
        name = label if len(label) <= LONGEST_NAME else f"{label[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
        usual = f"{money(anomaly.observed_nano)} where {money(anomaly.expected_nano)} is usual"
        return f"{_when(anomaly, asked.zone)}: {name} {usual}"

    shown = buckets(floor_hour(asked.from_), asked.until, asked.interval, asked.zone)
    drawn = marks.unusual_marks(told, shown, asked.zone, words)
    if month.forecast and asked.interval == "day" and asked.until >= floor_hour(now):
        today = truncate(now, "day")
        hours = zip(
            (told.total.start + place * HOUR for place in range(len(told.total.costs))), told.total.costs, strict=True
        )
        booked = sum(cost for start, cost in hours if start >= today)
        drawn = [*marks.forecast_marks(month.forecast.days, booked, len(shown.starts)), *drawn]
    return drawn
