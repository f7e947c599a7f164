"""The pages of alerts: what they show, whom they obey, and what every other page says of alerts."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agentops.accounts.models import Team, User
from agentops.alerts import actions
from agentops.alerts.models import Alert, Silence
from agentops.catalog.models import Service
from agentops.dashboard.metrics import render
from agentops.domain.alerting import Move
from tests.alerts.signalling import raised, run_of, signal

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def opened(number: int = 1, **changes: Any) -> Alert:
    [alert] = raised(signal(number, **changes))
    return alert


def test_the_inbox_shows_what_fires_by_severity_and_cost(adas_client: Client) -> None:
    team = Team.objects.create(slug="insights", name="Insights")
    Service.objects.create(slug="research-assistant", team=team)
    opened(1, title="cheap warning", evidence={"usd_per_hour": "1"})
    opened(2, title="dear warning", evidence={"usd_per_hour": "90", "cost_usd": "41.2"})
    opened(3, title="a page", severity="page", service="other")
    text = text_of(adas_client.get("/alerts/"))
    assert (
        text.index("Pages") < text.index("a page") < text.index("Warnings") < text.index("dear") < text.index("cheap")
    )
    assert "$41.20 so far" in text
    assert "$90.00/h" in text
    assert "→ Insights" in text
    assert "unowned" in text
    assert "Acknowledge" in text


def test_tabs_and_filters_are_in_the_address(adas_client: Client, ada: User) -> None:
    alerts = [opened(n, title=f"number-{n}") for n in range(1, 5)]
    actions.acknowledge(alert=alerts[0], by=ada, now=timezone.now())
    actions.snooze(alert=alerts[1], until=timezone.now() + timedelta(hours=1), by=ada, now=timezone.now())
    actions.resolve(alert=alerts[2], by=ada, now=timezone.now(), reason="restarted")
    for state, number in (("", 4), ("acknowledged", 1), ("silenced", 2), ("resolved", 3)):
        text = text_of(adas_client.get(f"/alerts/?state={state}"))
        assert [n for n in range(1, 5) if f"number-{n}" in text] == [number], state
        assert "Open 1 Acknowledged 1 Silenced 1 Resolved 1" in text
    opened(5, title="number-5", service="other", kind="loop.cycle", severity="page", user="tom")
    for query in ("service=other", "kind=loop.cycle", "severity=page", "q=TOM", "session=session-5", "q=number-5"):
        text = text_of(adas_client.get(f"/alerts/?{query}"))
        assert ("number-5" in text, "number-4" in text) == (True, False), query
    assert "No alert fits" in text_of(adas_client.get("/alerts/?q=nothing-like-it"))
    assert "number-4" in text_of(adas_client.get("/alerts/?state=x&kind=x&severity=x&cursor=x&environment=%00"))


def test_the_environment_of_the_page_is_honoured_and_others_are_not_hidden(adas_client: Client) -> None:
    opened(1, title="in-production", environment="production")
    opened(2, title="in-staging", environment="staging")
    opened(3, title="of-none")
    text = text_of(adas_client.get("/alerts/?environment=production"))
    assert ("in-production" in text, "in-staging" in text, "of-none" in text) == (True, False, True)
    assert "1 more in other environments" in text


def test_an_empty_inbox_says_what_will_appear(adas_client: Client) -> None:
    assert "Nothing fires" in text_of(adas_client.get("/alerts/"))
    for state in ("acknowledged", "silenced", "resolved"):
        assert "Nothing fires" not in text_of(adas_client.get(f"/alerts/?state={state}"))


def test_what_is_resolved_is_paged(adas_client: Client, ada: User) -> None:
    for service in range(4):
        raised(*(signal(number, service=f"service-{service}") for number in range(15)))
    ids = Alert.objects.values_list("pk", flat=True)
    actions.move_all(ids=ids, move=Move.RESOLVE, by=ada, now=timezone.now())
    first = adas_client.get("/alerts/?state=resolved")
    assert "50 shown" in text_of(first)
    following = re.search(r'rel="next" href="([^"]+)"', first.content.decode())
    assert following is not None
    second = adas_client.get(f"/alerts/{following[1].replace('&amp;', '&')}")
    assert (first.content.count(b"data-row"), second.content.count(b"data-row")) == (50, 10)


def test_a_region_is_answered_alone(adas_client: Client) -> None:
    alert = opened()
    for path in ("/alerts/", f"/alerts/{alert.pk}/", "/alerts/silences/", "/alerts/badge"):
        content = adas_client.get(path, headers=HTMX).content.decode()
        assert "<html" not in content, path
    assert 'data-count="1"' in adas_client.get("/alerts/badge").content.decode()


def test_the_page_of_an_alert_shows_evidence_story_and_where_to_look(adas_client: Client, ada: User) -> None:
    steps = [f"{n:016x}" for n in range(1, 4)]
    evidence = {
        "pattern": ["analyst", "verifier"], "period": 2, "count": 23, "steps": [*steps, "<script>"], "cost_usd": "41.2",
        "usd_per_hour": "178", "first_span_id": steps[0], "detected_span_id": steps[2], "usual_usd": "4",
        "idle_seconds": 90, "is_new": True,
    }  # fmt: skip
    alert = opened(evidence=evidence, feature="churn")
    actions.acknowledge(alert=alert, by=ada, now=timezone.now())
    actions.add_note(alert=alert, text="<b>looking</b>", by=ada, now=timezone.now())
    answer = adas_client.get(f"/alerts/{alert.pk}/")
    text, content = text_of(answer), answer.content.decode()
    for words in (
        "analyst → verifier", "Period in steps 2", "How often 23", "Usual $4.00", "1 min 30 s".replace(" ", " "),
        "Is new yes",
        "$41.20 so far", "$178.00 an hour", "ada acknowledged it", "ada wrote", "&lt;b&gt;looking&lt;/b&gt;", "Opened",
        "acknowledged by ada", "Give back",
    ):  # fmt: skip
        assert words in text.replace(" ", " "), words
    run_url = reverse("runs:detail", args=[run_of(1).hex()])
    for step in steps:
        assert f"{run_url}?service=research-assistant#step-{step}" in content
    assert "<script>" not in content.partition("</head>")[2].replace("<script src", "")
    for link in ("session=session-1", "user=maria", "feature=churn"):
        assert f"{reverse('runs:list')}?{link}" in content


def test_an_alert_of_a_service_says_its_name_once_and_its_money_as_money(adas_client: Client) -> None:
    evidence = {"usual_usd_per_hour": "0", "count": 1, "cost_usd": "5", "usd_per_hour": "60"}
    alert = opened(
        kind="cost.velocity", title="research-assistant spends $5.00 in 3 minutes", run=None, evidence=evidence
    )
    assert "research-assistant research-assistant" not in text_of(adas_client.get("/alerts/"))
    text = text_of(adas_client.get(f"/alerts/{alert.pk}/"))
    assert "Usual in an hour $0.00" in text
    assert "How often" not in text


def test_what_is_resolved_says_how_long_it_was_wrong_and_claims_no_saving_while_it_went_on(
    adas_client: Client, ada: User
) -> None:
    began = timezone.now() - timedelta(minutes=4)
    evidence = {"since": began.isoformat(), "usd_per_hour": "178"}
    by_hand, by_itself = opened(1, evidence=evidence), opened(2, evidence=evidence)
    actions.resolve(alert=by_hand, by=ada, now=began + timedelta(minutes=3))
    text = text_of(adas_client.get(f"/alerts/{by_hand.pk}/"))
    assert "It had lasted 3 min and gone on when ada resolved it." in text.replace(" ", " ")
    assert "Avoided" not in text
    actions.clear([by_itself.fingerprint], now=began + timedelta(minutes=2))
    actions.settle(now=began + timedelta(minutes=4))
    text = text_of(adas_client.get(f"/alerts/{by_itself.pk}/"))
    assert "It lasted 2 min." in text.replace(" ", " ")
    assert "Avoided" in text


def test_a_storm_shows_what_it_stands_for(adas_client: Client) -> None:
    raised(*(signal(n) for n in range(10)))
    raised(*(signal(n) for n in range(10, 112)))
    storm = Alert.objects.get(is_storm=True)
    text = text_of(adas_client.get("/alerts/"))
    assert "112 runs of research-assistant: loop.ping_pong within a minute" in text
    text = text_of(adas_client.get(f"/alerts/{storm.pk}/"))
    assert "20 of 112, the most expensive ones" in text
    assert "Opened by themselves before 10" in text
    single = Alert.objects.filter(group=storm).first()
    assert single is not None
    assert f"part of storm #{storm.pk}" in text_of(adas_client.get(f"/alerts/{single.pk}/"))


def test_a_press_moves_an_alert_and_says_so(adas_client: Client, ada: User) -> None:
    alert = opened()
    answer = adas_client.post(f"/alerts/{alert.pk}/move", {"move": "acknowledge"}, headers=HTMX)
    assert answer.status_code == 204
    trigger = json.loads(answer["HX-Trigger"])
    assert trigger == {"toast": {"text": f"Alert #{alert.pk} is acknowledged.", "tone": "good"}, "live:alerts": {}}
    answer = adas_client.post(f"/alerts/{alert.pk}/move", {"move": "acknowledge"}, headers=HTMX)
    assert json.loads(answer["HX-Trigger"])["toast"] == {"text": "ada has acknowledged it already.", "tone": "warning"}
    ways = (("unacknowledge", "firing"), ("snooze", "silenced"), ("wake", "firing"), ("resolve", "resolved"))
    for move, state in ways:
        answer = adas_client.post(f"/alerts/{alert.pk}/move", {"move": move, "until": "4h"}, follow=True)
        alert.refresh_from_db()
        assert alert.state == state
        assert f"Alert #{alert.pk} is" in text_of(answer)
    answer = adas_client.post(f"/alerts/{alert.pk}/move", {"move": "open"}, headers=HTMX)
    assert json.loads(answer["HX-Trigger"])["toast"]["tone"] == "warning"


@pytest.mark.parametrize(
    ("until", "least", "most"), [("1h", 1, 1), ("4h", 4, 4), ("tomorrow", 9, 33), ("7d", 168, 168), ("x", 1, 1)]
)
def test_a_snooze_is_as_long_as_asked(adas_client: Client, until: str, least: int, most: int) -> None:
    alert, now = opened(), timezone.now()
    adas_client.post(f"/alerts/{alert.pk}/move", {"move": "snooze", "until": until})
    alert.refresh_from_db()
    assert alert.snoozed_until is not None
    hours = (alert.snoozed_until - now) / timedelta(hours=1)
    assert least <= hours <= most + 0.1


def test_several_are_moved_at_once(adas_client: Client, tom: User) -> None:
    alerts = [opened(n) for n in range(4)]
    actions.acknowledge(alert=alerts[3], by=tom, now=timezone.now())
    answer = adas_client.post("/alerts/move", {"move": "acknowledge", "id": [a.pk for a in alerts]}, headers=HTMX)
    said = json.loads(answer["HX-Trigger"])["toast"]
    assert said == {"text": "3 alerts acknowledged. 1 was moved by somebody else before.", "tone": "warning"}
    answer = adas_client.post(
        "/alerts/move", {"move": "snooze", "id": ["x", "²", str(10**30), "9" * 5_000]}, headers=HTMX
    )
    assert json.loads(answer["HX-Trigger"])["toast"]["text"] == "Pick alerts first."
    answer = adas_client.post("/alerts/move", {"move": "resolve", "id": alerts[0].pk}, follow=True)
    assert "1 alert resolved." in text_of(answer)


def test_a_note_is_written(adas_client: Client) -> None:
    alert = opened()
    answer = adas_client.post(f"/alerts/{alert.pk}/notes", {"text": "looking at it"}, follow=True)
    assert "ada wrote" in text_of(answer)
    assert "looking at it" in text_of(answer)
    assert "needs words" in text_of(adas_client.post(f"/alerts/{alert.pk}/notes", {"text": " "}, follow=True))


def test_who_only_looks_sees_no_buttons_and_moves_nothing(viewers_client: Client) -> None:
    alert = opened()
    for path in ("/alerts/", f"/alerts/{alert.pk}/", "/alerts/silences/", "/"):
        content = viewers_client.get(path).content.decode()
        assert "data-act=" not in content, path
        assert "data-pick" not in content, path
    asked = {"move": "acknowledge", "id": alert.pk, "text": "x"}
    for path in ("move", f"{alert.pk}/move", f"{alert.pk}/notes", "silences/", "silences/1/end"):
        assert viewers_client.post(f"/alerts/{path}", asked).status_code == 403, path
    alert.refresh_from_db()
    assert (alert.state, alert.notes.count()) == ("firing", 0)


def test_what_does_not_exist_is_not_found(adas_client: Client) -> None:
    assert adas_client.get("/alerts/99/").status_code == 404
    for path in ("/alerts/99/move", "/alerts/99/notes", "/alerts/silences/99/end"):
        assert adas_client.post(path, {"move": "resolve", "text": "x"}).status_code == 404, path


def test_silences_are_made_filled_in_and_ended(adas_client: Client) -> None:
    alert = opened()
    content = adas_client.get(f"/alerts/{alert.pk}/").content.decode()
    assert "/alerts/silences/?kind=loop.ping_pong&amp;service=research-assistant" in content
    form = adas_client.get("/alerts/silences/?kind=loop.ping_pong&service=research-assistant&x=1").content.decode()
    assert 'value="loop.ping_pong"' in form
    answer = adas_client.post("/alerts/silences/", {"kind": "loop.*", "hours": "4", "comment": "a drill"}, follow=True)
    assert "a drill" in text_of(answer)
    alert.refresh_from_db()
    assert alert.state == "silenced"
    silence = Silence.objects.get()
    assert f"silence #{silence.pk}" in text_of(adas_client.get(f"/alerts/{alert.pk}/"))
    answer = adas_client.post(f"/alerts/silences/{silence.pk}/end", follow=True)
    assert "before its time" in text_of(answer)
    alert.refresh_from_db()
    assert alert.state == "firing"


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"hours": "4", "comment": "x"},
        {"kind": "*", "hours": "4", "comment": "x"},
        {"kind": "x", "hours": "9", "comment": "x"},
    ],
)
def test_a_silence_that_makes_no_sense_is_said(adas_client: Client, form: dict[str, str]) -> None:
    answer = adas_client.post("/alerts/silences/", form)
    assert answer.status_code == 422
    assert b'role="alert"' in answer.content
    assert not Silence.objects.exists()


def test_every_page_counts_what_fires_and_listens(adas_client: Client, ada: User) -> None:
    alerts = [opened(n, environment="staging") for n in range(3)]
    actions.acknowledge(alert=alerts[0], by=ada, now=timezone.now())
    for path in ("/", "/runs/", "/operations/"):
        content = adas_client.get(f"{path}?environment=production").content.decode()
        assert 'id="alerts-badge" data-count="2"' in content, path
        assert re.search(r'data-topics="alerts[ "]', content), path


def test_the_overview_shows_the_five_that_matter_most(adas_client: Client) -> None:
    assert "Nothing fires" in text_of(adas_client.get("/"))
    for number in range(7):
        opened(number, title=f"number-{number}", evidence={"usd_per_hour": str(number)}, environment="production")
    text = text_of(adas_client.get("/"))
    assert [n for n in range(7) if f"number-{n}" in text] == [2, 3, 4, 5, 6]
    assert "all 7 alerts" in text
    assert "Nothing fires" in text_of(adas_client.get("/?environment=staging"))
    region = adas_client.get("/", headers=HTMX | {"HX-Target": "firing"})
    assert "number-6" in text_of(region)
    assert "<html" not in region.content.decode()


def test_the_overview_says_what_is_still_open_when_nothing_fires(adas_client: Client, ada: User) -> None:
    taken_on, quiet = opened(1), opened(2)
    actions.acknowledge(alert=taken_on, by=ada, now=timezone.now())
    actions.snooze(alert=quiet, until=timezone.now() + timedelta(hours=1), by=ada, now=timezone.now())
    text = text_of(adas_client.get("/"))
    assert "Nothing fires that nobody knows of. Still open:" in text
    assert re.search("1 acknowledged ?, 1 silenced", text)
    assert "What loops, runs away" not in text


def test_prometheus_is_told_how_many_are_open(ada: User) -> None:
    alerts = [opened(n) for n in range(3)] + [opened(9, severity="page")]
    actions.acknowledge(alert=alerts[0], by=ada, now=timezone.now())
    actions.snooze(alert=alerts[1], until=timezone.now() + timedelta(hours=1), by=ada, now=timezone.now())
    said = render(timezone.now()).decode()
    assert 'agentops_alerts_open{severity="warn"} 2.0' in said
    assert 'agentops_alerts_open{severity="page"} 1.0' in said


def test_pages_take_few_statements(adas_client: Client, django_assert_max_num_queries: Any) -> None:
    raised(*(signal(n, service=f"service-{n}") for n in range(40)))
    alert = Alert.objects.first()
    assert alert is not None
    for path, most in (("/alerts/", 10), (f"/alerts/{alert.pk}/", 10), ("/alerts/silences/", 9), ("/alerts/badge", 3)):
        with django_assert_max_num_queries(most):
            assert adas_client.get(path).status_code == 200
