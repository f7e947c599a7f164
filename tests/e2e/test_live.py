"""What changes by itself: runs, spend and the set-up page, seen in a browser that is never reloaded."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.traffic import Sender, call, span
from tests.e2e.watched import Watched, watch

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

WAIT_MS = 10_000
MARK = "document.documentElement.dataset.sameDocument = 'yes'"


@pytest.fixture(scope="module")
def signed_in(new_context: NewContext) -> BrowserContext:
    return new_context(ADMIN, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")


def open_and_mark(watched: Watched, path: str) -> None:
    """Open a page and leave a mark that a reload would wipe away."""
    watched.open(path)
    watched.page.evaluate(MARK)


def assert_never_reloaded(watched: Watched) -> None:
    assert watched.page.locator("html[data-same-document=yes]").count() == 1


def test_a_new_run_appears_in_the_list_and_its_steps_on_its_page(signed_in: BrowserContext, site: Site) -> None:
    trace = secrets.token_hex(16)
    with watch(signed_in, site.url) as watched:
        open_and_mark(watched, "/runs/")
        watched.page.keyboard.press("j")
        focused = watched.page.evaluate("document.activeElement.href")
        site.sender.send("live-service", span("plan", call(), trace=trace))
        link = watched.page.locator(f"#rows a[href*='{trace}']")
        link.wait_for(timeout=WAIT_MS)
        assert watched.page.evaluate("document.activeElement.href") == focused, "the new rows took the focus away"
        assert_never_reloaded(watched)
        link.click()
        watched.settle()
        watched.page.evaluate(MARK)
        search = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look_it_up"}
        site.sender.send("live-service", span("look", search, trace=trace, error="no such page"))
        watched.page.locator("#steps").get_by_text("look_it_up").wait_for(timeout=WAIT_MS)
        watched.page.locator("#run-side").get_by_text("look_it_up").first.wait_for(timeout=WAIT_MS)
        assert_never_reloaded(watched)


def test_spend_changes_on_the_overview_and_on_its_own_page(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as overview, watch(signed_in, site.url) as spend:
        open_and_mark(overview, "/")
        open_and_mark(spend, "/spend/?by=user")
        today = overview.page.locator("[data-fade=today]")
        before = today.inner_text()
        site.sender.send("live-spender", span("write", call("gpt-4o", user__id="big spender") | {
            "gen_ai.usage.input_tokens": 40_000_000,
        }))  # fmt: skip
        spend.page.locator("#table tr", has_text="big spender").get_by_text("$100").wait_for(timeout=WAIT_MS)
        assert_never_reloaded(spend)
        overview.page.bring_to_front()
        expect(today).not_to_have_text(before, timeout=WAIT_MS)
        overview.page.locator("#services tr", has_text="live-spender").get_by_text("$100").wait_for(timeout=WAIT_MS)
        assert_never_reloaded(overview)


def test_updates_that_were_paused_come_when_resumed(signed_in: BrowserContext, site: Site) -> None:
    trace, later = secrets.token_hex(16), secrets.token_hex(16)
    with watch(signed_in, site.url) as paused, watch(signed_in, site.url) as other:
        open_and_mark(paused, "/runs/")
        paused.page.get_by_role("button", name="live").click()
        paused.page.get_by_role("button", name="paused").wait_for()
        open_and_mark(other, "/runs/")
        site.sender.send("live-service", span("plan", call(), trace=trace))
        other.page.locator(f"#rows a[href*='{trace}']").wait_for(timeout=WAIT_MS)
        paused.page.bring_to_front()
        assert paused.page.locator(f"#rows a[href*='{trace}']").count() == 0
        paused.page.get_by_role("button", name="paused").click()
        paused.page.locator(f"#rows a[href*='{trace}']").wait_for(timeout=WAIT_MS)
        site.sender.send("live-service", span("plan", call(), trace=later))
        paused.page.locator(f"#rows a[href*='{later}']").wait_for(timeout=WAIT_MS)
        assert_never_reloaded(paused)


def test_a_key_made_in_the_browser_is_shown_once_and_its_first_span_turns_the_page_green(
    signed_in: BrowserContext, site: Site
) -> None:
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/setup/")
        page.get_by_role("radio", name="One service").check()
        page.get_by_label("Service (for one service)").fill("first-steps")
        page.get_by_label("Name of the key").fill("made in a browser")
        page.get_by_role("button", name="Create the key").click()
        key = page.locator("#new-key").inner_text()
        assert key.startswith("agk_")
        assert page.locator(".code", has_text=key).count() > 0, "the examples hold the key"
        watched.settle()
        page.evaluate(MARK)
        page.get_by_text("Waiting for the first span").wait_for()
        trace = secrets.token_hex(16)
        Sender(site.url, key).send("whatever it says", span("first", call(), trace=trace))
        arrived = page.locator("#waiting .tone-good", has_text="Spans arrive")
        arrived.wait_for(timeout=WAIT_MS)
        assert_never_reloaded(watched)
        assert trace in (arrived.get_by_role("link").get_attribute("href") or "")
        page.get_by_role("link", name="I have copied it").click()
        page.locator("#keys tr", has_text="made in a browser").get_by_text("in use").wait_for()
        assert key not in page.content()


def test_a_revoked_key_asks_first_and_is_then_marked(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/setup/")
        page.get_by_role("radio", name="A collector").check()
        page.get_by_label("Name of the key").fill("to be revoked")
        page.get_by_role("button", name="Create the key").click()
        row = page.locator("#keys tr", has_text="to be revoked")
        for answer in ("Cancel", "Revoke the key"):
            row.get_by_role("button", name="Revoke").click()
            page.get_by_role("dialog").get_by_role("button", name=answer).click()
            page.get_by_role("dialog").wait_for(state="hidden")
        row.get_by_text("revoked", exact=True).wait_for()
        assert row.get_by_role("button", name="Revoke").count() == 0
