"""A call without a price, from the page that lists it to the books that have it, by hand."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.traffic import call, span
from tests.e2e.watched import watch

pytestmark = pytest.mark.browser

#: What the worker does every few seconds, until nothing is left to do.
WORK = """
import time
from agentops.prices.models import Repricing
from agentops.prices.tasks import take_up
from django.utils import timezone
while Repricing.unfinished(now=timezone.now()):
    take_up()
    time.sleep(0.5)
"""


def test_calls_without_a_price_are_priced_with_one_click_and_applied_after_a_look(
    new_context: NewContext, site: Site
) -> None:
    model = "our-llama-70b"
    site.sender.send("self-hosted", *(span("chat", call(model, gen_ai__provider__name="vllm")) for _ in range(3)))
    with watch(new_context(ADMIN), site.url) as watched:
        page = watched.page
        watched.open("/prices/unpriced/")
        row = page.get_by_role("row", name=model)
        expect(row).to_contain_text("self-hosted")
        row.get_by_role("link", name="Price these").click()
        assert page.get_by_label("Model", exact=True).input_value() == model
        assert page.get_by_label("Service", exact=True).input_value() == "self-hosted"
        page.get_by_label("Input", exact=True).first.fill("2")
        page.get_by_label("Output", exact=True).first.fill("10")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("$2 in, $10 out, a million tokens")).to_be_visible()
        page.get_by_role("button", name="Dry run").click()
        expect(page.get_by_text("A dry run: nothing is changed.")).to_be_visible()
        site.manage("shell", "--verbosity", "0", "--command", WORK)
        expect(page.get_by_role("button", name="Apply to the books")).to_be_visible()
        expect(page.locator("[data-fade=difference]")).to_have_text("+$0.012")
        assert watched.layout_faults() + watched.accessibility_faults() == []
        page.get_by_role("button", name="Apply to the books").click()
        # The page fetches itself again while the question stands there.
        page.evaluate("document.getElementById('job').innerHTML += ' '")
        page.locator("#confirm-yes").click()
        expect(page.get_by_text("found is written into the books")).to_be_visible()
        site.manage("shell", "--verbosity", "0", "--command", WORK)
        expect(page.get_by_text("booked as adjustments")).to_be_visible()
        watched.open("/prices/unpriced/")
        expect(page.get_by_role("row", name=model)).to_have_count(0)
        watched.open(f"/spend/?by=model&model={model}")
        expect(page.locator(".tile-number").first).to_have_text("$0.012")
