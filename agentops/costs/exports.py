"""Spend as files: CSV for people, FOCUS for finance systems."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.http import StreamingHttpResponse

from agentops.catalog.queries import ownership
from agentops.costs.models import MEASURES, Dimension
from agentops.costs.queries import SpendFilters, ceil_hour, floor_hour, spend, truncate
from agentops.runs.api import usd
from agentops.runs.views import safe_cell

DAY = timedelta(days=1)
FOCUS_COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "ConsumedQuantity",
    "ConsumedUnit",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "x_Environment",
    "x_AgentService",
    "x_Team",
    "x_Owner",
    "x_LlmCalls",
    "x_UnpricedCalls",
    "x_InputTokens",
    "x_OutputTokens",
    "x_CacheReadInputTokens",
    "x_CacheCreationInputTokens",
)
#: How a model's maker is known from its name; FOCUS wants a publisher.
PUBLISHERS = (
    ("gpt-", "OpenAI"),
    ("o1", "OpenAI"),
    ("o3", "OpenAI"),
    ("o4", "OpenAI"),
    ("text-embedding", "OpenAI"),
    ("claude", "Anthropic"),
    ("gemini", "Google"),
    ("mistral", "Mistral AI"),
    ("llama", "Meta"),
)
FOCUS_ROWS = f"""
SELECT start, environment, service, key, {", ".join(MEASURES)} FROM spend_daily
WHERE dimension = {int(Dimension.MODEL)} AND start >= %(from)s AND start < %(until)s AND llm_calls > 0
    AND (%(environment)s = '' OR environment = %(environment)s) AND (%(service)s = '' OR service = %(service)s)
    AND (%(model)s = '' OR key = %(model)s)
ORDER BY start, environment, service, key
"""


class _Echo:
    def write(self, value: str) -> str:
        return value


def _stream(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    writer = csv.writer(_Echo())

    def lines() -> Iterator[str]:
        yield writer.writerow(header)
        for row in rows:
            yield writer.writerow(row)

    answer = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def spend_csv(by: str, filters: SpendFilters, from_: datetime, until: datetime, interval: str) -> StreamingHttpResponse:
    """A row for each interval and key with all measures; only what has any."""

    def rows() -> Iterator[Sequence[Any]]:
        for begin, end in _intervals(floor_hour(from_), ceil_hour(until), interval):
            report = spend(by, filters, begin, end, limit=1_000)
            for item in report.items:
                yield [
                    begin.isoformat(),
                    safe_cell(item.key),
                    usd(item.totals.known_cost_nano),
                    *(getattr(item.totals, m) for m in MEASURES[1:]),
                ]
            if report.other:
                yield [
                    begin.isoformat(),
                    "(all others)",
                    usd(report.other.known_cost_nano),
                    *(getattr(report.other, m) for m in MEASURES[1:]),
                ]

    return _stream("spend.csv", ["start", by, "cost_usd", *MEASURES[1:]], rows())


def _intervals(from_: datetime, until: datetime, interval: str) -> Iterator[tuple[datetime, datetime]]:
    begin = from_
    while begin < until:
        if interval == "hour":
            end = begin + timedelta(hours=1)
        elif interval == "day":
            end = truncate(begin, "day") + DAY
        else:
            end = truncate(truncate(begin, "month") + 32 * DAY, "month")
        yield begin, min(end, until)
        begin = end


def focus_csv(filters: SpendFilters, from_: datetime, until: datetime) -> StreamingHttpResponse:
    """FOCUS 1.2: a charge for each day, environment, agent service and model. Unknown costs are empty."""
    parameters: dict[str, Any] = {
        "from": truncate(floor_hour(from_), "day"),
        "until": ceil_hour(until),
        "environment": filters.environment,
        "service": filters.service,
        "model": filters.model,
    }
    with connection.cursor() as cursor:
        cursor.execute(FOCUS_ROWS, parameters)
        found = cursor.fetchall()
    owners = ownership()
    if filters.team:
        found = [row for row in found if (o := owners.get(row[2])) and o.team == filters.team]
    return _stream("focus.csv", FOCUS_COLUMNS, (_charge(row, owners) for row in found))


def _charge(row: Sequence[Any], owners: dict[str, Any]) -> list[Any]:
    start, environment, service, model, *sums = row
    totals = dict(zip(MEASURES, sums, strict=True))
    cost = None if totals["unpriced_calls"] and not totals["cost_nano"] else usd(Decimal(totals["cost_nano"]))
    month = truncate(start, "month")
    publisher = next((maker for prefix, maker in PUBLISHERS if model.startswith(prefix)), "unknown")
    quantity = totals["input_tokens"] + totals["output_tokens"]
    owner = owners.get(service)
    return [
        cost,
        "agentops",
        "agentops",
        "USD",
        _time(month),
        _time(truncate(month + 32 * DAY, "month")),
        "Usage",
        None,
        safe_cell(f"Tokens of {model or 'an unnamed model'}"),
        _time(start),
        _time(start + DAY),
        cost,
        quantity,
        "tokens",
        cost,
        publisher,
        cost,
        quantity,
        "tokens",
        publisher,
        publisher,
        "AI and Machine Learning",
        safe_cell(model) or "unknown",
        safe_cell(model),
        safe_cell(environment),
        safe_cell(service),
        safe_cell(owner.team if owner else None),
        safe_cell(owner.owner if owner else None),
        totals["llm_calls"],
        totals["unpriced_calls"],
        totals["input_tokens"],
        totals["output_tokens"],
        totals["cache_read_input_tokens"],
        totals["cache_creation_input_tokens"],
    ]


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
