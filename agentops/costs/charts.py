"""Charts of spend, as Plotly's JSON; colours are named by series, and the page resolves them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from agentops.costs.queries import Point
from agentops.costs.sources import By, Interval, floor_hour, step, truncate
from agentops.templatetags.formats import OTHER_SERIES, SERVICE_SERIES, series_index

NANO = 10**9
#: Keys that get a layer of their own; more could not be told apart.
NAMED = 7
HATCH = {"shape": "/", "size": 6, "solidity": 0.45}


def stacked(
    points: Sequence[Point],
    from_: datetime,
    until: datetime,
    interval: Interval,
    *,
    by: By,
    shape: Literal["area", "bars"] = "bars",
    unit: Literal["usd", "calls"] = "usd",
) -> dict[str, Any]:
    """A sum over time, a layer for each key, the largest at the bottom.

    A service keeps the colour it has everywhere, hatched when a larger one here has the same; other keys
    are coloured by their place.
    """
    starts = list(bucket_starts(from_, until, interval))
    cells: dict[tuple[str | None, bool], dict[datetime, int]] = {}
    for point in points:
        cells.setdefault((point.key, point.is_other), {})[point.start] = point.value
    layers = sorted(cells, key=lambda layer: (layer[1], -sum(cells[layer].values())))
    places = iter(range(len(layers)))
    traces: list[dict[str, Any]] = []
    used: set[int] = set()
    for key, is_other in layers:
        values = cells[key, is_other]
        if is_other or key is None:
            series = OTHER_SERIES
        else:
            series = series_index(key) if by == "service" else SERVICE_SERIES[next(places)]
        trace: dict[str, Any] = {
            "name": "other" if is_other else key or f"no {by}",
            "series": series,
            "x": [start.isoformat() for start in starts],
            "y": [values.get(start, 0) / (NANO if unit == "usd" else 1) for start in starts],
            "hovertemplate": "$%{y:,.4~f}" if unit == "usd" else "%{y:,}",
        }
        trace |= {"type": "bar"} if shape == "bars" else {"type": "scatter", "mode": "lines", "stackgroup": "all"}
        if series in used:
            trace |= (
                {"hatched": True, "fillpattern": HATCH}
                if shape == "area"
                else {"hatched": True, "marker": {"pattern": HATCH}}
            )
        used.add(series)
        traces.append(trace)
    return {
        "traces": traces,
        "layout": {
            "barmode": "stack",
            "yaxis": {"tickprefix": "$" if unit == "usd" else "", "tickformat": ",~r", "rangemode": "tozero"},
            "xaxis": {"hoverformat": {"hour": "%a %d %b %H:%M UTC", "day": "%a %d %b", "month": "%B %Y"}[interval]}
            | ({"dtick": "M1", "tickformat": "%b %Y"} if interval == "month" else {}),
        },
        "empty": "Nothing was spent in this time range." if unit == "usd" else "No tool was called in this time range.",
    }


def bucket_starts(from_: datetime, until: datetime, interval: Interval) -> Iterator[datetime]:
    """The starts of the intervals that a range touches."""
    start = truncate(floor_hour(from_), interval)
    while start < until:
        yield start
        start = step(start, interval)
