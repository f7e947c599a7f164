"""LiteLLM's OpenTelemetry callback: the GenAI conventions, and what these lack as Python writes it."""

from __future__ import annotations

import dataclasses
import re

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.usage import counts, tell
from agentops.domain.dialects.values import parse
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

_USAGE, _HIDDEN, _METADATA = "metadata.usage_object", "hidden_params", "metadata.requester_metadata"
_RAW_USAGE = re.compile(r"llm\.([a-z0-9_]{1,40})\.usage")
_NO_PROVIDER = "Unknown"
#: Where the providers' answers have their tool calls.
_RAW_ANSWERS = ("choices", "content", "output")
_REQUESTED = re.compile(r"gen_ai\.completion\.(\d{1,6})\.function_call\.(name|arguments)")


def kind(raw: RawSpan) -> Kind | None:
    """By the type of the request, a name of LiteLLM's functions; a raw answer by what it holds."""
    attributes = raw.attributes
    said = attributes.get("llm.request.type") or attributes.get("litellm.call_type")
    if not isinstance(said, str):
        provider = _raw_provider(raw)
        if provider is None:
            return genai.kind(raw)
        return Kind.EMBEDDING if f"llm.{provider}.data" in attributes else Kind.LLM
    if "embedding" in said:
        return Kind.EMBEDDING
    if "rerank" in said or "search" in said:
        return Kind.RETRIEVAL
    if "mcp" in said:
        return Kind.TOOL
    return Kind.LLM


def _raw_provider(raw: RawSpan) -> str | None:
    """The provider whose answer a span holds as it came: it is below the call's own, or all that is told of it."""
    if "gen_ai.request.model" in raw.attributes or "llm.request.type" in raw.attributes:
        return None
    return next((match[1] for key in raw.attributes if (match := _RAW_USAGE.fullmatch(key))), None)


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the numbered function calls: the output messages of some versions leave them out."""
    calls: dict[int, dict[str, object]] = {}
    for key, value in attributes.items():
        if key.startswith("gen_ai.completion.") and (match := _REQUESTED.fullmatch(key)):
            call = calls.setdefault(int(match[1]), {"tool": None, "arguments": None})
            call["tool" if match[2] == "name" else "arguments"] = value
    found = [calls[position] for position in sorted(calls)] or genai.requested_tools(raw, attributes)
    provider = None if found else _raw_provider(raw)
    for name in _RAW_ANSWERS if provider else ():
        found += requested(parse(attributes.get(f"llm.{provider}.{name}")))
    return found


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """A streamed answer repeats the name that was asked for."""
    provider = _raw_provider(raw)
    if provider is not None:
        usage = parse(raw.attributes.get(f"llm.{provider}.usage"))
        if isinstance(usage, dict):
            tell(usage, fields)
        fields["provider"] = provider
        fields["response_model"] = raw.attributes.get(f"llm.{provider}.model")
        fields["response_id"] = raw.attributes.get(f"llm.{provider}.id")
    if fields.get("provider") == _NO_PROVIDER:
        del fields["provider"]
    genai.finish(raw, found_kind, fields)
    streaming = fields.get("streaming")
    if isinstance(streaming, str):
        fields["streaming"] = streaming.lower() == "true"
    if fields.get("streaming") is True and fields.get("response_model") == fields.get("request_model"):
        fields.pop("response_model", None)


LITELLM = Dialect(
    name="LiteLLM",
    mark="hidden_params",
    scopes=frozenset({"litellm"}),
    kind=kind,
    expand=((_USAGE, f"{_USAGE}."), (_HIDDEN, f"{_HIDDEN}."), (_METADATA, f"{_METADATA}.")),
    fields=before(
        genai.FIELDS,
        {
            **counts(_USAGE),
            "cost": ("litellm.cost.total", f"{_HIDDEN}.response_cost"),
            "streaming": ("llm.is_streaming", "litellm.request.streaming"),
            "error_message": ("error.message",),
            "tags": (f"{_METADATA}.tags",),
        },
    ),
    explicit=before(
        genai.EXPLICIT,
        {
            "session": (f"{_METADATA}.session_id",),
            "user": ("llm.user", "litellm.end_user.id", "metadata.user_api_key_end_user_id", f"{_METADATA}.user_id"),
            "feature": (f"{_METADATA}.feature",),
        },
    ),
    fallback=before(genai.FALLBACK, {"user": ("metadata.user_api_key_user_id",)}),
    noise=("metadata.", "gen_ai.cost.", "llm.request.functions.", "gen_ai.completion.", "error.stack_trace"),
    requested_tools=requested_tools,
    finish=finish,
)
#: The second version, which a variable may give any scope.
LITELLM_2 = dataclasses.replace(LITELLM, name="LiteLLM, second version", mark="litellm.call_id", scopes=frozenset())
