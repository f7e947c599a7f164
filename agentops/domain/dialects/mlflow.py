"""MLflow tracing: ``mlflow.*``, every value of it as JSON."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.langchain import agent_of, is_agent
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
    """By the span's type; a chain that LangChain made an agent is one."""
    said = name(raw.attributes.get("mlflow.spanType"))
    if said is None:
        return None
    found = KINDS.get(said, _WORKFLOW)
    return _AGENT if found is _WORKFLOW and is_agent(raw.attributes.get("metadata"), raw.name) else found


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
        _call(found_kind, fields)


def _call(found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    fields["cost_source"] = "local"
    if found_kind is _LLM:
        fields["agent_name"] = agent_of(fields)
        output = fields.get("completion")
        if isinstance(output, str) and (match := RESPONSE_ID.search(output)):
            fields.setdefault("response_id", match[1])
    elif "input" not in fields:
        # Of an embedding nothing is counted, but the answer is there.
        answer = parse(fields.get("completion"))
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(usage, dict) and usage.get("prompt_tokens") is not None:
            fields["input"] = usage["prompt_tokens"]
    if "request_model" not in fields:
        inputs = parse(fields.get("prompt"))
        fields["request_model"] = inputs.get("model") if isinstance(inputs, dict) else None
    if name(fields.get("response_model")) == name(fields.get("request_model")):
        # In LangChain the one name is that of the model that was asked for.
        fields.pop("response_model", None)


MLFLOW = Dialect(
    name="MLflow",
    mark="mlflow.spanType",
    kind=kind,
    expand=tuple((held, f"{held}.") for held in (_USAGE, _COST, "metadata", "invocation_params")),
    fields=before(
        {
            "provider": ("mlflow.llm.provider",),
            "created_agent": ("metadata.lc_agent_name",),
            "graph_node": ("metadata.langgraph_node",),
            "request_model": ("model", "invocation_params.model", "invocation_params.model_name"),
            "response_model": ("mlflow.llm.model",),
            "input": (f"{_USAGE}.input_tokens",),
            "output": (f"{_USAGE}.output_tokens",),
            "cache_read": (f"{_USAGE}.cache_read_input_tokens",),
            "cache_creation": (f"{_USAGE}.cache_creation_input_tokens",),
            "total": (f"{_USAGE}.total_tokens",),
            "cost": (f"{_COST}.total_cost",),
            "streaming": ("invocation_params.stream",),
            "tool_call_id": ("tool_call_id",),
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
            "session": (
                *("mlflow.trace.session", f"{_TAG}session_id", f"{_TAG}session"),
                *("metadata.session_id", "metadata.thread_id"),
            ),
            "user": ("mlflow.trace.user", f"{_TAG}user_id", f"{_TAG}user", "metadata.user_id"),
            "feature": (f"{_TAG}feature", "metadata.feature"),
        },
    ),
    fallback=before(genai.FALLBACK, {"feature": (f"{_TAG}tags",)}),
    noise=("mlflow.chat.tools", "tools", "mlflow.spanFunctionName", "mlflow.traceRequestId", "mlflow.spanLogLevel"),
    requested_tools=requested_tools,
    finish=finish,
)
