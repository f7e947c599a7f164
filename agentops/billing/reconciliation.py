"""What is asked of invoices: which there are, and how each agrees with the books."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal

from django.db.models import Sum

from agentops.billing.models import Invoice
from agentops.costs.queries import spend_cells
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import Interval, midnight, step, truncate
from agentops.domain.reconciliation import Billed, Booked, Comparison, Tolerance, compare

#: A cent, or one percent.
DEFAULT_TOLERANCE = Tolerance(absolute_nano=10_000_000, percent=Decimal(1))


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """An invoice beside the books: every day (or month) and model, those beyond the tolerance first."""

    invoice: Invoice
    tolerance: Tolerance
    rows: list[Comparison]

    @property
    def billed_nano(self) -> int:
        """What the provider bills."""
        return sum(row.billed_nano or 0 for row in self.rows)

    @property
    def booked_nano(self) -> int:
        """What is booked for the same."""
        return sum(row.booked_nano or 0 for row in self.rows)

    @property
    def difference_nano(self) -> int:
        """By how much more is billed than booked."""
        return self.billed_nano - self.booked_nano

    @property
    def flagged(self) -> int:
        """How many rows are beyond the tolerance."""
        return sum(not row.is_within for row in self.rows)

    @property
    def unmatched(self) -> int:
        """How many rows one side knows nothing of."""
        return sum(row.billed_nano is None or row.booked_nano is None for row in self.rows)

    @property
    def unpriced_calls(self) -> int:
        """Booked calls whose price nobody knows: they may be billed, and are not in what is booked."""
        return sum(row.unpriced_calls for row in self.rows)


def list_invoices() -> list[Invoice]:
    """The invoices that count, the latest days first. One statement."""
    return list(Invoice.objects.filter(is_current=True).select_related("uploaded_by"))


def history(invoice: Invoice) -> list[Invoice]:
    """What an invoice replaced, and what that replaced, the latest first."""
    found: list[Invoice] = []
    before = invoice.replaces_id
    while before is not None:
        found.append(Invoice.objects.select_related("uploaded_by").get(pk=before))
        before = found[-1].replaces_id
    return found


def tolerance_of(invoice: Invoice) -> Tolerance:
    """What the invoice may differ by."""
    last = invoice.tolerances.first()
    return Tolerance(last.absolute_nano, last.percent) if last else DEFAULT_TOLERANCE


def reconcile(invoice: Invoice) -> Reconciliation:
    """The invoice beside the books as they are now."""
    tolerance = tolerance_of(invoice)
    rows = compare(_billed(invoice), _booked(invoice), tolerance, provider=invoice.provider)
    return Reconciliation(invoice, tolerance, rows)


def _billed(invoice: Invoice) -> Iterable[Billed]:
    charges = invoice.lines.order_by().values_list("day", "model").annotate(nano=Sum("amount_nano"))
    for day, model, nano in charges.iterator():
        yield Billed(day.replace(day=1) if invoice.is_monthly else day, model, int(nano))


def _booked(invoice: Invoice) -> Iterable[Booked]:
    """Spend of whole days (UTC) from the rollups: of those that the invoice spans, whole months if it is monthly."""
    if invoice.first_day is None or invoice.last_day is None:
        return
    interval: Interval = "month" if invoice.is_monthly else "day"
    from_, until = truncate(midnight(invoice.first_day, UTC), interval), step(midnight(invoice.last_day, UTC), interval)
    filters = SpendFilters.of(service=invoice.service)
    for start, model, totals in spend_cells("model", filters, from_, until, interval):
        if totals.llm_calls:
            yield Booked(start.date(), model or "", totals.cost_nano, totals.unpriced_calls)
