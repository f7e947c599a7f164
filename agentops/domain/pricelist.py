"""Public prices: ``genai-prices``, which is dated and tiered but takes a quarter of a millisecond a call.

One price of one model is linear within a tier, so it is probed once and kept as integer rates: a cached call costs
about two microseconds and gives the same amount, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices, TimeOfDateConstraint

from agentops.domain.modelnames import FREE, candidates, find_provider
from agentops.domain.rates import SCALE, Rates, Tier

SOURCE_VERSION = f"genai-prices {version('genai-prices')}"
NS_PER_MINUTE = 60_000_000_000
NS_PER_DAY = 86_400_000_000_000
MAX_REMEMBERED = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: How genai-prices asks for a service tier, by the name that telemetry has for it.
_CONTEXTS = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}
#: What a provider's own documentation says of a service tier as a whole, in percent of the standard price. It is asked
#: where the list has no price of the tier at that time. Half the price of all tokens: OpenAI's guides to the Batch API
#: and to flex processing (at batch rates), Anthropic's message batches, the Gemini API's batch mode, Azure OpenAI's
#: global batch, Mistral's batch inference. No such rule is published for priority tiers, nor for Bedrock as a whole.
PUBLISHED_PERCENT = {
    ("anthropic", "batch"): 50,
    ("azure", "batch"): 50,
    ("google", "batch"): 50,
    ("mistral", "batch"): 50,
    ("openai", "batch"): 50,
    ("openai", "flex"): 50,
}
#: Gemini's prices hold for every modality where none is named apart.
_ONE_PRICE_FOR_ALL = frozenset({"google"})


@dataclass(slots=True)
class ListPrice:
    """All prices of one model in one service tier. ``period_ns`` is how long each holds at least; 0 for ever."""

    provider: Provider
    model: ModelInfo
    tier: str | None
    period_ns: int
    by_period: dict[int, tuple[Rates, str] | None] = field(default_factory=dict)

    def at(self, at_ns: int) -> tuple[Rates, str] | None:
        """The rates at a moment and the name of the price; ``None`` when the list knows none of this tier."""
        period = at_ns // self.period_ns if self.period_ns else 0
        try:
            return self.by_period[period]
        except KeyError:
            if len(self.by_period) >= MAX_REMEMBERED:
                self.by_period.clear()
            moment = _EPOCH + timedelta(microseconds=period * self.period_ns // 1_000)
            found = self.by_period[period] = self._at(moment)
            return found

    def _at(self, moment: datetime) -> tuple[Rates, str] | None:
        name = f"{SOURCE_VERSION} {self.provider.id}/{self.model.id}"
        if self.tier is None:
            return self._rates(self.model.get_prices(moment)), name
        context = _CONTEXTS.get(self.tier, {})
        if any(_applies(variant, context, moment) for variant in self.model.price_variants or ()):
            return self._rates(self.model.get_prices(moment, context)), f"{name} {self.tier}"
        percent = PUBLISHED_PERCENT.get((self.provider.id, self.tier))
        if percent is None:
            return None
        rates = self._rates(self.model.get_prices(moment)).scaled(percent, 100)
        return rates, f"{name} {self.tier} at {percent} %"

    def _rates(self, price: ModelPrice) -> Rates:
        starts = {-1}
        for value in vars(price).values():
            if isinstance(value, TieredPrices):
                starts.update(tier.start for tier in value.tiers)
        is_free = self.model.id.endswith(FREE) and not any(value is not None for value in vars(price).values())
        alike = self.provider.id in _ONE_PRICE_FOR_ALL
        return Rates(
            tiers=tuple(_tier(price, start, audio_is_alike=alike) for start in sorted(starts, reverse=True)),
            input=is_free or price.input_mtok is not None,
            output=is_free or price.output_mtok is not None,
        )


def find(provider: str | None, model: str, tier: str | None = None) -> ListPrice | None:
    """The public prices of a model, at the provider named, or at the one that its name points to."""
    for hint, name in candidates(provider, model):
        at = find_provider(hint) if hint is not None else _provider_of(name)
        found = at.find_model(name, all_providers=providers) if at is not None else None
        if at is not None and found is not None:
            return ListPrice(at, found, tier, _period(found, tier))
    return None


def _provider_of(model: str) -> Provider | None:
    lower = model.lower()
    return next((p for p in providers if p.model_match is not None and p.model_match.is_match(lower)), None)


def _period(model: ModelInfo, tier: str | None) -> int:
    constraints = [] if isinstance(model.prices, ModelPrice) else [price.constraint for price in model.prices]
    if tier is not None:
        constraints += [variant.constraint for variant in model.price_variants or ()]
    if any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints):
        return NS_PER_MINUTE
    return NS_PER_DAY if any(constraint is not None for constraint in constraints) else 0


def _applies(variant: PriceVariant, context: dict[str, str], moment: datetime) -> bool:
    if variant.constraint is not None and not variant.constraint.active(moment):
        return False
    return variant.when.items() <= context.items()


def _tier(price: ModelPrice, start: int, *, audio_is_alike: bool) -> Tier:
    # Two and three tokens above the start lie within the tier, so differences are rates.
    base = start + 2

    def units(count: int, **more: int) -> int:
        total = price.calc_price(Usage(input_tokens=count, **more))["total_price"]
        return int((total * SCALE).to_integral_value())

    here = units(base)
    fresh = units(base + 1) - here
    read = units(base, cache_read_tokens=1) - here + fresh
    output = units(base, output_tokens=1) - here
    alike = audio_is_alike and price.input_audio_mtok is None and price.output_audio_mtok is None

    def rate(listed: object, usual: int, taken_from: int, **usage: int) -> int | None:
        """What one token of a particular kind costs, in place of one that costs ``taken_from``."""
        if listed is None:
            return usual if alike else None
        return units(base, **usage) - here + taken_from

    written = units(base, cache_write_tokens=1) - here + fresh
    heard_before = {"cache_read_tokens": 1, "input_audio_tokens": 1, "cache_audio_read_tokens": 1}
    written_1h = {"cache_write_tokens": 1, "cache_write_1h_tokens": 1}
    return Tier(
        start=start,
        fixed=here - base * fresh,
        fresh=fresh,
        cache_read=read,
        cache_creation=written,
        output=output,
        reasoning=units(base, output_tokens=1, output_reasoning_tokens=1) - here,
        cache_creation_1h=rate(price.cache_write_1h_mtok, written, fresh, **written_1h),
        audio_input=rate(price.input_audio_mtok, fresh, fresh, input_audio_tokens=1),
        audio_cache_read=rate(price.cache_audio_read_mtok, read, fresh, **heard_before),
        audio_output=rate(price.output_audio_mtok, output, 0, output_tokens=1, output_audio_tokens=1),
    )
