"""What is settled, in a browser: an invoice is imported and compared, and statements are accessible."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.test_pages import PHONE, check_widths_and_themes
from tests.e2e.watched import watch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser


def test_an_invoice_is_imported_compared_and_accessible(site: Site, new_context: NewContext, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text(
        "usage_date_utc,model,cost_usd\n2026-08-04,Claude Haiku 4.5,1.50\n"
        "2026-08-04,<script>alert(1)</script>,9\nsoon,<b>x</b>,1\n"
    )
    with watch(new_context(ADMIN, viewport=PHONE), site.url) as watched:
        page = watched.page
        watched.open("/invoices/")
        page.set_input_files("#id_file", bill)
        page.get_by_role("button", name="Import").click()
        page.get_by_text("2 lines imported.").wait_for()
        assert page.locator("tr.is-critical").count() == 2
        assert page.get_by_text("<b>x</b>").is_visible()
        page.fill("#id_absolute_usd", "100")
        page.get_by_role("button", name="Set", exact=True).click()
        page.get_by_text("all 2 within the tolerance").wait_for()
        check_widths_and_themes(watched)


@pytest.mark.parametrize("query", ["", "?team=", "?team=nobody"])
def test_a_statement_is_accessible(site: Site, new_context: NewContext, query: str) -> None:
    with watch(new_context(ADMIN, viewport=PHONE), site.url) as watched:
        watched.open(f"/statements/{datetime.now(UTC):%Y-%m}/{query}")
        check_widths_and_themes(watched)
