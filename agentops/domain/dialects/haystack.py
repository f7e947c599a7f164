"""Haystack's own tracing: ``haystack.*``. Some of its spans have nothing but a name."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import parse
from agentops.domain.spans import COSTED_KINDS, Attributes, AttributeValue, Kind, RawSpan

KINDS = {
    "haystack.agent.run": Kind.AGENT,
    "haystack.agent.step": Kind.WORKFLOW,
    "haystack.agent.step.llm": Kind.LLM,
    "haystack.agent.step.tool": Kind.TOOL,
    "haystack.chat_generator.run": Kind.LLM,
    "haystack.pipeline.run": Kind.WORKFLOW,
    "haystack.async_pipeline.run": Kind.WORKFLOW,
    "haystack.component.run": Kind.WORKFLOW,
}
#: What a component is, by the end of its class's name.
COMPONENTS = {
    "Generator": Kind.LLM,
    "Embedder": Kind.EMBEDDING,
    "Retriever": Kind.RETRIEVAL,
    "Ranker": Kind.RETRIEVAL,
    "Agent": Kind.AGENT,
}
_LLM_OUTPUT, _OUTPUT = "haystack.agent.step.llm.output", "haystack.component.output"
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_WORKFLOW = Kind.WORKFLOW


def kind(raw: RawSpan) -> Kind | None:
    """By the span's name; a component by its type."""
    found = KINDS.get(raw.name)
    component = raw.attributes.get("haystack.component.type")
    if found is _WORKFLOW and isinstance(component, str):
        return next((of for end, of in COMPONENTS.items() if component.endswith(end)), found)
    return found


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the replies."""
    return requested(parse(attributes.get(_LLM_OUTPUT) or attributes.get(_OUTPUT)))


def finish(_: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """What the provider said beside its answer stands in the metadata of the first reply."""
    meta = _meta(parse(fields.get("completion"))) if found_kind in COSTED_KINDS else None
    if not isinstance(meta, dict):
        return
    fields["response_model"] = meta.get("model")
    fields["finish_reason"] = meta.get("finish_reason")
    usage = meta.get("usage")
    for field, names in _USAGE.items():
        for name in names if isinstance(usage, dict) else ():
            count: AttributeValue = usage
            for part in name.split("."):
                count = count.get(part) if isinstance(count, dict) else None
            if count is not None:
                fields[field] = count
                break


_USAGE = {
    "input": ("prompt_tokens", "input_tokens", "prompt_token_count"),
    "output": ("completion_tokens", "output_tokens", "candidates_token_count"),
    "cache_read": (
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "cache_read_input_tokens",
        "cached_content_token_count",
    ),
    "cache_creation": ("cache_creation_input_tokens",),
    "reasoning": (
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
        "thoughts_token_count",
    ),
    "total": ("total_tokens", "total_token_count"),
}


def _meta(output: AttributeValue) -> AttributeValue:
    """Of a chat message, of a text generator, or of an embedder."""
    if not isinstance(output, dict):
        return None
    replies = output.get("replies")
    first = replies[0] if isinstance(replies, list) and replies else None
    meta = (first.get("meta") or first.get("_meta")) if isinstance(first, dict) else output.get("meta")
    return meta[0] if isinstance(meta, list) and meta else meta


HAYSTACK = Dialect(
    name="Haystack",
    names=frozenset(KINDS),
    kind=kind,
    fields=before(
        {
            "agent_name": ("haystack.component.name",),
            "tool_name": ("haystack.tool.name",),
            "prompt": ("haystack.agent.step.llm.input", "haystack.component.input", "haystack.agent.input"),
            "completion": (_LLM_OUTPUT, _OUTPUT, "haystack.agent.output"),
            "arguments": ("haystack.agent.step.tool.input",),
            "result": ("haystack.agent.step.tool.output",),
        },
        genai.FIELDS,
    ),
    explicit=genai.EXPLICIT,
    fallback=genai.FALLBACK,
    noise=("haystack.component.input_", "haystack.component.output_", "haystack.agent.tools", "haystack.agent.state"),
    errors=(("haystack.tool.error", True),),
    requested_tools=requested_tools,
    finish=finish,
)
