"""The spend page: by any dimension over any range, each number leading to the runs behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.costs import charts, exports, queries
from agentops.costs.queries import BYS, Item, SpendFilters
from agentops.pages import page_context

FILTERS = ("service", "team", "user", "feature", "session", "release", "agent", "model", "tool")
#: Dimensions that runs can be listed by.
LISTED = frozenset({"service", "user", "feature", "session", "release", "agent", "model", "tool", "environment"})
#: By what a key is taken apart next.
DRILL = {"service": "feature", "team": "service", "user": "feature", "feature": "user", "environment": "service"}
INTERVALS = ("hour", "day", "month")
SHOWN = 200


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: an item, its share, its change, and where it leads."""

    item: Item
    share: float
    before_nano: int | None
    runs_url: str
    drill_url: str

    @property
    def change(self) -> float | None:
        """Growth against the period before; ``None`` when there was nothing."""
        if not self.before_nano:
            return None
        return self.item.totals.cost_nano / self.before_nano - 1


def read(request: HttpRequest) -> dict[str, Any]:
    """The page's context and what its query string asks for."""
    context = page_context(request)
    by = request.GET.get("by", "service")
    by = by if by in BYS else "service"
    values = {name: request.GET.get(name, "").replace("\x00", "").strip()[:512] for name in FILTERS}
    interval = request.GET.get("interval", "")
    window = context["window"]
    if interval not in INTERVALS or (interval == "hour" and window.length.days > 92):
        interval = window.interval
    filters = SpendFilters(**values, environment=context["environment"])
    return context | {"by": by, "filters": filters, "interval": interval}


@require_safe
def spend(request: HttpRequest) -> HttpResponse:
    """The page, or its table as a region."""
    context = read(request)
    window, by, filters = context["window"], context["by"], context["filters"]
    report = queries.spend(by, filters, window.from_, window.until, limit=SHOWN)
    before = queries.spend(by, filters, window.from_ - window.length, window.from_, limit=queries.MAX_LIMIT)
    earlier = {item.key: item.totals.cost_nano for item in before.items}
    most = max((item.totals.cost_nano for item in report.items), default=0)
    query = request.GET.urlencode()
    context |= {
        "report": report,
        "before": before.total,
        "growth": report.total.cost_nano / before.total.cost_nano - 1 if before.total.cost_nano else None,
        "lines": [_line(item, by, request, most, earlier) for item in report.items],
        "coverage": queries.coverage(filters, window.from_, window.until),
        "chips": [(name, value, name) for name in FILTERS if (value := getattr(filters, name))],
        "bys": BYS,
        "intervals": INTERVALS,
        "chart_url": f"{reverse('costs:chart')}?{query}",
        "csv_url": f"{reverse('costs:spend_csv')}?{query}",
        "focus_url": f"{reverse('costs:focus_csv')}?{query}",
    }
    if context["interval"] and report.total.unpriced_calls:
        context["unpriced"] = _unpriced(filters, context)
    return render(
        request, "costs/spend.html#table" if request.headers.get("HX-Request") else "costs/spend.html", context
    )


def _unpriced(filters: SpendFilters, context: dict[str, Any]) -> list[Item]:
    window = context["window"]
    models = queries.spend("model", filters, window.from_, window.until, limit=queries.MAX_LIMIT)
    return [item for item in models.items if item.totals.unpriced_calls]


def _line(item: Item, by: str, request: HttpRequest, most: int, earlier: dict[str | None, int]) -> Line:
    kept = {name: value for name in ("range", "from", "until", "environment") if (value := request.GET.get(name))}
    filters = {name: value for name in FILTERS if (value := request.GET.get(name)) and name != "team"}
    key = item.key or ""
    runs = f"{reverse('runs:list')}?{urlencode(kept | filters | {by: key})}" if key and by in LISTED else ""
    drill = ""
    if key:
        asked = {name: value for name in FILTERS if (value := request.GET.get(name))}
        drill = f"?{urlencode(kept | asked | {by: key, 'by': DRILL.get(by, 'service')})}"
    share = 100 * item.totals.cost_nano / most if most else 0
    return Line(item, round(share, 1), earlier.get(item.key), runs, drill)


@require_safe
def spend_chart(request: HttpRequest) -> JsonResponse:
    """The chart of the page."""
    context = read(request)
    window, by = context["window"], context["by"]
    report = queries.spend(by, context["filters"], window.from_, window.until, interval=context["interval"])
    bars = context["interval"] != "hour"
    return JsonResponse(
        charts.stacked(report.series, window.from_, window.until, context["interval"], by=by, bars=bars)
    )


@require_safe
def spend_csv(request: HttpRequest) -> StreamingHttpResponse:
    """What the page shows, as CSV."""
    context = read(request)
    window = context["window"]
    return exports.spend_csv(context["by"], context["filters"], window.from_, window.until, context["interval"])


@require_safe
def focus_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The range as FOCUS."""
    context = read(request)
    window = context["window"]
    return exports.focus_csv(replace(context["filters"]), window.from_, window.until)
