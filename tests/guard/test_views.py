"""The pages of ceilings: what they show, whom they obey, what they refuse, and that hostile names stay text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from psycopg import Cursor

from agentops import columns
from agentops.accounts.models import Role, User
from agentops.budgets import actions
from agentops.budgets.models import Budget, Raise, Stop
from agentops.domain.budgets import Amounts
from agentops.live import consumers
from agentops.live.models import LiveEvent
from tests.budgets.making import make_budget, usd
from tests.budgets.test_windows import call, ingest
from tests.factories import RunFactory
from tests.guard.asking import RUN, check, settle

pytestmark = pytest.mark.django_db
#: Of the largest page: the session and its user, the frame, and what it shows.
MOST_STATEMENTS = 18
HOSTILE = "<img src=x onerror=alert(1)>\"'{{ 7|add:7 }}"


def signed_in(role: Role) -> Client:
    client = Client()
    client.force_login(User.objects.create(username=f"{role}", role=role))
    return client


@pytest.fixture
def admin() -> Client:
    return signed_in(Role.ADMIN)


def text_of(client: Client, address: str, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content[:400]
    return answer.content.decode()


FORM: dict[str, Any] = {
    "name": "Mine",
    "period": "day",
    "timezone": "Europe/Berlin",
    "limit_usd": "2.50",
    "thresholds": "50, 100",
    "action": "stop",
}


def test_every_ceiling_is_listed_with_where_it_stands(admin: Client) -> None:
    make_budget("1.00", name="All of it", period="day")
    make_budget("0.05", name="Small", each="user")
    ingest(call(1, "0.60"))
    check(user="ana")
    page = text_of(admin, "/budgets/")
    for words in ("All of it", "$0.60 of $1.00", "Small", "Any run", "Any session", "Export CSV"):
        assert words in page
    assert "No budget fits" in text_of(admin, "/budgets/", state="over")
    assert ">Small<" not in text_of(admin, "/budgets/", period="day")


class Recording(Cursor[Any]):
    """Keeps what is executed, by all cursors."""

    told: ClassVar[list[str]] = []

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        """As a cursor does."""
        Recording.told.append(f"{query} {params}")
        return super().execute(query, params, **kwargs)


@pytest.fixture
def executed(admin: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The statements of a page that ask for something, with what they ask for."""
    monkeypatch.setattr(columns, "Cursor", Recording)

    def record(address: str, **headers: Any) -> list[str]:
        admin.get(address)
        Recording.told.clear()
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(address, headers=headers).status_code == 200
        return [sql for sql in (*(one["sql"] for one in captured), *Recording.told) if "SELECT" in sql]

    return record


def test_nothing_is_asked_for_twice(executed: Callable[..., list[str]]) -> None:
    budget, day = make_budget("5.00", each="user", period="day"), make_budget("1.00", period="day")
    actions.stop(what="user", value="bob", reason="so", by=None)
    ingest(call(1, "0.60"))
    check(user="ana", run=RUN)
    of_run = f"of-run/{RUN}/?service=research-assistant&user=ana"
    course = f"{day.pk}/chart/course"
    for address in ("", f"{budget.pk}/", f"{day.pk}/", "brief", "stopped", "stops/", of_run, course):
        found = executed(f"/budgets/{address}")
        assert [sql for sql in set(found) if found.count(sql) > 1] == [], address


def test_a_run_under_many_ceilings_takes_as_many_statements_as_under_few(executed: Callable[..., list[str]]) -> None:
    address = f"/budgets/of-run/{RUN}/?service=research-assistant&user=ana"
    check(user="ana", run=RUN)
    few = len(executed(address))
    for n in range(5):
        make_budget("1.00", name=f"Budget {n}", each="user", period="day")
    check(user="ana", run=RUN)
    assert len(executed(address)) == few


def test_a_region_asks_for_less_than_its_page(executed: Callable[..., list[str]]) -> None:
    address = f"/budgets/{make_budget('5.00', each='user', period='day').pk}/"
    check(user="ana", run=RUN)
    region = executed(f"{address}?member=ana", hx_request="true")
    assert len(region) <= 9
    assert not any(table in sql for table in ("budget_refusal", "budgets_change") for sql in region)


def test_the_list_of_the_api_asks_for_no_windows(executed: Callable[..., list[str]]) -> None:
    make_budget("5.00", each="user", period="day")
    assert not any("budget_window" in sql or "budgets_raise" in sql for sql in executed("/api/v1/budgets"))


@pytest.fixture
def statements(admin: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """How many statements a page takes, those of the books' cursors among them."""
    monkeypatch.setattr(columns, "Cursor", Recording)

    def count(address: str) -> int:
        text_of(admin, address)
        Recording.told.clear()
        with CaptureQueriesContext(connection) as captured:
            text_of(admin, address)
        return len(captured) + len(Recording.told)

    return count


def test_the_list_takes_a_constant_number_of_statements(statements: Callable[[str], int]) -> None:
    counts = []
    for more in (1, 8):
        for n in range(more):
            make_budget("1.00", name=f"Budget {more} {n}", each="user", period="day")
        check(user="ana")
        counts.append([statements(address) for address in ("/budgets/", "/budgets/brief")])
    assert counts[0] == counts[1]
    assert max(counts[1]) <= MOST_STATEMENTS


def test_the_list_is_sorted_as_asked_and_what_is_off_comes_last(admin: Client) -> None:
    for name, limit, off in (("Roomy", "9.00", False), ("Tight", "0.70", False), ("Absent", "0.60", True)):
        make_budget(limit, name=name, is_off=off, period="day")
    ingest(call(1, "0.60"))

    def order(sort: str) -> list[str]:
        page = text_of(admin, "/budgets/", sort=sort, period="day")
        return sorted(("Roomy", "Tight", "Absent"), key=lambda name: page.index(f">{name}<"))

    assert order("-share") == order("nonsense") == ["Tight", "Roomy", "Absent"]
    assert order("share") == ["Roomy", "Tight", "Absent"]
    assert order("-name") == ["Tight", "Roomy", "Absent"]


def test_a_page_takes_as_many_statements_for_many_windows(statements: Callable[[str], int]) -> None:
    budget = make_budget("5.00", each="user", period="day")
    addresses = (f"/budgets/{budget.pk}/", f"/budgets/{budget.pk}/passed", "/budgets/stops/", "/budgets/brief")
    counts = []
    for users in (1, 12):
        for n in range(users):
            check(user=f"user {users} {n}", run=RUN)
            actions.stop(what="user", value=f"user {users} {n}", reason="so", by=None)
            check(user=f"user {users} {n}", run=RUN)
        counts.append([statements(address) for address in addresses])
    assert counts[0] == counts[1]
    assert max(counts[1]) <= MOST_STATEMENTS


def test_the_list_is_a_csv_file_without_formulas(admin: Client) -> None:
    make_budget("1.00", name="=1+1", each="user")
    check(user="@ana")
    answer = admin.get("/budgets/?format=csv")
    content = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert "'=1+1" in content
    assert ",=1+1" not in content
    assert content.startswith("budget,name,scope")


def test_a_budget_shows_its_window_members_refusals_raises_and_record(admin: Client) -> None:
    budget = make_budget("0.15", name="For each", each="user", period="day")
    check(user="ana", run=RUN)
    check(user="ana", run=RUN)
    until = timezone.now() + timedelta(hours=1)
    actions.raise_limit(budget=budget, extra=Amounts(usd("1")), until=until, reason="the launch", by=None)
    page = text_of(admin, f"/budgets/{budget.pk}/")
    for words in ("user ana", "For each", "the launch", "is too small for this step", RUN[:8], "Record"):
        assert words in page
    assert "user bob" in text_of(admin, f"/budgets/{budget.pk}/", member="bob")
    for which in ("course", "history"):
        chart = admin.get(f"/budgets/{budget.pk}/chart/{which}?member=ana").json()
        assert chart["traces"]
    assert admin.get("/budgets/999999/").status_code == 404
    assert admin.get(f"/budgets/{budget.pk}/?start=nonsense").status_code == 404


@pytest.mark.parametrize("period", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_a_window_that_cannot_be_is_not_found(admin: Client, period: str, zone: str) -> None:
    address = f"/budgets/{make_budget('0.15', period=period, timezone=zone).pk}/"
    for start in ("9999-12-31T23:00Z", "9999-12-31T12:30Z", "0001-01-01T00:00Z", "2101-01-01", "nonsense"):
        for region in ("", "passed", "chart/course", "chart/history"):
            assert admin.get(f"{address}{region}?start={start}").status_code == 404


def test_a_moment_within_a_window_shows_the_whole_window(admin: Client) -> None:
    budget = make_budget("1.00", period="day")
    ingest(call(1, "0.60"))
    now = timezone.now()
    assert "$0.60" in text_of(admin, f"/budgets/{budget.pk}/", start=now.isoformat())
    total = make_budget("1.00", period="total")
    ingest(call(2, "0.60"))
    assert "$0.60" in text_of(admin, f"/budgets/{total.pk}/", start="2025-01-01")


def test_a_budget_is_made_on_the_page(admin: Client) -> None:
    answer = admin.post("/budgets/new/", FORM)
    budget = Budget.objects.get(name="Mine")
    assert answer.url == f"/budgets/{budget.pk}/"  # type: ignore[attr-defined]
    assert (budget.limit_nano, budget.thresholds, budget.timezone) == (usd("2.5"), [0.5, 1.0], "Europe/Berlin")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("limit_usd", "", "Limit something"),
        ("limit_usd", "many", "Enter a number"),
        ("timezone", "Mars", "no such time zone"),
        ("thresholds", "half", "Numbers, with commas"),
        ("final_answer_usd", "9", "part of the limit"),
        ("period", "eon", "not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(
    admin: Client, field: str, value: str, words: str
) -> None:
    answer = admin.post("/budgets/new/", FORM | {field: value})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert words in page
    assert 'value="Mine"' in page
    assert not Budget.objects.filter(name="Mine").exists()


def test_a_budget_is_changed_and_a_default_keeps_what_it_counts(admin: Client) -> None:
    budget = make_budget("1.00", name="Old")
    admin.post(f"/budgets/{budget.pk}/edit/", FORM | {"name": "New", "reason": "for a change"})
    budget.refresh_from_db()
    assert (budget.name, budget.period, budget.limit_nano) == ("New", "day", usd("2.5"))
    assert "for a change" in text_of(admin, f"/budgets/{budget.pk}/")
    default = Budget.objects.get(is_default=True, period="run")
    admin.post(f"/budgets/{default.pk}/edit/", FORM)
    default.refresh_from_db()
    assert (default.period, default.limit_nano) == ("run", usd("2.5"))
    assert admin.get(f"/budgets/{default.pk}/edit/").status_code == 200


def test_whoever_switches_a_default_off_reads_what_is_lost(admin: Client) -> None:
    default = Budget.objects.get(is_default=True, period="session")
    page = text_of(admin, f"/budgets/{default.pk}/edit/")
    assert 'data-confirm-more="Switched off, nothing stops a runaway session' in page


def test_before_saving_the_form_shows_what_the_last_days_would_have_been(admin: Client) -> None:
    for n in range(6):
        RunFactory(user=f"user-{n}", cost_nano=usd("0.50"), started_at=timezone.now() - timedelta(days=n + 1))
    RunFactory(user="glutton", cost_nano=usd("9.00"), started_at=timezone.now() - timedelta(days=2))
    page = admin.post("/budgets/preview", FORM | {"each": "user"}).content.decode()
    assert "user glutton" in page
    assert "when it would have been stopped" in page
    assert "$6.50" in page
    assert 'aria-label="6 windows against the limit of $2.50; 1 reached it"' in page
    waiting = admin.post("/budgets/preview", {"period": "day"}).content.decode()
    assert "as soon as there is a limit" in waiting


def test_a_limit_is_raised_and_the_raise_ended(admin: Client) -> None:
    budget = make_budget("0.05")
    until = (timezone.now() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M")
    asked = {"extra_usd": "1", "until": until, "reason": "demo"}
    assert admin.post(f"/budgets/{budget.pk}/raise", asked | {"reason": ""}).status_code == 422
    assert admin.post(f"/budgets/{budget.pk}/raise", asked | {"extra_usd": ""}).status_code == 422
    assert admin.post(f"/budgets/{budget.pk}/raise", asked).status_code == 302
    assert check()["decision"] == "allow"
    raised = Raise.objects.get()
    admin.post(f"/budgets/{budget.pk}/raises/{raised.pk}/end")
    assert check()["decision"] == "stop"


def test_a_window_says_what_of_it_was_asked_for(admin: Client) -> None:
    budget = make_budget("5.00", name="All", period="day")
    settle(check(run="r")["reservation"], cost_usd="0.17", outcome="ok")
    ingest(call(1, "0.60"))
    region = text_of(admin, f"/budgets/{budget.pk}/passed")
    for words in ("By steps that asked", "$0.17", "Beyond their estimates", "$0.070", "did not ask", "$0.60"):
        assert words in region
    (bars, _) = admin.get(f"/budgets/{budget.pk}/chart/history").json()["traces"]
    assert all("start=" in query for query in bars["customdata"])


def test_a_run_shows_its_ceilings_and_who_stopped_it(admin: Client) -> None:
    check(run=RUN, session="s", user="ana")
    address = f"/budgets/of-run/{RUN}/"
    asked = {"service": "research-assistant", "session": "s", "user": "ana"}
    region = text_of(admin, address, **asked)
    for words in ("Any run", "Any session", "$24.90", f"?what=run&amp;value={RUN}", "?what=session&amp;value=s"):
        assert words in region
    assert "Stopped:" not in region
    actions.stop(what="user", value="ana", reason="too loud", by=None)
    assert "too loud" in text_of(admin, address, **asked)
    assert "Stop this run" not in text_of(signed_in(Role.VIEWER), address, **asked)


def test_every_page_says_what_is_stopped(admin: Client) -> None:
    assert 'id="stopped"' in text_of(admin, "/runs/")
    assert "Stopped: " not in text_of(admin, "/runs/")
    actions.stop(what="service", value="checkout", reason="it sends mails", by=None)
    for address in ("/runs/", "/spend/", "/budgets/", "/budgets/stopped"):
        page = text_of(admin, address)
        assert "Stopped: service checkout" in page
        assert "it sends mails" in page


def test_every_page_is_told_of_a_stop_and_not_of_each_grant(admin: Client) -> None:
    assert consumers.TOPIC.fullmatch(actions.STOPPED)
    for address in ("/runs/", "/spend/", "/budgets/", "/prices/"):
        page = text_of(admin, address)
        assert 'data-topics="alerts stops ' in page
        assert 'hx-get="/budgets/stopped" hx-trigger="live:stops from:body, every 60s"' in page
    check(user="ana")
    make_budget("1.00")
    assert not LiveEvent.objects.filter(topics__contains=["stops"]).exists()
    thrown = actions.stop(what="user", value="ana", reason="too loud", by=None)
    actions.lift(thrown=thrown, by=None)
    assert [event.topics for event in LiveEvent.objects.order_by("-pk")[:2]] == [["budgets", "stops"]] * 2


def test_an_id_stands_for_one_thing_on_a_page(admin: Client) -> None:
    budget = make_budget("0.05", each="user", period="day")
    check(user="ana")
    actions.stop(what="service", value="checkout", reason="it sends mails", by=None)
    for address in ("", f"{budget.pk}/", f"{budget.pk}/edit/", "new/", "stops/"):
        found = re.findall(r'\sid="([^"]+)"', text_of(admin, f"/budgets/{address}"))
        assert len(found) == len(set(found)), address


def test_a_kill_switch_says_what_it_has_refused_since(admin: Client) -> None:
    actions.stop(what="user", value="ana", reason="too loud", by=None)
    for run in ("a", "b"):
        check(user="ana", run=run)
    page = text_of(admin, "/budgets/stops/")
    assert "2 steps" in page
    assert "$0.20 not spent" in page


def test_a_responder_stops_and_lifts(admin: Client) -> None:
    responder = signed_in(Role.RESPONDER)
    asked = {"what": "session", "value": "s", "reason": "it writes to customers"}
    assert responder.post("/budgets/stops/", asked).status_code == 302
    assert check(session="s")["decision"] == "stop"
    page = text_of(admin, "/budgets/stops/")
    assert "it writes to customers" in page
    responder.post(f"/budgets/stops/{Stop.objects.get().pk}/lift")
    assert check(session="s")["decision"] == "allow"
    assert 'value="order 17"' in text_of(responder, "/budgets/stops/", what="run", value="order 17")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER, Role.OWNER])
def test_who_may_not_set_ceilings_sees_them_and_no_forms(role: Role) -> None:
    client, budget = signed_in(role), make_budget("1.00", name="Seen")
    page = text_of(client, f"/budgets/{budget.pk}/")
    assert "Seen" in page
    assert "New budget" not in text_of(client, "/budgets/")
    assert 'action="/budgets/' not in page
    for address in ("new/", f"{budget.pk}/edit/", "preview", f"{budget.pk}/raise", f"{budget.pk}/raises/1/end"):
        assert client.post(f"/budgets/{address}", FORM).status_code == 403
    if role is Role.VIEWER:
        assert client.post("/budgets/stops/", {"what": "user", "value": "u", "reason": "x"}).status_code == 403
        assert "Stop something" not in text_of(client, "/budgets/stops/")


def test_hostile_names_stay_text(admin: Client) -> None:
    budget = make_budget("0.05", name=HOSTILE, each="user")
    check(user=HOSTILE[:20], session=HOSTILE, feature=HOSTILE)
    actions.stop(what="user", value=HOSTILE, reason=HOSTILE, by=None)
    for address in (
        "/budgets/",
        f"/budgets/{budget.pk}/",
        "/budgets/stops/",
        f"/budgets/{budget.pk}/edit/",
        "/budgets/stopped",
    ):
        page = text_of(admin, address)
        assert "<img src=x" not in page
        assert 'onerror=alert(1)>"' not in page


def test_somebody_who_is_not_signed_in_is_sent_to_sign_in() -> None:
    assert Client().get("/budgets/").status_code == 302
