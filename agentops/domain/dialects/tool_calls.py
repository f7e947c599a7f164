"""The tool calls in a model's answer, in whichever of the providers' and frameworks' shapes it was kept."""

from __future__ import annotations

from collections.abc import Iterator

from agentops.domain.spans import AttributeValue

#: What a part of an answer is called that asks for a tool.
_TYPES = frozenset({"function_call", "tool_call", "tool_use", "tool-call", "toolCall"})
#: Members that hold parts of an answer, from the outside in.
_CONTAINERS = ("choices", "generations", "candidates", "replies", "output", "message", "kwargs", "content", "parts")
_NAMES = ("name", "tool_name", "toolName")
_ARGUMENTS = ("arguments", "args", "input", "parameters")
_MAX_DEPTH = 12


def requested(answer: AttributeValue) -> list[dict[str, object]]:
    """``{tool, arguments}`` of each tool call in an answer, in order; what is no such call is passed over."""
    return list(_calls(answer, _MAX_DEPTH))


def _calls(part: AttributeValue, depth: int) -> Iterator[dict[str, object]]:
    if isinstance(part, list) and depth:
        for item in part:
            yield from _calls(item, depth - 1)
    if not isinstance(part, dict) or not depth:
        return
    if part.get("type") in _TYPES:
        yield _call(part)
        return
    several = part.get("tool_calls")
    if isinstance(several, list) and several:
        yield from (_call(call) for call in several if isinstance(call, dict))
        return
    for name in ("tool_call", "function_call", "functionCall", "toolUse"):
        if isinstance(call := part.get(name), dict):
            yield _call(call)
            return
    for name in _CONTAINERS:
        if isinstance(inner := part.get(name), (list, dict)):
            yield from _calls(inner, depth - 1)


def _call(call: dict[str, AttributeValue]) -> dict[str, object]:
    function = call.get("function")
    said = function if isinstance(function, dict) else call
    return {"tool": _first(said, _NAMES), "arguments": _first(said, _ARGUMENTS)}


def _first(said: dict[str, AttributeValue], names: tuple[str, ...]) -> AttributeValue:
    return next((said[name] for name in names if said.get(name) is not None), None)
