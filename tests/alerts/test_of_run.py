"""The region on the page of a run that shows who has its alert."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agentops.accounts.models import Role, User
from agentops.alerts import actions
from agentops.alerts.models import Alert
from tests.watch.scenes import Scene, booked, watched

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alert() -> Alert:
    """The alert of a run that repeats a call."""
    scene = Scene()
    for _ in range(6):
        scene.tool("grep", {"q": "total"}, "invoice.py:12 total = 0")
    booked(scene)
    watched()
    return Alert.objects.get()


def region(alert: Alert, role: Role = Role.RESPONDER, **more: str) -> str:
    client = Client()
    name = f"{role}-person"
    client.force_login(User.objects.filter(username=name).first() or User.objects.create_user(name, role=role))
    url = reverse("alerts:of_run", args=[bytes(alert.run or b"\0" * 16).hex()])
    answer = client.get(url, {"kind": alert.kind, "service": alert.service} | more)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_shows_the_moves_and_who_has_it(alert: Alert) -> None:
    page = region(alert)
    for words in (
        reverse("alerts:move", args=[alert.pk]),
        "Acknowledge",
        'data-act="a"',
        "Resolve",
        "Snooze",
        "nobody",
    ):
        assert words in page
    assert reverse("alerts:detail", args=[alert.pk]) in page
    by = User.objects.create_user("maria", role=Role.RESPONDER)
    actions.acknowledge(alert=alert, by=by, now=timezone.now())
    page = region(alert)
    assert "acknowledged by <strong>maria</strong>" in page
    assert "Give back" in page


def test_a_viewer_sees_who_has_it_and_no_moves(alert: Alert) -> None:
    page = region(alert, Role.VIEWER)
    assert "nobody has acknowledged it" in page
    assert "<form" not in page


def test_without_an_open_alert_of_that_kind_it_is_empty(alert: Alert) -> None:
    assert region(alert, kind="loop.cycle") == region(alert, service="other") == region(alert, session="s1") == ""
    actions.resolve(alert=alert, by=User.objects.create_user("maria", role=Role.RESPONDER), now=timezone.now())
    assert region(alert) == ""


def test_the_page_of_the_run_asks_for_it(alert: Alert) -> None:
    client = Client()
    client.force_login(User.objects.create_user("reader"))
    run = bytes(alert.run or b"").hex()
    page = client.get(reverse("runs:detail", args=[run])).content.decode()
    assert f"{reverse('alerts:of_run', args=[run])}?kind=loop.repeat&amp;service=shop" in page
    assert "grep \N{MULTIPLICATION SIGN} 4" in page


def test_the_alert_of_a_session_is_found_by_its_name() -> None:
    texts = ["Could you clarify which quarter is meant?", "Which quarter do you need, please clarify?"]
    for hop in range(20):
        scene = Scene(hop + 1, session="s1", ago=600 - 10 * hop)
        heard = f'[{{"role": "user", "content": "{texts[(hop + 1) % 2]}"}}]'
        scene.says(texts[hop % 2], agent=("analyst", "verifier")[hop % 2], input=heard)
        scene.end()
        booked(scene)
    watched()
    alert = Alert.objects.get()
    assert alert.session == "s1"
    assert "Acknowledge" in region(alert, session="s1")
