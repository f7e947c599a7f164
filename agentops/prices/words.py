"""How the book is told to people: a price in a line, what a version changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from agentops.domain.pricebook import ANY_TIER, RATES, STANDARD_TIER
from agentops.prices.models import Kind, ModelAlias, PriceEntry, Version
from agentops.prices.queries import Change
from agentops.prices.store import plain
from agentops.templatetags.formats import DASH

#: What a million tokens have a price for, in a line.
_SHORT = {
    "input": "in",
    "output": "out",
    "cache_read": "cache read",
    "cache_creation": "cache write",
    "cache_creation_1h": "cache write for an hour",
    "reasoning": "reasoning",
    "audio_input": "audio in",
    "audio_output": "audio out",
}
_FIELDS = {
    "pattern": "name",
    "provider": "provider",
    "service": "service",
    "effective_from": "from",
    "effective_until": "until",
    "kind": "kind",
    "tier": "service tier",
    "overrides": "wins over reported costs",
    "rates": "tokens",
    "per_call_usd": "a call",
    "per_second_usd": "a second",
    "percent_off": "percent off",
    "means_provider": "stands for, provider",
    "means_model": "stands for, model",
    "is_withdrawn": "withdrawn",
}


@dataclass(frozen=True, slots=True)
class Described:
    """A version in words. ``tone`` is that of its state's badge."""

    price: list[str]
    scope: str
    period: str
    state: str
    tone: str


@dataclass(frozen=True, slots=True)
class Told:
    """One version of a history: who made it, when and why, and what it changed: (field, before, after)."""

    row: Version
    changes: list[tuple[str, str, str]]


def describe_entry(row: PriceEntry, now: datetime) -> Described:
    """A price: what it costs, for whom, and when."""
    parts = [f"at {row.provider}" if row.provider else "", f"for {row.service}" if row.service else ""]
    if row.tier not in (STANDARD_TIER, ANY_TIER):
        parts.append(f"{row.tier} tier")
    elif row.tier == ANY_TIER and row.kind == Kind.MODEL:
        parts.append("any tier")
    return _described(row, price_words(row), parts, now)


def describe_alias(row: ModelAlias, now: datetime) -> Described:
    """A name: what it stands for, for whom, and when."""
    means = f"{row.means_model} at {row.means_provider}" if row.means_provider else row.means_model
    parts = [f"at {row.provider}" if row.provider else "", f"for {row.service}" if row.service else ""]
    return _described(row, [means], parts, now)


def _described(row: Version, price: list[str], parts: list[str], now: datetime) -> Described:
    state, tone = _state(row, now)
    return Described(price, " · ".join(part for part in parts if part), period_words(row), state, tone)


def price_words(row: PriceEntry) -> list[str]:
    """What an entry costs, a line for each length of context."""
    if row.percent_off is not None:
        return [f"{plain(row.percent_off)} % off the public price"]
    lines = [_rates_words(rates) for rates in row.rates]
    flat = [
        f"${plain(price)} {what}"
        for price, what in ((row.per_call_usd, "a call"), (row.per_second_usd, "a second"))
        if price is not None
    ]
    return [*lines, *([" + ".join(flat)] if flat else [])]


def _rates_words(rates: dict[str, Any]) -> str:
    prices = ", ".join(f"${rates[name]} {_SHORT[name]}" for name in RATES if name in rates)
    return f"{prices}, a million tokens" + (f" above {rates['above']:,}" if rates["above"] else "")


def period_words(row: Version) -> str:
    """When it holds."""
    begin, end = row.effective_from, row.effective_until
    if begin and end:
        return f"{begin:%d %b %Y %H:%M} to {end:%d %b %Y %H:%M}"
    if begin:
        return f"since {begin:%d %b %Y %H:%M}"
    return f"until {end:%d %b %Y %H:%M}" if end else "always"


def _state(row: Version, now: datetime) -> tuple[str, str]:
    if row.is_withdrawn:
        return "withdrawn", "muted"
    if row.effective_until and row.effective_until <= now:
        return "ended", "muted"
    return ("to come", "accent") if row.effective_from and row.effective_from > now else ("in force", "good")


def describe_change(change: Change) -> Told:
    """A version, and what it changed, in words."""
    return Told(change.row, [(_FIELDS[name], _value(before), _value(after)) for name, before, after in change.fields])


def _value(value: Any) -> str:
    if value is None or value in ("", []):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%d %b %Y %H:%M}"
    if isinstance(value, list):
        return "; ".join(map(_rates_words, value))
    return plain(value) if isinstance(value, Decimal) else str(value)
