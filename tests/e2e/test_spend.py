"""The spend page in a browser: filters by the keyboard, rows that open, saved views, rules that are applied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.test_pages import DESKTOP, PHONE, check_widths_and_themes
from tests.e2e.traffic import call, span
from tests.e2e.watched import Watched, watch

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator

pytestmark = pytest.mark.browser
WORK = """
from datetime import timedelta
from agentops.costs import reattribution
from agentops.costs.models import Reattribution
reattribution.KNOWN_EVERYWHERE = timedelta(0)
for job in Reattribution.objects.all():
    reattribution.work(job.pk)
"""


@pytest.fixture(scope="module")
def shop(site: Site) -> Site:
    """Runs of a service, with and without a feature; some of the latter carry an attribute."""
    for n in range(4):
        site.sender.send("shop", span("cart", call(user__id=f"customer {n}", agentops__feature="cart")))
        site.sender.send("shop", span("pay", call(user__id=f"customer {n}", customer__tier="gold")))
    site.sender.send("shop", span("browse", call("gpt-4o-mini")))
    return site


@pytest.fixture(scope="module")
def desk(new_context: NewContext) -> BrowserContext:
    return new_context(ADMIN, viewport=DESKTOP)


def _filter(watched: Watched) -> Locator:
    return watched.page.get_by_role("combobox", name="Add a filter")


def _chips(watched: Watched) -> list[str]:
    return [" ".join(chip.split()) for chip in watched.page.locator(".filter-chip").all_inner_texts()]


def test_filters_are_added_and_taken_away_by_the_keyboard_alone(shop: Site, desk: BrowserContext) -> None:
    with watch(desk, shop.url) as watched:
        watched.open("/spend/?by=feature")
        keys = watched.page.keyboard
        keys.press("f")
        keys.type("serv")
        watched.page.get_by_role("option", name="service …", selected=True).wait_for()
        assert watched.accessibility_faults() == []
        keys.press("Enter")
        keys.type("sho")
        watched.page.get_by_role("option", name="service shop", selected=True).wait_for()
        keys.press("Enter")
        watched.page.wait_for_url("**service=shop*")
        watched.settle()
        keys.press("f")
        keys.type("no ")
        watched.page.get_by_role("option", name="without team", selected=True).wait_for()
        keys.press("ArrowDown")
        keys.press("ArrowDown")
        watched.page.get_by_role("option", name="without feature", selected=True).wait_for()
        keys.press("Enter")
        watched.page.wait_for_url("**without=feature*")
        watched.settle()
        assert _chips(watched) == ["service shop", "without feature"]
        assert watched.page.get_by_text("This is spend without a feature.").count() == 1
        watched.page.get_by_role("link", name="Remove the filter without feature").press("Enter")
        watched.page.wait_for_url(re.compile("service=shop(?!.*without)"))
        watched.settle()
        assert _chips(watched) == ["service shop"]


def test_a_filter_that_is_typed_and_sent_becomes_a_chip(shop: Site, desk: BrowserContext) -> None:
    with watch(desk, shop.url) as watched:
        watched.open("/spend/?by=user")
        _filter(watched).fill("user:customer 2")
        _filter(watched).press("Enter")
        watched.page.wait_for_url("**user=customer+2*")
        watched.settle()
        assert _chips(watched) == ["user customer 2"]


def test_a_row_opens_in_place_and_the_address_says_so(shop: Site, desk: BrowserContext) -> None:
    with watch(desk, shop.url) as watched:
        watched.open("/spend/?by=service&then=feature&service=shop")
        page = watched.page
        fold = page.get_by_role("link", name="shop by feature")
        fold.focus()
        fold.press("Enter")
        page.locator("tr.inside").first.wait_for()
        inside = page.locator("tr.inside td:first-child").all_inner_texts()
        assert {" ".join(name.split()) for name in inside} == {"cart", "no feature"}
        expect(page).to_have_url(re.compile("open=shop"))
        assert fold.get_attribute("aria-expanded") == "true"
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "shop by feature"
        check_widths_and_themes(watched)
        page.set_viewport_size(DESKTOP)
        page.reload()
        watched.settle()
        assert page.locator("tr.inside").count() == 2
        page.get_by_role("link", name="shop by feature").click()
        page.locator("tr.inside").first.wait_for(state="detached")
        expect(page).not_to_have_url(re.compile("open="))


def test_what_is_shown_is_saved_under_a_name_and_opens_again(shop: Site, desk: BrowserContext) -> None:
    with watch(desk, shop.url) as watched:
        watched.open("/spend/?by=service&then=feature&service=shop")
        page = watched.page
        page.get_by_role("link", name="shop by feature").click()
        page.locator("tr.inside").first.wait_for()
        page.get_by_label("Saved views").click()
        page.get_by_label("Save what is shown as").fill("The shop")
        page.get_by_label("Share with everybody").check()
        assert watched.layout_faults() + watched.accessibility_faults() == []
        page.get_by_role("button", name="Save the view").click()
        page.wait_for_url("**view=*")
        watched.settle()
        assert page.get_by_role("heading", level=1).inner_text().endswith("The shop")
        assert page.locator("tr.inside").count() == 2
        watched.open("/spend/views/")
        check_widths_and_themes(watched)
        page.set_viewport_size(DESKTOP)
        page.get_by_role("button", name="Open Spend with The shop").click()
        page.get_by_text("Spend opens with “The shop”.").wait_for()
        watched.open("/spend/")
        expect(page).to_have_url(re.compile("service=shop"))
        watched.open("/spend/views/")
        page.get_by_role("button", name="Delete The shop").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete the view").click()
        page.get_by_text("No view is saved yet").wait_for()


def test_a_rule_is_made_of_what_runs_have_in_common_previewed_and_applied(shop: Site, desk: BrowserContext) -> None:
    with watch(desk, shop.url) as watched:
        watched.open("/spend/?by=service&service=shop&without=feature")
        page = watched.page
        page.get_by_role("link", name="Attribute it by a rule").click()
        page.get_by_role("link", name="attribute customer.tier = gold").click()
        page.get_by_label("called").fill("payments")
        page.get_by_label("from (UTC)").fill("2026-01-01T00:00")
        check_widths_and_themes(watched)
        page.set_viewport_size(DESKTOP)
        page.get_by_role("button", name="Save the rule").click()
        page.get_by_text("Spans of shop with attribute customer.tier = gold are feature payments").first.wait_for()
        check_widths_and_themes(watched)
        page.set_viewport_size(DESKTOP)
        page.get_by_role("button", name="Preview").click()
        page.get_by_text("A preview: nothing is moved.").wait_for()
        shop.manage("shell", "--verbosity", "0", "--command", WORK)
        page.get_by_role("button", name="Apply to the books").wait_for()
        check_widths_and_themes(watched)
        page.set_viewport_size(DESKTOP)
        page.get_by_role("button", name="Apply to the books").click()
        page.get_by_role("dialog").get_by_role("button", name="Apply").click()
        page.get_by_text("is moved.", exact=False).first.wait_for()
        shop.manage("shell", "--verbosity", "0", "--command", WORK)
        page.get_by_text("each run is on record").wait_for()
        watched.open("/spend/rules/")
        check_widths_and_themes(watched)
        page.set_viewport_size(DESKTOP)
        watched.open("/spend/?by=feature&service=shop")
        rows = page.locator("tr[data-row] td:first-child").all_inner_texts()
        assert {" ".join(row.split()) for row in rows} == {"cart", "payments", "no feature"}


def test_the_explorer_fits_a_phone_with_everything_open(shop: Site, new_context: NewContext) -> None:
    everything = "then=model&inside=all&show=units&interval=hour&shape=bars&compare=month&timezone=Asia/Kolkata"
    with watch(new_context(ADMIN, viewport=PHONE), shop.url) as watched:
        watched.open(f"/spend/?by=service&{everything}")
        check_widths_and_themes(watched)
        watched.open(f"/spend/?by=service&{everything}")  # the chart takes its time to become narrow again
        for summary in watched.page.locator("details[data-menu] > summary").all():
            summary.click()
            assert watched.layout_faults() + watched.accessibility_faults() == []
