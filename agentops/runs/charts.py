"""Charts of one run: cost over time as Plotly's JSON, who talked to whom as positions in an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentops.domain.findings import EXCHANGES
from agentops.runs.api import from_ns
from agentops.runs.findings import Scope, StoredFinding
from agentops.runs.queries import StepRow
from agentops.runs.tree import Talk

NANO = 10**9
MAX_POINTS = 500
MAX_AGENTS = 8
WIDTH, HEIGHT, MARGIN = 320, 200, 44
#: Two agents stand side by side.
HEIGHT_OF_TWO = 96
#: How far an arc ends from the middle of a spot.
GAP = 12
MAX_NAME = 18
#: From this many times on, an arc may stand out.
OFTEN = 3
#: Sines and cosines that count as level, and as far to the side.
EVEN, SIDEWAYS = 0.01, 0.6


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
    """An agent in the drawing, and where its name is written."""

    name: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str
    is_quiet: bool
    is_looping: bool = False


@dataclass(frozen=True, slots=True)
class Arc:
    """Who follows whom in the drawing: an SVG path, how often (0: not written), and where that is written."""

    path: str
    count: int
    x: float
    y: float
    weight: str


@dataclass(frozen=True, slots=True)
class Graph:
    """The drawing of who talks to whom. ``left_out`` counts the agents that have no room in it."""

    spots: list[Spot]
    arcs: list[Arc]
    left_out: int
    height: int
    width: int = WIDTH


def loops_between(findings: Iterable[StoredFinding]) -> dict[frozenset[str], int]:
    """Which two agents go on talking to each other, and how many rounds of it are known of this run; 0: unknown."""
    found: dict[frozenset[str], int] = {}
    for finding in findings:
        agents = finding.detail.get("agents", ())
        if finding.mode in EXCHANGES and len(agents) > 1:
            rounds = finding.count if finding.place.scope is Scope.RUN else 0
            found.setdefault(frozenset(agents[:2]), rounds)
    return found


def talk_graph(
    talks: Sequence[Talk], agents: Sequence[str] = (), loops: Mapping[frozenset[str], int] | None = None
) -> Graph | None:
    """Agents on an ellipse, arcs from each to whom it is followed by; ``None`` when nobody is.

    Of the ``agents`` those that nobody follows or precedes are drawn as quiet ones. Between those of ``loops`` the arcs
    stand out, and how often they went round is written once.
    """
    loops = loops or {}
    heard = list(dict.fromkeys(name for talk in talks for name in (talk.source, talk.target)))
    if not heard:
        return None
    names = [*heard, *(name for name in agents if name not in heard)]
    spots = {
        name: replace(
            _spot(name, i, min(len(names), MAX_AGENTS), name not in heard),
            is_looping=any(name in pair for pair in loops),
        )
        for i, name in enumerate(names[:MAX_AGENTS])
    }
    height = _height(len(spots))
    most = max(talk.count for talk in talks)
    counts: dict[tuple[str, str], int] = {}
    for talk in talks:
        if talk.source in spots and talk.target in spots:
            counts[talk.source, talk.target] = max(counts.get((talk.source, talk.target), 0), talk.count)
    arcs = [_arc(spots[a], spots[b], count, most, height) for (a, b), count in counts.items()]
    arcs = _with_loops(arcs, list(counts), loops)
    return Graph(list(spots.values()), arcs, max(0, len(names) - MAX_AGENTS), height)


def _with_loops(arcs: Sequence[Arc], ways: Sequence[tuple[str, str]], loops: Mapping[frozenset[str], int]) -> list[Arc]:
    found, counted = [], set()
    for arc, way in zip(arcs, ways, strict=True):
        pair = frozenset(way)
        if pair in loops:
            is_first, rounds = pair not in counted, loops[pair]
            counted.add(pair)
            found.append(replace(arc, weight="critical", count=arc.count if not rounds else rounds * is_first))
        else:
            found.append(arc)
    return found


def _height(agents: int) -> int:
    return HEIGHT if agents > 2 else HEIGHT_OF_TWO


def _spot(name: str, i: int, of: int, is_quiet: bool) -> Spot:  # noqa: FBT001
    angle = math.pi + 2 * math.pi * i / of
    across, down = math.cos(angle), math.sin(angle)
    height = _height(of)
    x, y = WIDTH / 2 + (WIDTH / 2 - MARGIN) * across, height / 2 + (height / 2 - MARGIN + 16) * down
    below = down >= -EVEN
    label = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    # A name at the very left or right would be cut off if it were centred below its spot.
    anchor = "start" if across < -SIDEWAYS else "end" if across > SIDEWAYS else "middle"
    edge = {"start": -12, "end": 12, "middle": 0}[anchor]
    return Spot(
        label, round(x, 1), round(y, 1), round(x + edge, 1), round(y + (23 if below else -14), 1), anchor, is_quiet
    )


def _arc(a: Spot, b: Spot, count: int, most: int, height: int) -> Arc:
    """A curve to the left of the way from a to b, so that there and back lie apart."""
    length = math.hypot(b.x - a.x, b.y - a.y) or 1
    along_x, along_y = (b.x - a.x) / length, (b.y - a.y) / length
    bend = min(34.0, length * 0.24, height * 0.22)
    mid_x, mid_y = (a.x + b.x) / 2 + along_y * bend, (a.y + b.y) / 2 - along_x * bend
    start_x, start_y = a.x + along_x * GAP + along_y * GAP / 2, a.y + along_y * GAP - along_x * GAP / 2
    end_x, end_y = b.x - along_x * GAP + along_y * GAP / 2, b.y - along_y * GAP - along_x * GAP / 2
    path = f"M{start_x:.1f} {start_y:.1f} Q{mid_x:.1f} {mid_y:.1f} {end_x:.1f} {end_y:.1f}"
    label_x, label_y = (start_x + 2 * mid_x + end_x) / 4, (start_y + 2 * mid_y + end_y) / 4
    weight = "heavy" if count >= OFTEN and count * 2 > most else "light"
    return Arc(path, count, round(label_x, 1), round(label_y + 3.5, 1), weight)
