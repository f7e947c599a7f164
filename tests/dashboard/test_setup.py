"""The set-up page: who makes keys, what is shown once, and how the first span is seen."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agentops.accounts.actions import authenticate_ingest_key, create_ingest_key
from agentops.accounts.models import IngestKey, Role, User
from agentops.runs.models import Run

pytestmark = pytest.mark.django_db
KEY = re.compile(r"agk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


def signed_in(role: Role) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(f"a-{role}", role=role))
    return client


@pytest.fixture
def owner() -> Client:
    return signed_in(Role.OWNER)


def test_a_new_key_is_shown_once_with_examples_that_hold_it(owner: Client) -> None:
    answer = owner.post("/setup/", {"kind": "service", "service": "triage", "name": "CI"})
    shown = set(KEY.findall(answer.content.decode()))
    assert len(shown) == 1
    key = authenticate_ingest_key(shown.pop())
    assert key is not None
    assert (key.service, key.name, str(key.created_by)) == ("triage", "CI", "a-owner")
    assert "no-store" in answer["Cache-Control"]
    assert not KEY.search(owner.get("/setup/").content.decode())


def test_a_collectors_key_is_bound_to_no_service(owner: Client) -> None:
    owner.post("/setup/", {"kind": "collector", "service": "left over"})
    assert IngestKey.objects.get().service == ""


@pytest.mark.parametrize(
    "fields", [{"kind": "service"}, {"kind": "else", "service": "x"}, {"kind": "service", "service": "a\nb"}, {}]
)
def test_a_key_that_makes_no_sense_is_not_made(owner: Client, fields: dict[str, str]) -> None:
    assert owner.post("/setup/", fields).status_code == 422
    assert not IngestKey.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER])
def test_who_may_not_make_keys_sees_the_page_and_is_told_whom_to_ask(role: Role) -> None:
    create_ingest_key(name="theirs")
    client, key = signed_in(role), IngestKey.objects.get()
    page = client.get("/setup/").content.decode()
    assert "Keys are made by owners and admins" in page
    assert "Revoke" not in page
    refused = client.post("/setup/", {"kind": "collector"})
    assert refused.status_code == 403
    assert "owner" in refused.content.decode()
    assert client.post(f"/setup/keys/{key.key_id}/revoke/").status_code == 403
    key.refresh_from_db()
    assert (IngestKey.objects.count(), key.revoked_at) == (1, None)


def test_revoking_ends_a_key_and_says_so(owner: Client) -> None:
    text = create_ingest_key(name="old")
    key = IngestKey.objects.get()
    assert owner.get(f"/setup/keys/{key.key_id}/revoke/").status_code == 405
    answer = owner.post(f"/setup/keys/{key.key_id}/revoke/", follow=True)
    assert authenticate_ingest_key(text) is None
    assert "The key old is revoked" in answer.content.decode()


def _run(service: str, received_at: Any) -> Run:
    return Run.objects.create(
        trace_id=bytes(15) + service.encode()[:1], service=service, started_at=received_at,
        latest_at=received_at, first_received_at=received_at, last_received_at=received_at,
    )  # fmt: skip


def test_waiting_turns_green_when_a_run_of_the_key_has_come(owner: Client) -> None:
    create_ingest_key(name="", service="triage")
    key = IngestKey.objects.get()

    def region() -> str:
        return owner.get(f"/setup/keys/{key.key_id}/").content.decode()

    assert "Waiting for the first span" in region()
    _run("other", timezone.now())
    assert "Waiting for the first span" in region()
    IngestKey.objects.update(last_used_at=timezone.now())
    assert "no run has come of it yet" in region()
    _run("triage", timezone.now() - timedelta(days=2))
    assert "no run has come of it yet" in region()
    Run.objects.filter(service="triage").update(last_received_at=timezone.now(), started_at=timezone.now())
    assert "Spans arrive" in region()


def test_a_collectors_key_sees_the_run_of_any_service(owner: Client) -> None:
    create_ingest_key(name="")
    IngestKey.objects.update(last_used_at=timezone.now())
    _run("anything", timezone.now())
    assert "of anything" in owner.get(f"/setup/keys/{IngestKey.objects.get().key_id}/").content.decode()


def test_names_from_outside_stay_text(owner: Client) -> None:
    create_ingest_key(name="<img src=x onerror=alert(1)>", service='"><script>alert(1)</script>')
    page = owner.get("/setup/").content.decode()
    assert "<img" not in page
    assert "<script>" not in page


def test_the_page_takes_as_many_statements_for_many_keys_as_for_one(
    owner: Client, django_assert_max_num_queries: Any
) -> None:
    for n in range(20):
        create_ingest_key(name=str(n), created_by=User.objects.get())
    with django_assert_max_num_queries(6):
        owner.get("/setup/")
    with django_assert_max_num_queries(4):
        owner.get("/setup/keys/")
