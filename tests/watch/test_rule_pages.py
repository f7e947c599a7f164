"""The pages of rules: what they show, what a form says, who may decide, and what a dry run shows."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agentops.accounts.models import Role, User
from agentops.catalog.models import Service
from agentops.watch import decisions, dry_run, rules
from agentops.watch.models import DryRun, RuleChange
from agentops.watch.numbers import SETTINGS, SWITCHES, words_of
from agentops.watch.rules import Decided
from tests.watch.scenes import booked
from tests.watch.test_dry_run import looping

pytestmark = pytest.mark.django_db(transaction=True)
SHOP, ALL = "/watch/rules/shop/", "/watch/rules/*/"


def browser(name: str, role: Role) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, role=role))
    return client


@pytest.fixture
def owner() -> Client:
    return browser("olga", Role.OWNER)


@pytest.fixture
def viewer() -> Client:
    return browser("vera", Role.VIEWER)


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", unescape(answer.content.decode()))


def given(seen: int = 0, **more: Any) -> dict[str, Any]:
    return {"seen": seen, "save": "yes", **more}


def decided(service: str = "shop") -> Decided:
    return rules.load(rules.latest_revision()).decided_for(service)


def test_the_list_says_what_is_on_for_all_and_what_differs_for_whom(viewer: Client) -> None:
    Service.objects.create(slug="quiet")
    olga = User.objects.create_user("olga")
    decisions.save(
        service="shop", decided=Decided({"warn": 2, "page": 3}, {"loop.cycle": False}, {"poll": "patient"}),
        seen=0, reason="it waits for mail", by=olga, now=timezone.now(),
    )  # fmt: skip
    page = text(viewer.get("/watch/rules/"))
    for words in (*map(words_of, SWITCHES), "All services", "quiet", "evidence to warn", "Tool poll", "patient"):
        assert words in page
    for words in ("by olga", "it waits for mail", "never", "nothing"):
        assert words in page
    assert page.index("All services") < page.index("quiet") < page.index(">shop")
    assert 'aria-current="page"' in page
    part = text(viewer.get("/watch/rules/", headers={"HX-Request": "true"}))
    assert "<html" not in part
    assert "All services" in part


def test_the_list_takes_as_many_statements_for_many_services_as_for_one(viewer: Client) -> None:
    counts = []
    for number in range(12):
        Service.objects.create(slug=f"s{number}")
        decisions.save(
            service=f"s{number}", decided=Decided({"warn": 0.5}), seen=0, reason="", by=None, now=timezone.now()
        )
        if number in (1, 11):
            with CaptureQueriesContext(connection) as statements:
                viewer.get("/watch/rules/")
            counts.append(len(statements))
    assert counts[0] == counts[1]


def test_the_form_has_every_number_kind_and_tool_with_what_holds(owner: Client) -> None:
    booked(looping())
    decisions.save(
        service="", decided=Decided({"talk_warn": 5}, {"loop.cycle": False}, {"mail": "patient"}),
        seen=0, reason="", by=None, now=timezone.now(),
    )  # fmt: skip
    page = text(owner.get(SHOP))
    for setting in SETTINGS:
        assert f'name="{setting.name}"' in page
        assert setting.help in page
    assert re.search(r'name="talk_warn"[^>]*placeholder="5"', page)
    assert re.search(r'name="page"[^>]*placeholder="1.4"', page)
    for words in ("as for all services: off", "as for all services: on", "as for all services: patient"):
        assert words in page
    assert re.search(r'value="grep".*in 1 run<', page)
    assert "not used lately" in page


def test_a_save_is_a_change_with_who_and_why_and_holds(owner: Client) -> None:
    before = rules.current().get().of("shop")
    answer = owner.post(
        SHOP,
        given(
            warn="2.5", page="3", least_budget="80", **{"kind-loop.cycle": "off"}, reason="retries are usual",
            tool=["grep", "poll", " deploy ", ""], use=["", "patient", "ignored", "ignored"],
        ),
    )  # fmt: skip
    assert (answer.status_code, answer["Location"]) == (302, SHOP)
    after = rules.current().get().of("shop")
    assert (before.rules.warn, after.rules.warn, after.rules.page) == (1.0, 2.5, 3)
    assert (after.rules.patient_tools, after.rules.ignored_tools) == ({"poll"}, {"deploy"})
    assert not after.is_on("loop.cycle")
    assert after.budgeted(None).step_budget == 80
    assert set(RuleChange.objects.values_list("changed_by__username", "reason")) == {("olga", "retries are usual")}
    page = text(owner.get(SHOP))
    for words in ("retries are usual", "by olga", "evidence to warn", "Tool poll", "in force"):
        assert words in page
    assert page.count("Back to this") == 0
    assert "Nothing was changed" in text(
        owner.post(
            SHOP,
            given(
                seen=decisions.latest_change("shop"), warn="2.5", page="3", least_budget="80",
                **{"kind-loop.cycle": "off"}, tool=["poll", "deploy"], use=["patient", "ignored"],
            ),
            follow=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"warn": "0.1"}, "It must be between 0.3 and 20."),
        ({"talk_warn": "2.5"}, "It must be a whole number."),
        ({"talk_warn": "nan"}, "Enter a number."),
        ({"page": "0.5"}, "To page must not take less than to warn: 0.5 is below 1."),
        ({"warn": "5"}, "To page must not take less than to warn: 1.4 is below 5."),
        ({"least_budget": "1e9"}, "It must be between 1 and 1,000,000."),
        ({"kind-loop.cycle": "maybe"}, "Select a valid choice"),
        ({"tool": "x", "use": "loved"}, "x: It must be one of normal, patient, ignored."),
        ({"tool": "x" * 300, "use": "ignored"}, "The name of a tool has 1 to 256 characters."),
    ],
)
@pytest.mark.parametrize("button", ["save", "try"])
def test_what_cannot_be_is_told_beside_its_field_and_nothing_is_saved(
    owner: Client, more: dict[str, str], words: str, button: str
) -> None:
    answer = owner.post(SHOP, {"seen": 0, button: "yes", "reason": "kept as typed", **more})
    assert answer.status_code == 422
    page = text(answer)
    assert words in page
    assert "kept as typed" in page
    assert not RuleChange.objects.exists()
    assert not DryRun.objects.exists()


def test_a_service_may_switch_on_again_what_is_off_for_all(owner: Client) -> None:
    owner.post(ALL, given(**{f"kind-{kind}": "on" for kind in SWITCHES} | {"kind-loop.cycle": "off"}))
    assert not rules.current().get().of("shop").is_on("loop.cycle")
    owner.post(SHOP, given(**{"kind-loop.cycle": "on"}, tool="grep", use="normal"))
    book = rules.current().get()
    assert book.of("shop").is_on("loop.cycle")
    assert not book.of("else").is_on("loop.cycle")
    owner.post(ALL, given(seen=decisions.latest_change(""), tool="grep", use="ignored"))
    book = rules.current().get()
    assert not book.of("shop").rules.ignored_tools
    assert book.of("else").rules.ignored_tools == {"grep"}


def test_of_two_who_save_the_second_is_told_and_may_save_over_it(owner: Client) -> None:
    owner.post(SHOP, given(talk_page="20"))
    other = browser("otto", Role.ADMIN)
    answer = other.post(SHOP, given(talk_page="30", reason="mine", tool="poll", use="patient"))
    assert answer.status_code == 409
    page = text(answer)
    for words in ("Changed by olga meanwhile", "rounds to page", 'value="30"', "mine", 'value="poll"'):
        assert words in page
    assert decided().numbers == {"talk_page": 20}
    (seen,) = {int(found) for found in re.findall(r'name="seen" value="(\d+)"', page)}
    assert other.post(SHOP, given(seen=seen, talk_page="30")).status_code == 302
    assert decided().numbers == {"talk_page": 30}


def test_earlier_rules_come_back_as_another_change(owner: Client) -> None:
    owner.post(SHOP, given(talk_page="20", tool="poll", use="patient"))
    first = decisions.latest_change("shop")
    owner.post(SHOP, given(seen=first, talk_page="30"))
    assert "Back to this" in text(owner.get(SHOP))
    latest = decisions.latest_change("shop")
    assert "changed by olga meanwhile" in text(owner.post(SHOP, {"restore": first, "seen": first}, follow=True))
    owner.post(SHOP, {"restore": first, "seen": latest})
    assert decided() == Decided({"talk_page": 20}, {}, {"poll": "patient"})
    page = text(owner.get(SHOP))
    assert "Back to what was decided on" in page
    assert len(decisions.history("shop")) == 3
    for wrong in ("x", "999999", "²", "9" * 5_000, str(10**30)):
        assert owner.post(SHOP, {"restore": wrong, "seen": "0"}).status_code == 404
        assert owner.get(SHOP, {"dry_run": wrong}).status_code == 200
    assert owner.post(SHOP, {"restore": latest, "seen": str(10**30)}).status_code == 404
    assert owner.post(SHOP, given(seen=10**30, talk_page="30")).status_code == 422


def test_who_may_not_decide_sees_it_and_changes_nothing(viewer: Client, owner: Client) -> None:
    owner.post(SHOP, given(talk_page="20"))
    owner.post(SHOP, {"seen": decisions.latest_change("shop"), "try": "yes"})
    page = text(viewer.get(SHOP))
    assert '<fieldset class="plain stack" disabled>' in page
    assert "Try on the last 7 days" not in page
    job = DryRun.objects.get()
    assert "Save these settings" not in text(viewer.get(f"/watch/dry-runs/{job.pk}/"))
    for address, data in (
        (SHOP, given(talk_page="30")), (SHOP, {"seen": 0, "try": "yes"}), (SHOP, {"restore": 1, "seen": 1}),
        (f"/watch/dry-runs/{job.pk}/save", {}), (f"/watch/dry-runs/{job.pk}/cancel", {}),
    ):  # fmt: skip
        assert viewer.post(address, data).status_code == 403
    assert decided().numbers == {"talk_page": 20}


def test_settings_are_tried_then_saved_or_changed_further(owner: Client) -> None:
    scene = looping()
    booked(scene)
    deaf = {"warn": "15", "page": "20", "same_result_warn": "20", "same_result_page": "20"}
    tried = owner.post(SHOP, {"seen": 0, "try": "yes", "reason": "x", **deaf})
    job = DryRun.objects.get()
    address = f"/watch/dry-runs/{job.pk}/"
    assert tried["Location"] == address
    assert not RuleChange.objects.exists()
    page = text(owner.get(address))
    for words in ("What is tried", "evidence to page", "waiting", "Save these settings", "not looked at yet", "Cancel"):
        assert words in page
    while dry_run.work(job.pk):
        pass
    page = text(owner.get(address, headers={"HX-Request": "true"}))
    assert "<html" not in page
    for words in ("done", "1 of 1 run", "Gone", "raised by the present rules alone: 1", "grep is called the same way"):
        assert words in page
    assert f'href="/runs/{scene.trace_id.hex()}/?service=shop"' in page
    assert "Dry run" in text(owner.get("/watch/rules/"))
    form = text(owner.get(f"{SHOP}?dry_run={job.pk}"))
    assert re.search(r'name="page" value="20"', form)
    assert "are filled in. Nothing is saved yet" in form
    saved = owner.post(f"{address}save", {"reason": "too\0 loud"})
    assert saved["Location"] == SHOP
    assert decided().numbers == {name: float(value) for name, value in deaf.items()}
    assert RuleChange.objects.get().reason == "too loud"
    assert "have been changed since" in text(owner.get(address))
    assert "meanwhile" in text(owner.post(f"{address}save", {}, follow=True))


def test_a_dry_run_of_what_holds_already_says_so_when_it_is_saved(owner: Client) -> None:
    owner.post(SHOP, {"seen": 0, "try": "yes"})
    job = DryRun.objects.get()
    assert "Nothing was changed" in text(owner.post(f"/watch/dry-runs/{job.pk}/save", follow=True))
    assert not RuleChange.objects.exists()


def test_a_dry_run_can_be_cancelled(owner: Client) -> None:
    owner.post(ALL, {"seen": 0, "try": "yes"})
    job = DryRun.objects.get()
    assert job.service == ""
    assert "cancelled" in text(owner.post(f"/watch/dry-runs/{job.pk}/cancel", follow=True))
    assert "It was over already" in text(owner.post(f"/watch/dry-runs/{job.pk}/cancel", follow=True))
    assert owner.get("/watch/dry-runs/999/").status_code == 404


def test_a_service_may_be_called_anything(owner: Client) -> None:
    owner.post("/watch/rules/team/a%20b/", given(talk_page="20"))
    assert decided("team/a b").numbers == {"talk_page": 20}
    assert "team/a b" in text(owner.get("/watch/rules/"))
    assert 'href="/watch/rules/team/a%20b/"' in text(owner.get("/watch/rules/"))
    assert owner.get(f"/watch/rules/{'x' * 300}/").status_code == 404
