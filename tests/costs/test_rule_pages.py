"""The pages of rules: who may do what, what a form says, what a preview shows and an application moves."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agentops.accounts.models import Role, User
from agentops.costs import queries, reattribution
from agentops.costs.models import AttributionChange, AttributionRule, Reattribution
from agentops.costs.reattribution import work
from agentops.costs.rules import last_versions
from agentops.costs.sources import SpendFilters
from agentops.domain.attribution import Rules
from tests.costs.booking import START, book_entries
from tests.costs.test_reattribution import spans

FROM, UNTIL = START - timedelta(days=1), START + timedelta(days=3)
RULE = {
    "service": "service-0",
    "dimension": "feature",
    "value": "checkout",
    "effective_from": "2025-11-01T00:00",
    "note": "asked for by finance",
    "subject": ["tag", "attribute", "tag"],
    "key": ["", "tier", "ignored"],
    "match": ["blue", "gold", " "],
}
EVERYTHING = RULE | {"subject": [], "key": [], "match": []}


def browser(name: str, role: Role) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, role=role))
    return client


@pytest.fixture
def owner(db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(reattribution, "KNOWN_EVERYWHERE", timedelta(0))
    return browser("olga", Role.OWNER)


@pytest.fixture
def admin(db: None) -> Client:
    return browser("ada", Role.ADMIN)


def text(answer: Any) -> str:
    return unescape(answer.content.decode())


def test_a_rule_is_written_in_versions_with_who_and_why(owner: Client) -> None:
    answer = owner.post(reverse("costs:new_rule"), RULE, follow=True)
    page = text(answer)
    assert "Spans of service-0 with tag blue and attribute tier = gold are feature checkout" in page
    assert "asked for by finance" in page
    assert "within seconds" in page
    (row,) = last_versions()
    assert row.conditions == [
        {"subject": "tag", "value": "blue"},
        {"subject": "attribute", "value": "gold", "key": "tier"},
    ]
    assert row.by is not None
    assert row.by.username == "olga"
    owner.post(reverse("costs:rule", args=[row.number]), RULE | {"version": 1, "value": "payments"})
    owner.post(reverse("costs:switch_rule", args=[row.number]), {"version": 2})
    (row,) = last_versions()
    assert (row.version, row.value, row.is_enabled) == (3, "payments", False)
    page = text(owner.get(reverse("costs:rule", args=[row.number])))
    assert page.count("<tr") == 1 + 3
    assert "Switch on" in page


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"value": ""}, "This field is required."),
        ({"effective_from": "soon"}, "Enter a valid date/time."),
        ({"service": "", "match": ["", "", ""]}, "Name a service or a condition"),
        ({"key": ["", "", ""]}, "an attribute a name"),
        ({"match": ["*", "", ""]}, "alone says nothing"),
        ({"dimension": "release"}, "Select a valid choice"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_rule_is_said_and_nothing_is_written(
    owner: Client, wrong: dict[str, Any], words: str
) -> None:
    answer = owner.post(reverse("costs:new_rule"), RULE | wrong)
    assert answer.status_code == 422
    assert words in text(answer)
    assert not AttributionRule.objects.exists()


def test_a_version_that_was_not_looked_at_is_not_written_over(owner: Client, admin: Client) -> None:
    owner.post(reverse("costs:new_rule"), RULE)
    (row,) = last_versions()
    admin.post(reverse("costs:rule", args=[row.number]), RULE | {"version": 1, "value": "payments"})
    answer = owner.post(reverse("costs:rule", args=[row.number]), RULE | {"version": 1, "value": "mine"})
    assert answer.status_code == 422
    assert "changed by ada meanwhile" in text(answer)
    assert last_versions()[0].value == "payments"


def test_viewers_see_rules_and_change_nothing(client: Client, owner: Client) -> None:
    owner.post(reverse("costs:new_rule"), RULE)
    assert "Spans of service-0" in text(client.get(reverse("costs:rules")))
    assert "Save version" not in text(client.get(reverse("costs:rule", args=[1])))
    for name, arguments in (
        ("costs:new_rule", []),
        ("costs:rule", [1]),
        ("costs:switch_rule", [1]),
        ("costs:rules", []),
    ):
        assert client.post(reverse(name, args=arguments), RULE).status_code == 403
    assert AttributionRule.objects.count() == 1
    assert not Reattribution.objects.exists()


def test_an_address_fills_in_the_form_as_far_as_it_says(owner: Client) -> None:
    address = "?service=service-0&dimension=user&value=robot&subject=tag&key=&match=blue&subject=colour&key=&match=x"
    page = text(owner.get(f"{reverse('costs:new_rule')}{address}"))
    assert '<option value="service-0" selected>' in page
    assert '<option value="user" selected>' in page
    assert 'value="blue"' in page
    assert 'value="x"' not in page


def test_what_unattributed_runs_have_in_common_becomes_a_condition(owner: Client) -> None:
    now = timezone.now()
    entries = spans(3, Rules(), runs=12)
    for entry in entries:  # as if it had happened an hour ago
        shift = int((now - timedelta(hours=40)).timestamp()) * 10**9 - int(START.timestamp()) * 10**9
        entry.span.start_ns += shift
        entry.span.end_ns += shift
        entry.span.attribution.pop("feature", None)
    book_entries(entries)
    page = text(owner.get(f"{reverse('costs:new_rule')}?service=service-0"))
    assert "of the newest 6 runs without a feature" in page
    links = re.findall(r'class="filter-chip" href="([^"]+)"', page)
    asked = [parse_qs(urlsplit(link).query) for link in links]
    named = {(one["subject"][-1], one["match"][-1]) for one in asked}
    assert ("attribute", "gold") in named
    assert ("tag", "blue") in named
    filled = text(owner.get(links[0]))
    assert f'value="{asked[0]["match"][-1]}"' in filled


def _previewed(owner: Client, **rule: Any) -> Reattribution:
    owner.post(reverse("costs:new_rule"), EVERYTHING | rule)
    period = {"from_at": FROM.isoformat()[:16], "until_at": UNTIL.isoformat()[:16], "service": ""}
    answer = owner.post(reverse("costs:rules"), period)
    assert answer.status_code == 302, text(answer)
    job = Reattribution.objects.get()
    assert not work(job.pk)
    job.refresh_from_db()
    return job


def test_a_preview_shows_what_moves_and_an_admin_applies_it(owner: Client, admin: Client) -> None:
    book_entries(spans(3, Rules(), runs=8))
    before = queries.spend("feature", SpendFilters.of(service="service-0"), FROM, UNTIL)
    job = _previewed(owner)
    page = text(owner.get(reverse("costs:reattribution", args=[job.pk])))
    assert "A preview: nothing is moved." in page
    assert "An admin may apply it." in page
    assert "no feature" in page
    assert "Nov 2025" in page
    assert owner.post(reverse("costs:apply_reattribution", args=[job.pk])).status_code == 403
    page = text(admin.get(reverse("costs:reattribution", args=[job.pk])))
    assert "Apply to the books" in page
    answer = admin.post(reverse("costs:apply_reattribution", args=[job.pk]))
    applied = Reattribution.objects.get(preview=job)
    assert answer["Location"] == reverse("costs:reattribution", args=[applied.pk])
    assert not work(applied.pk)
    after = queries.spend("feature", SpendFilters.of(service="service-0"), FROM, UNTIL)
    assert after.total == before.total
    moved = sum(line.cost_nano for line in job.lines.all())
    none = {item.key: item.totals.cost_nano for item in before.items}[None]
    assert {item.key: item.totals.cost_nano for item in after.items}["checkout"] == moved >= none > 0
    assert AttributionChange.objects.count() == job.changed
    assert "Moved" in text(admin.get(reverse("costs:reattribution", args=[applied.pk])))
    listed = text(owner.get(reverse("costs:rules"), headers={"HX-Request": "true"}))
    assert f"Application {applied.pk}" in listed
    assert "<html" not in listed
    again = admin.post(reverse("costs:apply_reattribution", args=[job.pk]), follow=True)
    assert "It was applied already." in text(again)


def test_a_preview_that_finds_nothing_says_so(owner: Client) -> None:
    book_entries(spans(3, Rules(), runs=4))
    job = _previewed(owner, service="service-0", effective_from="2027-01-01T00:00")
    assert "Nothing would move" in text(owner.get(reverse("costs:reattribution", args=[job.pk])))


def test_a_job_that_waits_can_be_cancelled(owner: Client) -> None:
    owner.post(reverse("costs:new_rule"), EVERYTHING)
    owner.post(reverse("costs:rules"), {"from_at": FROM.isoformat()[:16], "service": ""})
    job = Reattribution.objects.get()
    owner.post(reverse("costs:cancel_reattribution", args=[job.pk]))
    assert "cancelled" in text(owner.get(reverse("costs:reattribution", args=[job.pk])))
    said = owner.post(reverse("costs:cancel_reattribution", args=[job.pk]), follow=True)
    assert "It was over already." in text(said)


def test_a_period_that_ends_before_it_begins_is_refused(owner: Client) -> None:
    owner.post(reverse("costs:new_rule"), EVERYTHING)
    answer = owner.post(reverse("costs:rules"), {"from_at": UNTIL.isoformat()[:16], "until_at": FROM.isoformat()[:16]})
    assert answer.status_code == 422
    assert "ends before it begins" in text(answer)


def test_the_spend_page_leads_to_a_rule_for_what_lacks_a_feature(owner: Client) -> None:
    book_entries(spans(3, Rules(), runs=8))
    asked = {"range": "custom", "from": FROM.isoformat(), "until": UNTIL.isoformat(), "service": "service-0"}
    page = text(owner.get(reverse("costs:spend"), asked | {"without": "feature"}))
    (link,) = re.findall(r'<a href="([^"]+)">Attribute it by a rule</a>', page)
    assert parse_qs(urlsplit(link).query) == {"dimension": ["feature"], "service": ["service-0"]}
    assert "Attribute it by a rule" not in text(owner.get(reverse("costs:spend"), asked))
