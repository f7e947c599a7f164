"""Spend as FOCUS, the FinOps Open Cost and Usage Specification, version 1.4: its dataset *Cost and Usage*, as CSV.

A charge is usage of known cost. What nobody knows a price for is no charge yet: the specification allows a cost to be
neither empty nor a placeholder, and it is not zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse

from agentops.billing.billed import billed
from agentops.billing.models import ChargedTeam
from agentops.catalog.queries import Ownership, ownership
from agentops.costs.models import MEASURES
from agentops.costs.queries import stream
from agentops.costs.sources import SpendFilters
from agentops.costs.spans import CHARGE_KEYS
from agentops.domain.periods import DAY, step
from agentops.domain.spans import PriceSource
from agentops.domain.vendors import maker, provider_name
from agentops.runs.api import SOURCES, usd
from agentops.sheets import csv_file, safe_cell

COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
#: What every charge has in common.
CONSTANTS = {
    "BillingAccountId": "agentops",
    "BillingAccountName": "agentops",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "PricingCategory": "Standard",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceSubcategory": "Generative AI",
}
#: Our own columns that are sums.
MEASURED = {
    "x_ModelCalls": "llm_calls",
    "x_ToolCalls": "tool_calls",
    "x_UnpricedCalls": "unpriced_calls",
    "x_InputTokens": "input_tokens",
    "x_OutputTokens": "output_tokens",
    "x_CacheReadInputTokens": "cache_read_input_tokens",
    "x_CacheCreationInputTokens": "cache_creation_input_tokens",
    "x_ReasoningOutputTokens": "reasoning_output_tokens",
}
_VERSION = re.compile(r"^book \d+ (v\d+)|^genai-prices (\S+)")
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
    "x_IsEstimate",
    "x_Maker",
    "x_Model",
    "x_ModelCalls",
    "x_OutputTokens",
    "x_Owner",
    "x_PriceId",
    "x_PriceSource",
    "x_PriceVersion",
    "x_ReasoningOutputTokens",
    "x_Release",
    "x_ServiceTier",
    "x_Session",
    "x_Team",
    "x_Tool",
    "x_ToolCalls",
    "x_UnpricedCalls",
    "x_User",
)


def focus_csv(
    request: HttpRequest,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    *,
    kept_since: datetime,
    now: datetime,
) -> StreamingHttpResponse:
    """A charge for each day (UTC) and all of ``CHARGE_KEYS``, with corrections of closed months: see ``billed``."""
    asked = billed(filters, from_, until, kept_since=kept_since, now=now)
    teams = ChargedTeam.objects.values_list("month", "service", "team")
    owners, charged = ownership(), {(month, service): team for month, service, team in teams}
    rows = (_charge(row, owners, charged) for row in stream(asked.sql, asked.parameters))
    return csv_file(request, "focus.csv", COLUMNS, rows)


def _charge(row: Sequence[Any], owners: dict[str, Ownership], charged: dict[tuple[date, str], str]) -> list[Any]:
    day, *rest = row
    keys: dict[str, Any] = dict(zip(CHARGE_KEYS, rest, strict=False))
    totals = dict(zip(MEASURES, rest[len(CHARGE_KEYS) :], strict=False))
    month, is_correction, team = rest[-3:]
    owner = owners.get(keys["service"])
    if team is None:
        team = charged.get((day.date().replace(day=1), keys["service"]), owner.team if owner else "")
    values = {
        **CONSTANTS,
        **dict.fromkeys(COSTS, usd(Decimal(totals["cost_nano"]))),
        **_quantities(totals),
        "BillingPeriodStart": _time(month),
        "BillingPeriodEnd": _time(step(month, "month")),
        "ChargeClass": "Correction" if is_correction else "",
        "ChargePeriodStart": _time(day),
        "ChargePeriodEnd": _time(day + DAY),
        "x_IsEstimate": "true" if keys["is_estimate"] else "false",
        "x_Team": safe_cell(team),
        **{column: safe_cell(text) for column, text in _texts(keys, owner).items()},
        **{column: totals[measure] for column, measure in MEASURED.items()},
    }
    return [values.get(column) for column in COLUMNS]


def _quantities(totals: dict[str, Any]) -> dict[str, Any]:
    """What is paid for: tokens, or calls of what takes none or does not tell them. Decimals, though whole."""
    tokens, calls = totals["input_tokens"] + totals["output_tokens"], totals["llm_calls"] + totals["tool_calls"]
    quantity, unit = (tokens, "Tokens") if tokens or not calls else (calls, "Requests")
    return {
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), f"{quantity}.0"),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit", "SkuMeter"), unit),
    }


def _texts(keys: dict[str, Any], owner: Ownership | None) -> dict[str, str | None]:
    """The columns that hold what somebody called something."""
    model, tool, service = keys["model"], keys["tool"], keys["service"]
    provider = provider_name(keys["provider"], model)
    sku = model or tool or provider
    return {
        "ChargeDescription": f"{model or tool or 'Unnamed model'} used by {service}",
        "HostProviderName": provider,
        "InvoiceIssuerName": provider,
        "ServiceName": f"{provider} tools" if tool else f"{provider} models",
        "ServiceProviderName": provider,
        "SkuId": sku,
        "SkuPriceId": f"{sku} ({keys['tier']})" if keys["tier"] else sku,
        "SubAccountId": service,
        "SubAccountName": service,
        "x_Agent": keys["agent"],
        "x_Environment": keys["environment"],
        "x_Feature": keys["feature"],
        "x_Maker": maker(model) if model else None,
        "x_Model": model,
        "x_Owner": owner.owner if owner else None,
        "x_PriceId": keys["price_id"],
        "x_PriceSource": SOURCES[PriceSource(keys["price_source"])] if keys["price_source"] else None,
        "x_PriceVersion": _price_version(keys["price_id"]),
        "x_Release": keys["release"],
        "x_ServiceTier": keys["tier"],
        "x_Session": keys["session"],
        "x_Tool": tool,
        "x_User": keys["user"],
    }


def _price_version(price_id: str) -> str:
    """The version in ``genai-prices 0.2.3 openai/gpt-4o`` or ``book 12 v3``; empty for what a provider reported."""
    found = _VERSION.search(price_id)
    return found[1] or found[2] if found else ""


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
