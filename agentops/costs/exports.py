"""Spend as files: CSV for people, FOCUS for finance systems. Both stream."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from agentops.catalog.queries import Ownership, ownership
from agentops.costs.models import MEASURES
from agentops.costs.queries import spend_cells, stream
from agentops.costs.sources import CHARGE_KEYS, By, SpendFilters, charges
from agentops.domain.periods import DAY, Interval, truncate
from agentops.runs.api import rfc3339, usd

LINES_AT_ONCE = 500
COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
#: What every charge has in common.
CONSTANTS = {
    "BillingAccountId": "agentops",
    "BillingAccountName": "agentops",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "ConsumedUnit": "tokens",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceSubcategory": "Generative AI",
}
#: Our own columns that are sums.
MEASURED = {
    "x_ModelCalls": "llm_calls",
    "x_UnpricedCalls": "unpriced_calls",
    "x_InputTokens": "input_tokens",
    "x_OutputTokens": "output_tokens",
    "x_CacheReadInputTokens": "cache_read_input_tokens",
    "x_CacheCreationInputTokens": "cache_creation_input_tokens",
    "x_ReasoningOutputTokens": "reasoning_output_tokens",
}
#: What a spreadsheet takes for a formula when a cell starts with it; full-width ones count too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: The mandatory columns of FOCUS 1.2, in its order, with those of the recommended that are known; then our own.
FOCUS_COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SubAccountId",
    "x_Environment",
    "x_Team",
    "x_Owner",
    "x_Agent",
    "x_Feature",
    "x_Model",
    "x_ModelCalls",
    "x_UnpricedCalls",
    "x_InputTokens",
    "x_OutputTokens",
    "x_CacheReadInputTokens",
    "x_CacheCreationInputTokens",
    "x_ReasoningOutputTokens",
)
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
PUBLISHERS = (
    ("gpt-", "OpenAI"),
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
)


def safe_cell(text: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula: with an apostrophe before what would be one."""
    return f"'{text}" if text and text.startswith(FORMULA) else text or ""


def spend_csv(
    request: HttpRequest,
    by: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    interval: Interval,
    zone: tzinfo = UTC,
) -> StreamingHttpResponse:
    """A row for each interval of a time zone and key with all measures; an unknown cost is empty."""
    rows = (
        [
            rfc3339(start, zone=zone),
            safe_cell(key),
            usd(totals.known_cost_nano),
            *(getattr(totals, measure) for measure in MEASURES[1:]),
        ]
        for start, key, totals in spend_cells(by, filters, from_, until, interval, zone)
    )
    return _file(request, "spend.csv", ["start", by, "cost_usd", *MEASURES[1:]], rows)


def focus_csv(
    request: HttpRequest, filters: SpendFilters, from_: datetime, until: datetime, *, kept_since: datetime
) -> StreamingHttpResponse:
    """FOCUS 1.2: a charge for each day, environment, service, model, provider, agent and feature; whole days, UTC.

    Usage that nobody knows a price for is in rows of its own, whose costs are empty: unknown is not zero.
    """
    owners = ownership()
    source = charges(filters, from_, until, kept_since=kept_since, owners=owners)
    rows = (_charge(row, owners) for row in stream(source.sql, source.parameters))
    return _file(request, "focus.csv", FOCUS_COLUMNS, rows)


def _charge(row: Sequence[Any], owners: dict[str, Ownership]) -> list[Any]:
    day, *rest = row
    keys: dict[str, Any] = dict(zip(CHARGE_KEYS, rest, strict=False))
    totals = dict(zip(MEASURES, rest[len(CHARGE_KEYS) :], strict=True))
    model, service, owner = keys["model"], keys["service"], owners.get(keys["service"])
    publisher = _publisher(model)
    provider = PROVIDERS.get(keys["provider"]) or keys["provider"] or publisher
    tokens = totals["input_tokens"] + totals["output_tokens"]
    known = not keys["is_unpriced"]
    cost = usd(Decimal(totals["cost_nano"])) if known else None
    month = truncate(day, "month")
    texts = {
        "ChargeDescription": f"{model or 'Unnamed model'} tokens used by {service}",
        "InvoiceIssuerName": provider,
        "ProviderName": provider,
        "PublisherName": publisher,
        "ServiceName": f"{provider} models",
        "SkuId": model,
        "SubAccountId": service,
        "x_Environment": keys["environment"],
        "x_Team": owner.team if owner else None,
        "x_Owner": owner.owner if owner else None,
        "x_Agent": keys["agent"],
        "x_Feature": keys["feature"],
        "x_Model": model,
    }
    values = {
        **CONSTANTS,
        **dict.fromkeys(COSTS, cost),
        "BillingPeriodStart": _time(month),
        "BillingPeriodEnd": _time(truncate(month + 32 * DAY, "month")),
        "ChargePeriodStart": _time(day),
        "ChargePeriodEnd": _time(day + DAY),
        "ConsumedQuantity": tokens,
        **({"PricingCategory": "Standard", "PricingQuantity": tokens, "PricingUnit": "tokens"} if known else {}),
        **{column: safe_cell(text) for column, text in texts.items()},
        **{column: totals[measure] for column, measure in MEASURED.items()},
    }
    return [values.get(column) for column in FOCUS_COLUMNS]


def _publisher(model: str) -> str:
    name = model.rpartition("/")[2].lower()
    found = (maker for start, maker in PUBLISHERS if name.startswith(start) or f".{start}" in name)
    return next(found, "unknown")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Echo:
    def write(self, value: str) -> str:
        return value


def _file(
    request: HttpRequest, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> StreamingHttpResponse:
    writer = csv.writer(_Echo())

    def texts() -> Iterator[str]:
        yield writer.writerow(header)
        remaining = iter(rows)
        while lines := [writer.writerow(row) for row in islice(remaining, LINES_AT_ONCE)]:
            yield "".join(lines)

    # An ASGI server would collect a plain iterator before it sends the first byte.
    content = _in_thread(texts()) if isinstance(request, ASGIRequest) else texts()
    answer = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


async def _in_thread(texts: Iterator[str]) -> AsyncIterator[str]:
    following = sync_to_async(lambda: next(texts, None))
    while (text := await following()) is not None:
        yield text
