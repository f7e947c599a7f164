"""An operator's own prices: contract prices, discounts, self-hosted models, tools, and what deployments stand for.

Entries and aliases are what people decided; ``Book`` answers which of them holds for a call. The more exact entry wins:
one for the service before one for all, then a model's own name before the beginning of a name, a named provider and a
named service tier before any, a price before a discount; of two that are alike the one that holds since later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from agentops.domain.modelnames import provider_id, provider_ids, spellings
from agentops.domain.rates import SCALE, Rates, Tier

ANY_TIER, STANDARD_TIER = "any", "standard"
FOREVER = 1 << 63
MILLION = 10**6


class EntryKind(StrEnum):
    """What an entry prices."""

    MODEL = "model"
    DISCOUNT = "discount"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Dollars for a million tokens, above ``above`` input tokens.

    ``None`` is charged as the tokens that such ones are counted among: caches and audio as input, reasoning and audio
    as output; input and output that are ``None`` cost nothing.
    """

    above: int = 0
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_creation: Decimal | None = None
    cache_creation_1h: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None

    @property
    def prices(self) -> tuple[Decimal | None, ...]:
        """All of them."""
        return tuple(getattr(self, name) for name in RATES)

    def tier(self, per_call: Decimal | None) -> Tier:
        """As whole numbers."""
        fresh, output = _per_token(self.input), _per_token(self.output)
        read, written = _per_token(self.cache_read, fresh), _per_token(self.cache_creation, fresh)
        heard = _per_token(self.audio_input, fresh)
        return Tier(
            start=self.above or -1,
            fixed=_units(per_call),
            fresh=fresh,
            cache_read=read,
            cache_creation=written,
            output=output,
            reasoning=_per_token(self.reasoning, output),
            cache_creation_1h=_per_token(self.cache_creation_1h, written),
            audio_input=heard,
            audio_cache_read=read,
            audio_output=_per_token(self.audio_output, output),
        )


#: What a million tokens may have a price for, in the order in which people write it.
RATES = tuple(field.name for field in fields(TokenPrices) if field.name != "above")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one price. Empty ``provider`` and ``service`` mean any.

    ``pattern`` is a model's or a tool's name, or the beginning of names with ``*`` after it. It holds from
    ``from_ns`` until before ``until_ns``. ``overrides``: it wins over a cost that the provider reports.
    """

    number: int
    version: int
    kind: EntryKind
    pattern: str
    provider: str = ""
    service: str = ""
    tier: str = STANDARD_TIER
    from_ns: int = 0
    until_ns: int = FOREVER
    overrides: bool = False
    tokens: tuple[TokenPrices, ...] = ()
    per_call: Decimal | None = None
    per_second: Decimal | None = None
    percent_off: Decimal | None = None

    @property
    def price_id(self) -> str:
        """How a cost names it."""
        return f"book {self.number} v{self.version}"

    @property
    def rates(self) -> Rates:
        """A model's price as whole numbers."""
        ordered = sorted(self.tokens or (TokenPrices(),), key=lambda tokens: -tokens.above)
        return Rates(tuple(tokens.tier(self.per_call) for tokens in ordered), input=True, output=True)

    @property
    def is_flat(self) -> bool:
        """Whether a call costs the same however many tokens it takes."""
        return not self.tokens

    @property
    def call(self) -> int:
        """What a call costs besides its tokens, in 10^-18 dollars."""
        return _units(self.per_call)

    @property
    def second(self) -> int:
        """What a second costs, in 10^-18 dollars."""
        return _units(self.per_second)

    def discounted(self, rates: Rates) -> Rates:
        """A list's rates with the discount taken off."""
        off = self.percent_off or Decimal(0)
        return rates.scaled(int((100 - off) * MILLION), 100 * MILLION)


@dataclass(frozen=True, slots=True)
class Alias:
    """What a name stands for: a deployment, a gateway's own name. Patterns and times are those of ``Entry``."""

    number: int
    version: int
    pattern: str
    means_provider: str
    means_model: str
    provider: str = ""
    service: str = ""
    from_ns: int = 0
    until_ns: int = FOREVER


@dataclass(frozen=True, slots=True)
class Call:
    """What decides which price a model call has, besides its time."""

    service: str
    provider: str | None
    model: str
    tier: str | None


class Book:
    """All entries and aliases that are in force at some time."""

    def __init__(self, entries: Iterable[Entry] = (), aliases: Iterable[Alias] = ()) -> None:
        entries = list(entries)
        self.entries = [entry for entry in entries if entry.kind is not EntryKind.TOOL]
        self.tools = [entry for entry in entries if entry.kind is EntryKind.TOOL]
        self.aliases = list(aliases)
        #: Whether any entry wins over what providers report, and whether services matter at all.
        self.has_overrides = any(entry.overrides for entry in self.entries)
        self.has_services = any(e.service for e in self.entries) or any(a.service for a in self.aliases)

    def models(self, call: Call) -> list[Entry]:
        """The entries that may price a model call at some time, the one that wins first."""
        fitting = [entry for entry in self.entries if entry.tier in (ANY_TIER, call.tier or STANDARD_TIER)]
        return _ranked(fitting, call.service, spellings(call.model), provider_ids(call.provider, call.model))

    def meanings(self, call: Call) -> list[Alias]:
        """What a name may stand for at some time, the alias that wins first."""
        return _ranked(self.aliases, call.service, spellings(call.model), provider_ids(call.provider, call.model))

    def tool(self, name: str, service: str) -> list[Entry]:
        """The entries that may price a tool at some time, the one that wins first."""
        return _ranked(self.tools, service, (name.strip().lower(),), frozenset())


_Row = TypeVar("_Row", Entry, Alias)


def _ranked(rows: Iterable[_Row], service: str, names: Sequence[str], providers: frozenset[str]) -> list[_Row]:
    ranked = [(place, row) for row in rows if (place := _place(row, service, names, providers)) is not None]
    return [row for _, row in sorted(ranked, key=lambda each: each[0])]


def _place(row: Entry | Alias, service: str, names: Sequence[str], providers: frozenset[str]) -> tuple[int, ...] | None:
    """How exactly a row fits, less is more; ``None`` when it does not."""
    if row.service not in ("", service) or (row.provider and provider_id(row.provider) not in providers):
        return None
    pattern = row.pattern.strip().lower()
    if pattern.endswith("*"):
        start = pattern[:-1]
        if not any(name.startswith(start) for name in names):
            return None
        exactness = (1, -len(start))
    elif pattern in names:
        exactness = (0, names.index(pattern))
    else:
        return None
    is_any_tier = is_discount = 0
    if isinstance(row, Entry):
        is_any_tier, is_discount = int(row.tier == ANY_TIER), int(row.kind is EntryKind.DISCOUNT)
    return (not row.service, *exactness, not row.provider, is_any_tier, is_discount, -row.from_ns, -row.number)


def _units(dollars: Decimal | None) -> int:
    return int(((dollars or Decimal(0)) * SCALE).to_integral_value())


def _per_token(dollars: Decimal | None, otherwise: int = 0) -> int:
    return otherwise if dollars is None else int((dollars * SCALE / MILLION).to_integral_value())


class UnsoundEntry(ValueError):
    """An entry or an alias that says too little, too much, or what cannot be: by field, what is wrong."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


def check_entry(entry: Entry) -> None:
    """Raises ``UnsoundEntry`` unless the entry says what something costs, and nothing else."""
    checks = {EntryKind.MODEL: _check_model, EntryKind.DISCOUNT: _check_discount, EntryKind.TOOL: _check_tool}
    problems = _check_pattern(entry) | checks[entry.kind](entry)
    if any(price is not None and price < 0 for price in (entry.per_call, entry.per_second)):
        problems["per_call"] = "A price is not negative."
    if entry.percent_off is not None and entry.kind is not EntryKind.DISCOUNT:
        problems["percent_off"] = "Only a discount is in percent."
    if problems:
        raise UnsoundEntry(problems)


def check_alias(alias: Alias) -> None:
    """Raises ``UnsoundEntry`` unless the alias says what a name stands for."""
    problems = _check_pattern(alias)
    if not alias.means_model.strip():
        problems["means_model"] = "Say which model it stands for."
    elif alias.means_model.strip().lower() == alias.pattern.strip().lower():
        problems["means_model"] = "A name that stands for itself needs no mapping."
    if problems:
        raise UnsoundEntry(problems)


def _check_pattern(row: Entry | Alias) -> dict[str, str]:
    problems = {}
    if not row.pattern.strip():
        problems["pattern"] = "Say which name it is for; * is for all."
    elif "*" in row.pattern.strip()[:-1]:
        problems["pattern"] = "A * stands for the rest of a name, at its end."
    if row.from_ns >= row.until_ns:
        problems["until"] = "It ends before it begins."
    return problems


def _check_discount(entry: Entry) -> dict[str, str]:
    problems = {}
    if entry.percent_off is None or not 0 < entry.percent_off <= 100:
        problems["percent_off"] = "A discount is more than 0 and at most 100 percent."
    if entry.tokens or entry.per_call is not None or entry.per_second is not None:
        problems["kind"] = "A discount has no prices of its own: they are the public ones."
    return problems


def _check_tool(entry: Entry) -> dict[str, str]:
    problems = {}
    if entry.per_call is None and entry.per_second is None:
        problems["per_call"] = "A tool costs by the call, by the second, or both."
    if entry.tokens:
        problems["kind"] = "A tool has no tokens."
    return problems


def _check_model(entry: Entry) -> dict[str, str]:
    tokens, problems = entry.tokens, {}
    if not tokens:
        if entry.per_call is None and entry.per_second is None:
            problems["tokens"] = "A model costs by its tokens, by the call or by the second."
        return problems
    if len({each.above for each in tokens}) < len(tokens) or not any(each.above == 0 for each in tokens):
        problems["tokens"] = "Each length of context has one price, and one of them holds from the first token on."
    if any(each.input is None or each.output is None for each in tokens):
        problems["tokens"] = "Say what input and output cost, each: 0 when it costs nothing."
    if any(each.above < 0 or any(price is not None and price < 0 for price in each.prices) for each in tokens):
        problems["tokens"] = "No price and no length of context is negative."
    return problems
