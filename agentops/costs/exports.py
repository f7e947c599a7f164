"""Spend as a file for spreadsheets."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from django.http import HttpRequest, StreamingHttpResponse

from agentops.costs.models import MEASURES
from agentops.costs.queries import spend_cells
from agentops.costs.sources import By, SpendFilters
from agentops.domain.periods import Interval
from agentops.runs.api import rfc3339, usd
from agentops.sheets import csv_file, safe_cell


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
    return csv_file(request, "spend.csv", ["start", by, "cost_usd", *MEASURES[1:]], rows)
