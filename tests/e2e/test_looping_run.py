"""The page of a run in which two agents ask each other, in a browser: what it says, folds, draws and lets one do."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.test_pages import PHONE, check_widths_and_themes
from tests.e2e.traffic import SECOND, call, span
from tests.e2e.watched import watch

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

LOOK = "from agentops.watch.look import look\nwhile look(): pass"
#: The span that all are below: it comes when the run has ended.
UNSEEN = "7" * 16
TEXTS = {"analyst": "Could you clarify the period, please?", "verifier": "Which period do you need, please clarify?"}


@pytest.fixture(scope="module")
def signed_in(new_context: NewContext) -> BrowserContext:
    return new_context(ADMIN, viewport=PHONE, reduced_motion="reduce")


def message(trace: str, turn: int) -> dict[str, Any]:
    """A model call in which an agent asks the other one, three seconds after the turn before."""
    agent = ("analyst", "verifier")[turn % 2]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": TEXTS[agent]}]}]
    facts = {"gen_ai.agent.name": agent, "gen_ai.output.messages": json.dumps(said)}
    start = time.time_ns() + (3 * turn - 300) * SECOND
    return span("ask", call() | facts, trace=trace, parent=UNSEEN) | {
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + SECOND),
    }


def test_a_talk_without_end_is_said_folded_drawn_and_acknowledged(signed_in: BrowserContext, site: Site) -> None:
    trace = secrets.token_hex(16)
    site.sender.send("asking", *(message(trace, turn) for turn in range(40)))
    site.manage("shell", "--verbosity", "0", "--command", LOOK)
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open(f"/runs/{trace}/")
        head = page.locator(".finding").first
        expect(head).to_contain_text("analyst and verifier keep passing it to each other, 20 rounds")
        expect(head.get_by_role("button", name="Acknowledge")).to_be_visible()
        fold = page.locator("tr.is-fold")
        expect(fold).to_contain_text("18 rounds")
        expect(fold).to_contain_text("Could you clarify the period")
        expect(page.get_by_role("img", name="One of 20 rounds")).to_be_visible()
        expect(page.locator(".arc-critical")).to_have_count(2)
        check_widths_and_themes(watched)
        fold.locator(".step-link").click()
        expect(page.locator("tr.step")).to_have_count(40)
        expect(page.locator("tr.step", has_text="warned here")).to_have_count(1)
        page.get_by_role("link", name="Fold repetitions").click()
        expect(page.locator("tr.step")).to_have_count(5)
        fold.get_by_role("link", name="paged here").click()
        expect(page.get_by_role("complementary", name="Step")).to_contain_text("analyst and verifier keep passing it")
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        expect(head).to_contain_text("acknowledged by admin")
        site.sender.send("asking", message(trace, 40), message(trace, 41))
        site.manage("shell", "--verbosity", "0", "--command", LOOK)
        site.sender.send("asking", message(trace, 42))
        expect(head).to_contain_text("21 rounds")
        expect(head).to_contain_text("acknowledged by admin")


def test_a_link_to_a_folded_step_opens_it(signed_in: BrowserContext, site: Site) -> None:
    trace = secrets.token_hex(16)
    turns = [message(trace, turn) for turn in range(40)]
    site.sender.send("asking", *turns)
    site.manage("shell", "--verbosity", "0", "--command", LOOK)
    with watch(signed_in, site.url) as watched:
        watched.open(f"/runs/{trace}/#step-{turns[20]['spanId']}")
        expect(watched.page.get_by_role("complementary", name="Step")).to_contain_text("part of")
