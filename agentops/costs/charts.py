"""Charts of spend, as Plotly's JSON; colours are named by series, and the page resolves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from agentops.costs.queries import Point
from agentops.costs.sources import By
from agentops.domain.periods import Interval, buckets, floor_hour
from agentops.templatetags.formats import OTHER_SERIES, SERVICE_SERIES, series_index

NANO = 10**9
#: Keys that get a layer of their own; more could not be told apart.
NAMED = 7
#: Months that have their names below them; of more, the years do.
NAMED_MONTHS = 24
HATCH = {"shape": "/", "size": 6, "solidity": 0.45}
Shape = Literal["area", "bars"]
Unit = Literal["usd", "calls"]
HOVER = {"hour": "%a %d %b %H:%M UTC", "day": "%a %d %b", "week": "week of %a %d %b", "month": "%B %Y"}
EMPTY = {"usd": "Nothing was spent in this time range.", "calls": "No tool was called in this time range."}


def stacked(
    points: Sequence[Point],
    from_: datetime,
    until: datetime,
    interval: Interval,
    *,
    by: By,
    shape: Shape = "bars",
    unit: Unit = "usd",
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A sum over time, a layer for each key, the largest at the bottom.

    A service keeps the colour it has everywhere, hatched when a larger one here has the same; other keys
    are coloured by their place. ``names`` says what keys are called that go by another name.
    """
    starts = buckets(floor_hour(from_), until, interval).starts
    cells: dict[tuple[str | None, bool], dict[datetime, int]] = {}
    for point in points:
        cells.setdefault((point.key, point.is_other), {})[point.start] = point.value
    layers = sorted(cells, key=lambda layer: (layer[1], -sum(cells[layer].values())))
    places = iter(SERVICE_SERIES)
    scale = NANO if unit == "usd" else 1
    traces: list[dict[str, Any]] = []
    for key, is_other in layers:
        series = OTHER_SERIES
        if not is_other and key is not None:
            series = series_index(key) if by == "service" else next(places)
        traces.append(
            {
                "name": "other" if is_other else (names or {}).get(key or "", key or f"no {by}"),
                "series": series,
                "x": [start.isoformat() for start in starts],
                "y": [cells[key, is_other].get(start, 0) / scale for start in starts],
                "hovertemplate": "$%{y:,.4~f}" if unit == "usd" else "%{y:,}",
                **_drawn(shape, is_hatched=series in {trace["series"] for trace in traces}),
            }
        )
    return {"traces": traces, "layout": _layout(interval, unit, len(starts)), "empty": EMPTY[unit]}


def _drawn(shape: Shape, *, is_hatched: bool) -> dict[str, Any]:
    if shape == "bars":
        hatch = {"hatched": True, "marker": {"pattern": HATCH}} if is_hatched else {}
        return {"type": "bar", **hatch}
    hatch = {"hatched": True, "fillpattern": HATCH} if is_hatched else {}
    return {"type": "scatter", "mode": "lines", "stackgroup": "all", **hatch}


def _layout(interval: Interval, unit: Unit, bars: int) -> dict[str, Any]:
    # Each month is named while the names fit; a browser that lays out hundreds of them stands still.
    months = {"dtick": "M1", "tickformat": "%b %Y"} if interval == "month" and bars <= NAMED_MONTHS else {}
    return {
        "barmode": "stack",
        "yaxis": {"tickprefix": "$" if unit == "usd" else "", "tickformat": ",~r", "rangemode": "tozero"},
        "xaxis": {"hoverformat": HOVER[interval], **months},
    }
