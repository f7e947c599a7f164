"""The tool calls in a model's answer, in whichever of the providers' and frameworks' shapes it was kept."""

from __future__ import annotations

from agentops.domain.spans import AttributeValue

#: What a part of an answer is called that asks for a tool.
_TYPES = frozenset({"function_call", "tool_call", "tool_use", "tool-call", "toolCall"})
#: Members that hold one call.
_CALLS = frozenset({"tool_call", "function_call", "functionCall", "toolUse", "toolRequest"})
#: Members that hold parts of an answer.
_CONTAINERS = frozenset(
    {"choices", "generations", "candidates", "replies", "output", "message", "kwargs", "content", "parts"}
)
_NAMES = ("tool_name", "toolName")
_ARGUMENTS = ("args", "input", "parameters")
_MAX_DEPTH = 12


def requested(answer: AttributeValue) -> list[dict[str, object]]:
    """``{tool, arguments}`` of each tool call in an answer, in order; what is no such call is passed over."""
    found: list[dict[str, object]] = []
    _collect(answer, _MAX_DEPTH, found)
    return found


def _collect(part: AttributeValue, depth: int, found: list[dict[str, object]]) -> None:
    if isinstance(part, list) and depth:
        for item in part:
            _collect(item, depth - 1, found)
    elif isinstance(part, dict) and depth:
        said = part.get("type")
        if isinstance(said, str) and said in _TYPES:
            found.append(_call(part))
        elif isinstance(several := part.get("tool_calls"), list) and several:
            found.extend(_call(call) for call in several if isinstance(call, dict))
        else:
            _collect_members(part, depth, found)


def _collect_members(part: dict[str, AttributeValue], depth: int, found: list[dict[str, object]]) -> None:
    for name, inner in part.items():
        if name in _CALLS and isinstance(inner, dict):
            found.append(_call(inner))
        elif name in _CONTAINERS and isinstance(inner, (list, dict)):
            _collect(inner, depth - 1, found)


def _call(call: dict[str, AttributeValue]) -> dict[str, object]:
    function = call.get("function")
    said = function if isinstance(function, dict) else call
    return {"tool": _first(said, "name", _NAMES), "arguments": _first(said, "arguments", _ARGUMENTS)}


def _first(said: dict[str, AttributeValue], usual: str, others: tuple[str, ...]) -> AttributeValue:
    if (value := said.get(usual)) is not None:
        return value
    return next((said[name] for name in others if said.get(name) is not None), None)
