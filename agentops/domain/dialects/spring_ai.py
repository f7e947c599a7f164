"""Spring AI: the GenAI conventions through Micrometer, where every value is text and ``none`` stands for nothing."""

from __future__ import annotations

from agentops.domain.dialects import genai
from agentops.domain.dialects.table import Dialect, before
from agentops.domain.spans import AttributeValue, Kind, RawSpan

KINDS = {
    "chat_client": Kind.WORKFLOW,
    "advisor": Kind.WORKFLOW,
    "tool_call": Kind.TOOL,
    "vector_store": Kind.RETRIEVAL,
}
NOTHING = "none"


def kind(raw: RawSpan) -> Kind | None:
    """As Spring names it; a model call by its operation."""
    said = raw.attributes.get("spring.ai.kind")
    return (KINDS.get(said) if isinstance(said, str) else None) or genai.kind(raw)


def finish(raw: RawSpan, found_kind: Kind, fields: dict[str, AttributeValue]) -> None:
    """Drop what says that there is nothing to say."""
    for field in [field for field, value in fields.items() if value == NOTHING]:
        del fields[field]
    genai.finish(raw, found_kind, fields)


SPRING_AI = Dialect(
    name="Spring AI",
    mark="spring.ai.kind",
    scopes=frozenset({"org.springframework.boot"}),
    kind=kind,
    fields=before(
        genai.FIELDS,
        {
            "tool_name": ("spring.ai.tool.definition.name",),
            "tool_call_id": ("spring.ai.tool.call.id",),
            "arguments": ("spring.ai.tool.call.arguments",),
            "result": ("spring.ai.tool.call.result",),
        },
    ),
    explicit={
        **genai.EXPLICIT,
        "session": (*genai.EXPLICIT["session"], "spring.ai.chat.client.conversation.id"),
    },
    fallback=genai.FALLBACK,
    requested_tools=genai.requested_tools,
    finish=finish,
)
