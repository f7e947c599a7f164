"""What a run's tree decides: which agent a step belongs to, and which model calls are the same call.

A pure function of the set of spans: whatever order they came in, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentops.domain.spans import COSTED_KINDS, Kind

#: Scopes of model providers' own SDKs. Under another instrumentation they repeat its span.
NATIVE_SCOPES = frozenset({"com.anthropic.sdk.python"})

#: What a model call below one of these does is another call, not the same one seen twice.
_BOUNDARIES = frozenset({Kind.AGENT, Kind.TOOL, Kind.RETRIEVAL})


@dataclass(slots=True)
class Node:
    """A span as the tree sees it. ``usage_fields``: how many of its token counts are known."""

    span_id: bytes
    parent_span_id: bytes
    kind: Kind
    own_agent: str | None
    scope: str
    response_id: str | None
    start_ns: int
    end_ns: int
    usage_fields: int


@dataclass(slots=True, frozen=True)
class Booking:
    """How a span is booked: under which agent, and into which other span it is merged, if any."""

    agent: str | None
    merged_into: bytes | None


def resolve(nodes: Iterable[Node]) -> dict[bytes, Booking]:
    """Book every span of one run. Missing parents, cycles and forests are tolerated.

    The agent is the span's own or that of the nearest agent above it. Of model calls with the
    same response id one counts: the instrumentation's, unless another knows more of its tokens.
    Of model calls nested in one another the innermost that knows its tokens counts.
    """
    by_id = {node.span_id: node for node in nodes}
    agents: dict[bytes, str | None] = {}
    callers: dict[bytes, bytes | None] = {}
    for span_id in by_id:
        _inherit(span_id, by_id, agents, callers)
    merged = _merge_same_response(by_id)
    _merge_nested(by_id, callers, merged)
    return {span_id: Booking(agents[span_id], _final(span_id, merged)) for span_id in by_id}


def _inherit(
    span_id: bytes, by_id: dict[bytes, Node], agents: dict[bytes, str | None], callers: dict[bytes, bytes | None]
) -> None:
    """Fill in the agent of a span and the nearest model call above it, and of all on the way up."""
    path: list[Node] = []
    on_path: set[bytes] = set()
    node: Node | None = by_id[span_id]
    while node is not None and node.span_id not in agents and node.span_id not in on_path:
        path.append(node)
        on_path.add(node.span_id)
        node = by_id.get(node.parent_span_id) if node.parent_span_id else None
    if node is not None and node.span_id in on_path:
        node = None  # a cycle: its spans have nobody above them
    while path:
        child = path.pop()
        agents[child.span_id] = child.own_agent or (agents[node.span_id] if node is not None else None)
        if node is None or node.kind in _BOUNDARIES:
            callers[child.span_id] = None
        else:
            callers[child.span_id] = node.span_id if node.kind in COSTED_KINDS else callers[node.span_id]
        node = child


def _merge_same_response(by_id: dict[bytes, Node]) -> dict[bytes, bytes]:
    groups: dict[str, list[Node]] = {}
    for node in by_id.values():
        if node.kind in COSTED_KINDS and node.response_id:
            groups.setdefault(node.response_id, []).append(node)
    merged: dict[bytes, bytes] = {}
    for group in groups.values():
        if len(group) > 1:
            kept = min(group, key=_preference)
            merged |= {node.span_id: kept.span_id for node in group if node is not kept}
    return merged


def _preference(node: Node) -> tuple[int, bool, int, int, bytes]:
    # More known tokens first, then the instrumentation's own span, then the outer one.
    return (-node.usage_fields, node.scope in NATIVE_SCOPES, node.start_ns, -node.end_ns, node.span_id)


def _merge_nested(by_id: dict[bytes, Node], callers: dict[bytes, bytes | None], merged: dict[bytes, bytes]) -> None:
    inner: dict[bytes, list[bytes]] = {}
    for span_id, node in by_id.items():
        caller = callers[span_id]
        if node.kind in COSTED_KINDS and caller is not None and span_id not in merged:
            inner.setdefault(caller, []).append(span_id)
    for outer, calls in inner.items():
        if outer in merged:
            continue
        same = [c for c in calls if _same_response(by_id[outer], by_id[c])]
        known = [c for c in calls if by_id[c].usage_fields]
        if same or known or not by_id[outer].usage_fields:
            merged[outer] = min(known or calls)
        else:
            merged |= dict.fromkeys(calls, outer)


def _same_response(one: Node, other: Node) -> bool:
    return one.response_id is not None and one.response_id == other.response_id


def _final(span_id: bytes, merged: dict[bytes, bytes]) -> bytes | None:
    """The span that counts for another, through chains; a chain that bites its tail ends there."""
    if span_id not in merged:
        return None
    seen = {span_id}
    target = merged[span_id]
    while target in merged and target not in seen:
        seen.add(target)
        target = merged[target]
    return target
