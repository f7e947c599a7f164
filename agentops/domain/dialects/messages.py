"""What events tell of a model's call: what it was given, what it answered, which tools it asked for."""

from __future__ import annotations

from agentops.domain.dialects import values
from agentops.domain.dialects.tool_calls import requested
from agentops.domain.dialects.values import parse_json
from agentops.domain.spans import Attributes, AttributeValue, Event, LogRecord

#: The event by which the conventions tell of one answer, and the one that tells of a whole call.
CHOICE, DETAILS = "gen_ai.choice", "gen_ai.client.inference.operation.details"
INPUT, OUTPUT, SYSTEM = "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"
#: Events of a log that tell what a model answered.
ANSWERS = frozenset({CHOICE, DETAILS})
MAX_REQUESTED_TOOLS = 128
_ROLES = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}


def requested_by(event: str, attributes: Attributes) -> list[dict[str, object]]:
    """The tools that the answer asks for which an event tells of, ``{tool, arguments}`` each."""
    if event == CHOICE:
        parts = {name: parse_json(attributes.get(name)) for name in ("message", "content", "tool_calls")}
        return requested(parts.pop("message")) or requested(parts)
    return requested(parse_json(attributes.get(OUTPUT))) if event == DETAILS else []


def tell(events: list[Event], fields: dict[str, AttributeValue]) -> None:
    """Fill in what a model or an agent was given and answered, where only events tell it."""
    given: list[AttributeValue] = []
    for event in events:
        if event.name == CHOICE:
            answer = event.attributes.get("message")
            if answer is not None:
                fields.setdefault("completion", answer)
        elif event.name == DETAILS:
            for field, name in (("prompt", INPUT), ("completion", OUTPUT), ("system", SYSTEM)):
                if (value := event.attributes.get(name)) is not None:
                    fields.setdefault(field, value)
        elif (role := _ROLES.get(event.name)) is not None:
            given.append({"role": role, "content": event.attributes.get("content")})
    if given:
        fields.setdefault("prompt", given)


def told_by(record: LogRecord, max_text: int) -> dict[str, object]:
    """What a log record tells of the answer of its span's model call: ``requested_tools``, ``output``; or nothing.

    The body may be an object, or text that says one. Text is cut at ``max_text`` characters.
    """
    if record.event not in ANSWERS:
        return {}
    body = parse_json(record.body)
    attributes = record.attributes | (body if isinstance(body, dict) else {})
    found: dict[str, object] = {}
    if calls := requested_by(record.event, attributes):
        found["requested_tools"] = kept(calls, max_text)
    answer = attributes.get(OUTPUT)
    if record.event == CHOICE:
        message = parse_json(attributes.get("message"))
        answer = message.get("content") if isinstance(message, dict) else message
    if answer:
        found["output"] = values.text(answer, max_text)
    return found


def kept(calls: list[dict[str, object]], limit: int) -> list[dict[str, object]]:
    """Tool calls as they are kept: their names within bounds, JSON arguments as what they say."""
    return [
        {"tool": values.name(call["tool"]), "arguments": values.json_value(call["arguments"], limit)}  # type: ignore[arg-type]
        for call in calls[:MAX_REQUESTED_TOOLS]
    ]
