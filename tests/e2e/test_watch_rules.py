"""Rules of a service, tried on its runs before they are saved, and gone back from, by hand."""

from __future__ import annotations

import secrets
import time

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.traffic import span
from tests.e2e.watched import watch

pytestmark = pytest.mark.browser
SERVICE = "release-bot"
CALL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search_issues",
    "gen_ai.agent.name": "releaser",
    "gen_ai.tool.call.arguments": '{"release": 7}',
    "gen_ai.tool.call.result": "no issue is found for this release",
}
#: What the worker does every few seconds, until nothing is left to do.
WORK = """
from agentops.watch.tasks import take_up_dry_runs
take_up_dry_runs()
"""


def test_a_tool_that_may_repeat_is_tried_on_the_last_days_then_saved_and_taken_back(
    new_context: NewContext, site: Site
) -> None:
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    began = time.time_ns() - 60 * 10**9
    for number in range(5):  # one after the other: calls at the same time are no repetition
        repeated = span("execute_tool search_issues", CALL, trace=trace, parent=parent)
        at = began + number * 2 * 10**9
        site.sender.send(SERVICE, repeated | {"startTimeUnixNano": str(at), "endTimeUnixNano": str(at + 10**9)})
    with watch(new_context(ADMIN), site.url) as watched:
        page = watched.page
        watched.open("/watch/rules/")
        page.get_by_role("region", name="Services and their rules").get_by_role("link", name=SERVICE).click()
        page.get_by_label("How calls of search_issues count").select_option("ignored")
        page.get_by_label("Why").fill("Searches are free here.")
        page.get_by_role("button", name="Try on the last 7 days").click()
        expect(page.get_by_text("would have raised this so far")).to_be_visible()
        site.manage("shell", "--verbosity", "0", "--command", WORK)
        gone = page.get_by_role("region", name="Gone").first
        expect(gone).to_contain_text("search_issues")
        expect(page.locator("[data-fade=findings]")).to_have_text("0")
        assert watched.layout_faults() + watched.accessibility_faults() == []
        page.get_by_role("link", name="Change them further").click()
        expect(page.get_by_label("How calls of search_issues count")).to_have_value("ignored")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved. Runs are judged by it within seconds.")).to_be_visible()
        page.get_by_label("Rounds to page").fill("12")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Back to this")).to_have_count(1)
        assert watched.layout_faults() + watched.accessibility_faults() == []
        page.get_by_role("button", name="Back to this").click()
        page.locator("#confirm-yes").click()
        expect(page.get_by_text("Back to what was decided on")).to_be_visible()
        expect(page.get_by_label("Rounds to page")).to_have_value("")
