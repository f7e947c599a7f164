"""Attribute values made safe: text, numbers, money and JSON, each within bounds."""

from __future__ import annotations

import ast
import json
import re
from decimal import Decimal
from functools import lru_cache

import orjson

from agentops.domain.spans import AttributeValue

MAX_TOKENS = 1 << 40
MAX_COST_NANO = 10**15
MAX_NAME_CHARS = 256
_MAX_KNOWN, _MAX_KNOWN_CHARS = 32_768, 128
#: orjson writes no more than 254 levels; with fewer brackets than this a text cannot have as many.
_MAX_BRACKETS = 200
#: Longest text that is read as Python writes it, and as JSON.
MAX_LITERAL_CHARS = 65_536
MAX_JSON_CHARS = 262_144
NANO = 10**9

_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_DIGITS = re.compile(r"\d{1,13}", re.ASCII)


def clean(text: str) -> str:
    """Text that PostgreSQL and JSON can hold: NUL and lone surrogates become U+FFFD."""
    return text if text.isascii() and "\x00" not in text else _UNSAFE.sub("�", text)


def _short(text: str) -> str | None:
    text = text.strip()
    if text.startswith('"') and text.endswith('"') and len(text) <= MAX_NAME_CHARS:
        # Some encode every value as JSON.
        parsed = parse_json(text)
        text = parsed.strip() if isinstance(parsed, str) else text
    if not text or text.startswith("[Scrubbed"):
        return None
    return clean(text[:MAX_NAME_CHARS].rstrip())


#: Names that were seen: the same few come with every span. A dict asked in line is cheaper than a cached function.
_known: dict[str, str | None] = {}
_UNSEEN = "\x00"


def name(value: object) -> str | None:
    """The short identifying text that a value holds, stripped; ``None`` when empty, scrubbed or no text."""
    if type(value) is str:
        seen = _known.get(value, _UNSEEN)
        if seen is not _UNSEEN:
            return seen
        found = _short(value)
        if len(value) <= _MAX_KNOWN_CHARS:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[value] = found
        return found
    if value is None or isinstance(value, (bool, bytes, dict)):
        return None
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, list) and (first := name(item)) is not None:
                return first
        return None
    return _short(str(value)[:MAX_NAME_CHARS])


def key(text: str) -> str:
    """The name of an attribute, as it is kept."""
    # What is remembered must be short: it is kept whole.
    return _clean_key(text) if len(text) <= MAX_NAME_CHARS else clean(text[:MAX_NAME_CHARS])


_clean_key = lru_cache(maxsize=8_192)(clean)


def tokens(value: object) -> int | None:
    """A count of tokens from 0 to 2^40; ``None`` for anything else."""
    if type(value) is int:
        count = value
    elif (type(value) is float and value.is_integer()) or (type(value) is str and _DIGITS.fullmatch(value)):
        count = int(value)
    else:
        return None
    return count if 0 <= count <= MAX_TOKENS else None


def nano_dollars(value: object) -> int | None:
    """Dollars as nano-dollars, rounded half to even, at most a million dollars; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value).strip()[:64]) * NANO
        return int(amount.to_integral_value()) if 0 <= amount <= MAX_COST_NANO else None
    except ArithmeticError:  # no number, or one past every bound
        return None


def parse_json(value: AttributeValue) -> AttributeValue:
    """The value of a JSON text; anything that is not JSON stays what it is."""
    if not isinstance(value, (str, bytes)):
        return value
    try:
        parsed: AttributeValue = orjson.loads(value)
    except ValueError:  # orjson's error is one too
        return value
    return parsed


def parse(value: AttributeValue) -> AttributeValue:
    """What a text says in JSON, or as Python writes it; anything else, and what is very long, stays what it is."""
    if not isinstance(value, str) or len(value) > MAX_JSON_CHARS:
        return value
    parsed = parse_json(value)
    if parsed is value and value.startswith(("{'", "[{'")):
        parsed = _parse_literal(value)
    return parsed


def _parse_literal(text: str) -> AttributeValue:
    if len(text) > MAX_LITERAL_CHARS:
        return text
    try:
        parsed: AttributeValue = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return parsed


def json_value(value: AttributeValue, limit: int) -> AttributeValue:
    """What a tool is given: JSON where it is, or is text that says it; else text, cut at ``limit`` characters."""
    if isinstance(value, str):
        if len(value) > limit:
            return text(value, limit)
        parsed = parse_json(value)
        if isinstance(parsed, str):
            return text(parsed, limit)
        if value.count("{") + value.count("[") > _MAX_BRACKETS:
            try:
                orjson.dumps(parsed)
            except TypeError:
                return text(value, limit)
        return parsed
    return text(value, limit) if isinstance(value, bytes) else value


def text(value: AttributeValue, limit: int) -> str:
    """Long text for people to read: cut at ``limit`` characters with a mark."""
    if not isinstance(value, str):
        try:
            value = orjson.dumps(value, default=str).decode()
        except (TypeError, ValueError):  # a lone surrogate, an integer past 64 bits
            value = json.dumps(value, default=str)
    if len(value) > limit:
        value = f"{value[:limit]}… [cut, {len(value)} characters]"
    return clean(value)
