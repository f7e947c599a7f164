"""What surrounds the new spans of a large run: found by lookups, whatever the length of the run.

Above a span are its ancestors; a model call is one with what started while its outermost call lasted; calls that tell
one answer are known by it. Steps that wait for an agent's name are booked by one statement when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import Cursor

from agentops.costs import store as costs
from agentops.costs.cells import Moves, place_of
from agentops.domain.runtree import STREAM_NS, Node, lineages, outermost_calls
from agentops.domain.spans import COSTED_KINDS
from agentops.ingest.entry import Entry, answer_key, node_of, node_of_stored
from agentops.runs import store as runs
from agentops.runs.store import RunKey, RunState, SpanKey, StoredSpan, Told

#: How far a part of a model call may seem to start outside of it, in ns.
_SLACK_NS = 1_000_000_000
#: How often calls that tell the same answers as those that were found are looked for.
_ROUNDS = 3
_MODEL_KINDS = COSTED_KINDS

Around = dict[SpanKey, StoredSpan]


def nearby(
    cursor: Cursor[Any],
    moves: Moves,
    states: Mapping[RunKey, RunState],
    large: Mapping[RunKey, Sequence[Entry]],
    told: Mapping[bytes, Sequence[Told]],
) -> dict[RunKey, tuple[list[StoredSpan], set[bytes]]]:
    """Of large runs what surrounds their new spans, and which booked spans these may change."""
    entries = [entry for of_run in large.values() for entry in of_run]
    new = {entry.key for entry in entries}
    seeds = _twins((entry.span for entry in entries), told)
    parents = {(s.trace_id, s.parent_span_id, s.service) for s in (e.span for e in entries) if s.parent_span_id}
    around = _above(cursor, (seeds | parents) - new)
    if _name_agents(cursor, moves, states, large, around.values()):
        around = _above(cursor, (seeds | parents) - new)
    seeds |= new
    for _ in range(_ROUNDS):
        around |= _within(cursor, states, large, around, seeds)
        touched = {key: _touched(key, of_run, around, seeds) for key, of_run in large.items()}
        found = [s for s in around.values() if s.key not in seeds and s.span_id in touched[s.run]]
        keys = {key for span in found if (key := answer_key(span)) is not None} - told.keys()
        # What the batch tells in another trace may be told twice in this one.
        known = {**told, **runs.answers(cursor, sorted(keys))} if keys else told
        more = _twins(found, known) - seeds
        if not more:
            break
        seeds |= more
        around |= _above(cursor, more)
    return {key: ([s for s in around.values() if s.run == key], touched[key]) for key in large}


def _twins(spans: Iterable[Any], told: Mapping[bytes, Sequence[Told]]) -> set[SpanKey]:
    """The spans of the same runs that tell the same answers."""
    return {
        (place.trace_id, place.span_id, span.service)
        for span in spans
        if (key := answer_key(span)) is not None
        for place in told.get(key, ())
        if place.trace_id == span.trace_id
    }


def _above(cursor: Cursor[Any], keys: set[SpanKey]) -> Around:
    """Booked spans and all above them."""
    return {span.key: span for span in runs.spans_by_key(cursor, keys, ancestors=True)} if keys else {}


def _within(
    cursor: Cursor[Any],
    states: Mapping[RunKey, RunState],
    large: Mapping[RunKey, Sequence[Entry]],
    around: Around,
    seeds: set[SpanKey],
) -> Around:
    """What started while the model calls lasted that the seeds are part of, and around streamed answers."""
    ranges: list[tuple[RunState, int, int]] = []
    for key, entries in large.items():
        nodes = _nodes(key, entries, around)
        calls = {node.span_id: node for node in nodes}
        tops = (calls[top] for top in _tops(key, nodes, seeds))
        spans = [(top.start_ns - _SLACK_NS, top.end_ns + _SLACK_NS) for top in tops]
        halves = (node for node in map(_new_node, entries) if _may_be_streamed(node))
        spans += [(half.start_ns - 2 * STREAM_NS, half.end_ns + 2 * STREAM_NS) for half in halves]
        ranges += [(states[key], begin, end) for begin, end in _joined(spans)]
    return {span.key: span for span in runs.spans_started(cursor, ranges)} if ranges else {}


def _tops(key: RunKey, nodes: Sequence[Node], seeds: set[SpanKey]) -> set[bytes]:
    """The outermost model calls that the seeds are part of."""
    outermost = outermost_calls(nodes)
    mine = (outermost[node.span_id] for node in nodes if (key[0], node.span_id, key[1]) in seeds)
    return {top.span_id for top in mine if top is not None}


def _name_agents(
    cursor: Cursor[Any],
    moves: Moves,
    states: Mapping[RunKey, RunState],
    large: Mapping[RunKey, Sequence[Entry]],
    above: Iterable[StoredSpan],
) -> bool:
    """Book what waited for the new spans under the agents that are known now; whether any booked span changed."""
    named: dict[SpanKey, str] = {}
    further: dict[SpanKey, bytes] = {}
    done: list[SpanKey] = []
    by_run: dict[RunKey, list[StoredSpan]] = {}
    for span in above:
        by_run.setdefault(span.run, []).append(span)
    for key, entries in large.items():
        found = lineages([*map(_new_node, entries), *map(node_of_stored, by_run.get(key, ()))])
        for entry in entries:
            agent, missing = found[entry.span.span_id]
            if agent is not None:
                named[entry.key] = agent
            if missing is not None:
                further[entry.key] = missing
            else:
                done.append(entry.key)
    changed = False
    if named:
        for run, (hour, agent, model, tool), _, measures_ in costs.name_agents(cursor, named):
            changed = True
            place = place_of(states[run].attribution)
            moves.add(run[1], place, (hour, "", model, tool), measures_, sign=-1)
            moves.add(run[1], place, (hour, agent, model, tool), measures_)
    if further:
        runs.wait_on(cursor, further)
    if done:
        runs.wait_no_more(cursor, done)
    return changed


def _touched(key: RunKey, entries: Sequence[Entry], around: Around, seeds: set[SpanKey]) -> set[bytes]:
    """The spans that new ones may change: those that tell the same answers, and parts of the same model calls."""
    nodes = _nodes(key, entries, around)
    outermost, tops = outermost_calls(nodes), _tops(key, nodes, seeds)
    halves = [node for node in map(_new_node, entries) if _may_be_streamed(node)]
    touched = set()
    for node in nodes:
        top = outermost[node.span_id]
        beside = _may_be_streamed(node) and any(_is_beside(node, half) for half in halves)
        if (key[0], node.span_id, key[1]) in seeds or beside or (top is not None and top.span_id in tops):
            touched.add(node.span_id)
    return touched


def _may_be_streamed(node: Node) -> bool:
    """Whether it may be one half of a streamed call that is told in two spans."""
    return node.kind in _MODEL_KINDS and (node.start_ns == node.end_ns or not (node.usage_fields or node.is_error))


def _is_beside(node: Node, half: Node) -> bool:
    near = node.start_ns <= half.end_ns + STREAM_NS and half.start_ns <= node.end_ns + STREAM_NS
    return near and (node.parent_span_id, node.scope) == (half.parent_span_id, half.scope)


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges without their overlaps."""
    begin = end = None
    for first, last in sorted(ranges):
        if end is None or begin is None or first > end:
            if begin is not None and end is not None:
                yield begin, end
            begin, end = first, last
        else:
            end = max(end, last)
    if begin is not None and end is not None:
        yield begin, end


def _nodes(key: RunKey, entries: Sequence[Entry], around: Around) -> list[Node]:
    return [*map(_new_node, entries), *(node_of_stored(span) for span in around.values() if span.run == key)]


def _new_node(entry: Entry) -> Node:
    return node_of(entry.span)
