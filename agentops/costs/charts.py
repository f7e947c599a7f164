"""Charts of spend, as Plotly's JSON; colours are named by series, and the page resolves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
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
HOVER = {"hour": "%a %d %b %H:%M", "day": "%a %d %b", "week": "week of %a %d %b", "month": "%B %Y"}
EMPTY = {"usd": "Nothing was spent in this time range.", "calls": "No tool was called in this time range."}


@dataclass(frozen=True, slots=True)
class Before:
    """The sum over an earlier range, which is drawn as a line: bucket by bucket, from the first on."""

    words: str
    points: Sequence[Point]
    from_: datetime
    until: datetime


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
    zone: tzinfo = UTC,
    before: Before | None = None,
) -> dict[str, Any]:
    """A sum over time, a layer for each key, the largest at the bottom.

    A service keeps the colour it has everywhere, hatched when a larger one here has the same; other keys
    are coloured by their place. ``names`` says what keys are called that go by another name.
    """
    starts = buckets(floor_hour(from_), until, interval, zone).starts
    cells: dict[tuple[str | None, bool], dict[datetime, int]] = {}
    for point in points:
        cells.setdefault((point.key, point.is_other), {})[point.start] = point.value
    layers = sorted(cells, key=lambda layer: (layer[1], -sum(cells[layer].values())))
    places = iter(SERVICE_SERIES)
    hover = "$%{y:,.4~f}" if unit == "usd" else "%{y:,}"
    traces: list[dict[str, Any]] = []
    for key, is_other in layers:
        series = OTHER_SERIES
        if not is_other and key is not None:
            series = series_index(key) if by == "service" else next(places)
        traces.append(
            {
                "name": "other" if is_other else (names or {}).get(key or "", key or f"no {by}"),
                "series": series,
                **_drawn(shape, is_hatched=series in {trace["series"] for trace in traces}),
                **_sums(starts, cells[key, is_other], zone, 1 if unit == "calls" else NANO),
                "hovertemplate": hover,
            }
        )
    if before and traces:
        traces.append(_line(before, starts, interval, zone) | {"hovertemplate": hover})
    return {"traces": traces, "layout": _layout(interval, unit, len(starts), zone), "empty": EMPTY[unit]}


def _sums(starts: Sequence[datetime], values: Mapping[datetime, int], zone: tzinfo, scale: int) -> dict[str, Any]:
    """Places and heights; an hour that a zone's clocks show twice is one place."""
    sums: dict[str, int] = {}
    for start in starts:
        place = start.astimezone(zone).replace(tzinfo=None).isoformat()
        sums[place] = sums.get(place, 0) + values.get(start, 0)
    return {"x": list(sums), "y": [value / scale for value in sums.values()]}


def _line(before: Before, starts: Sequence[datetime], interval: Interval, zone: tzinfo) -> dict[str, Any]:
    sums: dict[datetime, int] = {}
    for point in before.points:
        sums[point.start] = sums.get(point.start, 0) + point.value
    earlier = buckets(floor_hour(before.from_), before.until, interval, zone).starts
    moved = {start: sums.get(was, 0) for start, was in zip(starts, earlier, strict=False)}
    line = {"dash": "dot", "width": 1.6}
    return {
        "name": before.words,
        "tone": "muted",
        "type": "scatter",
        "mode": "lines",
        "line": line,
        **_sums([start for start in starts if start in moved], moved, zone, NANO),
    }


def _drawn(shape: Shape, *, is_hatched: bool) -> dict[str, Any]:
    if shape == "bars":
        hatch = {"hatched": True, "marker": {"pattern": HATCH}} if is_hatched else {}
        return {"type": "bar", **hatch}
    hatch = {"hatched": True, "fillpattern": HATCH} if is_hatched else {}
    return {"type": "scatter", "mode": "lines", "stackgroup": "all", **hatch}


def _layout(interval: Interval, unit: Unit, bars: int, zone: tzinfo) -> dict[str, Any]:
    # Each month is named while the names fit; a browser that lays out hundreds of them stands still.
    months = {"dtick": "M1", "tickformat": "%b %Y"} if interval == "month" and bars <= NAMED_MONTHS else {}
    hover = f"{HOVER[interval]} {zone}" if interval == "hour" else HOVER[interval]
    return {
        "barmode": "stack",
        "yaxis": {"tickprefix": "$" if unit == "usd" else "", "tickformat": ",~r", "rangemode": "tozero"},
        "xaxis": {"hoverformat": hover, **months},
    }
