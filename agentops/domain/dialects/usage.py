"""What providers, and LangChain, call the counts of tokens in the usage objects of their answers."""

from __future__ import annotations

from agentops.domain.dialects.table import Names, Tables
from agentops.domain.spans import Attributes, AttributeValue

COUNTS: Tables = {
    "input": ("prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens"),
    "output": ("completion_tokens", "output_tokens", "candidates_token_count", "outputTokens"),
    "cache_read": (
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "input_token_details.cache_read",
        "cache_read_input_tokens",
        "cached_content_token_count",
        "cacheReadInputTokens",
    ),
    "cache_creation": (
        "prompt_tokens_details.cache_creation_tokens",
        "input_token_details.cache_creation",
        "cache_creation_input_tokens",
        "cacheWriteInputTokens",
    ),
    # With what is written for an hour it is all of it, where no other name tells that.
    "cache_creation_5m": ("cache_creation.ephemeral_5m_input_tokens", "input_token_details.ephemeral_5m_input_tokens"),
    "reasoning": (
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
        "output_token_details.reasoning",
        "thoughts_token_count",
    ),
    "audio_input": (
        "prompt_tokens_details.audio_tokens",
        "input_tokens_details.audio_tokens",
        "input_token_details.audio",
    ),
    "audio_output": (
        "completion_tokens_details.audio_tokens",
        "output_tokens_details.audio_tokens",
        "output_token_details.audio",
    ),
    "cache_creation_1h": ("cache_creation.ephemeral_1h_input_tokens", "input_token_details.ephemeral_1h_input_tokens"),
    "tier": ("service_tier",),
    "total": ("total_tokens", "total_token_count", "totalTokens"),
}


def counts(*holders: str) -> dict[str, Names]:
    """The names of the counts in objects that ``expand`` takes apart, the first of them before the others."""
    return {field: tuple(f"{holder}.{name}" for holder in holders for name in names) for field, names in COUNTS.items()}


def tell(usage: Attributes, fields: dict[str, AttributeValue]) -> None:
    """Fill in the counts that a provider's usage object tells; Anthropic leaves the caches out of the input."""
    for field, names in COUNTS.items():
        for name in names:
            if (count := _find(usage, name)) is not None:
                fields.setdefault(field, count)
                break
    apart = [usage.get(name) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")]
    given = usage.get("input_tokens")
    if type(given) is int and fields.get("input") == given:
        fields["input"] = given + sum(count for count in apart if type(count) is int)


def _find(usage: Attributes, name: str) -> AttributeValue:
    value: AttributeValue = usage
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
