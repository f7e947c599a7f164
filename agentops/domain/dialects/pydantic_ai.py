"""pydantic-ai: the GenAI conventions with its own names for what they lacked, in 1.x and 2.x."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.spans import Kind, RawSpan


def kind(raw: RawSpan) -> Kind | None:
    """The operation name where there is one; 1.x has none on agents and tools."""
    attributes = raw.attributes
    if "gen_ai.operation.name" in attributes:
        return genai.kind(raw)
    if "gen_ai.tool.name" in attributes:
        return Kind.TOOL
    if "agent_name" in attributes:
        return Kind.AGENT
    return Kind.WORKFLOW if raw.name.startswith("running ") else None


PYDANTIC_AI = Dialect(
    name="pydantic-ai",
    scopes=frozenset({"pydantic-ai"}),
    kind=kind,
    expand=(("metadata", "metadata."),),
    fields=before(
        genai.FIELDS,
        {
            "agent_name": ("agent_name",),
            "request_model": ("model_name",),
            "prompt": ("pydantic_ai.all_messages", "all_messages_events"),
            "completion": ("final_result",),
            "arguments": ("tool_arguments",),
            "result": ("tool_response",),
            "tags": ("metadata.tags", "logfire.tags"),
        },
    ),
    explicit={
        **genai.EXPLICIT,
        # Without one from the app, pydantic-ai makes up a conversation for each run.
        "session": tuple(dict.fromkeys(("metadata.session_id", "session_id", *genai.EXPLICIT["session"]))),
        "user": (*genai.EXPLICIT["user"], "metadata.user_id"),
        "feature": (*genai.EXPLICIT["feature"], "metadata.feature"),
    },
    fallback={"feature": (*genai.FALLBACK["feature"], "metadata.tags")},
    noise=("gen_ai.aggregated_usage.", "logfire.json_schema", "model_request_parameters", "pydantic_ai.all_messages"),
    requested_tools=genai.requested_tools,
    finish=genai.finish,
)
