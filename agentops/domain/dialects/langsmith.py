"""LangSmith's OpenTelemetry exporters, of Python and of JavaScript: ``langsmith.*`` beside the GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterator

from agentops.domain.dialects import genai
from agentops.domain.dialects.openinference import ANONYMOUS_NODES, unwrapped
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import name, parse
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

#: The operation name beside it calls a retriever an embedding and a prompt a chat.
KINDS = {"llm": Kind.LLM, "tool": Kind.TOOL, "retriever": Kind.RETRIEVAL, "embedding": Kind.EMBEDDING}
#: Tags of LangChain's own.
_OWN_TAGS = ("seq:step:", "graph:step:", "map:key:", "langsmith:")
_META, _USAGE = "langsmith.metadata.", "langsmith.usage_metadata"
_IN, _OUT = "gen_ai.usage.input_token_details", "gen_ai.usage.output_token_details"
_CONTAINERS = ("generations", "message", "kwargs", "output")
_MAX_DEPTH = 6
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _LLM, _TOOL, _WORKFLOW = Kind.AGENT, Kind.LLM, Kind.TOOL, Kind.WORKFLOW


def kind(raw: RawSpan) -> Kind | None:
    """By the type of the run; a chain with an agent's name is that agent."""
    said = raw.attributes.get("langsmith.span.kind")
    if not isinstance(said, str):
        return None
    found = KINDS.get(said.lower(), _WORKFLOW)
    if found is _WORKFLOW and name(raw.attributes.get(f"{_META}lc_agent_name")) == raw.name:
        return _AGENT
    return found


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the outputs: the provider's answer, or LangChain's generations."""
    return requested(parse(attributes.get("gen_ai.completion")))


def arguments(_: RawSpan, value: AttributeValue) -> AttributeValue:
    """The inputs, or what LangChain wrote them down as."""
    given = parse(value)
    if isinstance(given, dict) and given.keys() == {"input"}:
        given = parse(given["input"])
    return unwrapped(given)


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """What the conventions have no room for stands in the outputs."""
    tags = fields.get("tags")
    if isinstance(tags, str):
        fields["tags"] = [tag for tag in tags.split(", ") if not tag.startswith(_OWN_TAGS)]
    if found_kind is _AGENT:
        fields["agent_name"] = raw.name
    elif found_kind is _TOOL:
        fields["tool_name"] = raw.name
    elif found_kind is _LLM:
        agent = name(fields.get("created_agent")) or name(fields.get("graph_node"))
        fields["agent_name"] = None if agent in ANONYMOUS_NODES else agent
    if found_kind in COSTED_KINDS:
        for message in _messages(parse(fields.get("completion")), _MAX_DEPTH):
            _add(message, fields)


def _messages(part: AttributeValue, depth: int) -> Iterator[dict[str, AttributeValue]]:
    """The messages of an answer that tell what they cost and who made them."""
    if isinstance(part, list) and depth:
        for item in part:
            yield from _messages(item, depth - 1)
    elif isinstance(part, dict) and depth:
        if isinstance(part.get("usage_metadata"), dict) or isinstance(part.get("response_metadata"), dict):
            yield part
        for key in _CONTAINERS:
            yield from _messages(part.get(key), depth - 1)


def _add(message: dict[str, AttributeValue], fields: dict[str, AttributeValue]) -> None:
    usage, told = message.get("usage_metadata"), message.get("response_metadata")
    if isinstance(usage, dict):
        for field, details, key in _DETAILS:
            inner = usage.get(details)
            if isinstance(inner, dict) and inner.get(key) is not None:
                fields.setdefault(field, inner[key])
    if isinstance(told, dict):
        fields.setdefault("response_model", told.get("model_name") or told.get("model"))
        fields.setdefault("response_id", told.get("id"))


_DETAILS = (
    ("cache_read", "input_token_details", "cache_read"),
    ("cache_creation", "input_token_details", "cache_creation"),
    ("reasoning", "output_token_details", "reasoning"),
)

LANGSMITH = Dialect(
    name="LangSmith",
    mark="langsmith.span.kind",
    kind=kind,
    expand=((_USAGE, f"{_USAGE}."), (_IN, f"{_IN}."), (_OUT, f"{_OUT}.")),
    fields=before(
        {
            "created_agent": (f"{_META}lc_agent_name",),
            "graph_node": (f"{_META}langgraph_node",),
            "provider": (f"{_META}ls_provider",),
        },
        before(
            genai.FIELDS,
            {
                "request_model": (f"{_META}ls_model_name",),
                "input": (f"{_USAGE}.input_tokens",),
                "output": (f"{_USAGE}.output_tokens",),
                "total": (f"{_USAGE}.total_tokens",),
                "cost": (f"{_USAGE}.total_cost",),
                "cache_read": (f"{_IN}.cache_read", f"{_USAGE}.input_token_details.cache_read"),
                "cache_creation": (f"{_IN}.cache_creation", f"{_USAGE}.input_token_details.cache_creation"),
                "reasoning": (f"{_OUT}.reasoning", f"{_USAGE}.output_token_details.reasoning"),
                "streaming": ("langsmith.request.streaming",),
                "prompt": ("gen_ai.prompt",),
                "completion": ("gen_ai.completion",),
                "arguments": ("gen_ai.prompt",),
                "result": ("gen_ai.completion",),
                "tags": ("langsmith.span.tags",),
            },
        ),
    ),
    explicit=before(
        genai.EXPLICIT,
        {
            "session": (f"{_META}session_id", f"{_META}thread_id", f"{_META}conversation_id"),
            "user": (f"{_META}user_id",),
            "feature": (f"{_META}feature",),
        },
    ),
    fallback=genai.FALLBACK,
    noise=("langsmith.span.runtime", "gen_ai.serialized.", "gen_ai.usage."),
    requested_tools=requested_tools,
    arguments=arguments,
    finish=finish,
)
