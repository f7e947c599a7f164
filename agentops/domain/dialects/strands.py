"""Strands Agents: the GenAI conventions with messages as span events, the agent's usage added up over its life."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.messages import CHOICE
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _LLM, _TOOL, _WORKFLOW = Kind.AGENT, Kind.LLM, Kind.TOOL, Kind.WORKFLOW


def kind(raw: RawSpan) -> Kind | None:
    """By operation; several agents at work are a workflow. Before 1.0 there was only the span's name."""
    attributes = raw.attributes
    operation = attributes.get("gen_ai.operation.name")
    if isinstance(operation, str):
        return genai.kind(raw) or (_WORKFLOW if operation.startswith("invoke_") else None)
    if "tool.name" in attributes:
        return _TOOL
    if raw.name == "Model invoke":
        return _LLM
    return _AGENT if "agent.name" in attributes else _WORKFLOW if raw.name.startswith("Cycle ") else None


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """What a tool was given and answered stands in events."""
    if found_kind is _WORKFLOW:
        fields.pop("agent_name", None)  # what a swarm or a graph calls itself
    elif found_kind is _TOOL:
        for event in raw.events:
            if event.name == "gen_ai.tool.message":
                _offer(fields, "arguments", event.attributes, "content")
            elif event.name == CHOICE:
                _offer(fields, "result", event.attributes, "message")
    genai.finish(raw, found_kind, fields)


def _offer(fields: dict[str, AttributeValue], field: str, attributes: Attributes, name: str) -> None:
    if (value := attributes.get(name)) is not None:
        fields.setdefault(field, value)


STRANDS = Dialect(
    name="Strands Agents",
    scopes=frozenset({"strands.telemetry.tracer", "strands-agents"}),
    kind=kind,
    fields=before(
        genai.FIELDS,
        {
            "agent_name": ("agent.name",),
            "tool_name": ("tool.name",),
            "tool_call_id": ("tool.id",),
            "prompt": ("gen_ai.prompt",),
            "completion": ("gen_ai.completion",),
            "arguments": ("tool.parameters",),
            "result": ("tool.result",),
        },
    ),
    explicit=genai.EXPLICIT,
    fallback=genai.FALLBACK,
    errors=(("gen_ai.tool.status", "error"), ("tool.status", "error")),
    requested_tools=genai.requested_tools,
    finish=finish,
)
