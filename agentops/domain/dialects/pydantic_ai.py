"""pydantic-ai: the GenAI conventions with its own names for what they lacked, in 1.x and 2.x."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect
from agentops.domain.spans import Kind, RawSpan

SCOPE = "pydantic-ai"


def kind(raw: RawSpan) -> Kind | None:
    """The operation name where there is one; 1.x has none on agents and tools."""
    if raw.scope != SCOPE:
        return None
    attributes = raw.attributes
    if "gen_ai.operation.name" in attributes:
        return genai.kind(raw)
    if "gen_ai.tool.name" in attributes:
        return Kind.TOOL
    if "agent_name" in attributes:
        return Kind.AGENT
    return Kind.WORKFLOW if raw.name.startswith("running ") else Kind.OTHER


PYDANTIC_AI = Dialect(
    name="pydantic-ai",
    kind=kind,
    expand=(("metadata", "metadata."),),
    fields={
        **genai.FIELDS,
        "agent_name": ("gen_ai.agent.name", "agent_name"),
        "request_model": ("gen_ai.request.model", "model_name"),
        "cost": ("operation.cost", *genai.FIELDS["cost"]),
        "prompt": ("gen_ai.input.messages", "pydantic_ai.all_messages", "all_messages_events"),
        "completion": ("gen_ai.output.messages", "final_result"),
        "arguments": ("gen_ai.tool.call.arguments", "tool_arguments"),
        "result": ("gen_ai.tool.call.result", "tool_response"),
    },
    explicit={
        **genai.EXPLICIT,
        "session": (*genai.EXPLICIT["session"], "metadata.session_id"),
        "user": (*genai.EXPLICIT["user"], "metadata.user_id"),
        "feature": (*genai.EXPLICIT["feature"], "metadata.feature"),
    },
    fallback={"feature": (*genai.FALLBACK["feature"], "metadata.tags", "logfire.tags")},
    requested_tools=genai.requested_tools,
    arguments=genai.parse_arguments,
)
