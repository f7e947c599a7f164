"""Charts of ceilings, as Plotly's JSON; colours are named by tone and series, and the page resolves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from agentops.domain.budgets import ALWAYS, NANO, Unit
from agentops.guard.queries import Pace, Standing

EMPTY = "Nothing was spent in this window yet."
_LINE = {"type": "scatter", "mode": "lines"}


def course(found: Standing, pace: Pace, *, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """How a window was used up, against its limit, and how it may go on."""
    unit, position = found.unit, found.position
    # What never resets begins with what was first seen of it, or counted.
    first = found.samples[0].at if found.samples else now
    start = max(position.starts_at, min(first, position.budget.counts_from)) if position.ends_at is None else None
    begin = start if start is not None and start > ALWAYS else first if start is not None else position.starts_at
    points = [(begin, 0), *((one.at, one.spent) for one in found.samples)]
    end = position.ends_at
    latest = min(now, end) if end else now
    points.append((latest, found.spent))
    until = end or latest
    traces: list[dict[str, Any]] = [
        {
            **_LINE,
            "name": "spent",
            "series": 0,
            "line": {"shape": "hv"},
            "x": [_local(at, zone) for at, _ in points],
            "y": [_height(unit, amount) for _, amount in points],
            "hovertemplate": _hover(unit),
        },
        _level("limit", found.limit, unit, (begin, until), zone, tone="critical"),
    ]
    traces += [
        _level(f"{one:.0%}", int(found.limit * one), unit, (begin, until), zone, tone="muted", dash="dot")
        for one in position.budget.thresholds
        if one < 1
    ]
    if pace.forecast is not None and end is not None and now < end:
        traces += _outlook(found, pace, latest, end, zone)
    return {"traces": traces, "layout": _layout(unit), "empty": EMPTY}


def _outlook(found: Standing, pace: Pace, now: datetime, end: datetime, zone: tzinfo) -> list[dict[str, Any]]:
    outlook, unit = pace.forecast, found.unit
    assert outlook is not None
    x = [_local(now, zone), _local(end, zone)]
    here = _height(unit, found.spent)
    quiet = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    return [
        {**_LINE, **quiet, "name": "low", "tone": "muted", "x": x, "y": [here, _height(unit, outlook.low)]},
        {
            **_LINE,
            **quiet,
            "name": "band",
            "tone": "muted",
            "fill": "tonexty",
            "x": x,
            "y": [here, _height(unit, outlook.high)],
        },
        {
            **_LINE,
            "name": "expected",
            "series": 0,
            "line": {"dash": "dash", "width": 1.6},
            "x": x,
            "y": [here, _height(unit, outlook.expected)],
            "hovertemplate": _hover(unit),
        },
    ]


def history(windows: Sequence[Standing], unit: Unit, limit: int | None, zone: tzinfo) -> dict[str, Any]:
    """What windows came to, one after the other, against the limit of today."""
    place = list(Unit).index(unit)
    found = list(reversed(windows))
    x = [_local(one.position.starts_at, zone) for one in found]
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": "spent",
            "series": 0,
            "x": x,
            "y": [_height(unit, one.position.spent[place]) for one in found],
            "hovertemplate": _hover(unit),
        }
    ]
    if limit is not None and x:
        y = _height(unit, limit)
        line = {"width": 1.6}
        traces.append({**_LINE, "name": "limit", "tone": "critical", "line": line, "x": [x[0], x[-1]], "y": [y, y]})
    return {"traces": traces if found else [], "layout": _layout(unit), "empty": "No window is over yet."}


def _level(
    name: str,
    amount: int,
    unit: Unit,
    span: tuple[datetime, datetime],
    zone: tzinfo,
    *,
    tone: str,
    dash: str = "solid",
) -> dict[str, Any]:
    y = _height(unit, amount)
    line = {"dash": dash, "width": 1.4}
    x = [_local(at, zone) for at in span]
    return {**_LINE, "name": name, "tone": tone, "line": line, "x": x, "y": [y, y], "hoverinfo": "skip"}


def _local(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).replace(tzinfo=None).isoformat()


def _height(unit: Unit, amount: int) -> float:
    return amount / NANO if unit is Unit.USD else amount


def _hover(unit: Unit) -> str:
    return "$%{y:,.4~f}" if unit is Unit.USD else "%{y:,} " + unit.value


def _layout(unit: Unit) -> dict[str, Any]:
    ticks = {"tickprefix": "$"} if unit is Unit.USD else {}
    return {"yaxis": {"rangemode": "tozero", **ticks}, "showlegend": False}
