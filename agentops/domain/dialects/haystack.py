"""Haystack's own tracing: ``haystack.*``. Some of its spans have nothing but a name."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.langchain import ANONYMOUS_NODES
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.usage import counts
from agentops.domain.dialects.values import name, parse
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

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
_OUTPUTS = ("haystack.agent.step.llm.output", "haystack.component.output")
#: What the provider said beside its answer: of a chat message, in its old form too, of a text or of an embedding.
_METAS = tuple(f"{output}.{meta}" for output in _OUTPUTS for meta in ("replies.meta", "replies._meta", "meta"))
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _WORKFLOW = Kind.AGENT, Kind.WORKFLOW


def kind(raw: RawSpan) -> Kind | None:
    """By the span's name; a component by its type."""
    found = KINDS.get(raw.name)
    component = raw.attributes.get("haystack.component.type")
    if found is _WORKFLOW and isinstance(component, str):
        return next((of for end, of in COMPONENTS.items() if component.endswith(end)), found)
    return found


def requested_tools(_: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the replies."""
    return [call for output in _OUTPUTS for call in requested(parse(attributes.get(output)))]


def finish(_: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """A component's name is that of an agent where the component is one."""
    if found_kind is not _AGENT or name(fields.get("agent_name")) in ANONYMOUS_NODES:
        fields.pop("agent_name", None)


HAYSTACK = Dialect(
    name="Haystack",
    names=frozenset(KINDS),
    kind=kind,
    expand=tuple((output, f"{output}.") for output in _OUTPUTS),
    fields=before(
        {
            "agent_name": ("haystack.component.name",),
            "tool_name": ("haystack.tool.name",),
            "response_model": tuple(f"{meta}.model" for meta in _METAS),
            "finish_reason": tuple(f"{meta}.finish_reason" for meta in _METAS),
            **counts(*(f"{meta}.usage" for meta in _METAS)),
            "prompt": ("haystack.agent.step.llm.input", "haystack.component.input", "haystack.agent.input"),
            "completion": (*_OUTPUTS, "haystack.agent.output"),
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
