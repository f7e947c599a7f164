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

SIZES = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
PAGES = (
    "/", "/?environment=production&range=7d", "/runs/", "/runs/?status=error&sort=-cost", "/runs/?q=nothing-like-it",
    "/runs/{run}/", "/runs/{run}/{step}/", "/runs/{hostile_run}/", "/runs/{hostile_run}/{hostile_step}/",
    "/spend/", "/spend/?by=model", "/spend/?by=user&range=30d", "/spend/?by=tool", "/spend/?by=team&interval=day",
    "/setup/", "/operations/", "/api/v1/docs",
)  # fmt: skip


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def signed_in(new_context: NewContext, size: str) -> BrowserContext:
    return new_context(ADMIN, viewport=SIZES[size])


@pytest.fixture(scope="module")
def anonymous(new_context: NewContext, size: str) -> BrowserContext:
    return new_context(viewport=SIZES[size])


def path_of(pattern: str, site: Site) -> str:
    return pattern.format(run=site.run, step=site.step, hostile_run=site.hostile_run, hostile_step=site.hostile_step)


def check_in_both_themes(watched: Watched) -> None:
    for theme in ("light", "dark"):
        watched.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        watched.settle()
        assert watched.layout_faults() == [], theme
        assert watched.accessibility_faults() == [], theme


@pytest.mark.parametrize("pattern", PAGES)
def test_a_page_is_quiet_fits_and_is_accessible(signed_in: BrowserContext, site: Site, pattern: str) -> None:
    with watch(signed_in, site.url) as watched:
        watched.open(path_of(pattern, site))
        check_in_both_themes(watched)


def test_the_sign_in_page_is_quiet_fits_and_is_accessible(anonymous: BrowserContext, site: Site) -> None:
    with watch(anonymous, site.url) as watched:
        watched.open("/login/")
        check_in_both_themes(watched)


def test_the_panel_of_a_hostile_step_shows_its_text_as_text(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        watched.open(f"/runs/{site.hostile_run}/")
        watched.page.locator(f"#step-{site.hostile_step}").click()
        panel = watched.page.get_by_role("complementary", name="Step")
        panel.locator("pre", has_text=HOSTILE).first.wait_for()
        assert watched.page.locator("img[src=x], svg[onload]").count() == 0
        check_in_both_themes(watched)
        watched.page.keyboard.press("Escape")
        panel.wait_for(state="hidden")


def test_menus_and_the_help_open_within_the_width(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        watched.open("/runs/")
        for summary in watched.page.locator("details[data-menu] > summary").all():
            summary.click()
            check_in_both_themes(watched)
        watched.page.keyboard.press("Escape")
        watched.page.keyboard.press("?")
        watched.page.get_by_role("dialog", name="Keyboard").wait_for()
        check_in_both_themes(watched)
