"""What a model call costs, at which price, from which source. Money is integer nano-dollars.

The reference is ``genai-prices``, which is dated and tiered but takes a quarter of a millisecond
a call. Its price of one model on one day is linear within a tier, so it is probed once and kept
as integer rates: a cached call costs about a microsecond and gives the same amount, exactly,
rounded half to even to the nano-dollar once per call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Protocol

from genai_prices import Usage, calc_price
from genai_prices.types import ModelPrice, TieredPrices

from agentops.domain.spans import COSTED_KINDS, Cost, PriceSource, Span, TokenUsage

SOURCE_VERSION = f"genai-prices {version('genai-prices')}"
NS_PER_DAY = 86_400_000_000_000
#: Rates are kept in units of 10^-18 dollars a token, so that they are whole numbers.
_SCALE = 10**18
_PER_NANO = 10**9
_MAX_CACHED = 50_000
UNPRICED = Cost(None, None, None)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: What telemetry calls a provider, and what genai-prices calls it.
PROVIDERS = {
    "azure": "azure",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "az.ai.openai": "azure",
    "az.ai.inference": "azure",
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "vertex_ai": "google",
    "gemini": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "x_ai": "x-ai",
    "xai": "x-ai",
}


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


@dataclass(slots=True, frozen=True)
class _Rates:
    tiers: tuple[_Tier, ...]  # highest start first
    price_id: str


class PriceList:
    """Prices of models by day, from ``genai-prices`` and, before it, a price book."""

    def __init__(self, book: PriceBook | None = None) -> None:
        self._book = book
        self._rates: dict[tuple[str | None, str, int], _Rates | None] = {}

    def cost(self, usage: TokenUsage, provider: str | None, model: str, at_ns: int) -> Cost:
        """What a call of ``model`` that started at ``at_ns`` costs; unpriced when nobody knows."""
        if self._book is not None and (own := self._book.cost(usage, provider, model, at_ns)) is not None:
            return own
        key = (provider, model, at_ns // NS_PER_DAY)
        try:
            rates = self._rates[key]
        except KeyError:
            if len(self._rates) >= _MAX_CACHED:
                self._rates.clear()
            rates = self._rates[key] = _probe(provider, model, _EPOCH + timedelta(days=key[2]))
        if rates is None:
            return UNPRICED
        return Cost(_amount(rates, usage), PriceSource.GENAI_PRICES, rates.price_id)


def _amount(rates: _Rates, usage: TokenUsage) -> int:
    total = usage.input or 0
    read, creation = usage.cache_read or 0, usage.cache_creation or 0
    fresh = max(0, total - read - creation)
    for tier in rates.tiers:
        if total > tier.start:
            break
    amount = (
        tier.fixed
        + fresh * tier.fresh
        + read * tier.cache_read
        + creation * tier.cache_creation
        + (usage.output or 0) * tier.output
    )
    whole, rest = divmod(amount, _PER_NANO)
    half = _PER_NANO // 2
    return whole + (1 if rest > half or (rest == half and whole & 1) else 0)


def _probe(provider: str | None, model: str, day: datetime) -> _Rates | None:
    """Read the rates of a model off genai-prices; ``None`` when it does not know the model."""
    known_as = PROVIDERS.get(provider, provider) if provider else None
    for candidate in (known_as, None) if known_as else (None,):
        try:
            # The end of the day that the call started in would be as good: prices change by day.
            found = calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=candidate, genai_request_timestamp=day)
        except (LookupError, ValueError):
            continue
        price_id = f"{SOURCE_VERSION} {found.provider.id}/{found.model.id}"
        return _Rates(_tiers(found.model_price), price_id)
    return None


def _tiers(price: ModelPrice) -> tuple[_Tier, ...]:
    starts = {-1}
    for value in vars(price).values():
        if isinstance(value, TieredPrices):
            starts.update(tier.start for tier in value.tiers)
    return tuple(_tier(price, start) for start in sorted(starts, reverse=True))


def _tier(price: ModelPrice, start: int) -> _Tier:
    # Two tokens above the start stay within the tier, so differences are rates.
    base = start + 2

    def units(count: int, *, read: int = 0, creation: int = 0, output: int = 0) -> int:
        usage = Usage(
            input_tokens=count, cache_read_tokens=read, cache_write_tokens=creation, output_tokens=output
        )
        total = price.calc_price(usage)["total_price"] * _SCALE
        return int(total.to_integral_value())

    here = units(base)
    fresh = units(base + 1) - here
    return _Tier(
        start=start,
        fixed=here - base * fresh,
        fresh=fresh,
        cache_read=units(base, read=1) - here + fresh,
        cache_creation=units(base, creation=1) - here + fresh,
        output=units(base, output=1) - here,
    )


#: Scopes whose reported cost is not a provider's or a gateway's bill but the instrumentation's
#: own look-up in genai-prices: ours is the same table, dated, and names its version.
_COMPUTED_BY_CLIENT = frozenset({"pydantic-ai", "logfire"})


def span_cost(span: Span, prices: PriceList) -> Cost:
    """What a span costs: reported, else by the price of its model; only model calls cost.

    A failed call that reports no usage has no known cost. Reported zero beside tokens of a model
    that costs money is how instrumentations say *unknown*, and is not taken for a price.
    """
    if span.kind not in COSTED_KINDS:
        return UNPRICED
    usage = span.usage
    known = usage.input is not None or usage.output is not None
    model = span.response_model or span.request_model
    computed = UNPRICED
    if known and model:
        computed = prices.cost(usage, span.provider, model, span.start_ns)
        if computed.nano is None and span.request_model and span.request_model != model:
            computed = prices.cost(usage, span.provider, span.request_model, span.start_ns)
    reported = span.reported_cost_nano
    if reported is None or (computed.nano is not None and (reported == 0 or span.scope in _COMPUTED_BY_CLIENT)):
        return computed
    if reported == 0 and known:
        return UNPRICED
    return Cost(reported, PriceSource.PROVIDER, None)


def counts_as_unpriced(span: Span, cost: Cost) -> bool:
    """Whether a model call's cost is missing: it has tokens without a price, or worked but tells none."""
    if span.kind not in COSTED_KINDS or cost.nano is not None:
        return False
    usage = span.usage
    tells = any(
        field is not None
        for field in (usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)
    )
    return tells or not span.is_error


