"""What is settled, as files for spreadsheets."""

from __future__ import annotations

from decimal import Decimal

from django.http import HttpRequest, StreamingHttpResponse

from agentops.billing.models import Invoice
from agentops.billing.reconciliation import Reconciliation
from agentops.billing.statements import Statement
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

STATEMENT = (
    "month",
    "state",
    "team",
    "team_name",
    "kind",
    "of_month",
    "service",
    "feature",
    "model",
    "tool",
    "model_calls",
    "tool_calls",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "amount_usd",
)


def statement_csv(request: HttpRequest, statement: Statement, team: str | None) -> StreamingHttpResponse:
    """Every line of a month, or of one team's: the exact cost, and the amount in cents that adds up."""
    rows = (
        [
            f"{statement.month:%Y-%m}",
            statement.state,
            safe_cell(one.team),
            safe_cell(one.name),
            "charge" if line.month == statement.month else "adjustment",
            f"{line.month:%Y-%m}",
            safe_cell(line.service),
            safe_cell(line.feature),
            safe_cell(line.model),
            safe_cell(line.tool),
            line.sums.llm_calls,
            line.sums.tool_calls,
            line.sums.unpriced_calls,
            line.sums.input_tokens,
            line.sums.output_tokens,
            usd(line.known_cost_nano),
            cents_usd(line.cents),
        ]
        for one in statement.teams
        if team is None or one.team == team
        for line in one.all_lines
    )
    return csv_file(request, f"statement-{statement.month:%Y-%m}.csv", STATEMENT, rows)


def cents_usd(cents: int) -> str:
    """Whole cents as dollars: ``1286.40``."""
    return f"{Decimal(cents).scaleb(-2):.2f}"


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


def unreadable_csv(request: HttpRequest, invoice: Invoice) -> StreamingHttpResponse:
    """Every line of an invoice's file that could not be read: where it begins, why, and as it is written."""
    rows = (
        [problem.number, safe_cell(problem.message), safe_cell(problem.text)]
        for problem in invoice.problems.order_by("number").iterator()
    )
    return csv_file(request, f"invoice-{invoice.pk}-unreadable.csv", ("line", "why", "text"), rows)
