"""What a model may be called: by which names, at which providers, a price of it is looked for.

Telemetry names models as gateways, clouds and SDKs do: with a provider before a slash or a colon, as an ARN, as a path
of resources, with a region, a date, a variant. Nothing here guesses: what may be a model of one's own has no public
price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from genai_prices.data import providers
from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import Provider

#: What telemetry calls a provider, and what genai-prices calls it.
KNOWN_AS = {
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
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
        "ollama_chat",
        "sglang",
        "tgi",
        "vllm",
    }
)
#: The SDK of this provider calls any server that speaks its protocol: that it is named does not say who runs a model.
_ANY_SERVER = "openai"
#: Who makes models that others run: before a slash they say who made one, not who runs it.
_MAKERS = frozenset({"deepseek", "google", "meta", "microsoft", "mistralai", "moonshotai", "nvidia", "openai", "z-ai"})
#: Sizes, quantisations and files, as Ollama and llama.cpp write them.
_LOCAL = re.compile(
    r":(?:latest|\d+(?:\.\d+)?[bm])\b|\.gguf$|[-:_.]q\d(?:_\w+)?$|-(?:awq|gptq|gguf|mlx)\b", re.IGNORECASE
)
#: Models whose weights anybody may run: without who runs them, the name has no price.
_OPEN_WEIGHTS = re.compile(
    r"(?:meta-)?(?:code)?llama|gemma|gpt-oss|mixtral|(?:open-)?mistral-(?:7b|nemo)|qwen|qwq|phi-?\d"
    r"|deepseek-(?:coder|r\d|v\d)|falcon|glm-|granite|kimi-k|nemotron|olmo|smollm|starcoder|yi-",
    re.IGNORECASE,
)
_OPENROUTER = "openrouter"
FREE = ":free"
#: Variants of a model at OpenRouter: other prices, or routes to others.
_VARIANT = re.compile(r":(?:beta|exacto|extended|floor|free|nitro|online|thinking)$")
_FINE_TUNED = "ft:"
_ARN = re.compile(r"(?:.*/)?arn:aws[\w-]*:bedrock:[^:]*:[^:]*:(?P<resource>[\w-]+)/(?P<model>.+)")
#: Of Bedrock's resources those that are public models; the others are bought by the hour, or are one's own.
_PUBLIC_RESOURCES = frozenset({"foundation-model", "inference-profile"})
_BEDROCK = re.compile(
    r"(?:(?:us|eu|apac|global|jp|au|ca|us-gov)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|meta|minimax|mistral|moonshot|nvidia|openai|qwen|stability|writer)\.(?=[a-z])"
)
_BEDROCK_VERSION = re.compile(r"-v\d+(?::\d+\w*)*$")
_VERTEX = re.compile(r"(?:.*/)?publishers/[^/]+/models/(?P<model>[^/]+)")
#: Data zones of Azure have prices of their own.
_ZONES = frozenset({"eu", "us"})
_PREFIX = re.compile(r"(?P<provider>[a-z][a-z0-9_-]*):(?P<model>.+)")
_DATE = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$")


class Candidate(NamedTuple):
    """A name to look for, at a provider or, without one, wherever the name itself points to."""

    provider: str | None
    model: str


def find_provider(text: str | None) -> Provider | None:
    """The provider of genai-prices that telemetry calls so."""
    if not text:
        return None
    lower = text.strip().lower()
    # Not by the package's own lookups: those remember every name that they were ever asked for.
    return find_provider_by_id(providers, KNOWN_AS.get(lower, lower))


def candidates(provider: str | None, model: str) -> list[Candidate]:
    """Under which names a public price of a model may stand, the most exact first; none for what may be one's own."""
    text, host = model.strip(), provider.strip().lower() if provider else None
    if host in SELF_HOSTED:
        return []
    if (resource := _resource(host, text)) is not None:
        return resource
    found = [Candidate(host, text)] if host else []
    runner = host if host != _ANY_SERVER and find_provider(host) is not None else None
    plain = text
    for head, rest in _peeled(text):
        if head in SELF_HOSTED or head in _ZONES:
            return found if head in _ZONES else []
        if find_provider(head) is not None:
            host, runner = head, runner or (None if head in _MAKERS else head)
        found += [Candidate(each, rest) for each in (runner, host) if each]
        plain = rest
    if plain.startswith(_FINE_TUNED):
        return [Candidate(_ANY_SERVER, plain)]
    if _OPEN_WEIGHTS.match(plain) or _LOCAL.search(plain):
        found = [*(each for each in found if each.provider == runner), Candidate(runner, text)] if runner else []
    else:
        found += [Candidate("aws", plain)] if _BEDROCK.match(plain) else []
        found += [Candidate(None, plain), Candidate(None, text)]
    return list(dict.fromkeys(found))


def _resource(host: str | None, text: str) -> list[Candidate] | None:
    """What a name means that says by its form whose it is; ``None`` for a plain one."""
    if _VARIANT.search(text):
        own = [Candidate(host, text)] if host and not text.endswith(FREE) else []
        return [*own, Candidate(_OPENROUTER, text.removeprefix(f"{_OPENROUTER}/"))]
    if (arn := _ARN.fullmatch(text)) is not None:
        return [Candidate("aws", arn["model"])] if arn["resource"] in _PUBLIC_RESOURCES else []
    vertex = _VERTEX.fullmatch(text)
    return [Candidate("google", vertex["model"])] if vertex is not None else None


def _peeled(text: str) -> Iterator[tuple[str, str]]:
    """What stands before a model, one part after the other, in lower case, and what is left without it."""
    while True:
        head, separator, rest = text.partition("/")
        if not separator:
            named = _PREFIX.fullmatch(text)
            if named is None or named["provider"] == "ft" or find_provider(named["provider"]) is None:
                return
            head, rest = named["provider"], named["model"]
        if not rest:
            return
        yield head.lower(), rest
        text = rest


def spellings(model: str) -> tuple[str, ...]:
    """The names, in lower case, under which an entry of one's own may mean a model, the most exact first.

    As it is called; without what stands before it; without its date or version.
    """
    text = model.strip().lower()
    found = [text, *(rest for _, rest in _peeled(text))]
    plain = found[-1]
    if (bedrock := _BEDROCK.match(plain)) is not None:
        found.append(plain := _BEDROCK_VERSION.sub("", plain[bedrock.end() :]))
    found.append(_DATE.sub("", plain))
    return tuple(dict.fromkeys(found))


def provider_ids(provider: str | None, model: str) -> frozenset[str]:
    """Whom a model is asked of, as an entry of one's own may name them: the provider, and any before the model."""
    found = {head for head, _ in _peeled(model.strip()) if find_provider(head) is not None}
    if provider:
        found.add(provider)
    return frozenset(provider_id(each) for each in found)


def provider_id(text: str) -> str:
    """What genai-prices calls a provider; one that it does not know keeps its name, in lower case."""
    found = find_provider(text)
    return found.id if found is not None else text.strip().lower()
