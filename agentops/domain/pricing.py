"""What a model call costs, at which price, from which source. Money is integer nano-dollars.

The reference is ``genai-prices``, which is dated and tiered but takes a quarter of a millisecond a call. One price
of one model is linear within a tier, so it is probed once and kept as integer rates: a cached call costs about two
microseconds and gives the same amount, exactly, rounded half to even to the nano-dollar once per call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Protocol

from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from agentops.domain.spans import COSTED_KINDS, Cost, CostBasis, Kind, PriceSource, Span, TokenUsage

SOURCE_VERSION = f"genai-prices {version('genai-prices')}"
NS_PER_MINUTE = 60_000_000_000
NS_PER_DAY = 86_400_000_000_000
#: Rates are kept in units of 10^-18 dollars a token, so that they are whole numbers.
_SCALE = 10**18
_PER_NANO = 10**9
_MAX_CACHED = 20_000
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_EMBEDDING, _GENAI_PRICES, _BILL = Kind.EMBEDDING, PriceSource.GENAI_PRICES, CostBasis.BILL
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

UNPRICED = Cost(None, None, None)
#: What stands for a price's name where a cost was reported.
REPORTED, ESTIMATED = "reported", "client estimate"

#: What telemetry calls a provider, and what genai-prices calls it.
KNOWN_AS = {
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "vertex_ai": "google",
    "x_ai": "x-ai",
}
#: Providers that are one's own machine: a public price of a model with the same name says nothing.
SELF_HOSTED = frozenset(
    {
        "hosted_vllm",
        "llama.cpp",
        "llama_cpp",
        "llamacpp",
        "lm_studio",
        "lmstudio",
        "local",
        "localai",
        "ollama",
        "sglang",
        "tgi",
        "vllm",
    }
)


class PriceBook(Protocol):
    """Prices of one's own, asked before the public ones."""

    def cost(self, usage: TokenUsage, provider: str | None, model: str, at_ns: int) -> Cost | None:
        """What the call costs, or ``None`` when the book does not know the model."""
        ...


@dataclass(slots=True, frozen=True)
class _Tier:
    """Rates that hold above ``start`` input tokens, in 10^-18 dollars a token; ``fixed`` a call."""

    start: int
    fixed: int
    fresh: int
    cache_read: int
    cache_creation: int
    output: int
    reasoning: int


@dataclass(slots=True, frozen=True)
class _Rates:
    """One price of one model. ``input`` and ``output``: whether it says what such tokens cost at all."""

    tiers: tuple[_Tier, ...]  # highest start first
    input: bool
    output: bool


@dataclass(slots=True)
class _Prices:
    """All prices of one model. ``period_ns`` is how long each holds at least; 0 for ever."""

    model: ModelInfo
    price_id: str
    period_ns: int
    by_period: dict[int, _Rates] = field(default_factory=dict)

    def at(self, at_ns: int) -> _Rates:
        """The rates at a moment."""
        period = at_ns // self.period_ns if self.period_ns else 0
        rates = self.by_period.get(period)
        if rates is None:
            if len(self.by_period) >= _MAX_CACHED:
                self.by_period.clear()
            moment = _EPOCH + timedelta(microseconds=period * self.period_ns // 1_000)
            rates = self.by_period[period] = _rates(self.model.get_prices(moment))
        return rates


class PriceList:
    """Prices of models by time, from ``genai-prices`` and, before it, a price book."""

    def __init__(self, book: PriceBook | None = None) -> None:
        self._book = book
        self._found: dict[tuple[str | None, str], _Prices | None] = {}

    def cost(
        self, usage: TokenUsage, provider: str | None, model: str, at_ns: int, *, is_embedding: bool = False
    ) -> Cost:
        """What a call of ``model`` that started at ``at_ns`` costs; unpriced when nobody knows.

        ``provider`` is a hint. Unpriced is also what lacks a count that has a price; only an embedding needs no
        output.
        """
        if self._book is not None and (own := self._book.cost(usage, provider, model, at_ns)) is not None:
            return own
        key = (provider, model)
        try:
            prices = self._found[key]
        except KeyError:
            if len(self._found) >= _MAX_CACHED:
                self._found.clear()
            prices = self._found[key] = _find(provider, model)
        if prices is None:
            return UNPRICED
        amount = _amount(prices.at(at_ns), usage, is_embedding=is_embedding)
        return UNPRICED if amount is None else Cost(amount, _GENAI_PRICES, prices.price_id)


def _amount(rates: _Rates, usage: TokenUsage, *, is_embedding: bool) -> int | None:
    """Nano-dollars; ``None`` when a count that costs something is not known."""
    given, output = usage.input, usage.output
    total = given or 0
    for tier in rates.tiers:
        if total > tier.start:
            break
    read, creation = usage.cache_read or 0, usage.cache_creation or 0
    fresh = total - read - creation
    if fresh < 0 or (given is None and tier.fresh) or (total and not rates.input):
        return None
    amount = tier.fixed + fresh * tier.fresh + read * tier.cache_read + creation * tier.cache_creation
    if output:
        reasoning = usage.reasoning or 0
        if rates.output:
            amount += output * tier.output
            if reasoning and tier.reasoning != tier.output:
                if reasoning > output:
                    return None
                amount += reasoning * (tier.reasoning - tier.output)
        elif not is_embedding:
            return None
    elif output is None and tier.output and not is_embedding:
        return None
    whole, rest = divmod(amount, _PER_NANO)
    half = _PER_NANO // 2
    return whole + (1 if rest > half or (rest == half and whole & 1) else 0)


def _find(provider: str | None, model: str) -> _Prices | None:
    """The prices of a model, at the provider named, or at the one that its name points to."""
    prefix, _, rest = model.partition("/")
    for hint, name in ((provider, model), (None, model), (prefix, rest), (None, rest)):
        if not name:
            continue
        if hint in SELF_HOSTED:
            return None
        at = _provider(hint, name)
        found = at.find_model(name, all_providers=providers) if at is not None else None
        if at is not None and found is not None:
            return _Prices(found, f"{SOURCE_VERSION} {at.id}/{found.id}", _period(found))
    return None


def _provider(hint: str | None, model: str) -> Provider | None:
    # Not by the package's own lookups: those remember every name that they were ever asked for.
    if hint is not None:
        return find_provider_by_id(providers, KNOWN_AS.get(hint, hint))
    lower = model.lower()
    return next((p for p in providers if p.model_match is not None and p.model_match.is_match(lower)), None)


def _period(model: ModelInfo) -> int:
    if isinstance(model.prices, ModelPrice):
        return 0
    constraints = [conditional.constraint for conditional in model.prices]
    if any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints):
        return NS_PER_MINUTE
    return NS_PER_DAY if any(constraint is not None for constraint in constraints) else 0


def _rates(price: ModelPrice) -> _Rates:
    starts = {-1}
    for value in vars(price).values():
        if isinstance(value, TieredPrices):
            starts.update(tier.start for tier in value.tiers)
    return _Rates(
        tiers=tuple(_tier(price, start) for start in sorted(starts, reverse=True)),
        input=price.input_mtok is not None,
        output=price.output_mtok is not None,
    )


def _tier(price: ModelPrice, start: int) -> _Tier:
    # Two and three tokens above the start lie within the tier, so differences are rates.
    base = start + 2

    def units(count: int, **more: int) -> int:
        total = price.calc_price(Usage(input_tokens=count, **more))["total_price"]
        return int((total * _SCALE).to_integral_value())

    here = units(base)
    fresh = units(base + 1) - here
    return _Tier(
        start=start,
        fixed=here - base * fresh,
        fresh=fresh,
        cache_read=units(base, cache_read_tokens=1) - here + fresh,
        cache_creation=units(base, cache_write_tokens=1) - here + fresh,
        output=units(base, output_tokens=1) - here,
        reasoning=units(base, output_tokens=1, output_reasoning_tokens=1) - here,
    )


def span_cost(span: Span, prices: PriceList) -> Cost:
    """What a span costs: as reported, else by the price of its model; only model calls cost.

    A reported cost wins, because who sets it knows the contract, the batch or the gateway's own prices; a list does
    not. It does not win where the client is known to have worked it out of a list: ours is dated, and names its
    version. But any list is better than none, and where a span tells of no caches, a client that asked the same list
    for less than we do had seen cached tokens that it does not pass on (pydantic-ai 1.0). A failed call that reports
    no usage has no known cost.
    """
    if span.kind not in COSTED_KINDS:
        return UNPRICED
    reported, basis = span.reported_cost_nano, span.reported_cost_basis
    if reported is not None and basis is _BILL:
        return Cost(reported, PriceSource.PROVIDER, REPORTED)
    cost = _listed(span, prices)
    if reported is None:
        return cost
    usage = span.usage
    tells_caches = usage.cache_read is not None or usage.cache_creation is not None
    if cost.nano is None or (basis is CostBasis.SAME_LIST and not tells_caches and reported < cost.nano):
        return Cost(reported, PriceSource.PROVIDER, ESTIMATED)
    return cost


def _listed(span: Span, prices: PriceList) -> Cost:
    """The price of the model that answered, else of the one that was asked."""
    usage, cost = span.usage, UNPRICED
    if usage.input is None and usage.output is None:
        return cost
    is_embedding = span.kind is _EMBEDDING
    if span.response_model is not None:
        cost = prices.cost(usage, span.provider, span.response_model, span.start_ns, is_embedding=is_embedding)
    if cost.nano is None and span.request_model is not None:
        cost = prices.cost(usage, span.provider, span.request_model, span.start_ns, is_embedding=is_embedding)
    return cost


def counts_as_unpriced(span: Span, cost: Cost) -> bool:
    """Whether a model call's cost is missing: it has tokens without a price, or worked but tells none."""
    if span.kind not in COSTED_KINDS or cost.nano is not None:
        return False
    usage = span.usage
    tells = any(
        count is not None
        for count in (usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)
    )
    return tells or not span.is_error
