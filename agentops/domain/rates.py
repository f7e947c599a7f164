"""What tokens cost at one price: whole numbers, added up exactly and rounded once per call."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentops.domain.spans import NO_TERMS, Terms, TokenUsage

#: Rates are kept in units of 10^-18 dollars, so that they are whole numbers.
SCALE = 10**18
_PER_NANO = 10**9


@dataclass(slots=True, frozen=True)
class Tier:
    """Rates that hold above ``start`` input tokens, in 10^-18 dollars a token; ``fixed`` a call.

    ``None`` where nobody says what such tokens cost.
    """

    start: int
    fixed: int
    fresh: int
    cache_read: int
    cache_creation: int
    output: int
    reasoning: int
    cache_creation_1h: int | None = None
    audio_input: int | None = None
    audio_cache_read: int | None = None
    audio_output: int | None = None

    def scaled(self, share: int, of: int) -> Tier:
        """The same at ``share`` / ``of`` of each rate."""
        rates = (getattr(self, name) for name in Tier.__slots__ if name != "start")
        return Tier(self.start, *(None if rate is None else (rate * share + of // 2) // of for rate in rates))  # type: ignore[arg-type]


@dataclass(slots=True, frozen=True)
class Rates:
    """One price of one model. ``input`` and ``output``: whether it says what such tokens cost at all."""

    tiers: tuple[Tier, ...]  # highest start first
    input: bool
    output: bool

    def scaled(self, share: int, of: int) -> Rates:
        """The same at ``share`` / ``of`` of each rate."""
        return replace(self, tiers=tuple(tier.scaled(share, of) for tier in self.tiers))


def price(rates: Rates, usage: TokenUsage, *, needs_output: bool, terms: Terms = NO_TERMS) -> int | None:
    """What a call costs, in 10^-18 dollars; ``None`` when a count that costs something is not known, or its rate."""
    given, output = usage.input, usage.output
    total = given or 0
    for tier in rates.tiers:
        if total > tier.start:
            break
    read, creation = usage.cache_read or 0, usage.cache_creation or 0
    fresh = total - read - creation
    if fresh < 0 or (given is None and tier.fresh) or (total and not rates.input):
        return None
    units = tier.fixed + fresh * tier.fresh + read * tier.cache_read + creation * tier.cache_creation
    if output and rates.output:
        units += output * tier.output
        reasoning = usage.reasoning
        if reasoning and tier.reasoning != tier.output:
            if reasoning > output:
                return None
            units += reasoning * (tier.reasoning - tier.output)
    elif needs_output and (output or (output is None and tier.output)):
        return None
    if terms is NO_TERMS:
        return units
    more = _particular(tier, usage, terms)
    return None if more is None else units + more


def _particular(tier: Tier, usage: TokenUsage, terms: Terms) -> int | None:
    """What particular tokens cost more than the usual ones, which they are counted among."""
    units = 0
    heard, spoken, heard_before = terms.audio_input or 0, terms.audio_output or 0, terms.audio_cache_read or 0
    written = terms.cache_creation_1h or 0
    plain_read, plain_output = (usage.cache_read or 0) - heard_before, (usage.output or 0) - spoken
    plain = (usage.input or 0) - (usage.cache_read or 0) - (usage.cache_creation or 0) - (heard - heard_before)
    if plain < 0 or heard_before > heard or plain_read < 0 or written > (usage.cache_creation or 0):
        return None
    if spoken and plain_output < (usage.reasoning or 0):
        return None
    if heard and usage.cache_read and terms.audio_cache_read is None and tier.audio_cache_read != tier.cache_read:
        return None  # how much of what was read from the cache is audio
    for count, rate, usual in (
        (heard - heard_before, tier.audio_input, tier.fresh),
        (heard_before, tier.audio_cache_read, tier.cache_read),
        (spoken, tier.audio_output, tier.output),
        (written, tier.cache_creation_1h, tier.cache_creation),
    ):
        if count:
            if rate is None:
                return None
            units += count * (rate - usual)
    return units


def to_nano(units: int) -> int:
    """Units of 10^-18 dollars as nano-dollars, rounded half to even."""
    whole, rest = divmod(units, _PER_NANO)
    half = _PER_NANO // 2
    return whole + (1 if rest > half or (rest == half and whole & 1) else 0)
