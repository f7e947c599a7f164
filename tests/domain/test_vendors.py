"""Whose a model is, and which names are one model."""

from __future__ import annotations

import pytest

from agentops.domain.vendors import channel, maker, model_key, provider_name, seller

SAME = [
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-sonnet-4-5", "Claude Sonnet 4.5"),
    ("claude-sonnet-4-5", "Claude4.5Sonnet"),
    ("claude-sonnet-4-5", "Claude Sonnet 4.5 (Amazon Bedrock Edition)"),
    ("claude-sonnet-4-5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
    ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest"),
    ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
    ("gpt-5-mini", "openai/gpt-5-mini"),
    ("gpt-4o", "GPT-4o"),
    ("gpt-3.5-turbo", "gpt-35-turbo"),
    ("gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
    ("gpt-oss-120b", "openai.gpt-oss-120b"),
    ("gemini-2.5-flash-preview", "models/gemini-2.5-flash-preview-05-20"),
    ("gemini-1.5-pro", "gemini-1.5-pro-002"),
    ("mistral-large", "mistral-large-2407"),
    ("nova-lite", "amazon.nova-lite-v1:0"),
    ("nova-lite", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"),
    ("ft:gpt-4o-mini-2024-07-18:org::one", "ft:gpt-4o-mini-2024-07-18:org::two"),
]
DIFFERENT = [
    ("gpt-4o", "gpt-4o-mini"),
    ("gpt-4o", "gpt-4"),
    ("gpt-4.1", "gpt-4"),
    ("gpt-4o-mini", "ft:gpt-4o-mini:org::one"),
    ("o1-mini", "o1"),
    ("o4-mini", "gpt-4o-mini"),
    ("claude-sonnet-4-5", "claude-sonnet-4"),
    ("claude-sonnet-4-5", "claude-opus-4-5"),
    ("llama-3.1-8b", "llama-3.1-70b"),
    ("llama3.1:8b", "llama3.1:70b"),
    ("text-embedding-3-small", "text-embedding-3-large"),
    ("deepseek-v3", "deepseek-v3.1"),
    ("", "gpt-4o"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_names_of_one_model_have_one_key(one: str, other: str) -> None:
    assert model_key(one) == model_key(other) != ""


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_models_have_other_keys(one: str, other: str) -> None:
    assert model_key(one) != model_key(other)


@pytest.mark.parametrize(
    ("model", "through", "by", "made_by"),
    [
        ("gpt-4o", "", "openai", "OpenAI"),
        ("azure/gpt-4o", "azure", "azure", "OpenAI"),
        ("claude-sonnet-4-5", "", "anthropic", "Anthropic"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "aws", "Anthropic"),
        ("claude-sonnet-4-5@20250929", "google", "google", "Anthropic"),
        ("gemini-2.5-pro", "", "google", "Google"),
        ("nova-lite", "", "aws", "Amazon Web Services"),
        ("gpt-4.1-mini", "", "openai", "OpenAI"),
        ("in-house", "", "", "Unknown"),
    ],
)
def test_a_name_tells_who_makes_a_model_and_who_sells_it(model: str, through: str, by: str, made_by: str) -> None:
    assert (channel(model), seller(model), maker(model)) == (through, by, made_by)


def test_telemetry_names_the_provider_before_the_model_does() -> None:
    assert provider_name("aws.bedrock", "claude-sonnet-4-5") == "Amazon Web Services"
    assert provider_name("vllm", "llama-3") == "vllm"
    assert provider_name("", "llama-3") == "Meta"
    assert provider_name(None, "in-house") == "Unknown"
