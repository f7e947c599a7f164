"""The OpenTelemetry GenAI conventions, new names and old; what every other dialect falls back to."""

from __future__ import annotations

from agentops.domain.dialects.table import Dialect
from agentops.domain.dialects.values import parse_json
from agentops.domain.spans import Attributes, Kind, RawSpan

KINDS = {
    "chat": Kind.LLM,
    "text_completion": Kind.LLM,
    "generate_content": Kind.LLM,
    "embeddings": Kind.EMBEDDING,
    "execute_tool": Kind.TOOL,
    "invoke_agent": Kind.AGENT,
    "invoke_workflow": Kind.WORKFLOW,
    "execute_task": Kind.WORKFLOW,
    "execute_event_loop_cycle": Kind.WORKFLOW,
    "plan": Kind.WORKFLOW,
    "retrieval": Kind.RETRIEVAL,
    "search_memory": Kind.RETRIEVAL,
    "create_agent": Kind.OTHER,
}
#: What the Agent Development Kit calls a span that repeats several tool spans.
MERGED_TOOLS = "(merged tools)"


def kind(raw: RawSpan) -> Kind | None:
    """By operation name; else a span that names a model and its tokens is a model call."""
    attributes = raw.attributes
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None:
        found = KINDS.get(operation) if isinstance(operation, str) else None
        if found is Kind.TOOL and attributes.get("gen_ai.tool.name") == MERGED_TOOLS:
            return Kind.OTHER
        return found if found is not None else Kind.OTHER
    if "gen_ai.request.model" in attributes and (
        "gen_ai.response.model" in attributes
        or "gen_ai.usage.input_tokens" in attributes
        or "gen_ai.usage.prompt_tokens" in attributes
    ):
        return Kind.LLM
    return None


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the output messages; else from the choice event that older versions recorded."""
    messages = attributes.get("gen_ai.output.messages")
    if isinstance(messages, str):
        if '"tool_call"' not in messages:
            return []
        messages = parse_json(messages)
    if isinstance(messages, list):
        return [
            {"tool": part.get("name"), "arguments": parse_json(part.get("arguments"))}
            for message in messages
            if isinstance(message, dict)
            for part in message.get("parts") or ()
            if isinstance(part, dict) and part.get("type") == "tool_call"
        ]
    return [call for event in raw.events if event.name == "gen_ai.choice" for call in _choice(event.attributes)]


def _choice(attributes: Attributes) -> list[dict[str, object]]:
    message = parse_json(attributes.get("message"))
    calls = parse_json(attributes.get("tool_calls")) or (message.get("tool_calls") if isinstance(message, dict) else None)
    found = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found.append({"tool": function.get("name"), "arguments": parse_json(function.get("arguments"))})
    return found


FIELDS = {
    "operation_name": ("gen_ai.operation.name",),
    "agent_name": ("gen_ai.agent.name",),
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "request_model": ("gen_ai.request.model",),
    "response_model": ("gen_ai.response.model",),
    "response_id": ("gen_ai.response.id",),
    "tool_name": ("gen_ai.tool.name",),
    "tool_call_id": ("gen_ai.tool.call.id",),
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
    ),
    "cache_creation": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
    ),
    "cost": ("gen_ai.usage.cost.amount", "gen_ai.usage.cost", "gen_ai.cost.total_cost", "llm.cost.total"),
    "finish_reason": ("gen_ai.agent.finish_reason", "gen_ai.response.finish_reasons"),
    "streaming": ("gen_ai.request.stream",),
    "prompt": ("gen_ai.input.messages",),
    "completion": ("gen_ai.output.messages",),
    "system": ("gen_ai.system_instructions",),
    "arguments": ("gen_ai.tool.call.arguments",),
    "result": ("gen_ai.tool.call.result",),
}

EXPLICIT = {
    "session": ("gen_ai.conversation.id", "session.id"),
    "user": ("user.id", "enduser.id", "user.hash", "enduser.pseudo.id"),
    "feature": ("agentops.feature", "app.feature", "feature"),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "release": ("service.version",),
}
FALLBACK = {"feature": ("gen_ai.workflow.name", "tags", "tag.tags")}


def parse_arguments(_: RawSpan, value: object) -> object:
    """Arguments are JSON in a string, or a structured value already."""
    return parse_json(value)


GENAI = Dialect(
    name="genai",
    kind=kind,
    fields=FIELDS,
    explicit=EXPLICIT,
    fallback=FALLBACK,
    requested_tools=requested_tools,
    arguments=parse_arguments,
)
