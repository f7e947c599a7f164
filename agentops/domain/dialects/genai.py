"""The OpenTelemetry GenAI conventions, new names and old; what every other dialect falls back to."""

from __future__ import annotations

import re

from agentops.domain.dialects.messages import OUTPUT, requested_by, tell
from agentops.domain.dialects.table import Dialect, Names, Tables
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import parse_json
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

KINDS = {
    "chat": Kind.LLM,
    "text_completion": Kind.LLM,
    "generate_content": Kind.LLM,
    # Semantic Kernel, in its versions and languages.
    "chat.completions": Kind.LLM,
    "text.completions": Kind.LLM,
    "text_completions": Kind.LLM,
    "embeddings": Kind.EMBEDDING,
    "embedding": Kind.EMBEDDING,
    "execute_tool": Kind.TOOL,
    "invoke_agent": Kind.AGENT,
    "invoke_workflow": Kind.WORKFLOW,
    "execute_task": Kind.WORKFLOW,
    "execute_event_loop_cycle": Kind.WORKFLOW,
    "execute_method": Kind.WORKFLOW,
    "plan": Kind.WORKFLOW,
    "retrieval": Kind.RETRIEVAL,
    "search_memory": Kind.RETRIEVAL,
    "vector_db_retrieve": Kind.RETRIEVAL,
    "create_agent": Kind.OTHER,
    # What an earlier call had answered: nothing is computed, and tokens are that call's.
    "fetch_response": Kind.OTHER,
}
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _TOOL = Kind.AGENT, Kind.TOOL
#: Kinds whose texts are kept: what is around them repeats it.
_TOLD = frozenset({Kind.LLM, Kind.AGENT})
#: How many arguments a tool was given, where each is an attribute of its own (Google's SDK).
PARAMETERS = "code.args.keyword.count"
_PARAMETER = re.compile(r"code\.function\.parameters\.(.+)\.value")
#: What the Agent Development Kit calls a span that repeats several tool spans.
MERGED_TOOLS = "(merged tools)"


def kind(raw: RawSpan) -> Kind | None:
    """By operation name."""
    operation = raw.attributes.get("gen_ai.operation.name")
    found = KINDS.get(operation) if type(operation) is str else None
    if found is _TOOL and raw.attributes.get("gen_ai.tool.name") == MERGED_TOOLS:
        return Kind.OTHER
    return found


def kind_by_model(raw: RawSpan) -> Kind | None:
    """A span that names a model and what came of it is a model call, whatever its operation is called."""
    attributes = raw.attributes
    signs = ("gen_ai.response.model", *FIELDS["input"], *FIELDS["output"])
    return Kind.LLM if any(sign in attributes for sign in signs) else None


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the output messages; else from the events that tell of the answer."""
    messages = attributes.get(OUTPUT)
    if isinstance(messages, str) and '"tool_call"' not in messages:
        return []
    if isinstance(messages, (str, list)):
        return requested(parse_json(messages))
    return [call for event in raw.events for call in requested_by(event.name, event.attributes)]


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """A name without an attribute stands in the span's name, after the operation; a text without one in the events."""
    if found_kind is _AGENT and "agent_name" not in fields:
        operation, _, name = raw.name.partition(" ")
        if operation == "invoke_agent":
            fields["agent_name"] = name
    elif found_kind is _TOOL:
        fields.setdefault("tool_name", raw.name.removeprefix("execute_tool "))
        if "arguments" not in fields and PARAMETERS in raw.attributes:
            fields["arguments"] = _parameters(raw.attributes)
    if raw.events and found_kind in _TOLD:
        tell(raw.events, fields)


def _parameters(attributes: Attributes) -> AttributeValue:
    found = {match[1]: value for key, value in attributes.items() if (match := _PARAMETER.fullmatch(key))}
    return found or None


FIELDS: Tables = {
    "operation_name": ("gen_ai.operation.name",),
    "agent_name": ("gen_ai.agent.name",),
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "request_model": ("gen_ai.request.model",),
    "response_model": ("gen_ai.response.model",),
    "response_id": ("gen_ai.response.id",),
    "tool_name": ("gen_ai.tool.name",),
    "tool_call_id": ("gen_ai.tool.call.id",),
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "gen_ai.response.prompt_tokens"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "gen_ai.response.completion_tokens"),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.input_cached_tokens",
        "gen_ai.usage.prompt_tokens_details.cached_tokens",
    ),
    "cache_creation": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.prompt_tokens_details.cache_creation_tokens",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.completion_tokens_details.reasoning_tokens",
    ),
    "total": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
    "tier": (
        "agentops.service_tier",
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "gen_ai.response.service_tier",
        "anthropic.response.service_tier",
        "gen_ai.anthropic.service_tier",
        "llm.openai.service_tier",
    ),
    "asked_tier": (
        "openai.request.service_tier",
        "gen_ai.openai.request.service_tier",
        "gen_ai.request.service_tier",
    ),
    "audio_input": ("gen_ai.usage.audio.input_tokens", "gen_ai.usage.details.input_audio_tokens"),
    "audio_cache_read": (
        "gen_ai.usage.audio.cache_read.input_tokens",
        "gen_ai.usage.details.cache_audio_read_tokens",
    ),
    "audio_output": ("gen_ai.usage.audio.output_tokens", "gen_ai.usage.details.output_audio_tokens"),
    "cache_creation_1h": (
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
        "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens",
    ),
    "cost": ("gen_ai.usage.cost.amount", "gen_ai.usage.cost", "gen_ai.cost.total_cost", "llm.cost.total"),
    "cost_currency": ("gen_ai.usage.cost.currency",),
    "cost_source": ("gen_ai.usage.cost.source",),
    "estimated_cost": ("operation.cost",),
    "finish_reason": (
        "gen_ai.agent.finish_reason",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.finish_reason",
    ),
    "streaming": ("gen_ai.request.stream", "gen_ai.is_streaming"),
    "prompt": ("gen_ai.input.messages", "gen_ai.prompt"),
    "completion": ("gen_ai.output.messages", "gen_ai.completion"),
    "system": ("gen_ai.system_instructions",),
    "arguments": ("gen_ai.tool.call.arguments", "gen_ai.tool.args", "gen_ai.tool.input"),
    "result": ("gen_ai.tool.call.result", "gen_ai.tool.result", "gen_ai.tool.output", "code.function.return.value"),
    "tags": (
        "tag.tags",
        "tags",
        "langfuse.trace.tags",
        "logfire.tags",
        "traceloop.association.properties.tags",
    ),
}
#: How OpenLLMetry's SDK begins the names of what an application says of a run. It stamps them onto every span.
TRACELOOP_PROPERTY = "traceloop.association.properties."


def _stamped(*properties: str) -> Names:
    return tuple(TRACELOOP_PROPERTY + name for name in properties)


#: What apps, and the SDKs that they hand it to, put on any span.
EXPLICIT: Tables = {
    "session": (
        "gen_ai.conversation.id",
        "session.id",
        "conversation.id",
        "langfuse.session.id",
        *_stamped("session_id", "sessionId", "conversation_id", "conversationId"),
        *_stamped("chat_id", "chatId", "thread_id", "threadId"),
        "session_id",
    ),
    "user": (
        "user.id",
        "enduser.id",
        "user.hash",
        "enduser.pseudo.id",
        "langfuse.user.id",
        *_stamped("user_id", "userId"),
        "user_id",
    ),
    "feature": (
        "agentops.feature",
        "app.feature",
        "feature",
        "langfuse.trace.metadata.feature",
        *_stamped("feature"),
    ),
    "environment": (
        "deployment.environment.name",
        "deployment.environment",
        "gen_ai.environment",
        "langfuse.environment",
    ),
    "release": ("service.version", "langfuse.release"),
}
FALLBACK: Tables = {
    "feature": ("gen_ai.workflow.name", "langfuse.trace.name", "tag.tags", "tags", "langfuse.trace.tags"),
}
#: Where the workflow's name is made up by the framework.
TAGS_ONLY: Tables = {"feature": ("tag.tags", "tags", "langfuse.trace.tags")}

GENAI = Dialect(
    name="genai",
    mark="gen_ai.operation.name",
    kind=kind,
    fields=FIELDS,
    explicit=EXPLICIT,
    fallback=FALLBACK,
    requested_tools=requested_tools,
    finish=finish,
)
GENAI_WITHOUT_OPERATION = Dialect(
    name="genai without operation",
    mark="gen_ai.request.model",
    kind=kind_by_model,
    fields=FIELDS,
    explicit=EXPLICIT,
    fallback=FALLBACK,
    requested_tools=requested_tools,
)
#: The OpenAI Agents SDK calls every trace "Agent workflow" unless told otherwise: its workflow is the run's name and
#: says nothing of a feature.
OPENAI_AGENTS = Dialect(
    name="genai of the OpenAI Agents SDK",
    scopes=frozenset(
        {"opentelemetry.instrumentation.genai.openai_agents", "opentelemetry.instrumentation.openai_agents"}
    ),
    kind=kind,
    fields=FIELDS,
    explicit=EXPLICIT,
    fallback=TAGS_ONLY,
    requested_tools=requested_tools,
    finish=finish,
)
