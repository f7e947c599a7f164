"""Microsoft's Agent Framework: the GenAI conventions, and workflows of executors beside them."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect
from agentops.domain.spans import Kind, RawSpan

_PARTS = ("workflow.run", "executor.process")


def kind(raw: RawSpan) -> Kind | None:
    """By operation name; parts of a workflow have none."""
    return genai.kind(raw) or (Kind.WORKFLOW if raw.name.startswith(_PARTS) else None)


AGENT_FRAMEWORK = Dialect(
    name="Agent Framework",
    scopes=frozenset({"agent_framework"}),
    kind=kind,
    fields=genai.FIELDS,
    explicit=genai.EXPLICIT,
    fallback=genai.FALLBACK,
    requested_tools=genai.requested_tools,
    finish=genai.finish,
)
