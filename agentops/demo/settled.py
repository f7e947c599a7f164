"""What the finance people of the demo have done: closed a month, imported an invoice that is too high once."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from agentops.accounts.models import User
from agentops.billing.actions import close_months, import_invoice
from agentops.billing.models import Closing, Invoice
from agentops.billing.reconciliation import DEFAULT_TOLERANCE
from agentops.billing.statements import closable
from agentops.costs.queries import spend_cells
from agentops.costs.sources import SpendFilters
from agentops.domain.invoices import NANO_DIGITS
from agentops.domain.periods import truncate
from agentops.domain.vendors import seller

_DAYS = 14
#: How much the provider bills too much for the dearest day of a model, in percent.
_TOO_MUCH = 18
_HEADER = (
    "start_time", "end_time", "start_time_iso", "end_time_iso", "amount_value", "amount_currency", "quantity",
    "quantity_unit", "line_item",
)  # fmt: skip


def settle(*, now: datetime, by: User | None) -> None:
    """Close the months that are over and import an invoice, unless somebody has done such a thing before."""
    months = closable(now=now)
    if months and not Closing.objects.exists():
        close_months(through=months[-1], by=by, now=now)
    if not Invoice.objects.exists() and (bill := bill_of(now)):
        name = f"openai-costs-{now:%Y-%m-%d}.csv"
        import_invoice(content=bill, filename=name, by=by, tolerance=DEFAULT_TOLERANCE)


def bill_of(now: datetime) -> bytes:
    """OpenAI's costs export of the last whole days as the books have them, but for one amount; empty without any."""
    until = truncate(now.astimezone(UTC), "day")
    cells = [
        (start, model, totals)
        for start, model, totals in spend_cells("model", SpendFilters(), until - timedelta(_DAYS), until, "day")
        if model and totals.cost_nano and seller(model) == "openai"
    ]
    if not cells:
        return b""
    wrong = max(cells, key=lambda cell: cell[2].cost_nano)
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_HEADER)
    for start, model, totals in cells:
        end = start + timedelta(days=1)
        times = (int(start.timestamp()), int(end.timestamp()), start.isoformat(), end.isoformat())
        nano = totals.cost_nano * (100 + _TOO_MUCH * ((start, model) == wrong[:2])) // 100
        of_input = nano * 3 // 5
        for words, amount, tokens in (
            ("input", of_input, totals.input_tokens),
            ("output", nano - of_input, totals.output_tokens),
        ):
            usd = f"{Decimal(amount).scaleb(-NANO_DIGITS):f}"
            writer.writerow([*times, usd, "usd", tokens, "tokens", f"{model}, {words}"])
    return file.getvalue().encode()
