"""What a person does by hand: signing in and out, keys of the keyboard, the theme, and what a viewer may not."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ADMIN, PASSWORD, VIEWER, NewContext, Site
from tests.e2e.watched import watch

pytestmark = pytest.mark.browser

BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_nobody_in_particular_is_led_to_sign_in_and_then_to_where_they_wanted(
    new_context: NewContext, site: Site
) -> None:
    page = new_context().new_page()
    for path in ("/", f"/runs/{site.run}/", "/spend/?by=user", "/setup/", "/operations/"):
        page.goto(path)
        assert page.url.startswith(f"{site.url}/login/?next=/"), page.url
        assert page.get_by_role("navigation").count() == 0
    page.goto("/runs/?sort=-cost")
    page.get_by_label("Name").fill(ADMIN)
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not fit together")
    assert page.get_by_label("Name").input_value() == ADMIN
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/runs/?sort=-cost")
    page.locator("summary.me").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login/**")
    page.goto("/runs/")
    assert "/login/" in page.url


def test_a_viewer_sees_everything_but_cannot_make_or_revoke_a_key(new_context: NewContext, site: Site) -> None:
    context = new_context(VIEWER)
    with watch(context, site.url) as watched:
        page = watched.page
        watched.open("/setup/")
        page.get_by_text("Keys are made by owners and admins").wait_for()
        assert page.get_by_role("button", name="Create the key").count() == 0
        assert page.get_by_role("button", name="Revoke").count() == 0
        key = page.locator("#keys tr", has_text="first key")
        token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
        key_id = key.locator(".mono").inner_text().removeprefix("agk_").rstrip("…")
        form = {"csrfmiddlewaretoken": token, "kind": "collector", "name": "forbidden"}
        for path in ("/setup/", f"/setup/keys/{key_id}/revoke/"):
            answer = context.request.post(path, form=form, headers={"referer": site.url})
            assert answer.status == 403, path
            assert "owner" in answer.text(), path
        watched.open("/setup/")
        key.get_by_text("in use").wait_for()
        assert page.locator("#keys tr", has_text="forbidden").count() == 0
        watched.open("/runs/")
        page.locator(f"#rows a[href*='{site.run}']").wait_for()


def test_the_keyboard_searches_helps_goes_and_moves(new_context: NewContext, site: Site) -> None:
    with watch(new_context(ADMIN), site.url) as watched:
        page, search = watched.page, watched.page.get_by_label("Search runs")
        watched.open("/operations/")
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Keyboard").wait_for()
        assert watched.accessibility_faults() == []
        page.keyboard.press("g")
        page.keyboard.press("r")
        assert page.url.endswith("/operations/"), "an open dialog keeps the keys to itself"
        page.keyboard.press("Escape")
        page.get_by_role("dialog", name="Keyboard").wait_for(state="hidden")
        page.keyboard.press("g")
        page.keyboard.press("r")
        page.wait_for_url("**/runs/")
        watched.settle()
        page.keyboard.press("j")
        expect(page.locator("[data-row] a").first).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**/runs/*/**")
        watched.settle()
        page.keyboard.press("/")
        expect(search).to_be_focused()
        page.keyboard.type("g/r?")
        expect(search).to_have_value("g/r?")
        search.fill(site.run)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/runs/{site.run}/**")


def test_the_chosen_theme_is_kept_over_pages_and_reloads(new_context: NewContext, site: Site) -> None:
    with watch(new_context(ADMIN, color_scheme="light", reduced_motion="reduce"), site.url) as watched:
        page = watched.page
        watched.open("/")
        light = page.evaluate(BACKGROUND)
        page.locator("summary.me").click()
        page.get_by_role("button", name="Dark").click()
        dark = page.evaluate(BACKGROUND)
        assert dark != light
        for path in ("/", "/spend/"):
            watched.open(path)
            assert page.evaluate(BACKGROUND) == dark, path
        page.locator("summary.me").click()
        assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="As the system").click()
        assert page.evaluate(BACKGROUND) == light


def test_the_first_stop_of_the_keyboard_skips_to_the_content(new_context: NewContext, site: Site) -> None:
    with watch(new_context(ADMIN), site.url) as watched:
        watched.open("/runs/")
        watched.page.keyboard.press("Tab")
        expect(watched.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        watched.page.keyboard.press("Enter")
        expect(watched.page).to_have_url(f"{site.url}/runs/#content")
