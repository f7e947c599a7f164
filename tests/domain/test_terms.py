"""Service tiers, audio, hour-long caches and broken-off calls, from attributes to what is stored and read again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.dialects import normalise
from agentops.domain.dialects.terms import words
from agentops.domain.pricing import PriceList, span_cost
from agentops.domain.spans import NO_TERMS, CostBasis, Event, Kind, RawSpan, Resource, Span, Terms, TokenUsage
from agentops.domain.terms import recall_terms, stored_terms

CALL = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-4o"}
USED = {"gen_ai.usage.input_tokens": 1_000, "gen_ai.usage.output_tokens": 100}
OPENINFERENCE = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 10}
ASKED = '[{"role":"user","parts":[{"type":"text","content":"%s"}]}]' % ("word " * 80)
ANSWERED = '[{"role":"assistant","parts":[{"type":"text","content":"%s"}]}]' % ("well " * 8)


def understand(attributes: dict[str, Any], error: str | None = None, message: str = "", **more: Any) -> Span:
    events = [Event("exception", 1, {"exception.type": error})] if error else []
    raw = RawSpan(
        b"t" * 16, b"s" * 8, b"", "chat", 1_790_000_000_000_000_000, 1_790_000_000_000_000_001, 2 if error else 0,
        message, attributes, events, "scope", Resource({}),
    )  # fmt: skip
    return normalise(raw, "support", **more)


@pytest.mark.parametrize(
    ("attributes", "tier"),
    [
        ({"openai.response.service_tier": "flex"}, "flex"),
        ({"gen_ai.openai.response.service_tier": "priority"}, "priority"),
        ({"gen_ai.response.service_tier": "Batch"}, "batch"),
        ({"anthropic.response.service_tier": "batch"}, "batch"),
        ({"openai.request.service_tier": "flex"}, "flex"),
        ({"openai.request.service_tier": "flex", "openai.response.service_tier": "default"}, None),
        ({"openai.request.service_tier": "auto", "openai.response.service_tier": "scale"}, "scale"),
        ({"openai.response.service_tier": "default", "agentops.service_tier": "batch"}, "batch"),
        ({"openai.request.service_tier": "auto"}, None),
        ({"openai.response.service_tier": 5.5}, "5.5"),
        ({}, None),
    ],
)
def test_the_tier_that_answered_counts_else_the_one_that_was_asked(
    attributes: dict[str, Any], tier: str | None
) -> None:
    span = understand(CALL | USED | attributes)
    assert span.terms.tier == tier
    assert (span.terms is NO_TERMS) == (tier is None)


def test_openinference_names_the_tier_that_was_asked_in_its_parameters() -> None:
    asked = {"llm.invocation_parameters": '{"service_tier": "flex"}'}
    assert understand(OPENINFERENCE | asked).terms == Terms(tier="flex")


def test_tokens_with_prices_of_their_own_are_told_apart() -> None:
    audio = {"gen_ai.usage.audio.input_tokens": 40, "gen_ai.usage.audio.output_tokens": 30}
    assert understand(CALL | USED | audio).terms == Terms(audio_input=40, audio_output=30)
    cached = {"gen_ai.usage.details.input_audio_tokens": 10, "gen_ai.usage.details.cache_audio_read_tokens": 0}
    assert understand(CALL | USED | cached).terms == Terms(audio_input=10, audio_cache_read=0)
    written = {"anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 2_048}
    assert understand(CALL | USED | written).terms == Terms(cache_creation_1h=2_048)
    heard = {"llm.token_count.prompt_details.audio": 5, "llm.token_count.completion_details.audio": 0}
    assert understand(OPENINFERENCE | heard).terms == Terms(audio_input=5, audio_output=0)


@pytest.mark.parametrize(
    ("attributes", "terms"),
    [
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.usage_details": '{"input": 90, "output": 20, "input_audio_tokens": 40}',
            },
            Terms(audio_input=40),
        ),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.usage_details": '{"prompt_tokens": 90, "completion_tokens": 20, '
                '"completion_tokens_details": {"audio_tokens": 7}, "prompt_tokens_details": {"audio_tokens": 0}}',
            },
            Terms(audio_input=0, audio_output=7),
        ),
        (
            {
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.response.providerMetadata": '{"openai": {"serviceTier": "flex"}}',
            },
            Terms(tier="flex"),
        ),
        (
            {
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.response.providerMetadata": '{"anthropic": {"usage": {"service_tier": "standard", '
                '"cache_creation": {"ephemeral_1h_input_tokens": 2048}}}}',
            },
            Terms(cache_creation_1h=2_048),
        ),
        (
            CALL
            | {
                "logfire.span_type": "span",
                "gen_ai.usage.raw": '{"prompt_tokens": 90, "prompt_tokens_details": {"audio_tokens": 5}}',
            },
            Terms(audio_input=5),
        ),
    ],
    ids=["Langfuse", "Langfuse as OpenAI counts", "Vercel of OpenAI", "Vercel of Anthropic", "Logfire"],
)
def test_other_dialects_tell_them_in_objects(attributes: dict[str, Any], terms: Terms) -> None:
    assert understand(attributes).terms == terms


@pytest.mark.parametrize("count", [0, -3, "many", None, 2.5])
def test_none_of_them_is_nothing_to_say(count: Any) -> None:
    attributes = {
        "gen_ai.usage.audio.input_tokens": count, "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": count,
        "openai.response.service_tier": "default",
    }  # fmt: skip
    assert understand(CALL | USED | attributes).terms is NO_TERMS


@pytest.mark.parametrize(
    ("error", "message", "answered"),
    [
        ("openai.APITimeoutError", "Request timed out.", False),
        ("asyncio.exceptions.CancelledError", "", False),
        ("TimeoutError", "no answer after 500 ms", False),
        ("google.api_core.exceptions.DeadlineExceeded", "", False),
        ("KeyboardInterrupt", "", True),
        ("httpx.RemoteProtocolError", "peer closed connection without sending complete message body", True),
        ("ConnectionResetError", "[Errno 104] Connection reset by peer", True),
        ("openai.APIConnectionError", "Connection error.", True),
        ("GeneratorExit", "", True),
    ],
)
def test_a_call_that_was_broken_off_is_estimated_from_its_texts_and_its_tokens_stay_unknown(
    error: str, message: str, answered: bool
) -> None:
    texts = {"gen_ai.input.messages": ASKED} | ({"gen_ai.output.messages": ANSWERED} if answered else {})
    span = understand(CALL | texts, error, message)
    assert span.usage == TokenUsage()
    assert span.terms == Terms(estimated_input=100, estimated_output=10 if answered else None)
    cost = span_cost(span, PriceList())
    assert cost.nano == 100 * 2_500 + (10 * 10_000 if answered else 0)
    assert cost.is_estimate


@pytest.mark.parametrize(
    ("error", "message", "answered"),
    [
        ("openai.RateLimitError", "Error code: 429 - timeout", True),
        ("429", "", False),
        ("openai.InternalServerError", "Error code: 500", False),
        ("504", "Gateway timeout", False),
        ("anthropic.OverloadedError", "stream closed", True),
        ("openai.AuthenticationError", "Incorrect API key, connection closed", True),
        ("httpx.ConnectTimeout", "timed out", False),
        ("openai.APIConnectionError", "Connection error.", False),
        ("ConnectionResetError", "[Errno 104] Connection reset by peer", False),
        ("ConnectionRefusedError", "", False),
        ("ValueError", "the answer is no JSON", True),
        ("BudgetExceededError", "cancelled: the budget is spent", True),
    ],
)
def test_a_call_that_was_refused_or_never_reached_anybody_has_no_known_cost(
    error: str, message: str, answered: bool
) -> None:
    texts = {"gen_ai.input.messages": ASKED} | ({"gen_ai.output.messages": ANSWERED} if answered else {})
    span = understand(CALL | texts, error, message)
    assert span.terms is NO_TERMS
    assert span_cost(span, PriceList()).nano is None


def test_only_what_a_broken_off_call_does_not_tell_is_estimated() -> None:
    texts = {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": ANSWERED}
    told = understand(CALL | texts | {"gen_ai.usage.input_tokens": 77}, "TimeoutError")
    assert told.terms == Terms(estimated_output=10)
    assert understand(CALL | texts | USED, "TimeoutError").terms is NO_TERMS
    assert understand(CALL | texts).terms is NO_TERMS
    assert understand(CALL, "TimeoutError").terms is NO_TERMS


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("plain words", 11),
        ("日本語", 9),
        ("[broken", 7),
        ('[{"role": "user", "content": "four"}]', 4),
        ('[{"role": "user", "parts": [{"type": "text", "content": "four"}, {"type": "blob", "blob": "AAAA"}]}]', 4),
        ('{"messages": [{"content": "{\\"query\\": \\"four\\"}", "id": "x"}], "temperature": 0.5}', 4),
        ([{"content": "four"}, "more"], 8),
        ("data:image/png;base64,AAAA", 0),
        (None, 0),
        (7, 0),
    ],
)
def test_only_words_count(value: Any, size: int) -> None:
    assert words(value) == size


COUNTS = st.none() | st.integers(0, 1 << 40)


@given(
    st.builds(
        Terms, tier=st.none() | st.text(min_size=1, max_size=9), audio_input=COUNTS, audio_cache_read=COUNTS,
        audio_output=COUNTS, cache_creation_1h=COUNTS, estimated_input=COUNTS, estimated_output=COUNTS,
    ),
    st.none() | st.integers(0, 10**15),
    st.sampled_from(CostBasis),
)  # fmt: skip
def test_what_is_stored_of_a_span_is_what_it_said(terms: Terms, reported: int | None, basis: CostBasis) -> None:
    def blank() -> Span:
        return Span(b"t" * 16, b"s" * 8, b"", "support", Kind.LLM, "chat", "scope", 0, 1)

    said, recalled = blank(), blank()
    said.terms, said.reported_cost_nano = terms, reported
    said.reported_cost_basis = basis if reported is not None else CostBasis.BILL
    recall_terms(recalled, stored_terms(said))
    assert recalled == said


def test_most_spans_have_nothing_to_store() -> None:
    assert stored_terms(understand(CALL | USED)) is None
