"""The current OpenTelemetry span, where OpenTelemetry is installed and something records.

A reservation is tied to the span that will bring the same call as telemetry, so that it counts once. Only a span that
says of itself that it is this very call is claimed: instrumentation that opens none, or an agent's span around
several calls, would tie many reservations to one. The provider's id of the answer ties those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentops.client.questions import Ids, Kind

try:
    from opentelemetry import trace
except ImportError:  # the client works without it
    trace = None  # type: ignore[assignment]

RESERVATION = "agentops.reservation.id"
#: What spans of a kind say in ``gen_ai.operation.name`` and ``openinference.span.kind``.
_OPERATIONS: Mapping[Kind, frozenset[str]] = {
    "llm": frozenset({"chat", "text_completion", "generate_content", "embeddings"}),
    "tool": frozenset({"execute_tool"}),
    "handoff": frozenset(),
}
_OPENINFERENCE: Mapping[Kind, frozenset[str]] = {
    "llm": frozenset({"LLM", "EMBEDDING"}),
    "tool": frozenset({"TOOL"}),
    "handoff": frozenset(),
}
#: What only spans of a kind have, where neither of the two above is said.
_MARKS: Mapping[Kind, tuple[str, ...]] = {
    "llm": ("gen_ai.request.model", "llm.model_name"),
    "tool": ("gen_ai.tool.name", "tool.name"),
    "handoff": (),
}


def current_trace() -> str | None:
    """The trace in which something is recorded now, in hex."""
    span = _recording()
    return None if span is None else format(span.get_span_context().trace_id, "032x")


def current_ids(kind: Kind) -> Ids:
    """The current trace; and its span when it is the span of this very step."""
    span = _recording()
    if span is None:
        return Ids()
    context = span.get_span_context()
    trace_id = format(context.trace_id, "032x")
    return Ids(trace_id, format(context.span_id, "016x") if _is_of(span, kind) else None)


def mark(reservation: str, kind: Kind) -> None:
    """Write a reservation on the current span, unless that says it is something else than such a step."""
    span = _recording()
    if span is not None and _is_of(span, kind) is not False:
        span.set_attribute(RESERVATION, reservation)


def _recording() -> Any:
    if trace is None:
        return None
    span = trace.get_current_span()
    return span if span.is_recording() and span.get_span_context().is_valid else None


def _is_of(span: Any, kind: Kind) -> bool | None:
    """Whether a span is that of a step of this kind; ``None`` when it does not say."""
    # Only spans of the SDK show what was set on them.
    attributes = getattr(span, "attributes", None)
    if not isinstance(attributes, Mapping):
        return None
    for name, ours in (("gen_ai.operation.name", _OPERATIONS[kind]), ("openinference.span.kind", _OPENINFERENCE[kind])):
        said = attributes.get(name)
        if said is not None:
            return said in ours
    return True if any(name in attributes for name in _MARKS[kind]) else None
