"""Who sells and who makes a model, and which spellings of a model's name mean the same one."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

UNKNOWN = "Unknown"
#: Names of the providers that telemetry names by OpenTelemetry's words.
PROVIDERS = {
    "openai": "OpenAI",
    "azure.ai.openai": "Microsoft",
    "azure.ai.inference": "Microsoft",
    "anthropic": "Anthropic",
    "aws.bedrock": "Amazon Web Services",
    "gcp.gemini": "Google",
    "gcp.vertex_ai": "Google Cloud",
    "gcp.gen_ai": "Google",
    "mistral_ai": "Mistral AI",
    "cohere": "Cohere",
    "deepseek": "DeepSeek",
    "groq": "Groq",
    "perplexity": "Perplexity",
    "x_ai": "xAI",
}
#: Who makes a model, by how its name begins, after any ``vendor/`` or ``vendor.`` before it.
MAKERS = (
    ("gpt-", "OpenAI"),
    ("chatgpt", "OpenAI"),
    ("o1", "OpenAI"),
    ("o3", "OpenAI"),
    ("o4", "OpenAI"),
    ("text-embedding", "OpenAI"),
    ("claude", "Anthropic"),
    ("gemini", "Google"),
    ("mistral", "Mistral AI"),
    ("codestral", "Mistral AI"),
    ("llama", "Meta"),
    ("command", "Cohere"),
    ("deepseek", "DeepSeek"),
    ("grok", "xAI"),
    ("qwen", "Alibaba Cloud"),
    ("nova", "Amazon Web Services"),
    ("titan", "Amazon Web Services"),
)
#: Where a name says by its form who sells the model: not its maker.
_CHANNELS = (
    (re.compile(r"arn:aws:bedrock|bedrock/|(?:(?:us|eu|apac|jp|au|ca|global|us-gov)\.)?[a-z0-9]+\.[a-z]"), "aws"),
    (re.compile(r"azure"), "azure"),
    (re.compile(r"vertex|publishers/|[^@]+@\d{8}$"), "google"),
)
_SELLING_MAKERS = {"OpenAI": "openai", "Anthropic": "anthropic", "Google": "google", "Amazon Web Services": "aws"}

_PARENTHESES = re.compile(r"\([^()]*\)")
#: ``us.anthropic.`` and the like; a version such as ``4.5`` has a digit where this wants letters.
_VENDOR_PREFIX = re.compile(r"^(?:(?:us|eu|apac|jp|au|ca|global|us-gov)\.)?(?:[a-z0-9]*[a-z]\.)(?=[a-z])")
_VENDOR_WORD = re.compile(r"^(?:anthropic|openai|amazon|meta|google)[ _-]+")
_REVISION = re.compile(r"(?:-v\d+)?:\d+$|@.*$")
#: The day or month of a snapshot: 2025-08-07, 20250807, 05-20, 0613, 2407, 001.
_SNAPSHOT = re.compile(
    r"[ _-](?:20\d\d[ _-]?(?:0[1-9]|1[0-2])[ _-]?(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|2[3-9](?:0[1-9]|1[0-2])|00\d|latest)(?![0-9a-z.])"
)
_PARTS = re.compile(r"([^\W\d_]+)|(\d+)")


def provider_name(provider: str | None, model: str) -> str:
    """Who provides a model: what telemetry says, else the model's maker."""
    return PROVIDERS.get(provider or "") or provider or maker(model)


def maker(model: str) -> str:
    """Who makes a model, by its name."""
    name = model.rpartition("/")[2].lower()
    found = (maker for start, maker in MAKERS if name.startswith(start) or f".{start}" in name)
    return next(found, UNKNOWN)


def channel(model: str) -> str:
    """Who sells a model besides its maker, as the form of its name says: ``aws``, ``azure``, ``google``; else empty."""
    return next((slug for pattern, slug in _CHANNELS if pattern.match(model.lower())), "")


def seller(model: str) -> str:
    """Who bills a model: the channel that its name tells, else its maker; empty when nobody knows."""
    return channel(model) or _SELLING_MAKERS.get(maker(model), "")


@lru_cache(maxsize=10_000)
def model_key(name: str) -> str:
    """What all names of one model have in common; empty for none.

    Vendor, snapshot, revision and punctuation go, and the words stand apart from the numbers: ``claude sonnet 4.5`` is
    ``Claude Sonnet 4.5``, ``us.anthropic.claude-sonnet-4-5-20250929-v1:0`` and ``Claude4.5Sonnet``.
    """
    text = _PARENTHESES.sub(" ", unicodedata.normalize("NFKC", name)).strip().lower()
    tuned = ""
    if text.startswith("ft:"):
        tuned, text = "ft ", text.split(":")[1]
    text = _REVISION.sub("", text.rpartition("/")[2])
    text = _VENDOR_WORD.sub("", _VENDOR_PREFIX.sub("", text)).replace("gpt-35-", "gpt-3.5-")
    parts = _PARTS.findall(_SNAPSHOT.sub("", text))
    words = " ".join(word for word, _ in parts if word)
    return f"{tuned}{words} {'.'.join(number for _, number in parts if number)}".strip()
