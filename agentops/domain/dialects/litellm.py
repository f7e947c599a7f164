"""LiteLLM's OpenTelemetry callback: the GenAI conventions, and what these lack as Python writes it."""

from __future__ import annotations

import dataclasses
import re

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.usage import counts
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

_USAGE, _HIDDEN, _METADATA = "metadata.usage_object", "hidden_params", "metadata.requester_metadata"
_REQUESTED = re.compile(r"gen_ai\.completion\.(\d{1,6})\.function_call\.(name|arguments)")


def kind(raw: RawSpan) -> Kind | None:
    """By the type of the request, a name of LiteLLM's functions; what has none is no call, like the raw span below."""
    attributes = raw.attributes
    said = attributes.get("llm.request.type") or attributes.get("litellm.call_type")
    if not isinstance(said, str):
        return genai.kind(raw)
    if "embedding" in said:
        return Kind.EMBEDDING
    if "rerank" in said or "search" in said:
        return Kind.RETRIEVAL
    if "mcp" in said:
        return Kind.TOOL
    return Kind.LLM


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the numbered function calls: the output messages of some versions leave them out."""
    calls: dict[int, dict[str, object]] = {}
    for key, value in attributes.items():
        if key.startswith("gen_ai.completion.") and (match := _REQUESTED.fullmatch(key)):
            call = calls.setdefault(int(match[1]), {"tool": None, "arguments": None})
            call["tool" if match[2] == "name" else "arguments"] = value
    return [calls[position] for position in sorted(calls)] or genai.requested_tools(raw, attributes)


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """A streamed answer repeats the name that was asked for."""
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
