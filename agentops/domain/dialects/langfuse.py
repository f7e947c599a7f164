"""The Langfuse SDKs and their LangChain handler: ``langfuse.observation.*``, and ``langfuse.trace.*`` on any span."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.langchain import ANONYMOUS_NODES, agent_of
from agentops.domain.dialects.openinference import unwrapped
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import name, parse
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

KINDS = {
    "generation": Kind.LLM,
    "embedding": Kind.EMBEDDING,
    "agent": Kind.AGENT,
    "tool": Kind.TOOL,
    "retriever": Kind.RETRIEVAL,
    "event": Kind.OTHER,
}
_OBSERVATION, _META, _LEVEL = "langfuse.observation.", "langfuse.observation.metadata.", "langfuse.observation.level"
_USAGE = f"{_OBSERVATION}usage_details."
STATUS_ERROR = 2
#: What Anthropic calls the counts that its input leaves out.
_APART = ("cache_read_input_tokens", "cache_creation_input_tokens")
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _LLM, _TOOL, _WORKFLOW = Kind.AGENT, Kind.LLM, Kind.TOOL, Kind.WORKFLOW


def kind(raw: RawSpan) -> Kind | None:
    """By the observation's type, but for what the LangChain handler guesses from a name."""
    attributes = raw.attributes
    said = attributes.get("langfuse.observation.type")
    if not isinstance(said, str):
        return None
    found = KINDS.get(said.lower(), _WORKFLOW)
    if found is _WORKFLOW:
        if "gen_ai.operation.name" in attributes:
            return None
        return _AGENT if name(attributes.get(f"{_META}lc_agent_name")) == raw.name else found
    return _WORKFLOW if found is _AGENT and raw.name in ANONYMOUS_NODES else found


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the output, as the wrapper of the provider's SDK or LangChain's handler keeps it."""
    return requested(parse(attributes.get("langfuse.observation.output")))


def arguments(_: RawSpan, value: AttributeValue) -> AttributeValue:
    """A JSON object, unwrapped from ``{"args", "kwargs"}``."""
    return unwrapped(parse(value))


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """Names stand in the span's name; the counts of some leave out what others count by itself."""
    if found_kind is _AGENT:
        fields["agent_name"] = raw.name
    elif found_kind is _TOOL:
        fields["tool_name"] = raw.name
    elif found_kind is _LLM:
        fields["agent_name"] = agent_of(fields)
    if found_kind in COSTED_KINDS:
        _models(raw, fields)
        usage = parse(raw.attributes.get("langfuse.observation.usage_details"))
        if isinstance(usage, dict):
            _count(usage, fields)


def _models(raw: RawSpan, fields: dict[str, AttributeValue]) -> None:
    """The one name is that of the model that answered, unless none did or it only repeats the one asked for."""
    said, asked = name(fields.get("response_model")), name(fields.get("request_model"))
    failed = raw.status_code == STATUS_ERROR or raw.attributes.get(_LEVEL) == "ERROR"
    fields["request_model"] = asked or (said if failed else None)
    fields["response_model"] = None if failed or said == asked else said


def _count(usage: dict[str, AttributeValue], fields: dict[str, AttributeValue]) -> None:
    """``input`` and ``output`` leave out what has a key of its own; the provider's own names do not."""
    counts = {key: count for key, count in usage.items() if type(count) is int and "priority" not in key}
    if "output" in counts:
        fields["output"] = sum(count for key, count in counts.items() if key.partition("_")[0] == "output")
    if "input" not in counts:
        return
    total, output = counts.get("total"), fields.get("output")
    if total is not None and type(output) is int and total >= output:
        # Details may overlap, so that a sum of them is too much.
        fields["input"] = total - output
    else:
        apart = (count for key, count in counts.items() if key.startswith("input_") and "ephemeral" not in key)
        fields["input"] = counts["input"] + sum(apart) + sum(counts.get(key, 0) for key in _APART)


def _ephemeral(life: str) -> tuple[str, ...]:
    return tuple(f"{_USAGE}{holder}_ephemeral_{life}_input_tokens" for holder in ("input", "cache_creation"))


LANGFUSE = Dialect(
    name="Langfuse",
    mark="langfuse.observation.type",
    kind=kind,
    expand=((f"{_OBSERVATION}usage_details", _USAGE), (f"{_OBSERVATION}cost_details", f"{_OBSERVATION}cost_details.")),
    fields=before(
        {
            "created_agent": (f"{_META}lc_agent_name",),
            "graph_node": (f"{_META}langgraph_node",),
            "request_model": (f"{_META}ls_model_name",),
            "input": (f"{_USAGE}prompt_tokens", f"{_USAGE}input_tokens"),
            "output": (f"{_USAGE}completion_tokens", f"{_USAGE}output_tokens"),
            "cache_read": (
                f"{_USAGE}input_cache_read",
                f"{_USAGE}input_cached_tokens",
                f"{_USAGE}cache_read_input_tokens",
                f"{_USAGE}prompt_tokens_details.cached_tokens",
                f"{_USAGE}input_tokens_details.cached_tokens",
            ),
            "cache_creation": (
                f"{_USAGE}input_cache_creation",
                f"{_USAGE}cache_creation_input_tokens",
                f"{_USAGE}prompt_tokens_details.cache_write_tokens",
            ),
            "cache_creation_5m": _ephemeral("5m"),
            "reasoning": (
                f"{_USAGE}output_reasoning",
                f"{_USAGE}output_reasoning_tokens",
                f"{_USAGE}completion_tokens_details.reasoning_tokens",
                f"{_USAGE}output_tokens_details.reasoning_tokens",
            ),
            "audio_input": (
                f"{_USAGE}input_audio",
                f"{_USAGE}input_audio_tokens",
                f"{_USAGE}prompt_tokens_details.audio_tokens",
                f"{_USAGE}input_tokens_details.audio_tokens",
            ),
            "audio_output": (
                f"{_USAGE}output_audio",
                f"{_USAGE}output_audio_tokens",
                f"{_USAGE}completion_tokens_details.audio_tokens",
                f"{_USAGE}output_tokens_details.audio_tokens",
            ),
            "cache_creation_1h": _ephemeral("1h"),
            "cost": (f"{_OBSERVATION}cost_details.total",),
            "prompt": (f"{_OBSERVATION}input",),
            "completion": (f"{_OBSERVATION}output",),
            "arguments": (f"{_OBSERVATION}input",),
            "result": (f"{_OBSERVATION}output",),
            "error_message": (f"{_OBSERVATION}status_message",),
        },
        before(
            genai.FIELDS,
            {
                "provider": (f"{_META}ls_provider", f"{_META}provider"),
                "response_model": (f"{_OBSERVATION}model.name",),
                "finish_reason": (f"{_META}finish_reason",),
            },
        ),
    ),
    explicit=before(
        genai.EXPLICIT,
        {
            "session": (f"{_META}langfuse_session_id", f"{_META}session_id", f"{_META}thread_id"),
            "user": (f"{_META}langfuse_user_id", f"{_META}user_id"),
            "feature": (f"{_META}feature",),
        },
    ),
    fallback=genai.FALLBACK,
    noise=(f"{_OBSERVATION}model.", "langfuse.internal."),
    errors=((_LEVEL, "ERROR"),),
    requested_tools=requested_tools,
    arguments=arguments,
    finish=finish,
)
