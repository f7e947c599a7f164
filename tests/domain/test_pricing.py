"""What a model call costs: the same as genai-prices says, to the nano-dollar, or unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain.pricing import ESTIMATED, REPORTED, UNPRICED, PriceList, counts_as_unpriced, span_cost
from agentops.domain.spans import NO_TERMS, Cost, CostBasis, Kind, PriceSource, Span, Terms, TokenUsage

AT = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRICES = PriceList()


def ns(moment: datetime) -> int:
    return int((moment - EPOCH) / timedelta(microseconds=1)) * 1_000


def price_now(model: ModelInfo, moment: datetime) -> ModelPrice:
    return model.get_prices(moment)


#: Every model that can be asked for by its own name at its own provider. Whoever speaks OpenAI's protocol may run
#: those that OpenAI gave away.
MODELS: list[tuple[Provider, ModelInfo]] = [
    (provider, model)
    for provider in providers
    for model in provider.models
    if provider.find_model(model.id) is model and not (provider.id == "openai" and model.id.startswith("gpt-oss"))
]
MODELS_BY_NAME = {f"{provider.id}/{model.id}": model for provider, model in MODELS}
TOKEN_PRICED = [
    (provider, model)
    for provider, model in MODELS
    if price_now(model, AT).input_mtok is not None and price_now(model, AT).output_mtok is not None
]
#: Around the places where tiers of prices start.
COUNTS = st.integers(0, 3_000_000) | st.sampled_from([0, 1, 127_999, 128_000, 128_001, 199_999, 200_000, 200_001])


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    total, output = draw(COUNTS), draw(COUNTS)
    read = draw(st.integers(0, total))
    return TokenUsage(total, output, read, draw(st.integers(0, total - read)), draw(st.integers(0, output)))


def reference(provider: Provider, model: ModelInfo, usage: TokenUsage, moment: datetime) -> int:
    found = model.calc_price(
        Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_creation,
            output_reasoning_tokens=usage.reasoning,
        ),
        provider,
        genai_request_timestamp=moment,
    )
    return int((found.total_price * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def test_most_models_of_the_list_are_compared() -> None:
    assert len(TOKEN_PRICED) > 1_500
    assert any(
        isinstance(value, TieredPrices) for _, model in TOKEN_PRICED for value in vars(price_now(model, AT)).values()
    )


def with_audio(usage: TokenUsage, terms: Terms) -> Usage:
    return Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_creation,
        cache_write_1h_tokens=terms.cache_creation_1h,
        output_reasoning_tokens=usage.reasoning,
        input_audio_tokens=terms.audio_input,
        output_audio_tokens=terms.audio_output,
        cache_audio_read_tokens=terms.audio_cache_read,
    )


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TOKEN_PRICED), usages(), st.integers(0, 3 * 365 * 24 * 60))
def test_a_cost_is_what_genai_prices_says_at_any_time(
    found: tuple[Provider, ModelInfo], usage: TokenUsage, minutes: int
) -> None:
    provider, model = found
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    price = price_now(model, moment)
    cost = PRICES.cost(usage, provider.id, model.id, ns(moment))
    if price.input_mtok is None or price.output_mtok is None:
        assert cost.nano is None or not (usage.input and usage.output)
        return
    assert cost.nano == reference(provider, model, usage, moment)
    assert cost.source is PriceSource.GENAI_PRICES
    assert cost.price_id is not None
    assert cost.price_id.startswith("genai-prices ")
    assert cost.price_id.endswith(f" {provider.id}/{model.id}")


@pytest.mark.parametrize(
    ("provider", "model"), TOKEN_PRICED[:: max(1, len(TOKEN_PRICED) // 300)], ids=lambda each: each.id
)
def test_a_cost_is_what_genai_prices_says_in_every_tier(provider: Provider, model: ModelInfo) -> None:
    starts = {
        tier.start
        for value in vars(price_now(model, AT)).values()
        if isinstance(value, TieredPrices)
        for tier in value.tiers
    }
    for total in {1_000, *(start + more for start in starts for more in (0, 1, 50_000))}:
        usage = TokenUsage(total, 333, total // 3, total // 7, 111)
        assert PRICES.cost(usage, provider.id, model.id, ns(AT)).nano == reference(provider, model, usage, AT)


#: What has a price of its own in some models: the count, how the list calls its price, and a call that has some of it.
PARTICULAR = {
    "cache_creation_1h": ("cache_write_1h_mtok", TokenUsage(9_000, 700, 300, 2_000, 40)),
    "audio_input": ("input_audio_mtok", TokenUsage(9_000, 700)),
    "audio_output": ("output_audio_mtok", TokenUsage(9_000, 1_700, 300, 0, 40)),
}


@pytest.mark.parametrize("name", PARTICULAR)
def test_particular_tokens_cost_what_genai_prices_says(name: str) -> None:
    price_key, usage = PARTICULAR[name]
    listed = [(p, m) for p, m in TOKEN_PRICED if getattr(price_now(m, AT), price_key) is not None]
    assert len(listed) >= 5
    for provider, model in listed:
        terms = Terms(**{name: 1_500})
        expected = model.calc_price(with_audio(usage, terms), provider, genai_request_timestamp=AT).total_price
        cost = PRICES.cost(usage, provider.id, model.id, ns(AT), terms=terms)
        assert cost.nano == int((expected * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)), model.id
        assert cost.nano != PRICES.cost(usage, provider.id, model.id, ns(AT)).nano


def test_audio_read_from_the_cache_costs_what_genai_prices_says() -> None:
    usage, terms = TokenUsage(9_000, 700, 300), Terms(audio_input=1_500, audio_cache_read=200)
    expected = MODELS_BY_NAME["openai/gpt-realtime"].prices.calc_price(with_audio(usage, terms))["total_price"]
    assert PRICES.cost(usage, "openai", "gpt-realtime", ns(AT), terms=terms).nano == int(expected * 10**9)


@pytest.mark.parametrize(
    ("model", "usage", "terms"),
    [
        ("openai/gpt-4o", TokenUsage(1_000, 100), Terms(audio_input=10)),
        ("openai/gpt-4o-audio-preview", TokenUsage(1_000, 100), Terms(audio_output=10)),
        ("openai/gpt-realtime", TokenUsage(1_000, 100), Terms(audio_input=1_001)),
        ("openai/gpt-realtime", TokenUsage(1_000, 100), Terms(audio_output=101)),
        ("openai/gpt-realtime", TokenUsage(1_000, 100, 50), Terms(audio_input=40, audio_cache_read=41)),
        ("google/gemini-2.5-flash", TokenUsage(1_000, 100, 50), Terms(audio_input=40)),
        ("anthropic/claude-sonnet-4-5", TokenUsage(1_000, 100, 0, 50), Terms(cache_creation_1h=51)),
    ],
)
def test_particular_tokens_without_a_price_or_more_than_there_are_leave_a_call_unpriced(
    model: str, usage: TokenUsage, terms: Terms
) -> None:
    provider, _, name = model.partition("/")
    assert PRICES.cost(usage, provider, name, ns(AT)).nano
    assert PRICES.cost(usage, provider, name, ns(AT), terms=terms) == UNPRICED


def test_gemini_has_one_price_for_all_modalities_where_it_names_none_apart() -> None:
    usage = TokenUsage(1_000, 100)
    heard = PRICES.cost(usage, "google", "gemini-2.5-pro", ns(AT), terms=Terms(audio_input=1_000))
    assert heard == PRICES.cost(usage, "google", "gemini-2.5-pro", ns(AT))
    flash = PRICES.cost(usage, "google", "gemini-2.5-flash", ns(AT), terms=Terms(audio_input=1_000))
    assert flash.nano != PRICES.cost(usage, "google", "gemini-2.5-flash", ns(AT)).nano


LISTED_TIERS = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "tier", "context"),
    [
        ("openai/gpt-5", "flex", {"service_tier": "flex"}),
        ("openai/gpt-5", "priority", {"service_tier": "priority"}),
        ("openai/gpt-5", "fast", {"service_tier": "fast"}),
        ("openai/gpt-4.1", "batch", {"processing": "batch"}),
        ("anthropic/claude-sonnet-4-5", "batch", {"processing": "batch"}),
        ("anthropic/claude-opus-5", "fast", {"speed": "fast"}),
        ("google/gemini-2.5-pro", "batch", {"processing": "batch"}),
    ],
)
def test_a_service_tier_has_the_price_that_the_list_names_for_it(
    model: str, tier: str, context: dict[str, str]
) -> None:
    provider, _, name = model.partition("/")
    usage = TokenUsage(300_000, 2_000, 1_000)
    price = MODELS_BY_NAME[model].get_prices(LISTED_TIERS, context)
    expected = price.calc_price(with_audio(usage, NO_TERMS))["total_price"]
    cost = PRICES.cost(usage, provider, name, ns(LISTED_TIERS), terms=Terms(tier=tier))
    assert cost.nano == int(expected * 10**9)
    assert cost.price_id is not None
    assert cost.price_id.endswith(f"{model} {tier}")
    assert cost.nano != PRICES.cost(usage, provider, name, ns(LISTED_TIERS)).nano


@pytest.mark.parametrize(
    ("model", "tier"), [("openai/gpt-5", "flex"), ("openai/gpt-4.1", "batch"), ("anthropic/claude-sonnet-4-5", "batch")]
)
def test_before_the_list_knows_a_tier_it_costs_what_the_provider_has_published(model: str, tier: str) -> None:
    provider, _, name = model.partition("/")
    usage, then = TokenUsage(300_000, 2_000, 1_000), ns(datetime(2026, 1, 1, tzinfo=UTC))
    standard = PRICES.cost(usage, provider, name, then).nano
    cost = PRICES.cost(usage, provider, name, then, terms=Terms(tier=tier))
    assert standard is not None
    assert cost.nano == standard // 2
    assert cost.price_id is not None
    assert cost.price_id.endswith(f"{model} {tier} at 50 %")


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("openai/gpt-5", "scale"),
        ("anthropic/claude-sonnet-4-5", "priority"),
        ("groq/llama-3.3-70b-versatile", "flex"),
        ("aws/amazon.nova-pro-v1:0", "priority"),
    ],
)
def test_a_tier_of_which_nothing_is_published_is_unpriced(model: str, tier: str) -> None:
    provider, _, name = model.partition("/")
    assert PRICES.cost(TokenUsage(10, 10), provider, name, ns(AT)).nano is not None
    assert PRICES.cost(TokenUsage(10, 10), provider, name, ns(AT), terms=Terms(tier=tier)) == UNPRICED


def test_prices_that_depend_on_the_time_of_day_change_on_whole_minutes() -> None:
    # That is how long a price of such a model is remembered.
    for _, model in MODELS:
        for conditional in () if isinstance(model.prices, ModelPrice) else model.prices:
            if isinstance(constraint := conditional.constraint, TimeOfDateConstraint):
                for time in (constraint.start_time, constraint.end_time):
                    assert (time.second, time.microsecond) == (0, 0)


def test_an_off_peak_price_holds_only_off_peak() -> None:
    usage = TokenUsage(1_000_000, 1_000_000)
    day = datetime(2026, 9, 1, tzinfo=UTC)
    night, noon = (PRICES.cost(usage, "deepseek", "deepseek-chat", ns(day + timedelta(hours=h))).nano for h in (0, 12))
    assert night is not None
    assert noon is not None
    assert night < noon


@pytest.mark.parametrize(
    ("provider", "model", "price"),
    [
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("azure.ai.openai", "gpt-4o", "azure/gpt-4o"),
        ("azure.ai.inference", "gpt-4o-mini-2024-07-18", "azure/gpt-4o-mini"),
        (
            "aws.bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("google", "gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("gcp.gemini", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("mistral_ai", "mistral-large-2411", "mistral/mistral-large"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("x_ai", "grok-4", "x-ai/grok-4-0709"),
        (None, "claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5"),
        (None, "openai/gpt-4o", "openai/gpt-4o"),
        ("a gateway of ours", "gpt-4.1-mini-2025-04-14", "openai/gpt-4.1-mini"),
        ("openai", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ],
)
def test_a_model_is_found_by_its_provider_or_by_its_name(provider: str | None, model: str, price: str) -> None:
    cost = PRICES.cost(TokenUsage(1_000, 1_000), provider, model, ns(AT))
    assert cost.price_id is not None
    assert cost.price_id.split()[-1] == price
    assert cost.nano


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "a-model-of-our-own", TokenUsage(1_000, 1_000)),
        (None, "", TokenUsage(1_000, 1_000)),
        (None, "/", TokenUsage(1_000, 1_000)),
        ("openai", "whisper-1", TokenUsage(1_000, 100)),
        ("ollama", "deepseek-r1:8b", TokenUsage(1_000, 100)),
        (None, "ollama/mistral", TokenUsage(1_000, 100)),
        ("openai", "gpt-4o", TokenUsage(None, 100)),
        ("openai", "gpt-4o", TokenUsage(1_000, None)),
        ("openai", "gpt-4o", TokenUsage(10, 10, 8, 8)),
    ],
)
def test_what_is_not_known_to_the_last_token_is_unpriced_and_never_zero(
    provider: str | None, model: str, usage: TokenUsage
) -> None:
    assert PRICES.cost(usage, provider, model, ns(AT)) == UNPRICED


def test_an_embedding_needs_no_output() -> None:
    usage = TokenUsage(1_000_000)
    cost = PRICES.cost(usage, "openai", "text-embedding-3-small", ns(AT), is_embedding=True)
    assert cost.nano == 20_000_000


def test_half_a_nano_dollar_is_rounded_to_even() -> None:
    # $0.0375 a million tokens are 37.5 nano-dollars a token.
    costs = [PRICES.cost(TokenUsage(n, 0), "cohere", "command-r7b", ns(AT)).nano for n in (1, 2, 3)]
    assert costs == [38, 75, 112]


def span(kind: Kind = Kind.LLM, **more: object) -> Span:
    made = Span(b"t" * 16, b"s" * 8, b"", "service", kind, "chat", "scope", ns(AT), ns(AT) + 1)
    made.usage = TokenUsage(1_000, 100)
    made.response_model = "gpt-4o-2024-08-06"
    made.provider = "openai"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_the_response_model_decides_and_the_request_model_helps_out() -> None:
    assert span_cost(span(request_model="gpt-4o-mini"), PRICES).price_id.endswith("openai/gpt-4o")  # type: ignore[union-attr]
    helped = span_cost(span(response_model="our-deployment", request_model="gpt-4o-mini"), PRICES)
    assert helped.price_id is not None
    assert helped.price_id.endswith("openai/gpt-4o-mini")


@pytest.mark.parametrize("kind", [Kind.AGENT, Kind.WORKFLOW, Kind.TOOL, Kind.RETRIEVAL, Kind.OTHER])
def test_only_model_calls_cost(kind: Kind) -> None:
    agent = span(kind, reported_cost_nano=5)
    assert span_cost(agent, PRICES) == UNPRICED
    assert not counts_as_unpriced(agent, UNPRICED)


def test_a_reported_cost_wins_over_the_list() -> None:
    assert span_cost(span(reported_cost_nano=12), PRICES) == Cost(12, PriceSource.PROVIDER, REPORTED)


@pytest.mark.parametrize("basis", [CostBasis.SAME_LIST, CostBasis.OTHER_LIST])
def test_what_a_client_read_off_a_list_wins_only_over_nothing(basis: CostBasis) -> None:
    estimate = {"reported_cost_nano": 10**9, "reported_cost_basis": basis}
    assert span_cost(span(**estimate), PRICES).source is PriceSource.GENAI_PRICES
    unknown = span_cost(span(response_model="our-own", **estimate), PRICES)
    assert unknown == Cost(10**9, PriceSource.PROVIDER, ESTIMATED)


def test_a_client_that_found_less_in_the_same_list_knew_of_caches_that_it_does_not_tell() -> None:
    listed = span_cost(span(), PRICES)
    estimate = {"reported_cost_nano": 1_000, "reported_cost_basis": CostBasis.SAME_LIST}
    assert span_cost(span(**estimate), PRICES) == Cost(1_000, PriceSource.PROVIDER, ESTIMATED)
    other = {**estimate, "reported_cost_basis": CostBasis.OTHER_LIST}
    assert span_cost(span(**other), PRICES) == listed
    told = span_cost(span(usage=TokenUsage(1_000, 100, 0), **estimate), PRICES)
    assert told == listed


@pytest.mark.parametrize(
    ("usage", "terms", "priced_as"),
    [
        (TokenUsage(1_000, 100), NO_TERMS, TokenUsage(1_000, 100)),
        (TokenUsage(1_000), NO_TERMS, TokenUsage(1_000, 0)),
        (TokenUsage(None, 100), NO_TERMS, TokenUsage(0, 100)),
        (TokenUsage(1_000), Terms(estimated_output=30), TokenUsage(1_000, 30)),
        (TokenUsage(), Terms(estimated_input=400), TokenUsage(400, 0)),
        (TokenUsage(), Terms(estimated_input=400, estimated_output=30), TokenUsage(400, 30)),
    ],
)
def test_a_failed_call_costs_what_is_known_of_it_and_says_that_it_is_an_estimate(
    usage: TokenUsage, terms: Terms, priced_as: TokenUsage
) -> None:
    cost = span_cost(span(usage=usage, terms=terms, is_error=True), PRICES)
    assert cost.is_estimate
    assert cost._replace(is_estimate=False) == span_cost(span(usage=priced_as), PRICES)


def test_what_a_provider_bills_for_a_failed_call_is_no_estimate() -> None:
    assert not span_cost(span(is_error=True, reported_cost_nano=5), PRICES).is_estimate
    assert not span_cost(span(), PRICES).is_estimate


def test_a_failed_call_without_usage_costs_nothing_known_and_is_not_counted_as_unpriced() -> None:
    failed = span(usage=TokenUsage(), is_error=True)
    assert span_cost(failed, PRICES) == UNPRICED
    assert not counts_as_unpriced(failed, UNPRICED)


@pytest.mark.parametrize(
    "unknown",
    [
        {"usage": TokenUsage()},
        {"response_model": "our-own"},
        {"response_model": None},
        {"response_model": "our-own", "usage": TokenUsage(5), "is_error": True},
    ],
)
def test_a_call_that_worked_without_usage_or_has_no_price_counts_as_unpriced(unknown: dict[str, object]) -> None:
    call = span(**unknown)
    cost = span_cost(call, PRICES)
    assert cost == UNPRICED
    assert counts_as_unpriced(call, cost)
