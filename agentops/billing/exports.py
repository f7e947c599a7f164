"""What is settled, as files for spreadsheets."""

from __future__ import annotations

from django.http import HttpRequest, StreamingHttpResponse

from agentops.billing.reconciliation import Reconciliation
from agentops.runs.api import usd
from agentops.sheets import csv_file, safe_cell

RECONCILIATION = (
    "start",
    "model",
    "billed_as",
    "billed_usd",
    "booked_usd",
    "difference_usd",
    "unpriced_calls",
    "verdict",
    "within_tolerance",
)


def reconciliation_csv(request: HttpRequest, compared: Reconciliation) -> StreamingHttpResponse:
    """Every row of a comparison, in the order of the page; what one side knows nothing of is empty."""
    rows = (
        [
            row.start.isoformat(),
            safe_cell(row.model),
            safe_cell(", ".join(row.billed_as)),
            usd(row.billed_nano),
            usd(row.booked_nano),
            usd(row.difference_nano),
            row.unpriced_calls,
            row.verdict,
            "yes" if row.is_within else "no",
        ]
        for row in compared.rows
    )
    return csv_file(request, f"invoice-{compared.invoice.pk}.csv", RECONCILIATION, rows)
