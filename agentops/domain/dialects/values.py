"""Attribute values made safe: text, numbers, money and JSON, each within bounds."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation

import orjson

MAX_TOKENS = 1 << 40
MAX_COST_NANO = 10**15
MAX_NAME_CHARS = 256
NANO = 10**9

_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_DIGITS = re.compile(r"\d{1,13}", re.ASCII)


def clean(text: str) -> str:
    """Text that PostgreSQL and JSON can hold: NUL and lone surrogates become U+FFFD."""
    return text if text.isascii() and "\x00" not in text else _UNSAFE.sub("�", text)


def name(value: object) -> str | None:
    """A short identifying text; ``None`` when there is none, or when it was scrubbed away."""
    if isinstance(value, str):
        text = value if value.isalnum() else value.strip()
    elif isinstance(value, bool) or value is None or isinstance(value, (bytes, dict)):
        return None
    elif isinstance(value, list):
        return next((found for item in value if (found := name(item))), None)
    else:
        text = str(value)
    if not text or text.startswith("[Scrubbed"):
        return None
    if len(text) > MAX_NAME_CHARS:
        text = text[:MAX_NAME_CHARS]
    return clean(text)


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
