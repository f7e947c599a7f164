"""OpenInference: ``openinference.span.kind`` and the ``llm.*``, ``tool.*`` and ``input.value`` names."""

from __future__ import annotations

import re

from agentops.domain.dialects import genai
from agentops.domain.dialects.langchain import agent_of, is_agent
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.values import parse_json
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _LLM, _TOOL, _WORKFLOW = Kind.AGENT, Kind.LLM, Kind.TOOL, Kind.WORKFLOW
KINDS = {
    "LLM": Kind.LLM,
    "EMBEDDING": Kind.EMBEDDING,
    "TOOL": Kind.TOOL,
    "AGENT": Kind.AGENT,
    "CHAIN": Kind.WORKFLOW,
    "RETRIEVER": Kind.RETRIEVAL,
    "RERANKER": Kind.RETRIEVAL,
    "GUARDRAIL": Kind.WORKFLOW,
    "EVALUATOR": Kind.WORKFLOW,
}
OPENAI_AGENTS = "openinference.instrumentation.openai_agents"
AGNO = "openinference.instrumentation.agno"
#: Scopes whose ``llm.model_name`` is the name that was asked for, whatever model answered.
ASKED_NAME_SCOPES = frozenset(
    f"openinference.instrumentation.{framework}"
    for framework in (
        *("agno", "beeai", "bedrock", "crewai", "dspy", "litellm", "llama_index", "openai_agents"),
        *("pydantic_ai", "smolagents", "vertexai"),
    )
)
#: Model spans that ask no model: CrewAI counts tokens, LlamaIndex prepares a request.
NO_CALL = re.compile(r"^InputTokenCount|_prepare_chat_with_tools$")
_AGENT_SUFFIXES = (".run", "._execute_core")
#: What smolagents calls every tool.
NO_TOOL_NAME = "SimpleTool"
#: The id of an OpenAI or Anthropic answer, wherever in the output it stands.
RESPONSE_ID = re.compile(r'"id"\s*:\s*"((?:msg|resp|chatcmpl)[-_][^"]{1,200})"')
_REQUESTED = re.compile(
    r"llm\.output_messages\.(\d{1,6})\.message\.tool_calls\.(\d{1,6})\.tool_call\.function\.(name|arguments)"
)
_WRAPPER_KEYS = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})


def kind(raw: RawSpan) -> Kind | None:
    """As the span says, but for what LangChain and others are known to guess wrong."""
    attributes = raw.attributes
    said = attributes.get("openinference.span.kind")
    if not isinstance(said, str):
        return None
    found = KINDS.get(said.upper(), Kind.OTHER)
    if found is _AGENT:
        if "tool.name" in attributes:
            return Kind.TOOL
        if raw.scope == OPENAI_AGENTS and "agent.name" not in attributes and "graph.node.id" not in attributes:
            return Kind.WORKFLOW
    elif found is _WORKFLOW:
        return Kind.AGENT if is_agent(attributes.get("metadata"), raw.name) else found
    elif found is _LLM and NO_CALL.search(raw.name):
        return Kind.OTHER
    return found


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the flattened output messages; else the function calls of a Responses API answer."""
    calls: dict[tuple[int, int], dict[str, object]] = {}
    for key, value in attributes.items():
        if key.startswith("llm.output_messages.") and (match := _REQUESTED.fullmatch(key)):
            call = calls.setdefault((int(match[1]), int(match[2])), {"tool": None, "arguments": None})
            call["tool" if match[3] == "name" else "arguments"] = value
    if calls:
        return [calls[position] for position in sorted(calls)]
    output = attributes.get("output.value")
    if not isinstance(output, str) or '"function_call"' not in output:
        return []
    parsed = parse_json(output)
    items = parsed.get("output") if isinstance(parsed, dict) else parsed
    return [
        {"tool": item.get("name"), "arguments": item.get("arguments")}
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and item.get("type") == "function_call"
    ]


def arguments(raw: RawSpan, value: AttributeValue) -> AttributeValue:
    """A JSON object, unwrapped from ``{"args", "kwargs"}``; or the bare value of a one-argument tool."""
    if raw.scope == AGNO and "tool.parameters" in raw.attributes:
        return raw.attributes["tool.parameters"]
    parsed = parse_json(value)
    inner = unwrapped(parsed)
    return value if inner is parsed else inner


def unwrapped(given: AttributeValue) -> AttributeValue:
    """What a function was given, out of ``{"args", "kwargs"}``."""
    if isinstance(given, dict) and given and given.keys() <= _WRAPPER_KEYS:
        positional, named = given.get("args"), given.get("kwargs")
        return {"args": positional, "kwargs": named} if positional and named else named or positional or {}
    return given


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """Names that stand in the span's name or its metadata, and the response id inside the output."""
    if found_kind is _AGENT:
        if "agent_name" not in fields:
            name = raw.name
            for suffix in _AGENT_SUFFIXES:
                name = name.removesuffix(suffix)
            fields["agent_name"] = name
        return
    # What else names an agent here means the graph's node, which the tree knows better.
    fields.pop("agent_name", None)
    if found_kind is _TOOL:
        if "tool_name" not in fields and raw.name != NO_TOOL_NAME:
            fields["tool_name"] = raw.name
    elif found_kind is _LLM:
        fields["agent_name"] = agent_of(fields)
        output = fields.get("completion")
        if "response_id" not in fields and isinstance(output, str) and (match := RESPONSE_ID.search(output)):
            fields["response_id"] = match[1]
    if found_kind in COSTED_KINDS:
        _models(raw, fields)


def _models(raw: RawSpan, fields: dict[str, AttributeValue]) -> None:
    """``llm.model_name`` may be the model asked for or the one that answered."""
    said, asked = fields.get("model_name"), fields.get("request_model")
    if raw.scope == OPENAI_AGENTS and raw.name == "response":
        # The parameters are those of the answer too: what was asked for is lost.
        fields["request_model"], fields["response_model"] = None, said
    elif raw.scope in ASKED_NAME_SCOPES:
        fields["request_model"] = asked or said
    else:
        fields["request_model"] = asked or said or fields.get("response_model")
        if said != asked and "response_model" not in fields:
            fields["response_model"] = said


OPENINFERENCE = Dialect(
    name="openinference",
    mark="openinference.span.kind",
    kind=kind,
    expand=(
        ("metadata", "metadata."),
        ("llm.invocation_parameters", "invocation."),
        ("embedding.invocation_parameters", "invocation."),
    ),
    fields=before(
        {
            "agent_name": ("agent.name", "graph.node.name", "graph.node.id"),
            "created_agent": ("metadata.lc_agent_name",),
            "graph_node": ("metadata.langgraph_node",),
            "provider": ("llm.provider", "llm.system", "metadata.ls_provider"),
            "model_name": ("llm.model_name",),
            "request_model": ("llm.request.model_name", "invocation.model", "invocation.model_name"),
            "response_model": ("llm.response.model_name", "embedding.model_name"),
            "response_id": ("llm.response.id",),
            "tool_name": ("tool.name",),
            "tool_call_id": ("tool_call.id",),
            "input": ("llm.token_count.prompt",),
            "output": ("llm.token_count.completion",),
            "cache_read": ("llm.token_count.prompt_details.cache_read",),
            "cache_creation": ("llm.token_count.prompt_details.cache_write",),
            "reasoning": ("llm.token_count.completion_details.reasoning",),
            "asked_tier": ("invocation.service_tier",),
            "audio_input": ("llm.token_count.prompt_details.audio",),
            "audio_output": ("llm.token_count.completion_details.audio",),
            "cost": ("llm.cost.total",),
            "finish_reason": ("llm.finish_reason",),
            "streaming": ("invocation.stream",),
            "prompt": ("input.value",),
            "completion": ("output.value",),
            "arguments": ("input.value",),
            "result": ("output.value",),
            "tags": ("tag.tags",),
        },
        genai.FIELDS,
    ),
    explicit={
        **genai.EXPLICIT,
        "session": (*genai.EXPLICIT["session"], "metadata.session_id", "metadata.thread_id"),
        "user": (*genai.EXPLICIT["user"], "metadata.user_id"),
        "feature": (*genai.EXPLICIT["feature"], "metadata.feature"),
    },
    fallback=genai.FALLBACK,
    noise=("llm.input_messages.", "llm.output_messages.", "llm.tools.", "embedding.embeddings."),
    requested_tools=requested_tools,
    arguments=arguments,
    finish=finish,
)
