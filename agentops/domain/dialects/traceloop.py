"""OpenLLMetry: ``traceloop.*`` beside the GenAI conventions, and before these ``llm.*`` and ``gen_ai.prompt.N``."""

from __future__ import annotations

import dataclasses
import re

from agentops.domain.dialects import genai
from agentops.domain.dialects.langchain import ANONYMOUS_NODES
from agentops.domain.dialects.openinference import unwrapped
from agentops.domain.dialects.table import Dialect, Tables, before
from agentops.domain.dialects.values import parse_json
from agentops.domain.spans import COSTED_KINDS, STEP_KINDS, Attributes, AttributeValue, Kind, RawSpan

# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _LLM, _TOOL, _WORKFLOW = Kind.AGENT, Kind.LLM, Kind.TOOL, Kind.WORKFLOW
KINDS = {"workflow": Kind.WORKFLOW, "task": Kind.WORKFLOW, "agent": Kind.AGENT, "tool": Kind.TOOL}
REQUEST_TYPES = {
    "chat": Kind.LLM,
    "completion": Kind.LLM,
    "embedding": Kind.EMBEDDING,
    "rerank": Kind.RETRIEVAL,
}
_PROPERTY = genai.TRACELOOP_PROPERTY
_CALL = re.compile(
    r"(?:gen_ai\.completion|llm\.completions)\.(\d{1,6})\.(?:tool_calls\.(\d{1,6})|function_call)\.(name|arguments)"
)
_MESSAGE = re.compile(r"(?:gen_ai\.prompt|llm\.prompts)\.(\d{1,6})\.(role|content)")


def kind(raw: RawSpan) -> Kind | None:
    """By operation name where there is one, else as decorated."""
    said = raw.attributes.get("traceloop.span.kind")
    return genai.kind(raw) or (KINDS.get(said) if isinstance(said, str) else None)


def kind_of_call(raw: RawSpan) -> Kind | None:
    """By the type of request: a model call, before the conventions had operation names."""
    said = raw.attributes.get("llm.request.type")
    return genai.kind(raw) or (REQUEST_TYPES.get(said) if isinstance(said, str) else None)


def kind_of_stamped_call(raw: RawSpan) -> Kind | None:
    """By operation name, of model calls alone."""
    found = genai.kind(raw)
    return found if found in COSTED_KINDS else None


def kind_in_langchain(raw: RawSpan) -> Kind | None:
    """A chain is said to be an agent where no other is above it, and a graph always.

    The chain is one that LangChain calls so, the graph one that has a node for its model and not one for each agent.
    """
    attributes = raw.attributes
    found = kind(raw) or kind_of_call(raw)
    said = attributes.get("traceloop.span.kind")
    if said in ("workflow", "task") and (found is _AGENT or "gen_ai.operation.name" not in attributes):
        created = attributes.get(f"{_PROPERTY}lc_agent_name")
        return _AGENT if created and created == attributes.get("traceloop.entity.name") else _WORKFLOW
    if found is not _AGENT or said is not None:
        return found
    nodes = parse_json(attributes.get("gen_ai.workflow.nodes"))
    named = [node for node in nodes if isinstance(node, str)] if isinstance(nodes, list) else []
    return _WORKFLOW if named and ANONYMOUS_NODES.isdisjoint(named) else _AGENT


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """As the conventions have them; before, from the flattened completions."""
    found = genai.requested_tools(raw, attributes)
    if found:
        return found
    flat: dict[tuple[int, int], dict[str, object]] = {}
    for key, value in attributes.items():
        if match := _CALL.fullmatch(key):
            call = flat.setdefault((int(match[1]), int(match[2] or 0)), {"tool": None, "arguments": None})
            call["tool" if match[3] == "name" else "arguments"] = value
    return [flat[position] for position in sorted(flat)]


def arguments(_: RawSpan, value: AttributeValue) -> AttributeValue:
    """What a decorated function was given, or what LangChain says that a tool was."""
    parsed = parse_json(value)
    if isinstance(parsed, dict) and "input_str" in parsed:
        inputs = parsed.get("inputs")
        return parsed["input_str"] if inputs is None else inputs
    return unwrapped(parsed)


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """Names that stand in the entity's, and prompts that were taken apart. Who called is for the tree to say."""
    entity = fields.get("entity")
    if found_kind is not _AGENT:
        # The SDK stamps it on: until 0.62 that of the agent that was called last, also after its end.
        fields.pop("agent_name", None)
    elif entity:
        fields.setdefault("agent_name", entity)
    if found_kind is _TOOL and entity:
        fields.setdefault("tool_name", entity)
    elif found_kind is _LLM and "prompt" not in fields and (prompt := _prompt(raw.attributes)):
        fields["prompt"] = prompt
    genai.finish(raw, found_kind, fields)


def finish_in_langchain(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """A step's agent is the one that LangChain made, else the graph's node; what else is named as one is a chain."""
    finish(raw, found_kind, fields)
    agent = fields.get("created_agent") or fields.get("graph_node")
    if found_kind in STEP_KINDS and isinstance(agent, str) and agent not in ANONYMOUS_NODES:
        fields["agent_name"] = agent


def _prompt(attributes: Attributes) -> list[AttributeValue]:
    messages: dict[int, Attributes] = {}
    for key, value in attributes.items():
        if match := _MESSAGE.fullmatch(key):
            messages.setdefault(int(match[1]), {})[match[2]] = value
    return [messages[position] for position in sorted(messages)]


FIELDS = before(
    genai.FIELDS,
    {
        "entity": ("traceloop.entity.name",),
        "created_agent": (f"{_PROPERTY}lc_agent_name",),
        "graph_node": (f"{_PROPERTY}langgraph_node",),
        "provider": ("llm.vendor", f"{_PROPERTY}ls_provider"),
        "request_model": ("llm.request.model",),
        "response_model": ("llm.response.model",),
        "input": ("llm.usage.prompt_tokens",),
        "output": ("llm.usage.completion_tokens",),
        "finish_reason": (
            "llm.response.finish_reason",
            "llm.response.stop_reason",
            "gen_ai.completion.0.finish_reason",
        ),
        "streaming": ("llm.is_streaming",),
        "prompt": ("traceloop.entity.input",),
        "completion": ("gen_ai.completion.0.content", "llm.completions.0.content", "traceloop.entity.output"),
        "arguments": ("traceloop.entity.input",),
        "result": ("traceloop.entity.output",),
    },
)
EXPLICIT: Tables = {
    **genai.EXPLICIT,
    "session": tuple(dict.fromkeys((f"{_PROPERTY}session_id", *genai.EXPLICIT["session"]))),
}
NOISE = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "gen_ai.task.",
    "llm.prompts.",
    "llm.completions.",
    "llm.request.functions.",
)

TRACELOOP_IN_LANGCHAIN = Dialect(
    name="OpenLLMetry in LangChain",
    mark=f"{_PROPERTY}langgraph_node",
    scopes=frozenset({"opentelemetry.instrumentation.langchain", "@traceloop/instrumentation-langchain"}),
    kind=kind_in_langchain,
    fields=FIELDS,
    explicit=EXPLICIT,
    fallback=genai.FALLBACK,
    noise=NOISE,
    requested_tools=requested_tools,
    arguments=arguments,
    finish=finish_in_langchain,
)
TRACELOOP = Dialect(
    name="OpenLLMetry",
    mark="traceloop.span.kind",
    kind=kind,
    fields=FIELDS,
    explicit=EXPLICIT,
    fallback=genai.FALLBACK,
    noise=NOISE,
    requested_tools=requested_tools,
    arguments=arguments,
    finish=finish,
)
TRACELOOP_CALL = dataclasses.replace(
    TRACELOOP, name="OpenLLMetry before operation names", mark="llm.request.type", kind=kind_of_call
)
#: What an application decorates has the name that it gives; what is instrumented, the framework's.
TRACELOOP_DECORATED = dataclasses.replace(
    TRACELOOP,
    name="OpenLLMetry's decorators",
    mark="",
    scopes=frozenset({"traceloop.tracer", "@traceloop/node-server-sdk"}),
    fallback=before({"feature": ("traceloop.workflow.name",)}, genai.FALLBACK),
)
#: A model call that another library made within a workflow that OpenLLMetry's SDK knows.
TRACELOOP_STAMPED = dataclasses.replace(
    TRACELOOP, name="OpenLLMetry around a model call", mark="traceloop.workflow.name", kind=kind_of_stamped_call
)
