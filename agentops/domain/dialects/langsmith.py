"""LangSmith's OpenTelemetry exporters, of Python and of JavaScript: ``langsmith.*`` beside the GenAI conventions."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.langchain import agent_of
from agentops.domain.dialects.openinference import unwrapped
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.usage import counts
from agentops.domain.dialects.values import name, parse
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

#: The operation name beside it calls a retriever an embedding and a prompt a chat.
KINDS = {"llm": Kind.LLM, "tool": Kind.TOOL, "retriever": Kind.RETRIEVAL, "embedding": Kind.EMBEDDING}
#: Tags of LangChain's own.
_OWN_TAGS = ("seq:step:", "graph:step:", "map:key:", "langsmith:")
_META, _USAGE = "langsmith.metadata.", "langsmith.usage_metadata"
_DETAILS = ("gen_ai.usage.input_token_details", "gen_ai.usage.output_token_details")
#: The outputs, and where LangChain's message stands in them.
_COMPLETION = "gen_ai.completion"
_MESSAGES = (
    f"{_COMPLETION}.generations.message.kwargs",
    f"{_COMPLETION}.output.kwargs",
    f"{_COMPLETION}.kwargs",
    _COMPLETION,
)
_TOLD = tuple(f"{message}.response_metadata" for message in _MESSAGES)
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
    return requested(parse(attributes.get(_COMPLETION)))


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
        fields["agent_name"] = agent_of(fields)


LANGSMITH = Dialect(
    name="LangSmith",
    mark="langsmith.span.kind",
    kind=kind,
    expand=tuple((held, f"{held}.") for held in (_USAGE, _COMPLETION, *_DETAILS)),
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
                "response_model": tuple(f"{told}.{name}" for told in _TOLD for name in ("model_name", "model")),
                "response_id": tuple(f"{told}.id" for told in _TOLD),
                **counts("gen_ai.usage", _USAGE, *(f"{message}.usage_metadata" for message in _MESSAGES)),
                "cost": (f"{_USAGE}.total_cost",),
                "streaming": ("langsmith.request.streaming",),
                "prompt": ("gen_ai.prompt",),
                "completion": (_COMPLETION,),
                "arguments": ("gen_ai.prompt",),
                "result": (_COMPLETION,),
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
