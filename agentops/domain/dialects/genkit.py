"""Genkit's own names: ``genkit:*``, what an action was given and returned as JSON, and tokens within that."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import parse
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

KINDS = {
    "model": Kind.LLM,
    "embedder": Kind.EMBEDDING,
    "tool": Kind.TOOL,
    "tool.v2": Kind.TOOL,
    "agent": Kind.AGENT,
    "retriever": Kind.RETRIEVAL,
    "reranker": Kind.RETRIEVAL,
}
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _TOOL, _WORKFLOW = Kind.AGENT, Kind.TOOL, Kind.WORKFLOW
_OUTPUT = "genkit:output."


def kind(raw: RawSpan) -> Kind | None:
    """By the kind of action; flows, steps and prompts contain others."""
    said = raw.attributes.get("genkit:metadata:subtype")
    return KINDS.get(said, _WORKFLOW) if isinstance(said, str) else _WORKFLOW


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the message that the model returned."""
    return requested(parse(attributes.get("genkit:output")))


def finish(_: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """What an action is called names the agent, the tool, or the model after who provides it."""
    action = fields.get("action")
    if not isinstance(action, str):
        return
    if found_kind is _AGENT:
        fields["agent_name"] = action
    elif found_kind is _TOOL:
        fields["tool_name"] = action
    elif found_kind in COSTED_KINDS:
        provider, slash, model = action.partition("/")
        fields["request_model"] = model or action
        if slash:
            fields["provider"] = provider


GENKIT = Dialect(
    name="Genkit",
    mark="genkit:type",
    kind=kind,
    expand=(("genkit:output", _OUTPUT),),
    fields=before(
        {
            "action": ("genkit:name",),
            "input": (f"{_OUTPUT}usage.inputTokens",),
            "output": (f"{_OUTPUT}usage.outputTokens",),
            "cache_read": (f"{_OUTPUT}usage.cachedContentTokens",),
            "reasoning": (f"{_OUTPUT}usage.thoughtsTokens",),
            "total": (f"{_OUTPUT}usage.totalTokens",),
            "finish_reason": (f"{_OUTPUT}finishReason",),
            "prompt": ("genkit:input",),
            "completion": ("genkit:output",),
            "arguments": ("genkit:input",),
            "result": ("genkit:output",),
        },
        genai.FIELDS,
    ),
    explicit={**genai.EXPLICIT, "session": (*genai.EXPLICIT["session"], "genkit:sessionId")},
    fallback=genai.FALLBACK,
    errors=(("genkit:state", "error"),),
    requested_tools=requested_tools,
    finish=finish,
)
