"""An operator's own prices: the most exact one that holds at the time, before the public list."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.pricebook import ANY_TIER, FOREVER, Alias, Book, Call, Entry, EntryKind, TokenPrices
from agentops.domain.pricelist import SOURCE_VERSION
from agentops.domain.pricing import ESTIMATED, REPORTED, UNPRICED, PriceList, span_cost
from agentops.domain.spans import Cost, CostBasis, Kind, PriceSource, Span, Terms, TokenUsage

AT = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()) * 10**9
USAGE = TokenUsage(1_000_000, 100_000)
OURS = Entry(1, 1, EntryKind.MODEL, "gpt-4o", tokens=(TokenPrices(input=Decimal(2), output=Decimal(8)),))
DISCOUNT = Entry(2, 1, EntryKind.DISCOUNT, "*", provider="openai", tier=ANY_TIER, percent_off=Decimal(20))
TOOL = Entry(3, 4, EntryKind.TOOL, "web_search", per_call=Decimal("0.005"), per_second=Decimal("0.001"))


def call(**more: object) -> Span:
    made = Span(b"t" * 16, b"s" * 8, b"", "support", Kind.LLM, "chat", "scope", AT, AT + 2_500_000_000)
    made.usage, made.provider, made.response_model = USAGE, "openai", "gpt-4o-2024-08-06"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def cost_of(span: Span, *rows: Entry | Alias) -> Cost:
    book = Book([row for row in rows if isinstance(row, Entry)], [row for row in rows if isinstance(row, Alias)])
    return span_cost(span, PriceList(book))


LISTED = cost_of(call())
assert LISTED.nano is not None


def test_an_entry_is_asked_before_the_public_list_and_names_itself_and_its_version() -> None:
    assert LISTED.source is PriceSource.GENAI_PRICES
    assert cost_of(call(), replace(OURS, number=12, version=3)) == Cost(2_800_000_000, PriceSource.BOOK, "book 12 v3")


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        (OURS, "gpt-4o"),
        (OURS, "GPT-4o-2024-08-06"),
        (OURS, "azure/gpt-4o"),
        (replace(OURS, pattern="gpt-*"), "gpt-5-mini"),
        (replace(OURS, pattern="*"), "anything"),
        (replace(OURS, pattern="claude-sonnet-4-5"), "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (replace(OURS, provider="azure"), "azure/gpt-4o"),
        (replace(OURS, service="support"), "gpt-4o"),
        (replace(OURS, tier=ANY_TIER), "gpt-4o"),
        (replace(OURS, from_ns=AT), "gpt-4o"),
        (replace(OURS, until_ns=AT + 1), "gpt-4o"),
    ],
)
def test_an_entry_holds_for_what_it_names(entry: Entry, model: str) -> None:
    assert cost_of(call(response_model=model), entry).price_id == "book 1 v1"


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        (OURS, "gpt-4o-mini"),
        (OURS, "my-gpt-4o"),
        (replace(OURS, pattern="gpt-4o-2024-08-06"), "gpt-4o"),
        (replace(OURS, pattern="claude*"), "gpt-4o"),
        (replace(OURS, provider="azure"), "gpt-4o"),
        (replace(OURS, service="sales"), "gpt-4o"),
        (replace(OURS, tier="batch"), "gpt-4o"),
        (replace(OURS, from_ns=AT + 1), "gpt-4o"),
        (replace(OURS, until_ns=AT), "gpt-4o"),
    ],
)
def test_an_entry_does_not_hold_for_anything_else(entry: Entry, model: str) -> None:
    assert cost_of(call(response_model=model), entry).source is not PriceSource.BOOK


WEAKER_TO_STRONGER = [
    replace(DISCOUNT, pattern="*", provider=""),
    DISCOUNT,
    replace(OURS, pattern="g*"),
    replace(OURS, pattern="gpt-4*"),
    replace(OURS, pattern="gpt-4o"),
    replace(OURS, pattern="gpt-4o-2024-08-06", tier=ANY_TIER),
    replace(DISCOUNT, pattern="gpt-4o-2024-08-06", provider="", tier="standard"),
    replace(OURS, pattern="gpt-4o-2024-08-06"),
    replace(OURS, pattern="gpt-4o-2024-08-06", from_ns=5),
    replace(OURS, pattern="gpt-4o-2024-08-06", provider="openai"),
    replace(OURS, pattern="*", service="support"),
    replace(OURS, pattern="gpt-4o", service="support"),
]


@pytest.mark.parametrize("place", range(1, len(WEAKER_TO_STRONGER)))
def test_the_more_exact_entry_wins(place: int) -> None:
    weaker, stronger = (
        replace(entry, number=n) for n, entry in enumerate(WEAKER_TO_STRONGER[place - 1 : place + 1], 1)
    )
    for book in ((weaker, stronger), (stronger, weaker)):
        assert str(cost_of(call(), *book).price_id).startswith("book 2 v")


MOMENTS = st.integers(0, 20)


@given(st.lists(st.tuples(MOMENTS, MOMENTS, st.sampled_from(["gpt-4o", "gpt-4*", "*"])), max_size=8), MOMENTS)
def test_at_any_moment_the_entry_holds_that_would_hold_were_it_the_only_moment(
    spans: list[tuple[int, int, str]], moment: int
) -> None:
    entries = [
        replace(OURS, number=n, pattern=pattern, from_ns=begin, until_ns=end)
        for n, (begin, end, pattern) in enumerate(spans, 1)
    ]
    holding = [replace(e, from_ns=0, until_ns=FOREVER) for e in entries if e.from_ns <= moment < e.until_ns]
    ranked = [e.number for e in Book(entries).models(Call("s", "openai", "gpt-4o", None))]
    now = cost_of(call(start_ns=moment), *entries)
    if holding:
        assert now.price_id == f"book {min((e.number for e in holding), key=ranked.index)} v1"
    else:
        assert now.source is PriceSource.GENAI_PRICES


def test_what_an_entry_leaves_out_is_charged_as_what_it_is_counted_among() -> None:
    usage, terms = TokenUsage(1_000, 100, 200, 300, 50), Terms(audio_input=10, audio_output=10, cache_creation_1h=5)
    assert cost_of(call(usage=usage, terms=terms), OURS).nano == 1_000 * 2_000 + 100 * 8_000
    every = TokenPrices(
        input=Decimal(1), output=Decimal(2), cache_read=Decimal("0.1"), cache_creation=Decimal("1.25"),
        cache_creation_1h=Decimal(3), reasoning=Decimal(5), audio_input=Decimal(7), audio_output=Decimal(11),
    )  # fmt: skip
    expected = 490_000 + 200 * 100 + 295 * 1_250 + 5 * 3_000 + 10 * 7_000 + 40 * 2_000 + 50 * 5_000 + 10 * 11_000
    terms = replace(terms, audio_cache_read=0)
    assert cost_of(call(usage=usage, terms=terms), replace(OURS, tokens=(every,))).nano == expected


def test_a_price_may_depend_on_the_length_of_the_context() -> None:
    long = TokenPrices(above=200_000, input=Decimal(4), output=Decimal(9))
    entry = replace(OURS, tokens=(*OURS.tokens, long))
    assert cost_of(call(usage=TokenUsage(200_000, 0)), entry).nano == 400_000_000
    assert cost_of(call(usage=TokenUsage(200_001, 0)), entry).nano == 800_004_000


def test_a_model_may_cost_by_the_call_and_by_the_second_whatever_its_tokens() -> None:
    entry = replace(OURS, pattern="our-llama", tokens=(), per_call=Decimal("0.01"), per_second=Decimal("0.002"))
    mine = call(response_model="our-llama", provider="vllm", usage=TokenUsage())
    assert cost_of(mine, entry) == Cost(15_000_000, PriceSource.BOOK, "book 1 v1")
    mine.is_error = True
    assert cost_of(mine, entry) == UNPRICED
    mine.usage = TokenUsage(5)
    assert cost_of(mine, entry) == Cost(15_000_000, PriceSource.BOOK, "book 1 v1", is_estimate=True)


def test_a_discount_is_taken_off_the_public_price_of_its_time_and_tier() -> None:
    cost = cost_of(call(), DISCOUNT)
    assert cost.nano == LISTED.nano * 8 // 10
    assert cost.source is PriceSource.BOOK
    assert cost.price_id == f"book 2 v1 on {SOURCE_VERSION} openai/gpt-4o"
    batch = cost_of(call(terms=Terms(tier="batch")), DISCOUNT)
    assert batch.nano == LISTED.nano * 4 // 10
    assert cost_of(call(response_model="unknown"), DISCOUNT) == UNPRICED


def test_a_discount_on_what_has_no_public_price_leaves_it_to_the_next_entry() -> None:
    free = replace(OURS, pattern="*", number=9)
    discount = replace(DISCOUNT, pattern="unknown")
    assert cost_of(call(response_model="unknown"), discount, free).price_id == "book 9 v1"


def test_a_tier_that_no_list_prices_has_the_price_of_its_own_entry() -> None:
    scale = replace(OURS, tier="scale")
    assert cost_of(call(terms=Terms(tier="scale"))) == UNPRICED
    assert cost_of(call(terms=Terms(tier="scale")), OURS) == UNPRICED
    assert cost_of(call(terms=Terms(tier="scale")), scale).nano == 2_800_000_000


def test_the_deployment_that_was_asked_may_have_a_price_though_the_model_that_answered_is_public() -> None:
    deployment = replace(OURS, pattern="prod-chat")
    assert cost_of(call(request_model="prod-chat"), deployment).price_id == "book 1 v1"


ALIAS = Alias(5, 1, "prod-chat", "openai", "gpt-4o-mini", provider="azure")


def test_an_alias_gives_a_deployment_the_public_price_of_what_it_stands_for() -> None:
    mine = call(provider="azure.ai.openai", response_model="prod-chat")
    assert cost_of(mine) == UNPRICED
    assert cost_of(mine, ALIAS) == cost_of(call(response_model="gpt-4o-mini"))
    assert cost_of(mine, replace(ALIAS, service="sales")) == UNPRICED
    assert cost_of(mine, replace(ALIAS, until_ns=AT)) == UNPRICED
    assert cost_of(replace(mine, provider="openai"), ALIAS) == UNPRICED


def test_entries_hold_for_what_an_alias_stands_for() -> None:
    mine = call(provider="azure", response_model=None, request_model="prod-chat")
    assert cost_of(mine, ALIAS, replace(OURS, pattern="gpt-4o-mini")).price_id == "book 1 v1"
    discounted = cost_of(mine, ALIAS, DISCOUNT)
    assert discounted.nano == (cost_of(call(response_model="gpt-4o-mini")).nano or 0) * 8 // 10


def test_the_model_that_answered_decides_before_what_a_deployment_stands_for() -> None:
    mine = call(provider="azure", request_model="prod-chat")
    assert str(cost_of(mine, ALIAS).price_id).endswith("azure/gpt-4o")


def test_a_reported_cost_wins_over_an_entry_unless_that_says_otherwise() -> None:
    billed = call(reported_cost_nano=5)
    assert cost_of(billed, OURS) == Cost(5, PriceSource.PROVIDER, REPORTED)
    override = replace(OURS, overrides=True)
    assert cost_of(billed, override).price_id == "book 1 v1"
    assert cost_of(replace(billed, usage=TokenUsage()), override) == Cost(5, PriceSource.PROVIDER, REPORTED)
    assert cost_of(replace(billed, response_model="other"), override) == Cost(5, PriceSource.PROVIDER, REPORTED)


def test_an_entry_wins_over_what_a_client_read_off_a_list() -> None:
    for basis in (CostBasis.SAME_LIST, CostBasis.OTHER_LIST):
        estimated = call(reported_cost_nano=5, reported_cost_basis=basis)
        assert cost_of(estimated, OURS).price_id == "book 1 v1"
    unknown = call(response_model="other", reported_cost_nano=5, reported_cost_basis=CostBasis.OTHER_LIST)
    assert cost_of(unknown, OURS) == Cost(5, PriceSource.PROVIDER, ESTIMATED)


def tool(**more: object) -> Span:
    return call(kind=Kind.TOOL, tool_name="web_search", usage=TokenUsage(), response_model=None, **more)


def test_a_tool_costs_by_the_call_and_by_the_second_of_its_duration() -> None:
    assert cost_of(tool()) == UNPRICED
    assert cost_of(tool(), TOOL) == Cost(7_500_000, PriceSource.BOOK, "book 3 v4")
    assert cost_of(tool(), replace(TOOL, per_second=None)).nano == 5_000_000
    assert cost_of(tool(), replace(TOOL, pattern="WEB_*")).nano == 7_500_000
    assert cost_of(tool(), replace(TOOL, service="sales")) == UNPRICED
    assert cost_of(tool(), replace(TOOL, until_ns=AT)) == UNPRICED
    assert (
        cost_of(tool(), replace(TOOL, pattern="web_search", service="support", number=8), TOOL).price_id == "book 8 v4"
    )
    assert cost_of(tool(is_error=True), TOOL).is_estimate


def test_a_model_and_a_tool_of_one_name_have_different_prices() -> None:
    assert cost_of(call(response_model="web_search"), TOOL) == UNPRICED
    assert cost_of(tool(), replace(OURS, pattern="web_search")) == UNPRICED
