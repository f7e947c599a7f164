"""OpenInference: ``openinference.span.kind`` and the ``llm.*``, ``tool.*`` and ``input.value`` names."""

from __future__ import annotations

import re

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect
from agentops.domain.dialects.values import parse_json
from agentops.domain.spans import Attributes, Kind, RawSpan

KINDS = {
    "LLM": Kind.LLM,
    "EMBEDDING": Kind.EMBEDDING,
    "TOOL": Kind.TOOL,
    "AGENT": Kind.AGENT,
    "CHAIN": Kind.WORKFLOW,
    "RETRIEVER": Kind.RETRIEVAL,
    "RERANKER": Kind.RETRIEVAL,
}
OPENAI_AGENTS = "openinference.instrumentation.openai_agents"
AGNO = "openinference.instrumentation.agno"
#: Model spans that ask no model: CrewAI counts tokens, LlamaIndex prepares a request.
NO_CALL = re.compile(r"^InputTokenCount|_prepare_chat_with_tools$")
#: Names of graph nodes that say what a node does, not who it is.
ANONYMOUS_NODES = frozenset({"model", "agent", "tools", "model_request", "__start__"})
_AGENT_SUFFIXES = (".run", "._execute_core")
_REQUESTED = re.compile(
    r"^llm\.output_messages\.(\d+)\.message\.tool_calls\.(\d+)\.tool_call\.function\.(name|arguments)$"
)
_WRAPPER_KEYS = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})


def kind(raw: RawSpan) -> Kind | None:
    """As the span says, but for what LangChain and others are known to guess wrong."""
    attributes = raw.attributes
    said = attributes.get("openinference.span.kind")
    if not isinstance(said, str):
        return None
    found = KINDS.get(said.upper(), Kind.OTHER)
    if found is Kind.AGENT:
        if "tool.name" in attributes:
            return Kind.TOOL
        if raw.scope == OPENAI_AGENTS and "agent.name" not in attributes and "graph.node.id" not in attributes:
            return Kind.WORKFLOW
    elif found is Kind.WORKFLOW:
        metadata = attributes.get("metadata")
        if isinstance(metadata, str) and "langchain_create_agent" in metadata:
            parsed = parse_json(metadata)
            if isinstance(parsed, dict) and parsed.get("lc_agent_name") == raw.name:
                return Kind.AGENT
    elif found is Kind.LLM and NO_CALL.search(raw.name):
        return Kind.OTHER
    return found


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the flattened output messages; else the function calls of a Responses API answer."""
    calls: dict[tuple[int, int], dict[str, object]] = {}
    for key, value in attributes.items():
        if key.startswith("llm.output_messages.") and (match := _REQUESTED.match(key)):
            call = calls.setdefault((int(match[1]), int(match[2])), {"tool": None, "arguments": None})
            if match[3] == "name":
                call["tool"] = value
            else:
                call["arguments"] = parse_json(value)
    if calls:
        return [calls[position] for position in sorted(calls)]
    output = attributes.get("output.value")
    if not isinstance(output, str) or '"function_call"' not in output:
        return []
    parsed = parse_json(output)
    items = parsed.get("output") if isinstance(parsed, dict) else parsed
    return [
        {"tool": item.get("name"), "arguments": parse_json(item.get("arguments"))}
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and item.get("type") == "function_call"
    ]


def arguments(raw: RawSpan, value: object) -> object:
    """A JSON object, unwrapped from ``{"args", "kwargs"}``; or the bare value of a one-argument tool."""
    if raw.scope == AGNO and "tool.parameters" in raw.attributes:
        return parse_json(raw.attributes["tool.parameters"])
    parsed = parse_json(value)
    if isinstance(parsed, dict) and parsed and parsed.keys() <= _WRAPPER_KEYS:
        return parsed.get("kwargs") or parsed.get("args") or {}
    return parsed


def finish(raw: RawSpan, found_kind: Kind, attributes: Attributes, fields: dict[str, object]) -> None:
    """Names that stand in the span's name or its metadata, and the response id inside the output."""
    if found_kind is Kind.AGENT:
        if not fields.get("agent_name"):
            name = raw.name
            for suffix in _AGENT_SUFFIXES:
                name = name.removesuffix(suffix)
            fields["agent_name"] = name
    elif found_kind is Kind.TOOL:
        fields.setdefault("tool_name", raw.name)
        fields.pop("agent_name", None)
    elif found_kind is Kind.LLM:
        fields.pop("agent_name", None)
        agent = attributes.get("metadata.lc_agent_name") or attributes.get("metadata.langgraph_node")
        if isinstance(agent, str) and agent not in ANONYMOUS_NODES:
            fields["agent_name"] = agent
        if "response_id" not in fields:
            output = attributes.get("output.value")
            if isinstance(output, str) and (match := _RESPONSE_ID.search(output)):
                fields["response_id"] = match[1]
    else:
        fields.pop("agent_name", None)


#: The id of an OpenAI or Anthropic answer, wherever in the output it stands.
_RESPONSE_ID = re.compile(r'"id"\s*:\s*"((?:msg|resp|chatcmpl)[-_][^"]{1,200})"')

OPENINFERENCE = Dialect(
    name="openinference",
    kind=kind,
    expand=(("metadata", "metadata."), ("llm.invocation_parameters", "invocation.")),
    fields={
        "agent_name": ("agent.name", "graph.node.name", "graph.node.id"),
        "provider": ("llm.provider", "llm.system", "metadata.ls_provider"),
        "request_model": ("llm.request.model_name", "invocation.model", "invocation.model_name", "llm.model_name"),
        "response_model": ("llm.response.model_name", "llm.model_name", "embedding.model_name"),
        "response_id": ("llm.response.id",),
        "tool_name": ("tool.name",),
        "tool_call_id": ("tool_call.id",),
        "input": ("llm.token_count.prompt",),
        "output": ("llm.token_count.completion",),
        "cache_read": ("llm.token_count.prompt_details.cache_read",),
        "cache_creation": ("llm.token_count.prompt_details.cache_write",),
        "reasoning": ("llm.token_count.completion_details.reasoning",),
        "cost": ("llm.cost.total",),
        "finish_reason": ("llm.finish_reason",),
        "streaming": ("invocation.stream",),
        "prompt": ("input.value",),
        "completion": ("output.value",),
        "arguments": ("input.value",),
        "result": ("output.value",),
    },
    explicit={
        **genai.EXPLICIT,
        "session": ("session.id", "gen_ai.conversation.id", "metadata.session_id", "metadata.thread_id"),
        "user": (*genai.EXPLICIT["user"], "metadata.user_id"),
        "feature": (*genai.EXPLICIT["feature"], "metadata.feature"),
    },
    fallback={"feature": ("tag.tags",)},
    requested_tools=requested_tools,
    arguments=arguments,
    finish=finish,
)
