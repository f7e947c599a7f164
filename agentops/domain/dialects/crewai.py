"""CrewAI's own telemetry: the GenAI conventions, with names of its own for what it calls by a hash."""

from __future__ import annotations

import dataclasses

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.spans import COSTED_KINDS, AttributeValue, Kind, RawSpan

#: A span beside a tool's that says again that it failed.
FAILURE = "tool failure"


def kind(raw: RawSpan) -> Kind | None:
    """By operation name."""
    return Kind.OTHER if raw.name == FAILURE else genai.kind(raw)


def kind_of_call(raw: RawSpan) -> Kind | None:
    """By operation name, of model calls alone."""
    found = genai.kind(raw)
    return found if found in COSTED_KINDS else None


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """The model that was asked for is said to have answered."""
    if fields.get("response_model") == fields.get("request_model"):
        fields.pop("response_model", None)
    genai.finish(raw, found_kind, fields)


CREWAI = Dialect(
    name="CrewAI",
    mark="crewai.event_name",
    kind=kind,
    fields=before({"agent_name": ("crewai.agent.role",)}, genai.FIELDS),
    explicit=genai.EXPLICIT,
    fallback=genai.FALLBACK,
    requested_tools=genai.requested_tools,
    finish=finish,
)
#: Where there is no conversation, a model call names its task as one.
CREWAI_CALL = dataclasses.replace(
    CREWAI,
    name="CrewAI's model calls",
    kind=kind_of_call,
    explicit={
        **genai.EXPLICIT,
        "session": tuple(name for name in genai.EXPLICIT["session"] if name != "gen_ai.conversation.id"),
    },
)
