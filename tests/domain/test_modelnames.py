"""A model is found by whatever name telemetry has for it, and one's own model by none."""

from __future__ import annotations

import pytest

from agentops.domain.modelnames import provider_ids, spellings
from agentops.domain.pricelist import find

PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
CLAUDE = "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"

FOUND = [
    # snapshots
    ("openai", "gpt-5-mini-2025-08-07", "openai/gpt-5-mini"),
    (None, "gpt-5-mini-2025-08-07", "openai/gpt-5-mini"),
    ("openai", "gpt-5-mini-20250807", "openai/gpt-5-mini"),
    ("anthropic", "claude-opus-4-5-20251101", "anthropic/claude-opus-4-5"),
    ("anthropic", "claude-3-5-haiku-latest", "anthropic/claude-3-5-haiku-latest"),
    ("openai", "o3-mini-2025-01-31", "openai/o3-mini"),
    # a provider before the name, as gateways and SDKs write it
    (None, "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ("openai", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    (None, "anthropic:claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    (None, "openai:gpt-4o", "openai/gpt-4o"),
    (None, "google-gla:gemini-2.5-pro", "google/gemini-2.5-pro"),
    (None, "litellm/gpt-4o", "openai/gpt-4o"),
    ("litellm_proxy", "openai/gpt-4o", "openai/gpt-4o"),
    (None, "openai/responses/gpt-5", "openai/gpt-5"),
    (None, "groq/llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),
    ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
    (None, "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", "together/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("cerebras", "llama3.1-8b", "cerebras/llama3.1-8b"),
    (None, "deepseek/deepseek-chat", "deepseek/deepseek-chat"),
    (None, "xai/grok-4", "x-ai/grok-4-0709"),
    # OpenRouter
    ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
    (None, "openrouter/anthropic/claude-sonnet-4", "openrouter/anthropic/claude-sonnet-4"),
    ("openrouter", "anthropic/claude-3.7-sonnet:beta", "openrouter/anthropic/claude-3.7-sonnet"),
    (None, "deepseek/deepseek-r1:free", "openrouter/deepseek/deepseek-r1:free"),
    # Bedrock
    ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    (None, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    (None, "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    (None, "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    (None, "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    ("aws.bedrock", f"{PROFILE}us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    (None, f"bedrock/{PROFILE}us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
    (
        "aws.bedrock",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    (
        "aws.bedrock",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
        "aws/regional.anthropic.claude-3-haiku-20240307-v1:0",
    ),
    ("amazon_bedrock", "meta.llama3-1-70b-instruct-v1:0", "aws/meta.llama3-1-70b-instruct-v1:0"),
    ("aws.bedrock", "us.meta.llama3-3-70b-instruct-v1:0", "aws/meta.llama3-3-70b-instruct-v1:0"),
    (None, "bedrock_converse/us.amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
    ("aws.bedrock", "amazon.titan-embed-text-v2:0", "aws/amazon.titan-embed-text-v2:0"),
    # Vertex and Gemini
    ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
    (None, "claude-sonnet-4-5@20250929", "anthropic/claude-sonnet-4-5"),
    (None, "vertex_ai/claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
    ("vertex_ai", "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
    (
        "gcp.vertex_ai",
        "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash",
        "google/gemini-2.5-flash",
    ),
    (None, "publishers/anthropic/models/claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
    ("gcp.gemini", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
    (None, "gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
    # Azure
    ("azure.ai.openai", "gpt-4o-2024-08-06", "azure/gpt-4o"),
    (None, "azure/gpt-4o", "azure/gpt-4o"),
    (None, "azure/global-standard/gpt-4o", "azure/gpt-4o"),
    ("azure", "gpt-35-turbo", "azure/gpt-3.5-turbo"),
    # fine-tunes that have a price of their own
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", "openai/ft:gpt-4o-mini"),
    (None, "ft:gpt-4o-mini-2024-07-18:acme::abc", "openai/ft:gpt-4o-mini"),
    (None, "openai/ft:gpt-4o-2024-08-06:acme::abc", "openai/ft:gpt-4o"),
]
NOT_FOUND = [
    # what runs on one's own machine, or may
    ("ollama", "llama3.1:8b"),
    (None, "ollama/llama3.1"),
    (None, "ollama_chat/mistral-large"),
    ("vllm", "gpt-4o"),
    ("lm_studio", "gpt-4o"),
    (None, "hosted_vllm/meta-llama/Llama-3.1-8B-Instruct"),
    (None, "deepseek-r1:8b"),
    ("openai", "deepseek-r1:8b"),
    ("a gateway of ours", "deepseek-r1:8b"),
    ("openai", "mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf"),
    ("openai", "mistralai/Mistral-7B-Instruct-v0.3"),
    ("sagemaker", "mistral-7b-instruct"),
    (None, "Qwen/Qwen2.5-7B-Instruct"),
    ("openai", "deepseek-ai/DeepSeek-V3"),
    ("openai", "moonshotai/Kimi-K2-Instruct"),
    ("openai", "gpt-oss-20b"),
    ("openai", "openai/gpt-oss-20b"),
    (None, "gpt-oss-120b"),
    ("openai", "google/gemma-3-27b-it"),
    (None, "meta-llama/llama-3.1-8b-instruct"),
    # what is bought by the hour, or is one's own, at a cloud
    ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"),
    ("aws.bedrock", "arn:aws:bedrock:us-west-2:123456789012:provisioned-model/anthropic.claude-v2:1"),
    ("aws.bedrock", "arn:aws:bedrock:us-west-2:123456789012:custom-model/anthropic.claude-v2:1/abc"),
    ("azure", "my-deployment"),
    ("azure", "gpt-4o-prod"),
    # variants with other prices
    ("openrouter", "openai/gpt-4o:nitro"),
    (None, "openai/gpt-4o:online"),
    (None, "azure/eu/gpt-4o-2024-08-06"),
    ("openai", "ft:gpt-4.1-nano-2025-04-14:acme::x"),
    ("openai", "ft:davinci-002:acme::x"),
    # names that only begin or end like a model's
    ("openai", "gpt-4omni"),
    ("openai", "my-gpt-4o"),
    ("anthropic", "claude-opus-99"),
    (None, ""),
    (None, "/"),
    (None, "///"),
    (None, "openai/"),
]


@pytest.mark.parametrize(("provider", "model", "price"), FOUND)
def test_a_name_finds_the_price_of_its_model(provider: str | None, model: str, price: str) -> None:
    found = find(provider, model)
    assert found is not None
    assert f"{found.provider.id}/{found.model.id}" == price


@pytest.mark.parametrize(("provider", "model"), NOT_FOUND)
def test_what_may_be_another_model_has_no_public_price(provider: str | None, model: str) -> None:
    assert find(provider, model) is None


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("gpt-4o", ("gpt-4o",)),
        ("GPT-4o-2024-08-06", ("gpt-4o-2024-08-06", "gpt-4o")),
        ("azure/eu/gpt-4o-20240806", ("azure/eu/gpt-4o-20240806", "eu/gpt-4o-20240806", "gpt-4o-20240806", "gpt-4o")),
        ("openai:gpt-4o", ("openai:gpt-4o", "gpt-4o")),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ),
        ("claude-sonnet-4-5@20250929", ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5")),
        ("llama3.1:8b", ("llama3.1:8b",)),
    ],
)
def test_an_entry_may_name_a_model_plainly(model: str, names: tuple[str, ...]) -> None:
    assert spellings(model) == names


@pytest.mark.parametrize(
    ("provider", "model", "ids"),
    [
        ("azure.ai.openai", "gpt-4o", {"azure"}),
        ("openai", "anthropic/claude-sonnet-4-5", {"openai", "anthropic"}),
        (None, "gpt-4o", set()),
        ("Our Gateway", "gpt-4o", {"our gateway"}),
    ],
)
def test_an_entry_may_name_any_provider_that_a_call_names(provider: str | None, model: str, ids: set[str]) -> None:
    assert provider_ids(provider, model) == ids
