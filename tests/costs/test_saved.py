"""Saved views: what they keep, who sees and changes them, and what a page opens with."""

from __future__ import annotations

from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse

from agentops.accounts.models import Role, User
from agentops.costs.models import SavedView
from agentops.costs.saved import shelf

QUERY = (
    "by=team&then=service&inside=all&range=month&timezone=Europe%2FBerlin&without=user&service=a&service=b"
    "&compare=month"
)


def browser(name: str, role: Role = Role.VIEWER, **more: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, role=role, **more))
    return client


@pytest.fixture
def ada(db: None) -> Client:
    return browser("ada")


@pytest.fixture
def bob(db: None) -> Client:
    return browser("bob")


def save(client: Client, name: str = "Chargeback", query: str = QUERY, *, shared: bool = False) -> SavedView:
    data = {"name": name, "query": query} | ({"is_shared": "yes"} if shared else {})
    answer = client.post(reverse("costs:views"), data)
    view = SavedView.objects.get(name=" ".join(name.split()), owner__username=answer.wsgi_request.user.get_username())
    assert answer["Location"] == reverse("costs:view", args=[view.pk])
    return view


def arrives(client: Client, path: str = "", **parameters: str) -> dict[str, list[str]]:
    """Where the spend page leads, as parameters."""
    answer = client.get(path or reverse("costs:spend"), parameters)
    return parse_qs(urlsplit(answer["Location"]).query) if answer.status_code == 302 else {}


def test_a_view_opens_the_page_as_it_was_saved(ada: Client) -> None:
    view = save(ada, query=f"?{QUERY}&cursor=x&filter=y&colour=red&view=7&top=")
    assert arrives(ada, reverse("costs:view", args=[view.pk])) == {**parse_qs(QUERY), "view": [str(view.pk)]}
    page = unescape(ada.get(reverse("costs:view", args=[view.pk]), follow=True).content.decode())
    assert '<span class="cut">Chargeback</span>' in page
    assert '<span class="label">changed</span>' not in page
    changed = unescape(ada.get(reverse("costs:spend"), {"view": view.pk, "by": "user"}).content.decode())
    assert '<span class="label">changed</span>' in changed


def test_saving_under_the_same_name_replaces_ones_own_view(ada: Client, bob: Client) -> None:
    first = save(ada)
    again = save(ada, " Chargeback ", "by=user", shared=True)
    assert (again.pk, again.query, again.is_shared) == (first.pk, "by=user", True)
    assert save(bob).pk != first.pk


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "\x00"])
def test_a_view_needs_a_name(ada: Client, name: str) -> None:
    answer = ada.post(reverse("costs:views"), {"name": name, "query": QUERY}, follow=True)
    assert "A view needs a name" in answer.content.decode()
    assert not SavedView.objects.exists()


def test_a_private_view_is_nobody_elses(ada: Client, bob: Client) -> None:
    view = save(ada)
    assert bob.get(reverse("costs:view", args=[view.pk])).status_code == 404
    for name in ("costs:change_view", "costs:delete_view"):
        assert bob.post(reverse(name, args=[view.pk]), {"name": "Mine"}).status_code == 404
    assert bob.post(reverse("costs:default_view"), {"view": view.pk}).status_code == 404
    for unsound in (10**30, "9" * 5_000):
        assert bob.post(reverse("costs:default_view"), {"view": unsound}).status_code == 302
    assert "Chargeback" not in bob.get(reverse("costs:views")).content.decode()


def test_a_shared_view_is_seen_by_all_and_changed_by_its_owner_and_admins(ada: Client, bob: Client) -> None:
    view = save(ada, shared=True)
    assert arrives(bob, reverse("costs:view", args=[view.pk]))["by"] == ["team"]
    page = bob.get(reverse("costs:views")).content.decode()
    assert "Chargeback" in page
    assert reverse("costs:delete_view", args=[view.pk]) not in page
    bob.post(reverse("costs:change_view", args=[view.pk]), {"name": "Mine"})
    bob.post(reverse("costs:delete_view", args=[view.pk]))
    view.refresh_from_db()
    assert view.name == "Chargeback"
    root = browser("root", Role.ADMIN)
    root.post(reverse("costs:change_view", args=[view.pk]), {"name": "Renamed", "is_shared": "yes"})
    view.refresh_from_db()
    assert (view.name, view.is_shared, view.owner.username) == ("Renamed", True, "ada")
    root.post(reverse("costs:delete_view", args=[view.pk]))
    assert not SavedView.objects.exists()


def test_two_views_of_one_person_have_two_names(ada: Client) -> None:
    save(ada)
    other = save(ada, "Other")
    answer = ada.post(reverse("costs:change_view", args=[other.pk]), {"name": "Chargeback"}, follow=True)
    assert "There is a view “Chargeback” already." in answer.content.decode()


def test_the_default_view_opens_for_who_asks_for_nothing_else(ada: Client, bob: Client) -> None:
    view = save(ada, shared=True)
    bob.post(reverse("costs:default_view"), {"view": view.pk})
    assert arrives(bob) == {**parse_qs(QUERY), "view": [str(view.pk)]}
    brought = arrives(bob, range="7d", environment="staging")
    assert (brought["range"], brought["environment"], brought["by"]) == (["7d"], ["staging"], ["team"])
    assert arrives(bob, by="user") == {}
    assert arrives(ada) == {}
    assert bob.get(reverse("costs:spend"), headers={"HX-Request": "true", "HX-Target": "table"}).status_code == 200
    ada.post(reverse("costs:change_view", args=[view.pk]), {"name": view.name})
    assert arrives(bob) == {}
    ada.post(reverse("costs:change_view", args=[view.pk]), {"name": view.name, "is_shared": "yes"})
    bob.post(reverse("costs:default_view"))
    assert arrives(bob) == {}


def test_who_has_a_time_zone_sees_its_days_and_may_ask_for_others(db: None) -> None:
    kim = browser("kim", time_zone="Asia/Seoul")
    assert arrives(kim, range="7d") == {"range": ["7d"], "timezone": ["Asia/Seoul"]}
    assert arrives(kim, timezone="UTC") == {}


def test_a_shelf_takes_as_many_statements_for_many_views_as_for_few(
    ada: Client, django_assert_num_queries: Any
) -> None:
    for n in range(12):
        save(ada, f"View {n}", shared=n % 2 == 0)
    person = User.objects.get(username="ada")
    with django_assert_num_queries(2):
        found = shelf(person)
    assert len(found.own) == 12
