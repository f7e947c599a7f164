"""Signing in and out, and what the pages for errors say."""

from __future__ import annotations

import pytest
from django.test import Client, RequestFactory
from django.views.defaults import server_error

from agentops.accounts.models import Role, User

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"


@pytest.fixture
def person() -> User:
    return User.objects.create_user("ada", password=PASSWORD, role=Role.VIEWER)


def test_every_page_asks_for_a_name_first_and_leads_back(client: Client, person: User) -> None:
    answer = client.get("/setup/?range=7d")
    assert answer["Location"] == "/login/?next=/setup/%3Frange%3D7d"
    page = client.get(answer["Location"])
    assert page.status_code == 200
    fields = {"username": "ada", "password": PASSWORD, "next": "/setup/?range=7d"}
    assert client.post("/login/", fields)["Location"] == "/setup/?range=7d"


def test_a_wrong_password_is_said_in_words_and_the_name_stays(client: Client, person: User) -> None:
    page = client.post("/login/", {"username": "ada", "password": "wrong"}).content.decode()
    assert "do not fit together" in page
    assert 'value="ada"' in page


def test_signing_in_leads_nowhere_else(client: Client, person: User) -> None:
    fields = {"username": "ada", "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/login/", fields)["Location"] == "/"


def test_signing_out_ends_the_session(client: Client, person: User) -> None:
    client.force_login(person)
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/setup/").status_code == 302


def test_signing_out_needs_a_form_of_ours(person: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person)
    assert client.get("/logout/").status_code == 405
    answer = client.post("/logout/")
    assert answer.status_code == 403
    assert b"The form expired" in answer.content


def test_a_region_of_a_page_whose_session_ended_reloads_the_page(client: Client) -> None:
    answer = client.get("/setup/keys/", headers={"HX-Request": "true"}, follow=True)
    assert answer["HX-Refresh"] == "true"
    assert b"<form" not in answer.content


def test_pages_for_errors_stand_alone(client: Client, person: User) -> None:
    client.force_login(person)
    missing = client.get("/nowhere/")
    assert (missing.status_code, b"Not found" in missing.content) == (404, True)
    broken = server_error(RequestFactory().get("/"))
    assert (broken.status_code, b"Something broke" in broken.content) == (500, True)
