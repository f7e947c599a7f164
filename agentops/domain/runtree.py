"""What a run's tree decides: which agent a step belongs to, and which model calls are the same call.

A pure function of the set of spans: whatever order they came in, the answer is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agentops.domain.spans import COSTED_KINDS, STEP_KINDS, Kind, Span

#: Scopes of model providers' own SDKs. Under another instrumentation they repeat its span.
NATIVE_SCOPES = frozenset({"com.anthropic.sdk.python"})

#: What a model call below one of these does is another call, not the same one seen twice.
_BOUNDARIES = frozenset({Kind.AGENT, Kind.TOOL, Kind.RETRIEVAL})
#: A streamed answer is told this long after its call returned at most, in ns.
STREAM_NS = 600_000_000_000
#: Ollama draws its response ids from a thousand numbers: in a long run two calls often share one.
_NOT_UNIQUE = re.compile(r"chatcmpl-\d{1,3}")


@dataclass(slots=True)
class Node:
    """A span as the tree sees it. ``usage_fields``: how many of its token counts are known and not zero."""

    span_id: bytes
    parent_span_id: bytes
    kind: Kind
    own_agent: str | None
    scope: str
    response_id: str | None
    start_ns: int
    end_ns: int
    usage_fields: int
    output_tokens: int | None = None
    is_error: bool = False


@dataclass(slots=True, frozen=True)
class Booking:
    """How a span is booked: under which agent, and into which other span it is merged, if any.

    ``merged_trace`` is the trace of that span where it is not the same.
    """

    agent: str | None
    merged_into: bytes | None
    merged_trace: bytes | None = None


#: (trace id, span id)
CallKey = tuple[bytes, bytes]


@dataclass(slots=True)
class _Calls:
    """What is left to count at and below a model call, while the tree is folded from its leaves up.

    ``known`` model calls tell their tokens, ``first`` is the earliest of them. ``silent`` ones do not, and
    nothing below them does.
    """

    known: int = 0
    first: Node | None = None
    silent: list[Node] = field(default_factory=list)


def resolve(nodes: Iterable[Node]) -> dict[bytes, Booking]:
    """Book every span of one run, given each span once. Missing parents, cycles and forests are tolerated.

    The agent is the span's own, or for steps that of the nearest span above that names one. Of model calls nested in
    one another the innermost that knows its tokens counts; of model calls with the same response id one does:
    the one that knows more of its tokens, else the SDK's own if they disagree about the output, else the
    instrumentation's, else the outer one. A model span that lasted no time is the record of a streamed answer: it
    and the call beside it that had ended last, with no tokens told, are one. All others are merged into one that
    counts.
    """
    by_id = {node.span_id: node for node in nodes}
    parents = _parents(by_id)
    agents: dict[bytes, str | None] = {}
    callers: dict[bytes, Node | None] = {}
    for node in by_id.values():
        _inherit(node, parents, agents, callers)
    models = [node for node in by_id.values() if node.kind in COSTED_KINDS]
    merged: dict[bytes, Node] = {}
    _merge_nested(models, callers, merged)
    _merge_same_response(models, merged)
    _merge_records(models, merged)
    return {
        span_id: Booking(agents[span_id] if node.kind in STEP_KINDS else node.own_agent, _final(span_id, merged))
        for span_id, node in by_id.items()
    }


def merge_across(calls: Iterable[tuple[bytes, Node]]) -> tuple[dict[CallKey, CallKey], dict[CallKey, CallKey]]:
    """Which model calls of different traces are one call, and which of them tells the tokens of another that counts.

    ``calls`` are (trace id, node): those that count in their own trace, all with the same answer of the same kind of
    one service. A call is a stray, and merged, when it has no parent, and another instrumentation tells of a call at
    the same time: a provider's own SDK makes such a trace beside a framework whose spans are not current. An answer
    that comes again later is another call: ids repeat. Where a stray knows the tokens better than what it is merged
    into, its are counted there.
    """
    order = {(trace_id, node.span_id): node for trace_id, node in sorted(calls, key=_standing)}
    keys = list(order)
    merged: dict[CallKey, CallKey] = {}
    for place, key in enumerate(keys):
        if order[key].parent_span_id:
            continue
        for other in keys[:place]:
            if other[0] != key[0] and _is_same_call(order[key], order[other]):
                merged[key] = merged.get(other, other)
                break
    told: dict[CallKey, CallKey] = {}
    for stray, kept in merged.items():
        best = told.get(kept, kept)
        if _tells_better(order[stray], order[best]):
            told[kept] = stray
    return merged, told


def _tells_better(one: Node, other: Node) -> bool:
    """Whether the one knows more of its tokens, or knows them from the SDK and the other something else."""
    if one.usage_fields != other.usage_fields:
        return one.usage_fields > other.usage_fields
    native = one.scope in NATIVE_SCOPES and other.scope not in NATIVE_SCOPES
    return native and one.output_tokens != other.output_tokens


def _standing(call: tuple[bytes, Node]) -> tuple[bool, bool, int, int, bytes, bytes]:
    trace_id, node = call
    is_root = not node.parent_span_id
    return (node.scope in NATIVE_SCOPES, is_root, node.start_ns, -node.end_ns, trace_id, node.span_id)


def _is_same_call(one: Node, other: Node) -> bool:
    overlap = one.start_ns <= other.end_ns and other.start_ns <= one.end_ns
    return overlap and one.scope != other.scope and one.kind is other.kind


def outermost_calls(nodes: Iterable[Node]) -> dict[bytes, Node | None]:
    """The outermost model call that each span is part of, itself included; ``None`` for none."""
    by_id = {node.span_id: node for node in nodes}
    parents = _parents(by_id)
    agents: dict[bytes, str | None] = {}
    callers: dict[bytes, Node | None] = {}
    for node in by_id.values():
        _inherit(node, parents, agents, callers)
    found: dict[bytes, Node | None] = {}
    for node in by_id.values():
        path: list[Node] = []
        top = node
        while (caller := callers[top.span_id]) is not None and caller.span_id not in found:
            path.append(top)
            top = caller
        outer = found[caller.span_id] if caller is not None else None
        for passed in (top, *reversed(path)):
            if outer is None and passed.kind in COSTED_KINDS:
                outer = passed
            found[passed.span_id] = outer
    return found


def lineages(nodes: Iterable[Node]) -> dict[bytes, tuple[str | None, bytes | None]]:
    """Of each span the agent at or above it, or else the span above it, not among these, that may lead to one."""
    by_id = {node.span_id: node for node in nodes}
    parents = _parents(by_id)
    found: dict[bytes, tuple[str | None, bytes | None]] = {}
    for node in by_id.values():
        path: list[Node] = []
        above: Node | None = node
        answer: tuple[str | None, bytes | None]
        while above is not None and above.span_id not in found and above.own_agent is None:
            path.append(above)
            above = parents[above.span_id]
        if above is None:
            # The parent of a cycle that was cut is among these.
            missing = path[-1].parent_span_id
            answer = (None, missing if missing and missing not in by_id else None)
        else:
            answer = found.get(above.span_id) or (above.own_agent, None)
            found[above.span_id] = answer
        found.update(dict.fromkeys((passed.span_id for passed in path), answer))
    return found


def needs_tree(spans: Iterable[Span]) -> bool:
    """Whether spans of one run cannot be booked by what each says of itself.

    So it is when a step names no agent, when a model call is the parent of another span, when more than one
    scope makes model calls, when two model calls share a response id, and when one lasted no time.
    """
    parents, calls, scopes, responses = set(), set(), set(), set()
    for span in spans:
        parents.add(span.parent_span_id)
        if span.kind not in STEP_KINDS:
            continue
        if span.agent_name is None:
            return True
        if span.kind in COSTED_KINDS:
            if span.start_ns == span.end_ns:
                return True
            calls.add(span.span_id)
            scopes.add(span.scope)
            if span.response_id is not None:
                if span.response_id in responses:
                    return True
                responses.add(span.response_id)
    return len(scopes) > 1 or not parents.isdisjoint(calls)


def _parents(by_id: dict[bytes, Node]) -> dict[bytes, Node | None]:
    """Each span's parent in the run. A cycle is cut above its earliest span, whoever asks first."""
    parents = {span_id: by_id.get(node.parent_span_id) for span_id, node in by_id.items()}
    done: set[bytes] = set()
    for start in by_id.values():
        path: dict[bytes, Node] = {}
        node: Node | None = start
        while node is not None and node.span_id not in done and node.span_id not in path:
            path[node.span_id] = node
            node = parents[node.span_id]
        if node is not None and node.span_id in path:
            members = list(path.values())
            cycle = members[list(path).index(node.span_id) :]
            parents[min(cycle, key=_age).span_id] = None
        done.update(path)
    return parents


def _age(node: Node) -> tuple[int, bytes]:
    return (node.start_ns, node.span_id)


def _inherit(
    node: Node,
    parents: dict[bytes, Node | None],
    agents: dict[bytes, str | None],
    callers: dict[bytes, Node | None],
) -> None:
    """Fill in the agent of a span and the model call that it is part of, and of all on the way up."""
    path: list[Node] = []
    above: Node | None = node
    while above is not None and above.span_id not in agents:
        path.append(above)
        above = parents[above.span_id]
    while path:
        child = path.pop()
        agents[child.span_id] = child.own_agent or (agents[above.span_id] if above is not None else None)
        if above is None or above.kind in _BOUNDARIES:
            callers[child.span_id] = None
        else:
            callers[child.span_id] = above if above.kind in COSTED_KINDS else callers[above.span_id]
        above = child


def _merge_nested(models: list[Node], callers: dict[bytes, Node | None], merged: dict[bytes, Node]) -> None:
    """Fold model calls into those of the same kind below them, innermost first."""
    left: dict[bytes, _Calls] = {node.span_id: _Calls() for node in models}
    waiting = dict.fromkeys(left, 0)
    outers: dict[bytes, Node] = {}
    for node in models:
        outer = callers[node.span_id]
        if outer is not None and outer.kind is node.kind:
            outers[node.span_id] = outer
            waiting[outer.span_id] += 1
    ready = [node for node in models if not waiting[node.span_id]]
    while ready:
        node = ready.pop()
        calls = left[node.span_id]
        _fold(node, calls, merged)
        outer = outers.get(node.span_id)
        if outer is not None:
            above = left[outer.span_id]
            above.known += calls.known
            above.silent += calls.silent
            if calls.first is not None:
                above.first = calls.first if above.first is None else min(above.first, calls.first, key=_age)
            waiting[outer.span_id] -= 1
            if not waiting[outer.span_id]:
                ready.append(outer)


def _fold(node: Node, calls: _Calls, merged: dict[bytes, Node]) -> None:
    """Decide between a model call and what is left to count below it."""
    first = calls.first
    if first is None:
        # Nobody below tells its tokens: they are tries or layers of this one call.
        merged.update((silent.span_id, node) for silent in calls.silent)
        calls.silent = []
        if node.usage_fields:
            calls.known, calls.first = 1, node
        else:
            calls.silent = [node]
        return
    # Silent calls beside one that tells are tries that failed: calls of their own.
    calls.silent = []
    if calls.known == 1 and _tells_again(node, first) and node.usage_fields >= first.usage_fields:
        calls.first = merged[first.span_id] = node
    elif calls.known == 1 and _response(node) is not None and _response(node) == _response(first):
        calls.first = kept = _preferred((node, first))
        lost = first if kept is node else node
        merged[lost.span_id] = kept
    else:
        merged[node.span_id] = first


def _tells_again(node: Node, inner: Node) -> bool:
    """Whether a span below another was made from the same facts: both took the same time, to the nanosecond."""
    return (node.scope, node.start_ns, node.end_ns) == (inner.scope, inner.start_ns, inner.end_ns)


def _merge_same_response(models: list[Node], merged: dict[bytes, Node]) -> None:
    groups: dict[tuple[Kind, str], list[Node]] = {}
    for node in models:
        response = _response(node)
        if response is not None and node.span_id not in merged:
            groups.setdefault((node.kind, response), []).append(node)
    for group in groups.values():
        if len(group) > 1:
            kept = _preferred(group)
            merged.update((node.span_id, kept) for node in group if node is not kept)


def _merge_records(models: list[Node], merged: dict[bytes, Node]) -> None:
    """Join each record of a streamed answer with its call: same parent, same scope, by order of time."""
    groups: dict[tuple[Kind, bytes, str], tuple[list[Node], list[Node]]] = {}
    for node in models:
        is_record = node.start_ns == node.end_ns
        if not node.is_error and not (node.span_id in merged if is_record else node.usage_fields):
            beside = groups.setdefault((node.kind, node.parent_span_id, node.scope), ([], []))
            beside[is_record].append(node)
    for _, (calls, records) in sorted(groups.items(), key=lambda group: group[0]):
        calls.sort(key=lambda call: (call.end_ns, call.span_id), reverse=True)
        ended: list[Node] = []
        for record in sorted(records, key=_age):
            while calls and calls[-1].end_ns <= record.start_ns:
                ended.append(calls.pop())
            if ended and record.span_id not in merged:
                _merge_record(record, ended, merged)


def _merge_record(record: Node, ended: list[Node], merged: dict[bytes, Node]) -> None:
    """Join a record with the call that ended last, or with the span that counts for it."""
    call = ended[-1]
    while (further := merged.get(call.span_id)) is not None:
        call = further
    if call is record or record.start_ns - ended[-1].end_ns > STREAM_NS:
        return
    # Two answers with different ids are no one call.
    if record.response_id is None or call.response_id is None:
        ended.pop()
        kept = _preferred((call, record))
        merged[(record if kept is call else call).span_id] = kept


def _response(node: Node) -> str | None:
    return unique_response(node.response_id)


def unique_response(response_id: str | None) -> str | None:
    """The id of an answer, when it is one that no other answer has."""
    return None if not response_id or _NOT_UNIQUE.fullmatch(response_id) else response_id


def _preferred(calls: Sequence[Node]) -> Node:
    """The span that counts for a call that is told by several."""
    kept = min(calls, key=_preference)
    # Who adds a stream's counts up may add too many; the SDK reads them off the last one.
    own = [call for call in calls if call.scope in NATIVE_SCOPES and call.usage_fields == kept.usage_fields]
    exact = min(own, key=_preference, default=kept)
    return kept if exact.output_tokens == kept.output_tokens else exact


def _preference(node: Node) -> tuple[int, bool, int, int, bytes]:
    return (-node.usage_fields, node.scope in NATIVE_SCOPES, node.start_ns, -node.end_ns, node.span_id)


def _final(span_id: bytes, merged: dict[bytes, Node]) -> bytes | None:
    """The span that counts for another, through chains."""
    target = merged.get(span_id)
    if target is None:
        return None
    chain = [span_id]
    while (further := merged.get(target.span_id)) is not None:
        chain.append(target.span_id)
        target = further
    for passed in chain:
        merged[passed] = target
    return target.span_id
