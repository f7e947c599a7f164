"""Attribute values made safe: text, numbers, money and JSON, each within bounds."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import orjson

MAX_TOKENS = 1 << 40
MAX_COST_NANO = 10**15
MAX_NAME_CHARS = 256
_MAX_CACHED_CHARS = 128
NANO = 10**9

_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_DIGITS = re.compile(r"\d{1,13}", re.ASCII)


def clean(text: str) -> str:
    """Text that PostgreSQL and JSON can hold: NUL and lone surrogates become U+FFFD."""
    return text if text.isascii() and "\x00" not in text else _UNSAFE.sub("�", text)


@lru_cache(maxsize=32_768)
def short(text: str) -> str | None:
    """A short identifying text without what is around it; ``None`` when empty or scrubbed away."""
    text = text.strip()
    if not text or text.startswith("[Scrubbed"):
        return None
    return clean(text[:MAX_NAME_CHARS])


def name(value: object) -> str | None:
    """The short identifying text that a value holds; ``None`` when it holds none."""
    if isinstance(value, str):
        # Long values are not names: they would only fill the cache.
        return short(value) if len(value) <= _MAX_CACHED_CHARS else short.__wrapped__(value)
    if value is None or isinstance(value, (bool, bytes, dict)):
        return None
    if isinstance(value, list):
        return next((found for item in value if (found := name(item))), None)
    return short(str(value)[:MAX_NAME_CHARS])


def tokens(value: object) -> int | None:
    """A count of tokens from 0 to 2^40. Raises ``ValueError`` for anything else."""
    if type(value) is int:
        if 0 <= value <= MAX_TOKENS:
            return value
    elif isinstance(value, float):
        if value.is_integer() and 0 <= value <= MAX_TOKENS:
            return int(value)
    elif isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    message = "is not a count of tokens"
    raise ValueError(message)


def nano_dollars(value: object) -> int | None:
    """Dollars as nano-dollars, at most a million dollars. Raises ``ValueError`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        message = "is not an amount of money"
        raise ValueError(message)
    try:
        amount = (Decimal(str(value)[:64]) * NANO).to_integral_value()
    except InvalidOperation as error:
        message = "is not an amount of money"
        raise ValueError(message) from error
    if not amount.is_finite() or not 0 <= amount <= MAX_COST_NANO:
        message = "is not an amount of money"
        raise ValueError(message)
    return int(amount)


def parse_json(value: object) -> object:
    """The value of a JSON text; anything that is not JSON stays what it is."""
    if not isinstance(value, (str, bytes)):
        return value
    try:
        return orjson.loads(value)
    except ValueError:  # orjson's error is one too
        return value


def text(value: object, limit: int) -> str:
    """Long text for people to read: cut at ``limit`` characters with a mark."""
    if not isinstance(value, str):
        try:
            value = orjson.dumps(value, default=str).decode()
        except (TypeError, ValueError):  # a lone surrogate, an integer past 64 bits
            value = json.dumps(value, default=str)
    if len(value) > limit:
        value = f"{value[:limit]}… [cut, {len(value)} characters]"
    return clean(value)
