"""Logfire's instrumentations: the GenAI conventions, and what these lack in the provider's own words."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.usage import counts
from agentops.domain.dialects.values import parse
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

AGENTS_SCOPE = "logfire.openai_agents"
#: What the spans of the OpenAI Agents SDK are, by the beginning of their name.
AGENTS_KINDS = {
    "Agent run": Kind.AGENT,
    "Function": Kind.TOOL,
    "Chat completion with ": Kind.LLM,
    "OpenAI Agents trace": Kind.WORKFLOW,
    "Task: ": Kind.WORKFLOW,
    "Turn ": Kind.WORKFLOW,
}
_RAW, _DATA = "gen_ai.usage.raw", "response_data"
#: The provider's usage object, where newer versions keep it and where older ones do.
_HOLDERS = (_RAW, f"{_DATA}.usage")
#: What Logfire itself tags a model call with.
LLM_TAG = "LLM"
STATUS_ERROR = 2
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _TOOL, _OTHER = Kind.AGENT, Kind.TOOL, Kind.OTHER


def kind(raw: RawSpan) -> Kind | None:
    """By operation name, which older versions and the agents' spans have not."""
    attributes = raw.attributes
    if attributes.get("logfire.span_type") == "pending_span":
        return _OTHER
    if raw.scope == AGENTS_SCOPE and "gen_ai.operation.name" not in attributes:
        return next((found for start, found in AGENTS_KINDS.items() if raw.name.startswith(start)), None)
    if "request_data" not in attributes:
        return genai.kind(raw)
    if " API call to " in raw.name:
        return _OTHER
    if _is_answered_elsewhere(raw):
        return Kind.WORKFLOW
    return genai.kind(raw) or (Kind.EMBEDDING if raw.name.startswith("Embedding") else Kind.LLM)


def _is_answered_elsewhere(raw: RawSpan) -> bool:
    """Whether this is a streamed call that is no part of a run: the record of its answer is a trace of its own."""
    attributes = raw.attributes
    return (
        not raw.parent_span_id
        and raw.status_code != STATUS_ERROR
        and attributes.get("gen_ai.operation.name") in ("chat", "text_completion")
        and attributes.get("logfire.span_type") == "span"
        and not any(name in attributes for name in ("gen_ai.response.id", "gen_ai.usage.input_tokens", _DATA))
    )


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the output messages, or from the answer itself, which older versions and the agents' spans keep."""
    found = genai.requested_tools(raw, attributes)
    if not found and raw.scope == AGENTS_SCOPE:
        # The answer is the last of the messages, or the response as it is.
        data = parse(attributes.get("request_data"))
        messages = data.get("messages") if isinstance(data, dict) else None
        found = requested(
            messages[-1] if isinstance(messages, list) and messages else parse(attributes.get("response"))
        )
    return found or requested(parse(attributes.get(_DATA)))


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """The span's name is a template: what it would say stands in the message."""
    if found_kind is _AGENT and "agent_name" not in fields:
        operation, _, name = str(fields.get("message") or "").partition(" ")
        fields["agent_name"] = fields.get("name") if raw.scope == AGENTS_SCOPE else name * (operation == "invoke_agent")
    elif found_kind is _TOOL and raw.scope == AGENTS_SCOPE:
        fields["tool_name"] = fields.get("name")
    elif found_kind is _TOOL and "tool_name" not in fields:
        fields["tool_name"] = str(fields.get("message") or raw.name).removeprefix("execute_tool ")
    tags = fields.get("tags")
    if isinstance(tags, list):
        fields["tags"] = [tag for tag in tags if tag != LLM_TAG]
    if found_kind in COSTED_KINDS:
        if "response_id" not in fields and fields.get("response_model") == fields.get("request_model"):
            # Without an answer, Logfire repeats the name that was asked for.
            fields.pop("response_model", None)
        _add_caches(fields)


def _add_caches(fields: dict[str, AttributeValue]) -> None:
    """Early versions pass on Anthropic's input as it is, without the caches."""
    given, caches = fields.get("input"), (fields.get("anthropics_read"), fields.get("anthropics_written"))
    if type(given) is int and given == fields.get("anthropics_input"):
        fields["input"] = given + sum(count for count in caches if type(count) is int)


def _raw(name: str) -> tuple[str, ...]:
    return tuple(f"{holder}.{name}" for holder in _HOLDERS)


LOGFIRE = Dialect(
    name="Logfire",
    mark="logfire.span_type",
    kind=kind,
    expand=((_RAW, f"{_RAW}."), (_DATA, f"{_DATA}.")),
    fields=before(
        genai.FIELDS,
        {
            "message": ("logfire.msg",),
            "name": ("name",),
            **counts(*_HOLDERS),
            "anthropics_input": _raw("input_tokens"),
            "anthropics_read": _raw("cache_read_input_tokens"),
            "anthropics_written": _raw("cache_creation_input_tokens"),
            "prompt": ("request_data", "events"),
            "completion": (_DATA, "response"),
            "arguments": ("input",),
            "result": ("output",),
        },
    ),
    explicit=before(genai.EXPLICIT, {"session": ("group_id",)}),
    fallback=genai.FALLBACK,
    noise=("logfire.", "code.", "request_data", "async"),
    requested_tools=requested_tools,
    finish=finish,
)
