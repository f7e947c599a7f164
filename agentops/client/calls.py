"""Which HTTP requests are model calls, and what they will take at most.

Tokens of a request are estimated from its texts: one for three bytes of UTF-8, rounded up. That leans upwards, for
prose as for JSON: what is reserved too much is given back when the call is settled. A picture, a sound or a file counts
as a fixed number, whatever its size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

BYTES_PER_TOKEN = 3
#: What a picture of usual size takes at most.
TOKENS_PER_PART = 1_600
_BINARY_TYPES = frozenset({"image", "image_url", "input_image", "input_audio", "audio"})
_BINARY_KEYS = frozenset({"inlineData", "inline_data", "fileData", "file_data"})
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{256}")
#: Schemas are JSON to the model, with their names and braces.
_SCHEMAS = frozenset({"tools", "functions", "response_format", "text", "toolConfig", "generationConfig"})
#: What is no part of the prompt.
_SETTINGS = frozenset({"model", "user", "metadata", "stop", "service_tier", "previous_response_id", "prompt_cache_key"})
_DEEPEST = 64


class Dialect(Enum):
    """How a provider spells requests, replies and errors."""

    CHAT = "/chat/completions"
    RESPONSES = "/responses"
    COMPLETIONS = "/completions"
    EMBEDDINGS = "/embeddings"
    MESSAGES = "/messages"
    GEMINI = ":generateContent"


#: By the host's end; the provider's name as OpenTelemetry spells it. Other hosts are gateways, and say nothing.
_PROVIDERS = {
    "openai.com": "openai",
    "anthropic.com": "anthropic",
    "azure.com": "azure.ai.openai",
    "googleapis.com": "gcp.gemini",
    "mistral.ai": "mistral_ai",
    "groq.com": "groq",
    "deepseek.com": "deepseek",
    "x.ai": "x_ai",
    "cohere.com": "cohere",
    "perplexity.ai": "perplexity",
}
_GEMINI = re.compile(r"/models/([^/:]+):(?:generateContent|streamGenerateContent)$")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A model call as its request tells it."""

    dialect: Dialect
    provider: str | None
    model: str | None
    input_tokens: int | None
    max_output_tokens: int | None


def dialect_of(method: str, path: str) -> Dialect | None:
    """How a model call is spelled; ``None`` for every other request."""
    if method != "POST":
        return None
    path = path.rstrip("/")
    if _GEMINI.search(path):
        return Dialect.GEMINI
    # Threads of the Assistants API have messages too.
    if "/threads/" in path:
        return None
    return next((dialect for dialect in Dialect if path.endswith(dialect.value)), None)


def read_call(dialect: Dialect, host: str, path: str, content: bytes) -> ModelCall:
    """What a request tells; one that cannot be read tells its dialect alone."""
    provider = next((name for end, name in _PROVIDERS.items() if host == end or host.endswith("." + end)), None)
    named = _GEMINI.search(path.rstrip("/"))
    model = named.group(1) if named else None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return ModelCall(dialect, provider, model, None, None)
    said = body.get("model")
    model = said if isinstance(said, str) and said else model
    return ModelCall(dialect, provider, model, estimated_input(body), max_output(body))


def estimated_input(body: Mapping[str, Any]) -> int:
    """About how many tokens a request's texts and parts are; never fewer, as far as one can tell."""
    size, tokens = 0, 0
    for name, value in body.items():
        if name in _SETTINGS or not value:
            continue
        if name in _SCHEMAS:
            size += size_of(json.dumps(value, ensure_ascii=False, default=str))
            continue
        more_size, more_tokens = _measured(value, 0)
        size, tokens = size + more_size, tokens + more_tokens
    return tokens_of(size) + tokens


def size_of(text: str) -> int:
    """How many bytes of UTF-8 a text is, whatever stands in it."""
    return len(text.encode("utf-8", "replace"))


def tokens_of(size: int) -> int:
    """How many tokens so many bytes of text are at most."""
    return -(-size // BYTES_PER_TOKEN)


def _measured(value: Any, depth: int) -> tuple[int, int]:
    """Bytes of text, and tokens of what is none."""
    if isinstance(value, str):
        return (0, TOKENS_PER_PART) if _is_binary(value) else (size_of(value), 0)
    if depth > _DEEPEST or not isinstance(value, list | dict):
        return 0, 0
    if isinstance(value, list):
        # Prompts and embeddings may be given as tokens.
        tokens = sum(1 for each in value if isinstance(each, int))
        parts = [_measured(each, depth + 1) for each in value]
    else:
        if value.get("type") in _BINARY_TYPES or not _BINARY_KEYS.isdisjoint(value):
            return 0, TOKENS_PER_PART
        tokens, parts = 0, [_measured(each, depth + 1) for each in value.values()]
    return sum(size for size, _ in parts), tokens + sum(more for _, more in parts)


def _is_binary(text: str) -> bool:
    return (text.startswith("data:") and ";base64," in text[:128]) or _BASE64.match(text) is not None


def max_output(body: Mapping[str, Any]) -> int | None:
    """How many tokens the answers may have together; ``None`` when the request sets no limit."""
    settings = body.get("generationConfig")
    where = settings if isinstance(settings, dict) else body
    names = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens")
    limit = next((where[name] for name in names if _is_count(where.get(name))), None)
    if limit is None:
        return None
    answers = next((where[name] for name in ("n", "candidateCount") if _is_count(where.get(name))), 1)
    return int(limit) * int(answers)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
