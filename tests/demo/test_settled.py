"""What the demo's finance people have done by the time somebody looks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from agentops.accounts.models import User
from agentops.billing.models import Closing, Invoice
from agentops.billing.reconciliation import reconcile
from agentops.demo.settled import bill_of, settle
from tests.costs.booking import START, book_runs

NOW = datetime(2025, 12, 2, 9, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def test_the_month_before_is_closed_and_one_amount_of_the_invoice_is_flagged() -> None:
    book_runs(range(12))
    by = User.objects.create_user("oscar")
    for _ in range(2):
        settle(now=NOW, by=by)
    closing, invoice = Closing.objects.get(), Invoice.objects.get()
    assert (closing.month, closing.closed_by) == (date(2025, 11, 1), by)
    assert (invoice.layout, invoice.provider, invoice.uploaded_by) == ("openai", "openai", by)
    compared = reconcile(invoice)
    assert (compared.flagged, compared.unmatched) == (1, 0)
    assert compared.difference_nano == compared.rows[0].difference_nano > 0
    assert len(compared.rows) > 1


def test_without_a_past_there_is_nothing_to_settle() -> None:
    settle(now=NOW, by=None)
    assert bill_of(START - timedelta(days=1)) == b""
    assert not Closing.objects.exists()
    assert not Invoice.objects.exists()
