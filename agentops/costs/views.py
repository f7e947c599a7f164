"""The spend page: by any dimension over any range, each number leading to the runs behind it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.accounts.models import Team
from agentops.catalog.queries import ownership
from agentops.costs import charts, counts, exports, queries, saved_pages, sources
from agentops.costs.counts import RunCounts
from agentops.costs.forms import COMPARISONS, FILTERS, INSIDE, TOPS, Asked, read_spend
from agentops.costs.lines import Lines, Names, belongs
from agentops.costs.queries import BYS, Coverage, SpendReport, Totals
from agentops.costs.suggestions import first_address, suggest
from agentops.domain.attribution import RULED
from agentops.domain.periods import buckets
from agentops.domain.spans import OTHER
from agentops.pages import page_context, zone_names
from agentops.runs.filters import WITHOUT
from agentops.runs.forms import value_chips

#: Models without a price that are named; more are only counted.
NAMED_UNPRICED = 5
#: Rows of which the runs are counted.
COUNTED_ROWS = 25
REGIONS = ("figures", "table")


@require_safe
def spend(request: HttpRequest) -> HttpResponse:
    """The page, or the region that htmx names as its target: figures, table.

    Who comes without asking for anything gets the view that they chose as their default, or the days of their own zone.
    """
    if not request.headers.get("HX-Request") and (arrival := saved_pages.arrival(request)):
        return redirect(arrival)
    context = page_context(request)
    asked = read_spend(request.GET, context["page"])
    if typed := request.GET.get("filter"):
        found = first_address(suggest(asked, typed, names=_names(), now=context["now"]))
        return redirect(f"{request.path}{found or asked.address()}")
    part = request.headers.get("HX-Target", "") if request.headers.get("HX-Request") else ""
    report = queries.spend(
        asked.by,
        asked.filters,
        asked.from_,
        asked.until,
        interval="month" if asked.interval == "month" else None,
        zone=asked.zone,
        limit=asked.top,
        sort=asked.measure,
    )
    before, before_by_key = _before(asked, report)
    context |= {"asked": asked, "report": report, "before_nano": before, "region": part, "names": _names()}
    context["chips"] = value_chips(request.GET, asked.dimensions, team=context["names"]["team"])
    counted = counts.run_counts(asked.filters, asked.from_, asked.until)
    total = Lines(asked, report.total, context["names"], {}).total(counted, before)
    context |= {"counts": counted, "total_line": total, "units": total.units}
    if part != "table":
        context |= _figures(asked, report)
    if part != "figures":
        context |= _table(asked, report, (before, before_by_key), context["names"])
    context |= _links(request, asked)
    if not part:
        context |= {"zones": zone_names()} | saved_pages.views_menu(request)
    return render(request, f"costs/spend.html#{part}" if part in REGIONS else "costs/spend.html", context)


def _names() -> dict[str, dict[str, str]]:
    """What keys are called, where there are names for them: services and teams."""
    return {"team": dict(Team.objects.values_list("slug", "name")), "service": {name: name for name in ownership()}}


def _before(asked: Asked, report: SpendReport) -> tuple[int | None, dict[str | None, int]]:
    """What was spent in the range that is compared with, altogether and by each key that is listed."""
    if asked.before is None:
        return None, {}
    # A session has no period before: it is asked for the total alone.
    compared: sources.By = "environment" if asked.by == "session" else asked.by
    keys = [] if asked.by == "session" else [item.key for item in report.items]
    return queries.costs_by_key(compared, asked.filters, *asked.before, keys)


def _figures(asked: Asked, report: SpendReport) -> dict[str, Any]:
    total = report.total
    figures: dict[str, Any] = {
        "lacking": next((name for name in RULED if getattr(asked.filters, name) == ("",)), None),
    }
    if figures["lacking"] and report.total.steps:
        service = asked.filters.service[0] if len(asked.filters.service) == 1 else ""
        query = urlencode({"dimension": figures["lacking"], "service": service})
        figures["rule_url"] = f"{reverse('costs:new_rule')}?{query}"
    coverage = queries.coverage(asked.filters, asked.from_, asked.until, total.cost_nano)
    figures |= {"coverage": coverage, "uncovered": _uncovered(asked, coverage, total)}
    if total.unpriced_calls:
        models = queries.spend(
            "model", asked.filters, asked.from_, asked.until, limit=NAMED_UNPRICED, sort="-unpriced_calls"
        ).items
        figures["unpriced"] = [
            (item, asked.of_key("model", item.key, asked.filters)) for item in models if item.totals.unpriced_calls
        ]
    return figures


def _uncovered(asked: Asked, coverage: Coverage, total: Totals) -> list[tuple[str, float, int, str]]:
    """What the cost may lack, the share that has it, the amount that does not, and where that is shown."""
    known: tuple[tuple[str, sources.By, float | None], ...] = (
        ("a user", "user", coverage.user),
        ("a feature", "feature", coverage.feature),
        ("an owner", "team", coverage.owner),
    )
    return [
        (words, share, round((1 - share) * total.cost_nano), asked.of_key(by, None, asked.filters))
        for words, by, share in known
        if share is not None
    ]


def _table(
    asked: Asked, report: SpendReport, before: tuple[int | None, Mapping[str | None, int]], names: Names
) -> dict[str, Any]:
    items = [item for item in report.items if belongs(asked.by, item)]
    keys = [item.key for item in items]
    opened = keys[: asked.most_open] if asked.all_open else [key for key in keys if key in asked.opened]
    inside = queries.nested(
        asked.by, asked.then, asked.filters, asked.from_, asked.until, opened, limit=INSIDE, sort=asked.measure
    )
    runs: dict[str | None, RunCounts] = {}
    if asked.shows_units:
        named = [key for key in keys[:COUNTED_ROWS] if key is not None]
        runs = counts.run_counts_by_key(asked.by, asked.filters, asked.from_, asked.until, named)
    lines = Lines(asked, report.total, names, ownership())
    total_before, before_by_key = before
    table: dict[str, Any] = {
        "lines": [
            lines.outer(
                item,
                items,
                before=before_by_key.get(item.key),
                is_new=bool(total_before) and asked.by != "session",
                runs=runs.get(item.key),
                inside=inside.get(item.key),
            )
            for item in items
        ],
        "rest_line": lines.rest(report.other) if report.other else None,
        "too_many": OTHER in keys,
    }
    return table | (_months(asked, report, names) if asked.interval == "month" else {})


def _months(asked: Asked, report: SpendReport, names: Names) -> dict[str, Any]:
    """Cost by month, a line for each key with any, and the months, the latest first."""
    months = buckets(asked.from_, asked.until, "month", asked.zone).starts[::-1]
    cells: dict[tuple[str | None, bool], dict[datetime, int]] = {}
    for point in report.series:
        cells.setdefault((point.key, point.is_other), {})[point.start] = point.value
    order: list[tuple[str | None, bool]] = [*((item.key, False) for item in report.items), (None, True)]
    lines = [
        (names.get(asked.by, {}).get(key or "", key), is_other, [cells[key, is_other].get(month) for month in months])
        for key, is_other in order
        if (key, is_other) in cells
    ]
    totals = [sum(costs[place] or 0 for *_, costs in lines) for place in range(len(months))]
    return {
        "months": [month.astimezone(asked.zone).date() for month in months],
        "month_lines": lines,
        "month_totals": totals,
    }


def _links(request: HttpRequest, asked: Asked) -> dict[str, Any]:
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    return {
        "comparisons": COMPARISONS,
        "tops": TOPS,
        "chart_url": reverse("costs:chart") + query,
        "outlook_url": reverse("costs:outlook") + query,
        "csv_url": reverse("costs:spend_csv") + query,
        "focus_url": reverse("billing:focus_csv") + query,
        "suggest_url": reverse("costs:suggest") + query,
        "by_links": [(by, asked.address(by=by, then=None, open=None, sort=None)) for by in BYS],
        "then_links": [(by, asked.address(then=by, open=None, inside="all")) for by in asked.thens],
        "no_filters": asked.address(**dict.fromkeys((*FILTERS, WITHOUT))),
    }


@require_safe
def suggestions(request: HttpRequest) -> HttpResponse:
    """What a filter that is being typed may mean, as options of its list."""
    context = page_context(request)
    asked = read_spend(request.GET, context["page"])
    found = suggest(asked, request.GET.get("filter", ""), names=_names(), now=context["now"])
    return render(request, "costs/spend.html#options", context | {"suggestions": found})


@require_safe
def spend_chart(request: HttpRequest) -> JsonResponse:
    """The chart of the page."""
    asked = read_spend(request.GET, page_context(request)["page"])
    tools = asked.by == "tool"
    measure = "tool_calls" if tools else "cost_nano"
    report = queries.spend(
        asked.by,
        asked.filters,
        asked.from_,
        asked.until,
        interval=asked.interval,
        zone=asked.zone,
        limit=min(charts.NAMED, asked.top),
        sort=f"-{measure}",
        measure=measure,
    )
    before = None
    if asked.before and not tools:
        everything = queries.spend(
            "environment", asked.filters, *asked.before, interval=asked.interval, zone=asked.zone, limit=1
        )
        before = charts.Before(asked.before_words, everything.series, *asked.before) if everything.series else None
    return JsonResponse(
        charts.stacked(
            report.series,
            asked.from_,
            asked.until,
            asked.interval,
            by=asked.by,
            shape=asked.shape,
            unit="calls" if tools else "usd",
            names=_names().get(asked.by),
            zone=asked.zone,
            before=before,
        )
    )


@require_safe
def spend_csv(request: HttpRequest) -> StreamingHttpResponse:
    """What the page shows, as CSV: each interval and key."""
    asked = read_spend(request.GET, page_context(request)["page"])
    return exports.spend_csv(request, asked.by, asked.filters, asked.from_, asked.until, asked.interval, asked.zone)
