"""Providers' counts of tokens, read into OpenTelemetry's: caches are part of the input, reasoning of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentops.client.questions import Usage


def usage_of_openai(usage: Mapping[str, Any]) -> Usage:
    """Counts of chats, responses and embeddings, and of the many that spell theirs alike."""
    into = object_of(usage.get("prompt_tokens_details")) or object_of(usage.get("input_tokens_details"))
    out = object_of(usage.get("completion_tokens_details")) or object_of(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=_first(usage, "prompt_tokens", "input_tokens"),
        output_tokens=_first(usage, "completion_tokens", "output_tokens"),
        cache_read_input_tokens=_first(into, "cached_tokens"),
        cache_creation_input_tokens=_first(into, "cache_write_tokens"),
        reasoning_output_tokens=_first(out, "reasoning_tokens"),
    )


def usage_of_anthropic(usage: Mapping[str, Any], before: Usage) -> Usage:
    """Counts of the start of a message, and those of its end, which may name the output alone."""
    fresh, output = _first(usage, "input_tokens"), _first(usage, "output_tokens")
    if fresh is None:
        return replace(before, output_tokens=before.output_tokens if output is None else output)
    read, created = _first(usage, "cache_read_input_tokens"), _first(usage, "cache_creation_input_tokens")
    read = before.cache_read_input_tokens if read is None else read
    created = before.cache_creation_input_tokens if created is None else created
    return Usage(
        input_tokens=fresh + (read or 0) + (created or 0),
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=created,
    )


def usage_of_gemini(usage: Mapping[str, Any]) -> Usage:
    """Counts of Gemini, whose thoughts stand beside the answer."""
    prompt, tools = _first(usage, "promptTokenCount"), _first(usage, "toolUsePromptTokenCount")
    answer, thoughts = _first(usage, "candidatesTokenCount"), _first(usage, "thoughtsTokenCount")
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0),
        cache_read_input_tokens=_first(usage, "cachedContentTokenCount"),
        reasoning_output_tokens=thoughts,
    )


def _first(counts: Mapping[str, Any], *names: str) -> int | None:
    found = (counts.get(name) for name in names)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n >= 0), None)


def object_of(value: Any) -> Mapping[str, Any]:
    """A JSON object, empty where something else stands for one."""
    return value if isinstance(value, dict) else {}
