"""What is drawn over the chart of spend: days to come with their band, and marks where hours were unusual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, tzinfo
from typing import Any

from agentops.costs.outlook import Unusual, UnusualHours
from agentops.domain.baseline import Hours
from agentops.domain.forecast import DayForecast
from agentops.domain.periods import HOUR, Buckets
from agentops.templatetags.formats import money

NANO = 10**9
#: Days to come that are drawn over a short range; over a longer one as many as there are behind.
FEWEST_DAYS = 7
FORECAST = "likely"
#: Of each kind of anomaly: what it is called, and its mark.
SHOWN = {
    "spike": ("unusually much", "critical", "diamond"),
    "drop": ("unusually little", "muted", "diamond-open"),
}


def unusual_marks(
    told: UnusualHours, buckets: Buckets, zone: tzinfo, words: Callable[[Unusual], str]
) -> list[dict[str, Any]]:
    """Plotly traces: a mark on top of each bucket with the dearest hour of an anomaly, which says what it was."""
    sums: dict[datetime, int] = {}
    for place, cost in enumerate(told.total.costs):
        start = buckets.start_of(told.total.start + place * HOUR)
        sums[start] = sums.get(start, 0) + cost
    traces = []
    for kind, (name, tone, symbol) in SHOWN.items():
        marked: dict[datetime, list[str]] = {}
        for unusual in told.found:
            if unusual.anomaly.kind == kind:
                start = buckets.start_of(_dearest_hour(unusual, told.total))
                marked.setdefault(start, []).append(_escaped(words(unusual)))
        if marked:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "tone": tone,
                    "x": [_local(start, zone) for start in marked],
                    "y": [sums.get(start, 0) / NANO for start in marked],
                    "text": ["<br>".join(lines) for lines in marked.values()],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"symbol": symbol, "size": 11},
                    "cliponaxis": False,
                }
            )
    return traces


def _dearest_hour(unusual: Unusual, total: Hours) -> datetime:
    """The hour of an anomaly in which most was spent altogether."""
    first = math.ceil((unusual.anomaly.start - total.start) / HOUR)
    last = (unusual.anomaly.end - total.start) // HOUR
    return total.start + max(range(first, last), key=lambda place: total.costs[place]) * HOUR


def forecast_marks(days: Sequence[DayForecast], booked_today_nano: int, shown: int) -> list[dict[str, Any]]:
    """Plotly traces: a band around a line through the days from today on, as many as were ``shown`` before."""
    days = days[: max(FEWEST_DAYS, shown)]
    booked = (booked_today_nano, *(0 for _ in days[1:]))
    amounts = [
        (day.low_nano + more, day.expected_nano + more, day.high_nano + more)
        for day, more in zip(days, booked, strict=True)
    ]
    low, likely, high = ([nano / NANO for nano in column] for column in zip(*amounts, strict=True))
    said = [f"{money(mean)}, {money(least)} to {money(most)}" for least, mean, most in amounts]
    x = [_midnight(day.day) for day in days]
    line = {"type": "scatter", "mode": "lines", "name": FORECAST, "tone": "accent", "x": x}
    edge = line | {"line": {"width": 0}, "hoverinfo": "skip"}
    return [
        edge | {"y": low},
        edge | {"y": high, "fill": "tonexty"},
        line | {"y": likely, "line": {"dash": "dot"}, "text": said, "hovertemplate": "%{text}"},
    ]


def _midnight(day: date) -> str:
    return datetime.combine(day, time()).isoformat()


def _local(start: datetime, zone: tzinfo) -> str:
    return start.astimezone(zone).replace(tzinfo=None).isoformat()


def _escaped(text: str) -> str:
    """Text that the chart's library does not take for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
