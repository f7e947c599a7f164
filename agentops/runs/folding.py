"""Folds what repeats itself in a run: the repetitions of a finding become one line of the waterfall.

What belongs to a finding is what it remembers, and, because it does not remember everything, what its agents did with
its tools, or said, while it went on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from agentops.domain.findings import Mode
from agentops.domain.spans import COSTED_KINDS, Kind
from agentops.runs.findings import Scope, StoredFinding
from agentops.runs.queries import StepRow
from agentops.runs.tree import Line

#: Repetitions that are worth a line that stands for them.
FEWEST_FOLDED = 2
#: Findings of one run whose steps are looked for.
MAX_PATTERNS = 24
WARNED, PAGED = "warned here", "paged here"

_LOOPS = "loop."
_TOOLS = frozenset({Kind.TOOL, Kind.RETRIEVAL})
_SPOKEN = frozenset({Kind.LLM, Kind.AGENT})
_PLUMBING = frozenset({Kind.WORKFLOW, Kind.OTHER})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Mark:
    """That a step is the one at which a finding was made, in words."""

    words: str
    finding: StoredFinding


@dataclass(frozen=True, slots=True)
class Fold:
    """Repetitions that one line stands for, between the first one and the last.

    ``lines`` are all that it hides, in order; its totals are theirs. ``speaker`` is the step whose text says what is
    repeated. ``marks`` are of hidden steps.
    """

    finding: StoredFinding
    lines: Sequence[Line]
    depth: int
    rounds: int
    cost_nano: int | None
    unpriced: int
    tokens: int
    start_ns: int
    end_ns: int
    errors: int
    has_tools: bool
    speaker: StepRow
    marks: tuple[tuple[StepRow, Mark], ...]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A loop as its steps are recognised; ``period`` counts the steps that make up one repetition.

    In a talk those are turns of its agents, else calls of its tools, the first of which was ``asked_ns`` for.
    """

    finding: StoredFinding
    asked_ns: int
    from_ns: int
    until_ns: int
    tools: frozenset[str]
    agents: frozenset[str]
    period: int
    is_talk: bool

    def holds(self, step: StepRow) -> bool:
        return self.from_ns <= step.start_ns <= self.until_ns

    def meets(self, step: StepRow) -> bool:
        return self.asked_ns <= step.end_ns and step.start_ns <= self.until_ns

    def is_of_agent(self, step: StepRow) -> bool:
        if self.agents:
            return step.agent in self.agents
        return bool(self.tools) or not step.agent

    def is_act(self, step: StepRow) -> bool:
        """Whether a step that the finding need not remember is one of its own."""
        if step.kind in _TOOLS:
            return step.tool in self.tools and self.holds(step) and self.is_of_agent(step)
        if not self.is_talk or step.kind not in _SPOKEN:
            return False
        # An agent's span begins before the message that it is known by.
        return (self.meets if step.kind == Kind.AGENT else self.holds)(step) and self.is_of_agent(step)


@dataclass(frozen=True, slots=True)
class _Part:
    """A step with all below it, as one may fold it.

    ``act`` is the pattern whose step it is, or that consists of nothing else; -1 for none. Then it may go along with
    those ``beside`` which it is of no account: ``None`` are all. ``turns`` are the steps of a repetition in it.
    """

    act: int
    beside: frozenset[int] | None
    turns: int = 0

    def goes_with(self, pattern: int) -> bool:
        return self.beside is None or pattern in self.beside


_ALIEN = _Part(-1, _NOBODY)


@dataclass(frozen=True, slots=True)
class Belonging:
    """Which steps of a run belong to which finding, by span id; and at which ones something was found."""

    owners: dict[bytes, StoredFinding]
    marks: dict[bytes, list[Mark]]
    patterns: Sequence[_Pattern]
    parts: Sequence[_Part]


def belonging(lines: Sequence[Line], findings: Sequence[StoredFinding], trace_id: bytes) -> Belonging:
    """What of a run belongs to what was found in it. Of several findings the first one has a step."""
    looping = [finding for finding in findings if finding.kind.startswith(_LOOPS)][:MAX_PATTERNS]
    by_id = {line.step.span_id: line.step for line in lines} if findings else {}
    patterns = [_pattern(finding, by_id) for finding in looping]
    remembered: dict[bytes, int] = {}
    for at, pattern in enumerate(patterns):
        for span_id in _ids(pattern.finding):
            if span_id in by_id and pattern.holds(by_id[span_id]):
                remembered.setdefault(span_id, at)
    acts = [_act(line.step, patterns, remembered) for line in lines] if patterns else []
    parts = _parts(lines, acts, patterns) if any(at >= 0 for at in acts) else []
    owners = {
        line.step.span_id: patterns[act].finding
        for line, act, part in zip(lines, acts, parts, strict=False)
        if act >= 0 and part.act == act
    }
    for finding in findings:
        for span_id in _ids(finding):
            if span_id in by_id and _pattern_holds(finding, by_id[span_id]):
                owners.setdefault(span_id, finding)
    return Belonging(owners, _marks(findings, by_id, trace_id), patterns, parts)


def _ids(finding: StoredFinding) -> list[bytes]:
    return [bytes.fromhex(text) for text in finding.detail.get("steps", ())]


def _pattern(finding: StoredFinding, by_id: dict[bytes, StepRow]) -> _Pattern:
    steps = [by_id[span_id] for span_id in _ids(finding) if span_id in by_id]
    has_tools = not steps or any(step.kind in _TOOLS for step in steps)
    # A tool of which only the request is known is told of by the model's span: then those are what repeats.
    tools = frozenset(finding.detail.get("what", ())) if has_tools else frozenset()
    period = max(1, finding.period)
    is_talk = not tools or finding.mode == Mode.TALK
    if not is_talk:
        period = sum(step.kind in _TOOLS for step in steps[:period]) or period
    from_ns, until_ns = _range(finding)
    agents = frozenset(finding.detail.get("agents", ()))
    found = _Pattern(finding, from_ns, from_ns, until_ns, tools, agents, period, is_talk)
    return found if is_talk else replace(found, asked_ns=_asked_ns(found, by_id.values()))


def _asked_ns(pattern: _Pattern, steps: Iterable[StepRow]) -> int:
    """When the model call that asked for the first call of a tool ended: the latest one of its agent before."""
    return max(
        (
            step.end_ns
            for step in steps
            if step.kind == Kind.LLM and step.end_ns <= pattern.from_ns and pattern.is_of_agent(step)
        ),
        default=pattern.from_ns,
    )


def _range(finding: StoredFinding) -> tuple[int, int]:
    """From when until when it went on, in ns; it is stored to the microsecond."""
    began, latest = (
        (moment - _EPOCH) // timedelta(microseconds=1) * 1_000 for moment in (finding.began_at, finding.latest_at)
    )
    return began, latest + 999


def _pattern_holds(finding: StoredFinding, step: StepRow) -> bool:
    from_ns, until_ns = _range(finding)
    return from_ns <= step.end_ns and step.start_ns <= until_ns


def _act(step: StepRow, patterns: Sequence[_Pattern], remembered: dict[bytes, int]) -> int:
    if step.merged_into:
        return -1
    if (known := remembered.get(step.span_id)) is not None:
        return known
    return next((at for at, pattern in enumerate(patterns) if pattern.is_act(step)), -1)


def _marks(findings: Iterable[StoredFinding], by_id: dict[bytes, StepRow], trace_id: bytes) -> dict[bytes, list[Mark]]:
    """Where something was found. Of a session, the steps of other runs are not looked at."""
    found: dict[bytes, list[Mark]] = {}
    for finding in findings:
        detected, paged = (bytes.fromhex(finding.detail.get(f"{name}_span_id") or "") for name in ("detected", "paged"))
        is_here = finding.trace_id == trace_id
        if is_here and detected in by_id:
            found.setdefault(detected, []).append(Mark(PAGED if detected == paged else WARNED, finding))
        if paged != detected and paged in by_id and (is_here or finding.place.scope is Scope.SESSION):
            found.setdefault(paged, []).append(Mark(PAGED, finding))
    return found


def fold(lines: Sequence[Line], of: Belonging) -> list[Line | Fold]:
    """Lines in their order, with the repetitions of each finding between the first and the last folded.

    What is folded stands side by side, belongs to the finding with all below it, or is of no account between such
    steps: model calls by which its agent goes on with it, spans that do nothing. What a tool or a model call does
    inside is part of it; what an agent does in its turn must belong.
    """
    if not of.parts:
        return [*lines]
    result: list[Line | Fold] = []
    waiting: list[int | Fold] = _plan(lines, of, 0, len(lines))[::-1]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Fold):
            result.append(item)
            continue
        result.append(lines[item])
        if below := lines[item].below:
            waiting += _plan(lines, of, item + 1, item + 1 + below)[::-1]
    return result


def _parts(lines: Sequence[Line], acts: Sequence[int], patterns: Sequence[_Pattern]) -> list[_Part]:
    """Each line with all below it, from the end to the start: what is below a line stands after it."""
    parts: list[_Part] = [_ALIEN] * len(lines)
    for at in range(len(lines) - 1, -1, -1):
        step, act = lines[at].step, acts[at]
        if step.merged_into:
            parts[at] = _Part(-1, None)
        elif step.kind in _PLUMBING or step.kind == Kind.AGENT:
            below = [parts[child] for child in _siblings(lines, at + 1, at + 1 + lines[at].below)]
            parts[at] = _container(step, act, below, patterns)
        elif act >= 0:
            is_turn = (step.kind in _TOOLS) != patterns[act].is_talk
            parts[at] = _Part(act, frozenset((act,)), int(is_turn))
        elif step.kind == Kind.LLM:
            parts[at] = _Part(-1, _beside(step, patterns))
    return parts


def _beside(step: StepRow, patterns: Sequence[_Pattern]) -> frozenset[int]:
    return frozenset(at for at, pattern in enumerate(patterns) if pattern.meets(step) and pattern.is_of_agent(step))


def _container(step: StepRow, act: int, below: Sequence[_Part], patterns: Sequence[_Pattern]) -> _Part:
    """An agent's turn, or a span that does nothing itself: what the parts below it have in common."""
    beside = None if step.kind in _PLUMBING else _beside(step, patterns)
    if step.kind in _PLUMBING and step.is_error and not below:
        return _ALIEN
    for part in below:
        if part.beside is not None:
            beside = part.beside if beside is None else beside & part.beside
    acts = {part.act for part in below if part.act >= 0} | ({act} if act >= 0 else set())
    if not acts:
        return _Part(-1, beside)
    (first, *others) = acts
    if others or (beside is not None and first not in beside):
        return _ALIEN
    is_one = act >= 0 and patterns[act].is_talk
    return _Part(first, frozenset((first,)), 1 if is_one else sum(part.turns for part in below))


def _siblings(lines: Sequence[Line], start: int, end: int) -> list[int]:
    found = []
    while start < end:
        found.append(start)
        start += lines[start].below + 1
    return found


def _plan(lines: Sequence[Line], of: Belonging, start: int, end: int) -> list[int | Fold]:
    """The lines that stand side by side, with folds among them."""
    plan: list[int | Fold] = []
    series: list[int] = []
    current = -1

    def close() -> None:
        plan.extend(_folded(lines, of, series, current) if series else ())
        series.clear()

    for at in _siblings(lines, start, end):
        part = of.parts[at]
        if part.act >= 0:
            if part.act != current:
                close()
                current = part.act
            series.append(at)
        elif series and part.goes_with(current):
            series.append(at)
        else:
            close()
            plan.append(at)
    close()
    return plan


def _folded(lines: Sequence[Line], of: Belonging, series: Sequence[int], current: int) -> list[int | Fold]:
    """A series with its middle folded; as it is when that would hide too little."""
    pattern = of.patterns[current]
    turns = _turns(lines, of.parts, series, pattern)
    begin = _reach(turns, pattern.period)
    # The last repetition begins after the step that comes before it: the call that asked for it is part of it.
    last = len(turns) - _reach(turns[::-1], pattern.period)
    end = next((at + 1 for at in range(last - 1, -1, -1) if turns[at]), 0)
    rounds = sum(turns[begin:end]) // pattern.period
    if rounds < FEWEST_FOLDED:
        return [*series]
    hidden = series[begin:end]
    made = _fold(lines[hidden[0] : hidden[-1] + lines[hidden[-1]].below + 1], rounds, pattern, of)
    return [*series[:begin], made, *series[end:]]


def _turns(lines: Sequence[Line], parts: Sequence[_Part], series: Sequence[int], pattern: _Pattern) -> list[int]:
    """How many steps of a repetition each of a series holds: who goes on speaking takes one turn in all."""
    found: list[int] = []
    speaks: str | None = None
    for at in series:
        turns = parts[at].turns
        if turns and pattern.is_talk and pattern.period > 1:
            agent = lines[at].step.agent
            turns, speaks = (0 if agent and agent == speaks else turns), agent
        found.append(turns)
    return found


def _reach(turns: Sequence[int], period: int) -> int:
    """How many of a series make up its first repetition."""
    so_far = 0
    for at, number in enumerate(turns):
        so_far += number
        if so_far >= period:
            return at + 1
    return len(turns)


def _fold(hidden: Sequence[Line], rounds: int, pattern: _Pattern, of: Belonging) -> Fold:
    depth = hidden[0].depth
    tops = [line for line in hidden if line.depth == depth]
    costs = [line.cost_nano for line in tops if line.cost_nano is not None]
    steps = [line.step for line in hidden]
    telling = _TOOLS if pattern.tools else COSTED_KINDS
    return Fold(
        finding=pattern.finding,
        lines=hidden,
        depth=depth,
        rounds=rounds,
        cost_nano=sum(costs) if costs else None,
        unpriced=sum(line.unpriced for line in tops),
        tokens=sum(line.tokens for line in tops),
        start_ns=min(step.start_ns for step in steps),
        end_ns=max(step.end_ns for step in steps),
        errors=sum(step.is_error for step in steps),
        has_tools=any(step.kind in _TOOLS for step in steps),
        speaker=next((step for step in steps if step.kind in telling and not step.merged_into), steps[0]),
        marks=tuple((step, mark) for step in steps for mark in of.marks.get(step.span_id, ())),
    )
