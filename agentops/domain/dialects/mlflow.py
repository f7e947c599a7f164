"""MLflow tracing: ``mlflow.*``, every value of it as JSON."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.openinference import RESPONSE_ID
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import name, parse, parse_json
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

KINDS = {
    "LLM": Kind.LLM,
    "CHAT_MODEL": Kind.LLM,
    "EMBEDDING": Kind.EMBEDDING,
    "TOOL": Kind.TOOL,
    "AGENT": Kind.AGENT,
    "RETRIEVER": Kind.RETRIEVAL,
    "RERANKER": Kind.RETRIEVAL,
}
_USAGE, _COST, _TAG = "mlflow.chat.tokenUsage", "mlflow.llm.cost", "mlflow.traceTag."
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _LLM, _TOOL, _WORKFLOW = Kind.AGENT, Kind.LLM, Kind.TOOL, Kind.WORKFLOW


def kind(raw: RawSpan) -> Kind | None:
    """By the span's type."""
    said = name(raw.attributes.get("mlflow.spanType"))
    return None if said is None else KINDS.get(said, _WORKFLOW)


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the outputs: the provider's answer as it is."""
    return requested(parse(attributes.get("mlflow.spanOutputs")))


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """Names stand in the span's name; the cost is worked out of a list; JSON has a word for nothing."""
    for field in [field for field, value in fields.items() if value == "null"]:
        del fields[field]
    for field in ("prompt", "completion", "result"):
        if isinstance(text := fields.get(field), str) and text.startswith('"'):
            fields[field] = parse_json(text)
    if found_kind is _AGENT:
        fields.setdefault("agent_name", raw.name)
    elif found_kind is _TOOL:
        fields.setdefault("tool_name", raw.name)
    elif found_kind in COSTED_KINDS:
        fields["cost_source"] = "local"
        output = fields.get("completion")
        if found_kind is _LLM and isinstance(output, str) and (match := RESPONSE_ID.search(output)):
            fields.setdefault("response_id", match[1])
        if "request_model" not in fields:
            inputs = parse(fields.get("prompt"))
            fields["request_model"] = inputs.get("model") if isinstance(inputs, dict) else None


MLFLOW = Dialect(
    name="MLflow",
    mark="mlflow.spanType",
    kind=kind,
    expand=((_USAGE, f"{_USAGE}."), (_COST, f"{_COST}.")),
    fields=before(
        {
            "provider": ("mlflow.llm.provider",),
            "request_model": ("model",),
            "response_model": ("mlflow.llm.model",),
            "input": (f"{_USAGE}.input_tokens",),
            "output": (f"{_USAGE}.output_tokens",),
            "cache_read": (f"{_USAGE}.cache_read_input_tokens",),
            "cache_creation": (f"{_USAGE}.cache_creation_input_tokens",),
            "total": (f"{_USAGE}.total_tokens",),
            "cost": (f"{_COST}.total_cost",),
            "prompt": ("mlflow.spanInputs",),
            "completion": ("mlflow.spanOutputs",),
            "arguments": ("mlflow.spanInputs",),
            "result": ("mlflow.spanOutputs",),
            "tags": (f"{_TAG}tags",),
        },
        genai.FIELDS,
    ),
    explicit=before(
        genai.EXPLICIT,
        {
            "session": ("mlflow.trace.session", f"{_TAG}session_id", f"{_TAG}session"),
            "user": ("mlflow.trace.user", f"{_TAG}user_id", f"{_TAG}user"),
            "feature": (f"{_TAG}feature",),
        },
    ),
    fallback=before(genai.FALLBACK, {"feature": (f"{_TAG}tags",)}),
    noise=("mlflow.chat.tools", "tools", "mlflow.spanFunctionName", "mlflow.traceRequestId", "mlflow.spanLogLevel"),
    requested_tools=requested_tools,
    finish=finish,
)
