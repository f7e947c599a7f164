"""A run's steps as a tree, and what can be read off it: depths, totals below, who talks to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentops.domain.spans import COSTED_KINDS, Kind
from agentops.runs.queries import StepRow

MAX_DEPTH_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Line:
    """A step in the waterfall: how deep it lies, what it and all below it cost and used.

    ``below`` counts all spans under it, which follow it directly in the list of lines.
    """

    step: StepRow
    depth: int
    cost_nano: int | None
    unpriced: int
    tokens: int
    below: int


@dataclass(frozen=True, slots=True)
class Talk:
    """How often one agent was followed by another: by its next model call, or by calling it."""

    source: str
    target: str
    count: int
    is_call: bool


def lines(steps: Iterable[StepRow]) -> list[Line]:
    """Steps in the order of a tree, children by start time; orphans and cycles become roots."""
    ordered = sorted(steps, key=lambda step: (step.start_ns, -step.end_ns, step.span_id))
    by_id = {step.span_id: step for step in ordered}
    children: dict[bytes | None, list[StepRow]] = {}
    for step in ordered:
        parent = step.parent_span_id if step.parent_span_id in by_id else None
        children.setdefault(parent, []).append(step)
    found: list[tuple[StepRow, int]] = []
    seen: set[bytes] = set()
    for root in [*children.get(None, []), *ordered]:  # what a cycle keeps from a root comes at the end
        waiting = [(root, 0)]
        while waiting:
            step, depth = waiting.pop()
            if step.span_id in seen:
                continue
            seen.add(step.span_id)
            found.append((step, depth))
            waiting += [(child, depth + 1) for child in reversed(children.get(step.span_id, []))]
    return _with_totals(found)


def _with_totals(found: Sequence[tuple[StepRow, int]]) -> list[Line]:
    """Totals from the end to the start: what stands deeper after a line, up to the next of its depth, is below it."""
    result: list[Line] = []
    open_lines: list[Line] = []
    for step, depth in reversed(found):
        cost, unpriced, tokens, below = _own(step)
        while open_lines and open_lines[-1].depth > depth:
            child = open_lines.pop()
            cost = child.cost_nano if cost is None else cost + (child.cost_nano or 0)
            unpriced, tokens, below = unpriced + child.unpriced, tokens + child.tokens, below + child.below + 1
        line = Line(step, depth, cost, unpriced, tokens, below)
        open_lines.append(line)
        result.append(line)
    result.reverse()
    return result


def _own(step: StepRow) -> tuple[int | None, int, int, int]:
    if step.kind not in COSTED_KINDS or step.merged_into:
        return None, 0, 0, 0
    tokens = (step.input_tokens or 0) + (step.output_tokens or 0)
    return step.cost_nano, int(step.cost_nano is None and not (step.is_error and not tokens)), tokens, 0


def talks(steps: Iterable[StepRow]) -> list[Talk]:
    """Who speaks after whom (the agents of successive model calls) and who calls whom, most frequent first."""
    ordered = sorted(steps, key=lambda step: (step.start_ns, step.span_id))
    by_id = {step.span_id: step for step in ordered}
    counts: dict[tuple[str, str, bool], int] = {}
    before: str | None = None
    for step in ordered:
        if not step.agent or step.merged_into:
            continue
        if step.kind == Kind.LLM:
            if before is not None and before != step.agent:
                counts[before, step.agent, False] = counts.get((before, step.agent, False), 0) + 1
            before = step.agent
        elif step.kind == Kind.AGENT:
            parent = by_id.get(step.parent_span_id) if step.parent_span_id else None
            if parent is not None and parent.agent and parent.agent != step.agent:
                counts[parent.agent, step.agent, True] = counts.get((parent.agent, step.agent, True), 0) + 1
    found = [Talk(source, target, count, is_call) for (source, target, is_call), count in counts.items()]
    return sorted(found, key=lambda talk: (-talk.count, talk.source, talk.target, talk.is_call))
