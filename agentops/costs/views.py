"""The spend page: by any dimension over any range, each number leading to the runs behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.accounts.models import Team
from agentops.catalog.queries import ownership
from agentops.costs import charts, exports, queries, sources
from agentops.costs.forms import Asked, read_spend
from agentops.costs.queries import BYS, Item, SpendReport, Totals
from agentops.domain.periods import buckets
from agentops.pages import page_context

#: Models without a price that are named; more are only counted.
NAMED_UNPRICED = 5
REGIONS = ("figures", "table")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: totals, share in percent, growth against the period before, and where it leads."""

    key: str | None
    label: str
    totals: Totals
    share: float
    growth: float | None
    runs_url: str
    drill_url: str


@require_safe
def spend(request: HttpRequest) -> HttpResponse:
    """The page, or the region that htmx names as its target: figures, table."""
    context = page_context(request)
    asked = read_spend(request.GET, context["page"])
    part = request.headers.get("HX-Target", "") if request.headers.get("HX-Request") else ""
    report = queries.spend(
        asked.by,
        asked.filters,
        asked.from_,
        asked.until,
        interval="month" if asked.interval == "month" else None,
        limit=asked.rows,
        sort=asked.measure,
    )
    # A session has no period before: it is asked for the total alone.
    compared: sources.By = "environment" if asked.by == "session" else asked.by
    keys = [] if asked.by == "session" else [item.key for item in report.items]
    length = asked.until - asked.from_
    before, before_by_key = queries.costs_by_key(compared, asked.filters, asked.from_ - length, asked.from_, keys)
    context |= {"asked": asked, "report": report, "before_nano": before, "region": part}
    if part != "table":
        context |= _figures(asked, report, before)
    if part != "figures":
        context |= _table(asked, report, before_by_key)
    if not part:
        context |= _frame(request)
    return render(request, f"costs/spend.html#{part}" if part in REGIONS else "costs/spend.html", context)


def _figures(asked: Asked, report: SpendReport, before: int) -> dict[str, Any]:
    total = report.total
    figures: dict[str, Any] = {
        "growth": _growth(total.cost_nano, before),
        "incomplete": report.reads == "spans" and asked.from_ < queries.kept_since(),
        "kept_since": queries.kept_since(),
    }
    # With a filter it would be read from spans, three times: that would be felt.
    if report.reads == "rollups" and not any(getattr(asked.filters, name) for name in sources.DIMENSIONS):
        figures["coverage"] = queries.coverage(asked.filters, asked.from_, asked.until, total.cost_nano)
    if total.unpriced_calls and report.reads == "rollups":
        models = queries.spend(
            "model", asked.filters, asked.from_, asked.until, limit=NAMED_UNPRICED, sort="-unpriced_calls"
        ).items
        figures["unpriced"] = [item for item in models if item.totals.unpriced_calls]
    return figures


def _table(asked: Asked, report: SpendReport, before: dict[str | None, int]) -> dict[str, Any]:
    items = [item for item in report.items if _belongs(asked, item)]
    most = max((_weight(asked, item.totals) for item in items), default=0)
    names = _names(asked)
    lines = []
    for item in items:
        runs = asked.runs_query(item.key)
        lines.append(
            Line(
                key=item.key,
                label=names.get(item.key or "", item.key or ""),
                totals=item.totals,
                share=100 * _weight(asked, item.totals) / most if most else 0,
                growth=_growth(item.totals.cost_nano, before.get(item.key, 0)),
                runs_url=f"{reverse('runs:list')}?{runs}" if runs else "",
                drill_url=f"?{asked.drill_query(item.key)}" if item.key else "",
            )
        )
    return {"lines": lines} | (_months(asked, report, names) if asked.interval == "month" else {})


def _names(asked: Asked) -> dict[str, str]:
    """What keys are called, where that is not the key itself."""
    return dict(Team.objects.values_list("slug", "name")) if asked.by == "team" else {}


def _belongs(asked: Asked, item: Item) -> bool:
    """Whether a key is of the dimension at all: a tool call has no model, and a model call no tool."""
    if asked.by == "model":
        return item.totals.llm_calls > 0
    return asked.by != "tool" or item.key is not None


def _weight(asked: Asked, totals: Totals) -> int:
    return totals.tool_calls if asked.by == "tool" else totals.cost_nano


def _months(asked: Asked, report: SpendReport, names: dict[str, str]) -> dict[str, Any]:
    """Cost by month, a line for each key with any, and the months, the latest first."""
    months = buckets(asked.from_, asked.until, "month").starts[::-1]
    cells: dict[tuple[str | None, bool], dict[datetime, int]] = {}
    for point in report.series:
        cells.setdefault((point.key, point.is_other), {})[point.start] = point.value
    order: list[tuple[str | None, bool]] = [*((item.key, False) for item in report.items), (None, True)]
    lines = [
        (names.get(key or "", key), is_other, [cells[key, is_other].get(month) for month in months])
        for key, is_other in order
        if (key, is_other) in cells
    ]
    totals = [sum(costs[place] or 0 for *_, costs in lines) for place in range(len(months))]
    return {"months": months, "month_lines": lines, "month_totals": totals}


def _frame(request: HttpRequest) -> dict[str, Any]:
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    return {
        "bys": BYS,
        "services": sorted(ownership()),
        "teams": Team.objects.values_list("slug", "name"),
        "chart_url": reverse("costs:chart") + query,
        "csv_url": reverse("costs:spend_csv") + query,
        "focus_url": reverse("billing:focus_csv") + query,
    }


def _growth(now: int, before: int) -> float | None:
    return now / before - 1 if before > 0 else None


@require_safe
def spend_chart(request: HttpRequest) -> JsonResponse:
    """The chart of the page."""
    asked = read_spend(request.GET, page_context(request)["page"])
    tools = asked.by == "tool"
    report = queries.spend(
        asked.by,
        asked.filters,
        asked.from_,
        asked.until,
        interval=asked.interval,
        limit=charts.NAMED,
        sort="-tool_calls" if tools else "-cost_nano",
        measure="tool_calls" if tools else "cost_nano",
    )
    return JsonResponse(
        charts.stacked(
            report.series,
            asked.from_,
            asked.until,
            asked.interval,
            by=asked.by,
            unit="calls" if tools else "usd",
            names=_names(asked),
        )
    )


@require_safe
def spend_csv(request: HttpRequest) -> StreamingHttpResponse:
    """What the page shows, as CSV: each interval and key."""
    asked = read_spend(request.GET, page_context(request)["page"])
    return exports.spend_csv(request, asked.by, asked.filters, asked.from_, asked.until, asked.interval)
