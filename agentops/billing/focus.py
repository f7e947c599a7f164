"""Spend as FOCUS, the FinOps Open Cost and Usage Specification, version 1.4: its dataset *Cost and Usage*, as CSV.

A charge is usage of known cost. What nobody knows a price for is no charge yet: the specification allows a cost to be
neither empty nor a placeholder, and it is not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse

from agentops.catalog.queries import Ownership, ownership
from agentops.costs.models import MEASURES
from agentops.costs.queries import stream
from agentops.costs.sources import CHARGE_KEYS, SpendFilters, charges
from agentops.domain.periods import DAY, step, truncate
from agentops.domain.spans import PriceSource
from agentops.domain.vendors import maker, provider_name
from agentops.runs.api import SOURCES, usd
from agentops.sheets import csv_file, safe_cell

VERSION = "1.4"
COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
#: What every charge has in common.
CONSTANTS = {
    "BillingAccountId": "agentops",
    "BillingAccountName": "agentops",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "ConsumedUnit": "Tokens",
    "PricingCategory": "Standard",
    "PricingUnit": "Tokens",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceSubcategory": "Generative AI",
    "SkuMeter": "Tokens",
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
#: All mandatory columns, those whose condition holds here (usage is measured, there are unit prices and sub accounts)
#: and some that are recommended, then our own: each group by name.
COLUMNS = (
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
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "x_Agent",
    "x_CacheCreationInputTokens",
    "x_CacheReadInputTokens",
    "x_Environment",
    "x_Feature",
    "x_InputTokens",
    "x_Maker",
    "x_Model",
    "x_ModelCalls",
    "x_OutputTokens",
    "x_Owner",
    "x_PriceId",
    "x_PriceSource",
    "x_ReasoningOutputTokens",
    "x_Release",
    "x_Session",
    "x_Team",
    "x_UnpricedCalls",
    "x_User",
)


def focus_csv(
    request: HttpRequest, filters: SpendFilters, from_: datetime, until: datetime, *, kept_since: datetime
) -> StreamingHttpResponse:
    """A charge for each day and all of ``CHARGE_KEYS``; whole days, UTC."""
    owners = ownership()
    source = charges(filters, from_, until, kept_since=kept_since, owners=owners)
    rows = (_charge(row, owners) for row in stream(source.sql, source.parameters))
    return csv_file(request, "focus.csv", COLUMNS, rows)


def _charge(row: Sequence[Any], owners: dict[str, Ownership]) -> list[Any]:
    day, *rest = row
    keys: dict[str, Any] = dict(zip(CHARGE_KEYS, rest, strict=False))
    totals = dict(zip(MEASURES, rest[len(CHARGE_KEYS) :], strict=True))
    model, service, owner = keys["model"], keys["service"], owners.get(keys["service"])
    provider = provider_name(keys["provider"], model)
    tokens = totals["input_tokens"] + totals["output_tokens"]
    month = truncate(day, "month")
    texts = {
        "ChargeDescription": f"{model or 'Unnamed model'} tokens used by {service}",
        "HostProviderName": provider,
        "InvoiceIssuerName": provider,
        "ServiceName": f"{provider} models",
        "ServiceProviderName": provider,
        "SkuId": model or provider,
        "SkuPriceId": model or provider,
        "SubAccountId": service,
        "SubAccountName": service,
        "x_Agent": keys["agent"],
        "x_Environment": keys["environment"],
        "x_Feature": keys["feature"],
        "x_Maker": maker(model),
        "x_Model": model,
        "x_Owner": owner.owner if owner else None,
        "x_PriceId": keys["price_id"],
        "x_PriceSource": SOURCES[PriceSource(keys["price_source"])] if keys["price_source"] else None,
        "x_Release": keys["release"],
        "x_Session": keys["session"],
        "x_Team": owner.team if owner else None,
        "x_User": keys["user"],
    }
    values = {
        **CONSTANTS,
        **dict.fromkeys(COSTS, usd(Decimal(totals["cost_nano"]))),
        "BillingPeriodStart": _time(month),
        "BillingPeriodEnd": _time(step(month, "month")),
        "ChargePeriodStart": _time(day),
        "ChargePeriodEnd": _time(day + DAY),
        "ConsumedQuantity": tokens,
        "PricingQuantity": tokens,
        **{column: safe_cell(text) for column, text in texts.items()},
        **{column: totals[measure] for column, measure in MEASURED.items()},
    }
    return [values.get(column) for column in COLUMNS]


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
