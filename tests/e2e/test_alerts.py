"""Alerts as a person meets them: told on any page, answered from the keyboard, never told twice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.e2e.conftest import ADMIN, NewContext, Site
from tests.e2e.traffic import call, span
from tests.e2e.watched import watch

pytestmark = pytest.mark.browser

#: What a worker does with what it found.
RAISE = """
from django.db import transaction
from django.utils import timezone
from agentops.alerts.actions import Signal, announce, report
now = timezone.now()
evidence = {{"cost_usd": "41.20", "usd_per_hour": "178", "pattern": ["analyst", "verifier"], "period": 2, "count": 23,
    "steps": ["{step}"], "first_span_id": "{step}"}}
with transaction.atomic():
    announce(report([
        Signal("{kind}", "{severity}", "{service}", f"loops, number {{n}}", now, evidence,
               run=bytes.fromhex("{run}") or (n + 1).to_bytes(16, "big"), session=f"s{{n}}")
        for n in range({first}, {last})
    ], now=now))
"""
RESOLVE = """
from django.utils import timezone
from agentops.accounts.models import User
from agentops.alerts.actions import move_all
from agentops.alerts.models import Alert
from agentops.domain.alerting import Move
move_all(ids=Alert.objects.values_list("pk", flat=True), move=Move.RESOLVE, by=User.objects.first(), now=timezone.now())
"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
WAIT_MS = 10_000


def run(site: Site, command: str) -> None:
    site.manage("shell", "--verbosity", "0", "--command", command)


def start(site: Site, first: int, last: int, **changes: str) -> None:
    given = {"severity": "warn", "kind": "loop.cycle", "run": "", "step": site.step} | changes
    run(site, RAISE.format(first=first, last=last, **given))


@pytest.fixture(autouse=True)
def _nothing_left(site: Site) -> Iterator[None]:
    yield
    run(site, RESOLVE)


@pytest.fixture(scope="module")
def signed_in(new_context: NewContext) -> BrowserContext:
    return new_context(ADMIN, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")


def test_a_new_alert_is_told_on_any_page_once_and_leads_to_its_evidence(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/runs/")
        title = page.title()
        looping = span("chat", call())
        site.sender.send("toasted", looping)
        start(site, 0, 1, service="toasted", severity="page", run=looping["traceId"], step=looping["spanId"])
        toast = page.locator(".toast.is-alert")
        expect(toast).to_have_text("toasted: loops, number 0", timeout=WAIT_MS)
        expect(toast).to_have_class(re.compile("tone-critical"))
        expect(page.locator("#alerts-badge")).to_have_text(re.compile("1"))
        expect(page).to_have_title(f"(1) {title}")
        toast.get_by_role("link").click()
        page.wait_for_url("**/alerts/*/")
        watched.settle()
        assert watched.layout_faults() + watched.accessibility_faults() == []
        # The page that was just loaded hears the last seconds again, and does not repeat them.
        page.wait_for_timeout(800)
        assert page.locator(".toast.is-alert").count() == 0
        page.locator(".alert-steps a").first.click()
        page.wait_for_url(re.compile(rf"/runs/{looping['traceId']}/.*#step-{looping['spanId']}"))
        expect(page.locator(f"#step-{looping['spanId']}")).to_be_visible()


def test_several_at_once_are_one_toast_and_a_hidden_tab_counts_them(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/spend/")
        page.evaluate(HIDE, True)
        start(site, 0, 12, service="many-at-once")
        toast = page.locator(".toast.is-alert")
        expect(toast).to_have_text("12 alerts of many-at-once", timeout=WAIT_MS)
        assert toast.count() == 1
        expect(page).to_have_title(re.compile(r"^\(12\) "))
        page.evaluate(HIDE, False)
        toast.get_by_role("link").click()
        page.wait_for_url("**/alerts/?service=many-at-once")
        expect(page.locator("#inbox [data-row]")).to_have_count(12)


def test_a_storm_is_one_toast_and_one_row(signed_in: BrowserContext, site: Site) -> None:
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/alerts/")
        start(site, 0, 60, service="stormy", kind="loop.repeat")
        expect(page.locator(".toast.is-alert")).to_have_text(
            "60 runs of stormy: loop.repeat within a minute", timeout=WAIT_MS
        )
        row = page.locator("#inbox [data-row]", has_text="stormy")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("$2,472.00 so far")


def test_the_inbox_is_worked_off_from_the_keyboard(signed_in: BrowserContext, site: Site) -> None:
    start(site, 0, 4, service="by-keys")
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/runs/")
        page.keyboard.press("g")
        page.keyboard.press("a")
        page.wait_for_url("**/alerts/")
        watched.settle()
        rows = page.locator("#inbox [data-row]", has_text="by-keys")
        expect(rows).to_have_count(4)
        page.keyboard.press("j")
        page.keyboard.press("j")
        second = page.evaluate("document.activeElement.href")
        page.keyboard.press("a")
        expect(rows).to_have_count(3, timeout=WAIT_MS)
        # The row that took its place has the focus.
        focused = page.evaluate("document.activeElement.href")
        assert "/alerts/" in focused
        assert focused != second
        page.keyboard.press("r")
        expect(rows).to_have_count(2, timeout=WAIT_MS)
        page.keyboard.press("s")
        expect(page.get_by_role("button", name="An hour", exact=True)).to_be_focused()
        # What comes meanwhile does not take the menu away.
        start(site, 90, 91, service="by-keys")
        expect(page.locator(".toast.is-alert").last).to_contain_text("number 90", timeout=WAIT_MS)
        page.wait_for_timeout(1200)
        expect(page.get_by_role("button", name="An hour", exact=True)).to_be_focused()
        page.keyboard.press("Enter")
        expect(rows).to_have_count(2, timeout=WAIT_MS)
        expect(rows.filter(has_text="number 90")).to_have_count(1)
        page.get_by_role("link", name=re.compile("^Acknowledged")).click()
        expect(page.locator("#inbox [data-row]", has_text="acknowledged by admin")).to_have_count(1)
        page.locator("#inbox [data-row] a").first.click()
        watched.settle()
        page.keyboard.press("r")
        expect(page.locator(".alert-side")).to_contain_text("by admin", timeout=WAIT_MS)
        expect(page.locator(".timeline")).to_contain_text("admin resolved it")


def test_several_are_picked_and_keep_picked_while_the_list_moves(signed_in: BrowserContext, site: Site) -> None:
    start(site, 0, 3, service="picked-ones")
    with watch(signed_in, site.url) as watched:
        page = watched.page
        watched.open("/alerts/?service=picked-ones")
        assert watched.layout_faults() + watched.accessibility_faults() == []
        rows = page.locator("#inbox [data-row]")
        rows.nth(0).get_by_role("checkbox").check()
        rows.nth(2).get_by_role("checkbox").check()
        start(site, 3, 4, service="picked-ones")
        expect(rows).to_have_count(4, timeout=WAIT_MS)
        expect(page.get_by_text("2 picked")).to_be_visible()
        page.locator("#picked").get_by_role("button", name="Acknowledge").click()
        expect(page.locator(".toast", has_text="2 alerts acknowledged.")).to_be_visible()
        expect(rows).to_have_count(2, timeout=WAIT_MS)


def test_sound_and_notifications_are_off_until_somebody_wants_them(signed_in: BrowserContext, site: Site) -> None:
    signed_in.grant_permissions(["notifications"], origin=site.url)
    with watch(signed_in, site.url) as watched:
        page = watched.page
        page.add_init_script(
            "globalThis.told = []; globalThis.Notification = class extends EventTarget {"
            " static permission = 'granted'; static requestPermission = async () => 'granted';"
            " constructor(title, options) { super(); told.push(options.body); } close() {} }"
        )
        watched.open("/alerts/")
        sound = page.get_by_role("button", name="Sound is off")
        sound.click()
        expect(page.get_by_role("button", name="Sound is on")).to_have_attribute("aria-pressed", "true")
        page.reload()
        watched.settle()
        page.get_by_role("button", name="Sound is on").click()
        page.get_by_role("button", name="Notify on the desktop").click()
        expect(page.get_by_role("button", name="Notifications are on")).to_be_visible()
        page.evaluate(HIDE, True)
        start(site, 0, 1, service="notified")
        page.wait_for_function("() => told.length === 1", timeout=WAIT_MS)
        assert page.evaluate("told") == ["notified: loops, number 0"]
