"""Every page in a browser: without a complaint, within its width, accessible, and inert to hostile text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.traffic import HOSTILE
from tests.e2e.watched import Watched, watch

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

FAULTS = """async () => {
  document.body.insertAdjacentHTML("beforeend",
    '<img src=x onerror=alert(1)><p class="wide" style="color: red">so</p>');
  document.querySelector(".wide").style.cssText = "width: 900px; color: #eee; background: #fff";
  alert("hello");
  await fetch("/nowhere").catch(() => 0);
  await fetch("http://other.invalid/").catch(() => 0);
  setTimeout(() => { throw new Error("late") });
}"""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
PAGES = (
    "/", "/runs/", "/runs/?status=error&sort=-cost", "/runs/?q=nothing-like-it", "/runs/{run}/", "/runs/{run}/{step}/",
    "/runs/{hostile_run}/", "/runs/{hostile_run}/{hostile_step}/", "/spend/", "/spend/?by=model&range=30d",
    "/spend/?by=user", "/spend/outlook/", "/statements/", "/invoices/", "/setup/", "/operations/", "/api/v1/docs",
    "/prices/", "/prices/new/?kind=model", "/prices/mapping/", "/prices/mapping/new/", "/prices/unpriced/",
    "/prices/repricing/", "/alerts/", "/alerts/?state=resolved&kind=loop.repeat", "/alerts/silences/",
    "/watch/rules/", "/watch/rules/*/", "/watch/rules/nobody/knows/",
    "/budgets/", "/budgets/?state=off&sort=name", "/budgets/new/", "/budgets/{budget}/", "/budgets/{budget}/edit/",
    "/budgets/1/", "/budgets/stops/",
)  # fmt: skip


@pytest.fixture(scope="module")
def signed_in(new_context: NewContext) -> BrowserContext:
    return new_context(ADMIN, viewport=PHONE)


def check_widths_and_themes(watched: Watched) -> None:
    """Layout and accessibility on a phone and a desktop, light and dark; colours are all that a theme changes."""
    page = watched.page
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert watched.layout_faults() + watched.accessibility_faults() == [], "phone, light"
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert watched.layout_faults() + watched.accessibility_faults() == [], "desktop, dark"
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert watched.accessibility_faults("color-contrast") == [], "desktop, light"
    page.set_viewport_size(PHONE)


@pytest.mark.parametrize("pattern", PAGES)
def test_a_page_is_quiet_fits_and_is_accessible(signed_in: BrowserContext, site: Site, pattern: str) -> None:
    with watch(signed_in, site.url) as watched:
        watched.open(pattern.format_map(vars(site)))
        check_widths_and_themes(watched)


def test_the_sign_in_page_is_quiet_fits_and_is_accessible(new_context: NewContext, site: Site) -> None:
    with watch(new_context(viewport=PHONE), site.url) as watched:
        watched.open("/login/")
        check_widths_and_themes(watched)


def test_the_panel_of_a_hostile_step_shows_its_text_as_text(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        watched.open(f"/runs/{site.hostile_run}/")
        watched.page.locator(f"#step-{site.hostile_step}").click()
        panel = watched.page.get_by_role("complementary", name="Step")
        panel.locator("pre", has_text=HOSTILE).first.wait_for()
        assert watched.page.locator("img[src=x], svg[onload]").count() == 0
        check_widths_and_themes(watched)
        watched.page.keyboard.press("Escape")
        panel.wait_for(state="hidden")


def test_menus_open_within_the_width(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        watched.open("/runs/")
        for summary in watched.page.locator("details[data-menu] > summary").all():
            summary.click()
            assert watched.layout_faults() + watched.accessibility_faults() == []


def test_the_watch_sees_what_it_is_there_to_see(new_context: NewContext, site: Site) -> None:
    def misbehave() -> None:
        with watch(new_context(viewport=PHONE), site.url) as watched:
            watched.open("/login/")
            watched.page.evaluate(FAULTS)
            watched.complaints += watched.layout_faults() + watched.accessibility_faults("color-contrast")

    with pytest.raises(AssertionError) as told:
        misbehave()
    said = str(told.value)
    for fault in (
        "policy: style-src", "policy: script-src", "policy: connect-src", "dialog: hello", "404 ", "uncaught: late",
        "P wide", "px wide", "color-contrast",
    ):  # fmt: skip
        assert fault in said, said
