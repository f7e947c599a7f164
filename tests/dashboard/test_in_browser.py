"""The frame, the set-up and the operations page in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from agentops.accounts.models import Role, User

pytestmark = pytest.mark.browser

PASSWORD = "a long password"
REPORT = """addEventListener('securitypolicyviolation', event =>
  console.error('CSP', event.violatedDirective, event.blockedURI, event.sample))"""
TRACE = {"type": "scatter", "x": [1, 2], "y": [3, 4], "name": "a", "series": 1, "stackgroup": "all"}


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console said: errors, warnings, reports of the content security policy."""
    return []


@pytest.fixture
def page(served: str, chromium: str, complaints: list[str], settings: Any) -> Iterator[Page]:
    """A browser's page, and an owner who may sign in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]  # as the web process has it
    User.objects.create_user("ada", password=PASSWORD, role=Role.OWNER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(base_url=served, viewport={"width": 1440, "height": 980}, color_scheme="light")
        page.add_init_script(REPORT)
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        browser.close()


def sign_in(page: Page, leads_to: str) -> None:
    page.goto(leads_to)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda address: address.endswith(leads_to) and "login" not in address)


def test_the_first_span_turns_the_page_green_without_reload(page: Page, complaints: list[str]) -> None:
    sign_in(page, "/setup/")
    page.get_by_role("combobox", name="Service").fill("first-agent")
    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_text("Waiting for the first span")).to_be_visible()
    expect(page.locator("[data-live-state]")).to_have_text("live")
    page.evaluate("window.untouched = true")
    command = page.locator("#curl").text_content() or ""
    subprocess.run([shutil.which("bash") or "bash", "-c", command], check=True, capture_output=True)
    expect(page.get_by_text("Spans arrive")).to_be_visible(timeout=5000)
    assert page.evaluate("window.untouched")

    page.once("dialog", lambda dialog: pytest.fail(f"a dialog of the browser: {dialog.message}"))
    page.get_by_role("button", name="Revoke").first.click()
    expect(page.locator("#confirm-words")).to_contain_text("refused within seconds")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".badge", has_text="revoked")).to_have_count(0)
    page.get_by_role("button", name="Revoke").first.click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.locator(".toast")).to_contain_text("is revoked")
    assert complaints == []


def test_a_chart_is_drawn_within_the_content_security_policy_in_both_themes(page: Page, complaints: list[str]) -> None:
    sign_in(page, "/setup/")
    page.route("**/spend.json*", lambda route: route.fulfill(json={"traces": [TRACE], "layout": {}}))
    page.goto("/")
    label = page.locator(".xtick text").first
    expect(label).to_be_visible(timeout=15_000)
    light = label.evaluate("node => getComputedStyle(node).fill")
    page.locator(".me").click()
    page.get_by_role("button", name="Dark").click()
    expect(label).not_to_have_css("fill", light)
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_are_accessible_and_nothing_is_cut(page: Page, complaints: list[str], scheme: str, width: int) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 844})
    sign_in(page, "/setup/")
    for path in ("/setup/", "/operations/", "/what-if/", "/what-if/?incident=rotation&budget=20", "/nowhere/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    assert [said for said in complaints if "404" not in said] == []


def test_the_keyboard_goes_everywhere(page: Page, complaints: list[str]) -> None:
    sign_in(page, "/setup/")
    page.keyboard.press("?")
    expect(page.locator("#key-help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/operations/")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    assert complaints == []


def test_eleven_days_are_replayed_and_can_be_stopped_anywhere(page: Page, complaints: list[str]) -> None:
    sign_in(page, "/what-if/")
    without = page.locator("[data-film-without]")
    expect(without).to_have_text("$47,203")
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".who")).to_have_attribute("data-state", "calm")
    expect(page.locator(".talk-line").first).to_contain_text("turn 1,", timeout=10_000)
    page.get_by_role("button", name="Skip to the alert").click()
    expect(page.locator(".who")).to_have_attribute("data-state", "warned", timeout=10_000)
    expect(page.locator(".talk-note")).to_contain_text("Warning after 3 min 28 s")
    page.get_by_role("button", name="Pause").click()
    still = without.text_content()
    place = page.get_by_label("Place in the replay")
    place.fill("500")
    expect(without).not_to_have_text(still or "")
    expect(page.locator("[data-film-with]")).to_have_text("$1.20")
    expect(page.locator(".who")).to_have_attribute("data-state", "paged")
    place.fill("1000")
    expect(without).to_have_text("$47,203")
    expect(page.locator("[data-film-count]")).to_have_text("36,554")

    page.get_by_role("combobox", name="What happened").select_option("rotation")
    expect(page.locator("#story-title")).to_have_text("Three searches in rotation")
    expect(without).to_have_text("$33.05")
    assert "incident=rotation" in page.url
    page.get_by_role("link", name="Linear").click()
    expect(page.get_by_role("link", name="Linear")).to_have_attribute("aria-current", "true")
    page.get_by_role("combobox", name="With the watch").select_option("60")
    expect(page.get_by_text("with it, stopped by a person, 1 hour")).to_be_visible()
    expect(page.get_by_role("link", name="Linear")).to_have_attribute("aria-current", "true")
    expect(page.locator(".what-if-stage")).to_have_count(1)
    assert complaints == []


def test_whoever_wants_no_motion_gets_a_picture_a_second(page: Page, complaints: list[str]) -> None:
    page.emulate_media(reduced_motion="reduce")
    sign_in(page, "/what-if/")
    page.evaluate("""() => {
      window.pictures = new Set();
      new MutationObserver(() => window.pictures.add(document.querySelector("[data-film-head]").getAttribute("x1")))
        .observe(document.querySelector("[data-film-head]"), { attributes: true });
    }""")
    page.get_by_role("button", name="Replay").click()
    page.wait_for_timeout(2600)
    assert page.evaluate("window.pictures.size") <= 4
    assert complaints == []
