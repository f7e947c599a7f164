"""Charts of ceilings, as Plotly's JSON; colours are named by tone and series, and the page resolves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import urlencode

from agentops.domain.budgets import ALWAYS, NANO, Position, Unit
from agentops.guard.queries import Pace, Standing

EMPTY = "Nothing was spent in this window yet."
#: Windows that a history has room for at least, and how much of its window's length a bar is wide.
FEWEST_DRAWN, _BAR = 8, 0.84
_LINE = {"type": "scatter", "mode": "lines"}


def course(found: Standing, pace: Pace, *, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """How a window was used up, against its limit, and how it may go on."""
    unit, position = found.unit, found.position
    begin = _beginning(found, now)
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
    return {"traces": traces, "layout": _layout(unit, zone), "empty": EMPTY}


def _beginning(found: Standing, now: datetime) -> datetime:
    """Where a course begins: what never resets has one since it counts or, counting since ever, since it was seen."""
    position = found.position
    if position.ends_at is not None:
        return position.starts_at
    first = found.samples[0].at if found.samples else now
    counts_from = position.budget.counts_from
    return counts_from if ALWAYS < counts_from < first else first


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


def history(windows: Sequence[Standing], unit: Unit, limit: int | None, zone: tzinfo, member: str) -> dict[str, Any]:
    """What windows came to, one after the other, against the limit of today; each bar leads to its window."""
    place = list(Unit).index(unit)
    found = [one.position for one in reversed(windows) if one.position.ends_at is not None]
    layout = _layout(unit, zone) | {"bargap": 0}
    if not found:
        return {"traces": [], "layout": layout, "empty": "No window is over yet."}
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": "spent",
            "series": 0,
            "x": [_local(one.starts_at, zone) for one in found],
            "y": [_height(unit, one.spent[place]) for one in found],
            # A bar is as wide as its window is long, less a gap.
            "offset": 0,
            "width": [_length(one) * _BAR for one in found],
            "customdata": [urlencode({"member": member, "start": one.starts_at.isoformat()}) for one in found],
            "hovertemplate": _hover(unit),
        }
    ]
    end = found[-1].ends_at
    assert end is not None
    # Few windows are not drawn as wide as the card.
    begin = min(found[0].starts_at, end - FEWEST_DRAWN * (end - found[-1].starts_at))
    layout["xaxis"] |= {"range": [_local(begin, zone), _local(end, zone)]}
    if limit is not None:
        traces.append(_level("limit", limit, unit, (begin, end), zone, tone="critical"))
    return {"traces": traces, "layout": layout, "empty": EMPTY}


def _length(position: Position) -> float:
    """How long a window is, in milliseconds."""
    assert position.ends_at is not None
    return (position.ends_at - position.starts_at) / timedelta(milliseconds=1)


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


def _layout(unit: Unit, zone: tzinfo) -> dict[str, Any]:
    ticks = {"tickprefix": "$"} if unit is Unit.USD else {}
    # Times are those of the budget's zone, and say so.
    xaxis = {"hoverformat": f"%d %b %H:%M {zone}"}
    return {"xaxis": xaxis, "yaxis": {"rangemode": "tozero", **ticks}, "showlegend": False}
