"""The chart of an incident, with the watch and without it, as the places of an SVG: it needs no script.

Lines are drawn in a square of ``SIDE`` units that is stretched to the chart; all else is placed in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from agentops.domain.incidents import NS, Incident
from agentops.domain.replays import Replay, Stop, curve
from agentops.templatetags.formats import duration, money

SIDE = 1_000
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TIMES = (1, 10, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 4 * _DAY)
_LENGTHS = (5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY)
_MOST_TICKS = 7
#: How much of the height stays free above the highest point.
_HEADROOM = 1.12
#: Ticks nearer to the right edge than this, in percent, would be cut.
_EDGE = 97.0


@dataclass(frozen=True, slots=True)
class Scale:
    """From a value to a share of the way, 0 to 1. ``low`` is 0 on a linear scale."""

    low: float
    high: float
    is_log: bool

    def share(self, value: float) -> float:
        """Where a value stands; what is off the scale stands at its end."""
        if self.is_log:
            share = log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


@dataclass(frozen=True, slots=True)
class Tick:
    """A number at an axis, at so many percent."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that is marked: at so many percent from the left and from the top; ``row`` keeps words apart."""

    x: float
    y: float
    words: str
    tone: str
    row: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that is drawn. ``without`` and ``with_`` are points of lines, ``area`` what is avoided."""

    without: str
    with_: str
    area: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    end_without: float
    end_with: float


def scales(incident: Incident, scale: str) -> tuple[Scale, Scale]:
    """Of time, in seconds, and of money, in dollars."""
    seconds, usd = incident.lasted_ns / NS, incident.cost_nano / NS
    if scale == "log":
        first = incident.cycle_ns / NS
        lowest = 10.0 ** floor(log10(incident.spent_nano(1) / NS))
        return Scale(first, seconds, is_log=True), Scale(lowest, usd * 1.6, is_log=True)
    return Scale(0.0, seconds, is_log=False), Scale(0.0, usd * _HEADROOM, is_log=False)


def plot(seen: Replay, stop: Stop, scale: str) -> Plot:
    """The chart of a replay that was stopped somewhere."""
    incident = seen.incident
    time, usd = scales(incident, scale)

    def place(at_ns: int, nano: int) -> tuple[float, float]:
        return SIDE * time.share(at_ns / NS), SIDE * (1 - usd.share(nano / NS))

    def words(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)

    first = incident.cycle_ns if time.is_log else 0
    without = [place(at, nano) for at, nano in curve(incident, incident.cycles) if at >= first]
    until = [place(at, nano) for at, nano in curve(incident, stop.cycles) if at >= first]
    flat = (float(SIDE), (until[-1] if until else (0.0, float(SIDE)))[1])
    with_ = [*until, flat]
    after = [point for point in without if not until or point[0] >= until[-1][0]]
    area = [*until[-1:], *after, flat]
    return Plot(
        words(without),
        words(with_),
        words(area),
        _times(time),
        _dollars(usd),
        _marks(seen, stop, time, usd),
        without[-1][1] * 100 / SIDE,
        flat[1] * 100 / SIDE,
    )


def _marks(seen: Replay, stop: Stop, time: Scale, usd: Scale) -> list[Mark]:
    incident, found = seen.incident, []
    moments = [(alarm.after_ns, alarm.spent_nano, words, tone) for alarm, words, tone in (
        (seen.warned, "warned", "warning"), (seen.paged, "paged", "critical")) if alarm is not None]  # fmt: skip
    is_same = bool(seen.paged and seen.paged.cycles == stop.cycles)
    if stop.cycles < incident.cycles and not is_same:
        moments.append((stop.after_ns, stop.spent_nano, "stopped", "good"))
    for row, (at_ns, nano, words, tone) in enumerate(moments):
        x = 100 * time.share(at_ns / NS)
        text = f"{words}{' and stopped' if is_same and words == 'paged' else ''} {duration(at_ns / 1e6)}, {money(nano)}"
        found.append(Mark(x, 100 * (1 - usd.share(nano / NS)), text, tone, row, x > 60))
    return found


def _times(scale: Scale) -> list[Tick]:
    if scale.is_log:
        chosen: list[float] = [at for at in _TIMES if scale.low <= at <= scale.high]
    else:
        step = next((s for s in _LENGTHS if scale.high / s <= _MOST_TICKS), _LENGTHS[-1])
        chosen = [step * n for n in range(1, int(scale.high // step) + 1)]
    ticks = [Tick(100 * scale.share(at), duration(at * 1_000).replace(".0", "")) for at in chosen]
    return [tick for tick in ticks if tick.at <= _EDGE]


def _dollars(scale: Scale) -> list[Tick]:
    if scale.is_log:
        lowest, highest = floor(log10(scale.low) + 0.5), floor(log10(scale.high))
        chosen = [10.0**power for power in range(lowest, highest + 1)]
    else:
        size = 10.0 ** floor(log10(scale.high))
        step = next(
            size * part for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if scale.high / (size * part) <= _MOST_TICKS
        )
        chosen = [step * n for n in range(int(scale.high // step) + 1)]
    return [Tick(100 * (1 - scale.share(usd)), _short(usd)) for usd in chosen]


def _short(usd: float) -> str:
    if usd >= 1 or usd == 0:
        return f"${usd:,.0f}" if usd == round(usd) else f"${usd:,.2f}"
    return f"${usd:.4f}".rstrip("0")
