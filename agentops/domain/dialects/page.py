"""The tables as a page for operators: how each dialect is recognised, and which names it reads in which order."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator

from agentops.domain.dialects.genai import GENAI
from agentops.domain.dialects.normalise import DIALECTS
from agentops.domain.dialects.table import Dialect, Names, Tables

_INTRODUCTION = """\
# Dialects

What each instrumentation calls what agentops understands. This page is made from the tables in
[`agentops/domain/dialects`](../agentops/domain/dialects) by `manage.py dialects`; a test compares the two.

A span is read by the first dialect below that recognises it and knows what kind of span it is. Of the names of a field
the first that is there and not empty counts; *GenAI* stands for the names that the [GenAI conventions](#genai) have for
it. A span that no dialect recognises is kept for the tree and for whom its attributes name. What no name tells is
unknown, never 0.

A value for a user, session or feature that is *fallback* counts only where no span of the run has a better one.
"""
#: The fields that tables share, in the order in which they are told, and what a table of its own calls nothing else.
_TITLES = {
    "operation_name": "operation",
    "provider": "provider",
    "request_model": "model asked for",
    "response_model": "model that answered",
    "response_id": "id of the answer",
    "input": "input tokens, caches included",
    "output": "output tokens, reasoning included",
    "cache_read": "of the input: read from the cache",
    "cache_creation": "of the input: written to the cache",
    "cache_creation_5m": "of the input: written to the cache for five minutes",
    "reasoning": "of the output: reasoning",
    "cache_creation_1h": "of the input: written to the cache for an hour",
    "audio_input": "of the input: audio",
    "audio_cache_read": "of the input: audio read from the cache",
    "audio_output": "of the output: audio",
    "tier": "service tier",
    "asked_tier": "service tier asked for",
    "total": "all tokens, to tell what the others leave out",
    "cost": "cost in dollars",
    "estimated_cost": "cost in dollars, by a price list",
    "cost_currency": "currency of the cost",
    "cost_source": "who worked the cost out",
    "finish_reason": "why the answer ended",
    "streaming": "whether it was streamed",
    "agent_name": "agent",
    "created_agent": "agent that LangChain made",
    "graph_node": "node of a graph",
    "tool_name": "tool",
    "tool_call_id": "id of the tool call",
    "arguments": "the tool's arguments",
    "result": "the tool's result",
    "prompt": "what was given",
    "completion": "what was answered",
    "system": "system instructions",
    "tags": "tags",
    "error_message": "error",
}


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_INTRODUCTION, *(line for dialect in DIALECTS for line in _section(dialect))])


def _section(dialect: Dialect) -> Iterator[str]:
    yield f"## {dialect.name}\n"
    module = sys.modules[dialect.kind.__module__]
    yield f"{_first_line(module)}\n"
    yield f"- **Recognised by** {_recognised(dialect)}."
    yield f"- **What a span is:** {_first_line(dialect.kind)}"
    if dialect.finish is not None:
        yield f"- **Known of it:** {_first_line(dialect.finish)}"
    if dialect.errors:
        yield f"- **Failed** also where {' or '.join(f'`{name}` is `{value!s}`' for name, value in dialect.errors)}."
    rows = list(_rows(dialect))
    if rows:
        yield "\n| | names, in order of precedence |\n|---|---|"
        yield from rows
    yield ""


def _recognised(dialect: Dialect) -> str:
    ways = []
    if dialect.mark:
        ways.append(f"the attribute `{dialect.mark}`")
    if dialect.scopes:
        ways.append(f"the scope {_listed(sorted(dialect.scopes))}")
    if dialect.names:
        ways.append(f"the span's name {_listed(sorted(dialect.names))}")
    return ", or ".join(ways)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _rows(dialect: Dialect) -> Iterator[str]:
    titles = _TITLES | {field: field.replace("_", " ") for field in dialect.fields if field not in _TITLES}
    for table, usual, suffix in (
        (dialect.fields, GENAI.fields, ""),
        (dialect.explicit, GENAI.explicit, ""),
        (dialect.fallback, GENAI.fallback, ", *fallback*"),
    ):
        for field in sorted(table, key=[*titles, *table].index):
            names = _names(table, usual if dialect is not GENAI else {}, field)
            if names:
                yield f"| {titles.get(field, field)}{suffix} | {names} |"


def _names(table: Tables, usual: Tables, field: str) -> str:
    """The names of a field, with those of the conventions in one word; none where they are all."""
    names, known = table[field], usual.get(field, ())
    if names == known:
        return ""
    at = _position(names, known)
    if at is None:
        return _listed(list(names))
    parts = (_listed(list(names[:at])), "*GenAI*", _listed(list(names[at + len(known) :])))
    return ", ".join(part for part in parts if part)


def _position(names: Names, known: Names) -> int | None:
    if not known:
        return None
    return next((at for at in range(len(names)) if names[at : at + len(known)] == known), None)


def _first_line(documented: object | Callable[..., object]) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0].replace("``", "`")
