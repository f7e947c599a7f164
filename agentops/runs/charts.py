"""Charts of one run: cost over time as Plotly's JSON, who talked to whom as positions in an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agentops.runs.api import from_ns
from agentops.runs.queries import StepRow
from agentops.runs.tree import Handover

NANO = 10**9
MAX_POINTS = 500
MAX_AGENTS = 8
WIDTH, HEIGHT, MARGIN = 300, 190, 46


def cost_over_time(steps: Iterable[StepRow]) -> dict[str, Any]:
    """The running total of a run's known cost, in dollars."""
    total = 0
    points: list[tuple[str, float]] = []
    for step in sorted(steps, key=lambda step: step.end_ns):
        if step.cost_nano is None:
            continue
        total += step.cost_nano
        points.append((from_ns(step.end_ns).isoformat(), total / NANO))
    if len(points) > MAX_POINTS:
        stride = math.ceil(len(points) / MAX_POINTS)
        points = [*points[:-1:stride], points[-1]]
    trace = {
        "type": "scatter",
        "mode": "lines" if len(points) > 1 else "markers",
        "fill": "tozeroy",
        "line": {"shape": "hv"},
        "series": 0,
        "name": "Cost",
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "hovertemplate": "$%{y:,.4f}<extra></extra>",
    }
    return {
        "traces": [trace] if points else [],
        "layout": {"yaxis": {"tickprefix": "$", "rangemode": "tozero"}, "showlegend": False},
        "empty": "No step of this run has a known cost yet.",
    }


@dataclass(frozen=True, slots=True)
class Spot:
    """An agent in the drawing."""

    name: str
    x: float
    y: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Arc:
    """A hand-over in the drawing: an SVG path, how often, and where that is written."""

    path: str
    count: int
    x: float
    y: float
    weight: str


@dataclass(frozen=True, slots=True)
class Graph:
    """The drawing of who talked to whom."""

    spots: list[Spot]
    arcs: list[Arc]
    width: int = WIDTH
    height: int = HEIGHT


def talk_graph(handovers: Sequence[Handover]) -> Graph | None:
    """Agents on a circle, hand-overs as arcs; ``None`` when nobody handed over."""
    names = list(dict.fromkeys(n for h in handovers for n in (h.source, h.target)))[:MAX_AGENTS]
    if not names:
        return None
    spots = {}
    for i, name in enumerate(names):
        angle = math.pi + 2 * math.pi * i / len(names)
        x = WIDTH / 2 + (WIDTH / 2 - MARGIN) * math.cos(angle)
        y = HEIGHT / 2 + (HEIGHT / 2 - MARGIN + 8) * math.sin(angle)
        spots[name] = Spot(name[:24], round(x, 1), round(y, 1), round(y + (22 if y >= HEIGHT / 2 - 1 else -13), 1))
    most = max(h.count for h in handovers)
    arcs = []
    for handover in handovers:
        if handover.source not in spots or handover.target not in spots:
            continue
        a, b = spots[handover.source], spots[handover.target]
        bend = 0.22
        cx = (a.x + b.x) / 2 - (b.y - a.y) * bend
        cy = (a.y + b.y) / 2 + (b.x - a.x) * bend
        weight = "heavy" if handover.count * 2 > most and most > 1 else "light"
        x, y = (a.x + 2 * cx + b.x) / 4, (a.y + 2 * cy + b.y) / 4
        path = f"M{a.x} {a.y} Q{cx:.1f} {cy:.1f} {b.x} {b.y}"
        arcs.append(Arc(path, handover.count, round(x, 1), round(y + 4, 1), weight))
    return Graph(list(spots.values()), arcs)
