"""Draws one repetition of a finding: who passes what to whom, in order, as positions in an SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agentops.domain.findings import EXCHANGES, Mode
from agentops.domain.spans import Kind
from agentops.runs.findings import StoredFinding
from agentops.runs.queries import StepRow

WIDTH, TOP, STEP_HEIGHT, BOTTOM = 320, 50, 34, 16
LEFT, RIGHT = 48, 100
#: Lifelines for which there is room, characters of a label, pictures of one run.
MAX_LIFELINES, MAX_LABEL, MAX_SCENES = 5, 24, 2
#: About how wide a character of a name and of a label is.
_NAME_CHAR, _LABEL_CHAR = 7, 6
_CALLER = "agent"


@dataclass(frozen=True, slots=True)
class Pass:
    """What goes from one to another: a message, or a call of a tool. ``step`` is the span of it, if it is known."""

    source: str
    target: str
    step: StepRow | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One repetition of a finding."""

    finding: StoredFinding
    passes: list[Pass]


@dataclass(frozen=True, slots=True)
class Lifeline:
    """Who takes part: an agent, or a tool."""

    name: str
    label: str
    x: float


@dataclass(frozen=True, slots=True)
class Arrow:
    """What is passed on, and where its words stand."""

    x_from: float
    x_to: float
    y: int
    label: str
    label_x: float


@dataclass(frozen=True, slots=True)
class Picture:
    """The drawing of a scene, with the bracket that says how often it was repeated."""

    finding: StoredFinding
    lifelines: list[Lifeline]
    arrows: list[Arrow]
    words: str
    height: int
    middle: int
    bracket_x: int = WIDTH - 50
    width: int = WIDTH


def scenes(findings: Sequence[StoredFinding], steps: Sequence[StepRow]) -> list[Scene]:
    """One repetition of each finding in which several take turns."""
    going_round = [f for f in findings if f.mode in EXCHANGES or (f.period > 1 and f.mode == Mode.CYCLE)]
    by_id = {step.span_id: step for step in steps} if going_round else {}
    found = [Scene(finding, _passes(finding, by_id)) for finding in going_round]
    return [scene for scene in found if scene.passes and len(_names(scene)) <= MAX_LIFELINES][:MAX_SCENES]


def picture(scene: Scene, said: Mapping[bytes, str]) -> Picture:
    """Where everything of a scene is drawn; ``said`` is what its steps say, by span id."""
    names = _names(scene)
    space = (WIDTH - LEFT - RIGHT) / max(1, len(names) - 1)
    room = int(min(space, 2 * LEFT) / _NAME_CHAR)
    lifelines = [Lifeline(name, _cut(name, room), round(LEFT + at * space, 1)) for at, name in enumerate(names)]
    places = {line.name: line.x for line in lifelines}
    arrows = []
    for at, passed in enumerate(scene.passes):
        words = said.get(passed.step.span_id, "") if passed.step else ""
        label = _cut(words if words not in ("", "{}") else passed.words, MAX_LABEL)
        x_from, x_to = places[passed.source], places[passed.target]
        half = len(label) * _LABEL_CHAR / 2
        middle = min(max((x_from + x_to) / 2, half + 2), WIDTH - 56 - half)
        arrows.append(Arrow(x_from, x_to, TOP + at * STEP_HEIGHT, label, round(middle, 1)))
    order = ", then ".join(f"{passed.source} to {passed.target}" for passed in scene.passes)
    words = f"One of {scene.finding.count:,} rounds: {order}"
    height = TOP + (len(arrows) - 1) * STEP_HEIGHT + BOTTOM
    return Picture(scene.finding, lifelines, arrows, words, height, (30 + height) // 2 + 2)


def _names(scene: Scene) -> list[str]:
    return list(dict.fromkeys(name for passed in scene.passes for name in (passed.source, passed.target)))


def _passes(finding: StoredFinding, by_id: Mapping[bytes, StepRow]) -> list[Pass]:
    remembered = (by_id.get(bytes.fromhex(text)) for text in finding.detail.get("steps", ()))
    steps = [step for step in remembered if step is not None]
    return _turns(finding, steps) if finding.mode in EXCHANGES else _calls(steps[: finding.period])


def _turns(finding: StoredFinding, steps: Sequence[StepRow]) -> list[Pass]:
    """Who speaks to whom: everybody to the one who speaks next."""
    turns = [steps[0]] if steps else []
    for before, step in pairwise(steps):
        if step.agent != before.agent:
            turns.append(step)
    turns = [step for step in turns if step.agent][: max(2, finding.period)]
    agents = [step.agent or "" for step in turns]
    if len(set(agents)) < 2:
        # Another run holds the steps: of the agents one knows the names.
        names = finding.detail.get("agents", ())[:MAX_LIFELINES]
        return [Pass(a, b, None) for a, b in zip(names, [*names[1:], *names[:1]], strict=True)] if names[1:] else []
    following = [*agents[1:], agents[0]]
    return [
        Pass(step.agent or "", target, step, step.tool or "")
        for step, target in zip(turns, following, strict=True)
        if step.agent != target
    ]


def _calls(steps: Sequence[StepRow]) -> list[Pass]:
    """Who calls what, and who speaks to whom."""
    found = []
    for step, following in pairwise([*steps, *steps[:1]]):
        source, target = step.agent or _CALLER, following.agent or _CALLER
        if step.kind in (Kind.TOOL, Kind.RETRIEVAL):
            found.append(Pass(source, step.tool or step.name, step, step.tool or step.name))
        elif source != target:
            found.append(Pass(source, target, step))
    return found


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
