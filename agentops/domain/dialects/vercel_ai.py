"""The Vercel AI SDK: ``ai.*``, with the GenAI conventions beside them since version 3.4."""

from __future__ import annotations

import math

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.values import parse, parse_json
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

_CALLS = {
    "doGenerate": Kind.LLM,
    "doStream": Kind.LLM,
    "doEmbed": Kind.EMBEDDING,
    "doRerank": Kind.RETRIEVAL,
    "toolCall": Kind.TOOL,
}
#: What runs a loop of model calls; its usage is their sum.
_LOOPS = frozenset({"ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject"})
#: Counts that only versions from 6 on give: their input is the whole prompt.
_DETAILS = ("ai.usage.inputTokenDetails.noCacheTokens", "ai.usage.inputTokenDetails.cacheReadTokens")
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _WORKFLOW, _EMBEDDING = Kind.AGENT, Kind.WORKFLOW, Kind.EMBEDDING


def kind(raw: RawSpan) -> Kind | None:
    """By the end of the operation's id; what contains calls is an agent or a workflow."""
    operation = raw.attributes.get("ai.operationId")
    if not isinstance(operation, str):
        return None
    if operation in _LOOPS:
        return _AGENT
    return _CALLS.get(operation.rpartition(".")[2], _WORKFLOW)


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the tool calls of the answer: ``input`` since version 5, ``args`` before."""
    calls = parse(attributes.get("ai.response.toolCalls") or attributes.get("ai.result.toolCalls"))
    return [
        {"tool": call.get("toolName"), "arguments": call.get("input", call.get("args"))}
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict)
    ]


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """A function's id names an agent where a loop runs; the provider goes before its API."""
    if found_kind in (_EMBEDDING, _WORKFLOW):
        fields.pop("agent_name", None)
    if found_kind not in COSTED_KINDS:
        return
    provider = fields.get("provider")
    if isinstance(provider, str):
        fields["provider"] = provider.partition(".")[0]
    operation = raw.attributes.get("ai.operationId")
    fields["streaming"] = isinstance(operation, str) and operation.endswith(".doStream")
    for field in ("input", "output"):
        # Version 4 starts counts that never come as NaN.
        if isinstance(count := fields.get(field), float) and math.isnan(count):
            del fields[field]
    metadata = raw.attributes.get("ai.response.providerMetadata")
    if isinstance(metadata, str) and "cache" in metadata and not any(name in raw.attributes for name in _DETAILS):
        _add_caches(parse_json(metadata), fields)


def _add_caches(metadata: AttributeValue, fields: dict[str, AttributeValue]) -> None:
    """Before version 6 the input of Anthropic's models leaves the caches out, and the metadata have what is written."""
    for details in metadata.values() if isinstance(metadata, dict) else ():
        usage = details.get("usage") if isinstance(details, dict) else None
        usage = {**details, **usage} if isinstance(details, dict) and isinstance(usage, dict) else details
        if not isinstance(usage, dict):
            continue
        read = _first(usage, "cache_read_input_tokens", "cacheReadInputTokens")
        written = _first(usage, "cache_creation_input_tokens", "cacheCreationInputTokens", "cacheWriteInputTokens")
        given = fields.get("input")
        if read is None and written is None:
            continue
        if read is not None:
            fields.setdefault("cache_read", read)
        if written is not None:
            fields["cache_creation"] = written
        if type(given) is int:
            fields["input"] = given + (read or 0) + (written or 0)


def _first(usage: dict[str, AttributeValue], *names: str) -> int | None:
    return next((count for name in names if type(count := usage.get(name)) is int), None)


_META, _PROVIDER = "ai.telemetry.metadata.", "ai.response.providerMetadata"
_GEMINI = f"{_PROVIDER}.google.usageMetadata"

VERCEL_AI = Dialect(
    name="Vercel AI SDK",
    mark="ai.operationId",
    kind=kind,
    expand=((_PROVIDER, f"{_PROVIDER}."),),
    fields=before(
        {
            "operation_name": ("ai.operationId",),
            "agent_name": ("ai.telemetry.functionId", "resource.name"),
            "tool_name": ("ai.toolCall.name",),
            "tool_call_id": ("ai.toolCall.id",),
            "arguments": ("ai.toolCall.args", "ai.toolCall.input"),
            "result": ("ai.toolCall.result", "ai.toolCall.output"),
            "tags": (f"{_META}tags",),
            "cost": (f"{_PROVIDER}.gateway.cost",),
            "tier": (f"{_PROVIDER}.openai.serviceTier", f"{_PROVIDER}.anthropic.usage.service_tier"),
            "cache_creation_1h": (f"{_PROVIDER}.anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
        },
        before(
            genai.FIELDS,
            {
                "provider": ("ai.model.provider",),
                "request_model": ("ai.model.id",),
                "response_model": ("ai.response.model",),
                "response_id": ("ai.response.id",),
                "input": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
                "output": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
                "cache_read": (
                    *("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
                    *(f"{_PROVIDER}.openai.cachedPromptTokens", f"{_GEMINI}.cachedContentTokenCount"),
                ),
                "cache_creation": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
                "reasoning": (
                    *("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
                    *(f"{_PROVIDER}.openai.reasoningTokens", f"{_GEMINI}.thoughtsTokenCount"),
                ),
                "total": ("ai.usage.totalTokens", f"{_GEMINI}.totalTokenCount"),
                "finish_reason": ("ai.response.finishReason", "ai.finishReason"),
                "prompt": ("ai.prompt.messages", "ai.prompt", "ai.values", "ai.value"),
                "completion": ("ai.response.text", "ai.response.object", "ai.result.text", "ai.response.toolCalls"),
            },
        ),
    ),
    explicit={
        **genai.EXPLICIT,
        "session": (
            *(f"{_META}{name}" for name in ("sessionId", "session_id", "session.id", "conversationId", "threadId")),
            *(f"{_META}{name}" for name in ("conversation_id", "thread_id", "chatId")),
            *genai.EXPLICIT["session"],
        ),
        "user": (*(f"{_META}{name}" for name in ("userId", "user_id", "user.id")), *genai.EXPLICIT["user"]),
        "feature": (f"{_META}feature", *genai.EXPLICIT["feature"]),
        "environment": (f"{_META}environment", *genai.EXPLICIT["environment"]),
        "release": (f"{_META}release", *genai.EXPLICIT["release"]),
    },
    fallback={"feature": ("ai.telemetry.functionId", *genai.FALLBACK["feature"], f"{_META}tags")},
    noise=("ai.prompt.", _PROVIDER, "ai.usage.", "ai.embedding", "operation.name"),
    requested_tools=requested_tools,
    finish=finish,
)
