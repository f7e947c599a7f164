"""Charts of spend, as Plotly's JSON; colours are named by series or tone, and the page resolves them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from agentops.costs.queries import OTHER, Point, truncate
from agentops.templatetags.formats import series_index

NANO = 10**9
MUTED = 5


def stacked(
    points: Sequence[Point], from_: datetime, until: datetime, interval: str, *, by: str, bars: bool = False
) -> dict[str, Any]:
    """Cost over time, a layer for each key; a service keeps the colour it has everywhere."""
    starts = list(_starts(truncate(from_, interval), until, interval))
    keys = list(dict.fromkeys(point.key for point in points))
    keys.sort(key=lambda key: key == OTHER)
    cells = {(point.start, point.key): point.cost_nano for point in points}
    traces = []
    for place, key in enumerate(keys):
        name = {None: f"no {by}", OTHER: "other"}.get(key, key)
        colour = MUTED if key in (None, OTHER) else series_index(key) if by == "service" else place % MUTED
        trace: dict[str, Any] = {
            "name": name,
            "series": colour,
            "x": [start.isoformat() for start in starts],
            "y": [cells.get((start, key), 0) / NANO for start in starts],
            "hovertemplate": "$%{y:,.4f}",
        }
        trace |= {"type": "bar"} if bars else {"type": "scatter", "mode": "lines", "stackgroup": "all"}
        traces.append(trace)
    return {
        "traces": traces,
        "layout": {"yaxis": {"tickprefix": "$", "rangemode": "tozero"}, "barmode": "stack"},
        "empty": "Nothing was spent in this time range.",
    }


def _starts(begin: datetime, until: datetime, interval: str) -> Iterable[datetime]:
    while begin < until:
        yield begin
        if interval == "month":
            begin = truncate(begin + timedelta(days=32), "month")
        else:
            begin += timedelta(hours=1) if interval == "hour" else timedelta(days=1)
