"""A run's steps as a tree, and what can be read off it: depths, totals below, hand-overs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentops.domain.spans import COSTED_KINDS, Kind
from agentops.runs.queries import StepRow


@dataclass(frozen=True, slots=True)
class Line:
    """A step in the waterfall: how deep it lies, what it and all below it cost and used."""

    step: StepRow
    depth: int
    cost_nano: int | None
    tokens: int
    children: int


@dataclass(frozen=True, slots=True)
class Handover:
    """How often one agent's step was followed by another's."""

    source: str
    target: str
    count: int


MAX_DEPTH_SHOWN = 12


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
    return _with_totals(found, children)


def _with_totals(found: list[tuple[StepRow, int]], children: dict[bytes | None, list[StepRow]]) -> list[Line]:
    totals: dict[bytes, tuple[int | None, int]] = {}
    result: list[Line] = []
    for step, depth in reversed(found):
        own = step.kind in COSTED_KINDS and not step.merged_into
        cost = step.cost_nano
        tokens = (step.input_tokens or 0) + (step.output_tokens or 0) if own else 0
        below = children.get(step.span_id, [])
        for child in below:
            child_cost, child_tokens = totals.get(child.span_id, (None, 0))
            tokens += child_tokens
            if child_cost is not None:
                cost = (cost or 0) + child_cost
        totals[step.span_id] = (cost, tokens)
        result.append(Line(step, min(depth, MAX_DEPTH_SHOWN), cost, tokens, len(below)))
    result.reverse()
    return result


def handovers(steps: Iterable[StepRow]) -> list[Handover]:
    """Who spoke after whom: the agents of successive model calls, most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    before: str | None = None
    for step in sorted(steps, key=lambda step: (step.start_ns, step.span_id)):
        if step.kind != Kind.LLM or step.merged_into or not step.agent:
            continue
        if before is not None and before != step.agent:
            counts[before, step.agent] = counts.get((before, step.agent), 0) + 1
        before = step.agent
    return sorted((Handover(a, b, n) for (a, b), n in counts.items()), key=lambda h: (-h.count, h.source, h.target))
