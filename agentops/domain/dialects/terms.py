"""What a span says of the terms of its call: service tier, tokens with prices of their own, and what was broken off.

A call that was broken off is often billed and seldom tells its tokens. What it does not tell is estimated from its
texts: a token for every four bytes of UTF-8, as English and code have on average; in other scripts a character has
more bytes, and is more of a token. Only words count, not the JSON around them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from agentops.domain.dialects import values
from agentops.domain.spans import NO_TERMS, AttributeValue, Span, Terms

#: Fields of the dialect tables that are terms.
FIELDS = ("tier", "asked_tier", "audio_input", "audio_cache_read", "audio_output", "cache_creation_1h")
_COUNTS = FIELDS[2:]
#: What providers call the tier that has the usual price, and what asks for any.
_STANDARD = frozenset({"auto", "default", "on_demand", "standard", "standard_only"})
BYTES_PER_TOKEN = 4
#: Members of messages that are no words.
_NO_WORDS = frozenset(
    {"blob", "call_id", "data", "finish_reason", "id", "image_url", "mime_type", "object", "role", "type", "uri", "url"}
)
#: The provider said no before it answered.
_REFUSED = re.compile(
    r"^[45]\d\d\b|(?:code|error|http|status)\D{0,12}[45]\d\d\b|rate.?limit|over.?loaded|authenticat|un.?auth|permission|forbidden"
    r"|bad.?request|invalid|not.?found|quota|budget|guardrail",
    re.IGNORECASE,
)
#: The provider may never have been reached.
_UNREACHED = re.compile(r"connect(?:ion)?.?(?:time.?out|error)|refused|resolve|\bdns\b|\bssl\b", re.IGNORECASE)
#: Somebody stopped waiting: the request was under way.
_STOPPED = re.compile(r"cancel|abort|time.?d?.?out|deadline|interrupt|generator.?exit", re.IGNORECASE)
#: The line broke: an answer was under way when there is some of it.
_BROKEN = re.compile(
    r"reset|disconnect|incomplete|broken.?pipe|closed|\beof\b|read.?error|protocol.?error|connection|stream|chunked",
    re.IGNORECASE,
)


def read_terms(fields: Mapping[str, AttributeValue]) -> Terms:
    """The terms that the fields of a model call name."""
    tier = None
    for field in ("tier", "asked_tier"):
        named = values.name(fields.get(field))
        if named is not None:
            lower = named.lower()
            tier = None if lower in _STANDARD else lower
            break
    counts = {field: values.tokens(fields[field]) for field in _COUNTS if field in fields}
    if tier is None and not any(counts.values()):
        return NO_TERMS
    return Terms(tier=tier, **counts)


def estimate(span: Span, fields: Mapping[str, AttributeValue], message: str) -> None:
    """Fill in the terms of a failed call what its texts let one guess of the counts that it does not tell."""
    error = f"{span.error_type or ''} {message[:200]}"
    usage, answer = span.usage, words(fields.get("completion"))
    is_stopped = bool(_STOPPED.search(error)) and (answer or not _UNREACHED.search(error))
    if _REFUSED.search(error) or not (is_stopped or (answer and _BROKEN.search(error))):
        return
    asked = words(fields.get("prompt")) + words(fields.get("system")) if usage.input is None else 0
    answered = answer if usage.output is None else 0
    if asked or answered:
        span.terms = replace(
            span.terms, estimated_input=_tokens(asked) or None, estimated_output=_tokens(answered) or None
        )


def words(value: AttributeValue) -> int:
    """How many bytes of UTF-8 the words of a text or of messages have."""
    if isinstance(value, str):
        if value[:1] in ("{", "[") and (parsed := values.parse_json(value)) is not value:
            return words(parsed)
        return 0 if value.startswith("data:") else len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return sum(words(inner) for name, inner in value.items() if name not in _NO_WORDS)
    return sum(map(words, value)) if isinstance(value, list) else 0


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
