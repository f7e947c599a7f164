"""Google's Agent Development Kit: the GenAI conventions in version 2, ``gcp.vertex.agent.*`` and span names before."""

from __future__ import annotations

import re

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.usage import counts
from agentops.domain.dialects.values import parse
from agentops.domain.spans import Attributes, AttributeValue, Kind, RawSpan

SCOPE = "gcp.vertex.agent"
#: Span names of versions that had no operation names.
_NAMED = re.compile(r"(agent_run|tool_call) \[(.*)\]")
_KINDS = {"call_llm": Kind.LLM, "invocation": Kind.WORKFLOW}
_RESPONSE = f"{SCOPE}.llm_response"
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_AGENT, _TOOL = Kind.AGENT, Kind.TOOL


def kind(raw: RawSpan) -> Kind | None:
    """By operation name, else by the span's name."""
    found = genai.kind(raw) or _KINDS.get(raw.name)
    if found is None and (match := _NAMED.fullmatch(raw.name)):
        return _AGENT if match[1] == "agent_run" else _TOOL
    return found


def requested_tools(raw: RawSpan, attributes: Attributes) -> list[dict[str, object]]:
    """From the output messages; else from the answer, which version 1 keeps as it is."""
    return genai.requested_tools(raw, attributes) or requested(parse(attributes.get(_RESPONSE)))


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """Names of old stand in brackets; arguments that are not to be told are given as none."""
    if match := _NAMED.fullmatch(raw.name):
        fields.setdefault("agent_name" if found_kind is _AGENT else "tool_name", match[2])
    genai.finish(raw, found_kind, fields)
    if fields.get("arguments") == "{}":
        del fields["arguments"]


ADK = Dialect(
    name="Google ADK",
    scopes=frozenset({SCOPE}),
    kind=kind,
    expand=((_RESPONSE, f"{_RESPONSE}."),),
    fields=before(
        genai.FIELDS,
        {
            **counts(f"{_RESPONSE}.usage_metadata"),
            "finish_reason": (f"{_RESPONSE}.finish_reason",),
            "prompt": (f"{SCOPE}.llm_request",),
            "completion": (_RESPONSE,),
            "arguments": (f"{SCOPE}.tool_call_args",),
            "result": (f"{SCOPE}.tool_response",),
        },
    ),
    explicit=before(genai.EXPLICIT, {"session": (f"{SCOPE}.session_id",)}),
    # The workflow's name is that of the first agent, and says nothing of a feature.
    fallback=genai.TAGS_ONLY,
    requested_tools=requested_tools,
    finish=finish,
)
