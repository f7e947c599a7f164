"""Monthly statements: what each team is charged, to the cent, and what changes after a month is closed."""

from __future__ import annotations

import csv
import io
import threading
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentops.accounts.actions import create_token
from agentops.accounts.models import ApiToken, Team, User
from agentops.billing.actions import MonthNotOverError, NothingToCloseError, close_months
from agentops.billing.models import Charge, Closing
from agentops.billing.statements import Statement, list_months, statement
from agentops.catalog.models import Service
from agentops.costs.fold import fold
from agentops.domain.statements import NANO_PER_CENT, to_cents
from tests.billing.conftest import Call

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
AUGUST, SEPTEMBER, OCTOBER, NOVEMBER = (date(2026, month, 1) for month in (8, 9, 10, 11))
CENT, DOLLAR = NANO_PER_CENT, 100 * NANO_PER_CENT


def at(month: date, day: int = 5, hour: int = 0) -> datetime:
    return datetime(month.year, month.month, day, hour, tzinfo=UTC)


def close(through: date = OCTOBER, by: User | None = None) -> list[Closing]:
    return close_months(through=through, by=by, now=NOW)


def told(of: Statement) -> dict[str, Any]:
    """Teams with their cents, their lines and adjustments: month, service, feature, cents."""
    return {
        team.team: (
            team.cents,
            [(line.service, line.feature, line.cents) for line in team.lines],
            [(line.month.month, line.service, line.feature, line.cents) for line in team.adjustments],
        )
        for team in of.teams
    }


def adds_up(of: Statement) -> bool:
    """Whether the cents of lines, teams and total add up and are those of the exact amounts."""
    return (
        all(sum(line.cents for line in team.all_lines) == team.cents for team in of.teams)
        and sum(team.cents for team in of.teams) == of.cents == to_cents(of.total_nano)
        and sum(team.cost_nano for team in of.teams) == of.total_nano
    )


@pytest.fixture
def owned(db: None) -> dict[str, Service]:
    """Two services of two teams, and one that nobody owns."""
    teams = {slug: Team.objects.create(slug=slug, name=slug.capitalize()) for slug in ("care", "data")}
    services = {"support": teams["care"], "research": teams["data"], "orphan": None}
    return {slug: Service.objects.create(slug=slug, team=team) for slug, team in services.items()}


def test_a_statement_has_every_teams_lines_and_adds_up_to_the_cent(call: Call, owned: dict[str, Service]) -> None:
    third = CENT // 3
    for service in owned:
        call(at(OCTOBER), third, service=service, feature="a")
        call(at(OCTOBER, 31, 23), 2 * third, service=service, feature="b")
    call(at(OCTOBER), None, service="support", feature="a")
    call(at(NOVEMBER, 1), DOLLAR, service="support")
    call(at(SEPTEMBER, 30, 23), DOLLAR, service="support")
    found = statement(OCTOBER, now=NOW)
    assert (found.state, found.cents, found.total_nano, found.unpriced_calls) == ("open", 3, 9 * third, 1)
    assert told(found) == {
        "care": (1, [("support", "b", 1), ("support", "a", 0)], []),
        "data": (1, [("research", "b", 1), ("research", "a", 0)], []),
        "": (1, [("orphan", "b", 1), ("orphan", "a", 0)], []),
    }
    assert [team.name for team in found.teams] == ["Care", "Data", ""]
    assert adds_up(found)


def test_a_closed_month_stands_and_a_late_span_is_an_adjustment_of_the_next(
    call: Call, owned: dict[str, Service], owner: User
) -> None:
    call(at(OCTOBER), 2 * DOLLAR, feature="refunds")
    (closing,) = close(by=owner)
    assert (closing.month, closing.total_nano, closing.closed_by) == (OCTOBER, 2 * DOLLAR, owner)
    call(at(OCTOBER, 9), DOLLAR, feature="refunds")
    call(at(OCTOBER, 9), DOLLAR // 2, service="orphan")
    call(at(NOVEMBER), 3 * DOLLAR, feature="refunds")
    assert told(statement(OCTOBER, now=NOW)) == {"care": (200, [("support", "refunds", 200)], [])}
    november = statement(NOVEMBER, now=NOW)
    assert told(november) == {
        "care": (400, [("support", "refunds", 300)], [(10, "support", "refunds", 100)]),
        "": (50, [], [(10, "orphan", "", 50)]),
    }
    assert (november.adjustments_cents, november.state) == (150, "running")
    assert adds_up(november)


def test_what_is_recognised_once_is_not_charged_again(call: Call, owned: dict[str, Service]) -> None:
    call(at(AUGUST), DOLLAR)
    close(AUGUST)
    call(at(AUGUST), 2 * DOLLAR)
    call(at(SEPTEMBER), DOLLAR)
    close(SEPTEMBER)
    call(at(AUGUST), 4 * DOLLAR)
    call(at(SEPTEMBER), 8 * DOLLAR)
    call(at(OCTOBER), DOLLAR)
    assert told(statement(SEPTEMBER, now=NOW)) == {"care": (300, [("support", "", 100)], [(8, "support", "", 200)])}
    adjusted = {"care": (1300, [("support", "", 100)], [(8, "support", "", 400), (9, "support", "", 800)])}
    assert told(statement(OCTOBER, now=NOW)) == adjusted
    close(OCTOBER)
    assert told(statement(OCTOBER, now=NOW)) == adjusted
    assert statement(NOVEMBER, now=NOW).teams == []


def test_corrected_prices_and_attribution_are_adjustments_down_and_across(
    call: Call, correct: Call, owned: dict[str, Service]
) -> None:
    call(at(OCTOBER), 5 * DOLLAR, feature="old")
    call(at(OCTOBER), DOLLAR, service="research", feature="kept")
    close()
    correct(1, nano=5 * DOLLAR // 2, feature="new")
    found = statement(NOVEMBER, now=NOW)
    assert told(found) == {"care": (-250, [], [(10, "support", "new", 250), (10, "support", "old", -500)])}
    assert (found.cents, found.total_nano) == (-250, -5 * DOLLAR // 2)
    assert adds_up(found)


def test_lines_name_models_and_priced_tools_whether_they_are_folded_or_not(
    call: Call, owned: dict[str, Service]
) -> None:
    call(at(OCTOBER), 3 * DOLLAR, feature="a")
    call(at(OCTOBER), 4 * DOLLAR, feature="a", model="gpt-5")
    call(at(OCTOBER), 5 * DOLLAR, feature="a", tool="web_search")
    call(at(OCTOBER), None, feature="a", tool="free_search")
    before = statement(OCTOBER, now=NOW)
    assert [(line.feature, line.model, line.tool, line.cents) for line in before.teams[0].lines] == [
        ("a", "", "web_search", 500), ("a", "gpt-5", "", 400), ("a", "gpt-4o", "", 300),
    ]  # fmt: skip
    fold(now=NOW)
    assert statement(OCTOBER, now=NOW) == before
    close()
    call(at(OCTOBER), DOLLAR, feature="a", tool="web_search")
    assert told(statement(NOVEMBER, now=NOW)) == {"care": (100, [], [(10, "support", "a", 100)])}


def test_a_closed_month_keeps_the_team_of_its_closing_and_so_do_its_adjustments(
    call: Call, owned: dict[str, Service]
) -> None:
    call(at(OCTOBER), DOLLAR)
    close()
    owned["support"].team = Team.objects.get(slug="data")
    owned["support"].save()
    Team.objects.filter(slug="care").update(name="Customer care")
    call(at(OCTOBER), 2 * DOLLAR)
    call(at(NOVEMBER), 4 * DOLLAR)
    assert told(statement(OCTOBER, now=NOW)) == {"care": (100, [("support", "", 100)], [])}
    assert told(statement(NOVEMBER, now=NOW)) == {
        "care": (200, [], [(10, "support", "", 200)]),
        "data": (400, [("support", "", 400)], []),
    }
    assert [team.name for team in statement(OCTOBER, now=NOW).teams] == ["Care"]


def test_months_are_closed_in_order_and_earlier_ones_with_a_later_one(call: Call, owned: dict[str, Service]) -> None:
    call(at(AUGUST), DOLLAR)
    call(at(OCTOBER), 2 * DOLLAR)
    with pytest.raises(MonthNotOverError):
        close(NOVEMBER)
    with pytest.raises(NothingToCloseError):
        close(date(2026, 7, 1))
    assert [(closing.month, closing.total_nano) for closing in close(OCTOBER)] == [
        (AUGUST, DOLLAR),
        (OCTOBER, 2 * DOLLAR),
    ]
    with pytest.raises(NothingToCloseError, match="closed already"):
        close(OCTOBER)
    # September had nothing: it counts as closed, and what comes for it late is an adjustment too.
    call(at(SEPTEMBER), 4 * DOLLAR)
    with pytest.raises(NothingToCloseError):
        close(SEPTEMBER)
    assert told(statement(NOVEMBER, now=NOW)) == {"care": (400, [], [(9, "support", "", 400)])}
    assert [(month.month, month.state, month.total_nano) for month in list_months(now=NOW)] == [
        (NOVEMBER, "running", 4 * DOLLAR),
        (OCTOBER, "closed", 2 * DOLLAR),
        (AUGUST, "closed", DOLLAR),
    ]


def test_only_the_next_open_month_charges_adjustments(call: Call, owned: dict[str, Service]) -> None:
    call(at(AUGUST), DOLLAR)
    close(AUGUST)
    call(at(AUGUST), 2 * DOLLAR)
    call(at(SEPTEMBER), 4 * DOLLAR)
    call(at(OCTOBER), 8 * DOLLAR)
    assert [(month.month, month.total_nano // DOLLAR) for month in list_months(now=NOW)] == [
        (NOVEMBER, 0), (OCTOBER, 8), (SEPTEMBER, 6), (AUGUST, 1),
    ]  # fmt: skip
    assert statement(OCTOBER, now=NOW).adjustments_cents == 0
    assert statement(SEPTEMBER, now=NOW).adjustments_cents == 200


@pytest.mark.django_db(transaction=True)
def test_two_people_who_close_a_month_close_it_once() -> None:
    user = User.objects.create_user("olga")
    outcomes: list[str] = []

    def run() -> None:
        try:
            outcomes.append(f"closed {len(close(by=user))}")
        except NothingToCloseError as error:
            outcomes.append(str(error))
        finally:
            connection.close()

    with connection.cursor() as cursor:
        cursor.execute(BOOK, {"start": at(OCTOBER), "service": "support", "feature": "", "nano": 5})
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [outcome for outcome in outcomes if "is closed already" in outcome]
    assert sorted(set(outcomes) - set(refused)) == ["closed 1"]
    assert len(refused) == 3
    assert all("by olga" in words for words in refused)
    assert (Closing.objects.count(), Charge.objects.count()) == (1, 1)


BOOKINGS = st.lists(
    st.tuples(
        st.sampled_from([AUGUST, SEPTEMBER, OCTOBER]),
        st.integers(1, 28),
        st.sampled_from(["support", "research", "orphan"]),
        st.sampled_from(["", "a", "b"]),
        st.integers(-(10**9), 10**9) | st.integers(-(10**7), 10**7),
    ),
    max_size=12,
)
BOOK = """
INSERT INTO spend_daily AS t (dimension, start, environment, service, key, cost_nano, steps)
SELECT dimension, %(start)s, 'production', %(service)s, CASE dimension WHEN 2 THEN %(feature)s ELSE '' END, %(nano)s, 1
FROM unnest(ARRAY[0, 2]) AS d (dimension)
ON CONFLICT (dimension, start, environment, service, key) DO UPDATE SET cost_nano = t.cost_nano + EXCLUDED.cost_nano,
    steps = t.steps + 1
"""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(BOOKINGS, min_size=3, max_size=3))
def test_whatever_is_booked_when_every_statement_adds_up_and_all_of_them_are_the_books(
    owned: dict[str, Service], rounds: list[list[tuple[date, int, str, str, int]]]
) -> None:
    for table in ("billing_charge", "billing_chargedteam", "billing_closedday", "billing_closing", "spend_daily"):
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")
    closed: dict[date, Any] = {}
    for month, bookings in zip((AUGUST, SEPTEMBER, OCTOBER), rounds, strict=True):
        for start, day, service, feature, nano in bookings:
            with connection.cursor() as cursor:
                words = {"start": at(start, day), "service": service, "feature": feature, "nano": nano}
                cursor.execute(BOOK, words)
        assert adds_up(statement(month, now=NOW))
        with suppress(NothingToCloseError):
            for closing in close(month):
                closed[closing.month] = told(statement(closing.month, now=NOW))
        assert {known: told(statement(known, now=NOW)) for known in closed} == closed
    following = statement(NOVEMBER, now=NOW)
    assert adds_up(following)
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(cost_nano), 0) FROM spend_daily WHERE dimension = 0")
        (booked,) = cursor.fetchone()
    assert sum(int(closing.total_nano) for closing in Closing.objects.all()) + following.total_nano == booked


@pytest.fixture
def _in_november(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.mark.usefixtures("_in_november")
def test_the_pages_show_months_teams_and_lines_and_close(client: Client, call: Call, owned: dict[str, Service]) -> None:
    assert "November 2026" in client.get("/statements/").content.decode()
    assert "Nothing to charge" in client.get("/statements/2026-11/").content.decode()
    call(at(SEPTEMBER), 5 * DOLLAR, feature="<i>refunds</i>")
    call(at(OCTOBER), 1234 * DOLLAR, feature="<i>refunds</i>")
    call(at(OCTOBER), 7 * DOLLAR, service="orphan")
    months = client.get("/statements/").content.decode()
    assert months.count("Look and close") == 1
    page = client.get("/statements/2026-10/").content.decode()
    assert "$1,241.00" in page
    assert "Close September 2026 and October 2026?" in page
    lines = client.get("/statements/2026-10/", {"team": "care"}).content.decode()
    assert "$1,234.00" in lines
    assert "<i>refunds" not in lines
    assert "from=2026-10-01&amp;until=2026-11-01&amp;by=user&amp;service=support" in lines
    assert "No team" in client.get("/statements/2026-10/", {"team": ""}).content.decode()
    assert "spent nothing" in client.get("/statements/2026-10/", {"team": "data"}).content.decode()
    closed = client.post("/statements/2026-10/close", follow=True).content.decode()
    assert "Closed: September 2026, October 2026." in closed
    assert "by olga" in closed
    assert "Close this month" not in closed
    assert "is closed already" in client.post("/statements/2026-10/close", follow=True).content.decode()
    assert "is not over yet" in client.post("/statements/2026-11/close", follow=True).content.decode()
    call(at(OCTOBER), 3 * DOLLAR)
    assert "adjustment to October 2026" in client.get("/statements/2026-11/", {"team": "care"}).content.decode()


def _csv(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode(), newline="")))


@pytest.mark.usefixtures("_in_november")
def test_the_file_of_a_month_adds_up_and_holds_no_formula(
    client: Client, call: Call, owned: dict[str, Service]
) -> None:
    for number, service in enumerate(owned):
        call(at(OCTOBER), CENT // 3 + number, service=service, feature="=1+1")
    close()
    call(at(OCTOBER), CENT, feature="=1+1")
    rows = _csv(client.get("/statements/2026-10/lines.csv"))
    assert [(row["team"], row["kind"], row["service"], row["feature"], row["amount_usd"]) for row in rows] == [
        ("care", "charge", "support", "'=1+1", "0.00"),
        ("data", "charge", "research", "'=1+1", "0.00"),
        ("", "charge", "orphan", "'=1+1", "0.01"),
    ]
    assert {row["state"] for row in rows} == {"closed"}
    assert rows[1]["cost_usd"] == "0.003333334"
    assert [row["team"] for row in _csv(client.get("/statements/2026-10/lines.csv", {"team": ""}))] == [""]
    (row,) = _csv(client.get("/api/v1/statements/2026-11/lines.csv"))
    assert (row["kind"], row["of_month"], row["amount_usd"]) == ("adjustment", "2026-10", "0.01")


@pytest.mark.usefixtures("_in_november")
def test_programs_read_and_close_months(client: Client, call: Call, owned: dict[str, Service], owner: User) -> None:
    call(at(OCTOBER), 2 * DOLLAR, feature="refunds")
    call(at(OCTOBER), None, feature="refunds")
    token = {"HTTP_AUTHORIZATION": f"Bearer {create_token(user=owner, scope=ApiToken.Scope.WRITE)}"}
    nobody = {"closed_at": None, "closed_by": None}
    assert client.get("/api/v1/statements").json()["items"] == [
        {"month": "2026-11", "state": "running", "total_usd": "0", "unpriced_calls": 0, **nobody},
        {"month": "2026-10", "state": "open", "total_usd": "2", "unpriced_calls": 1, **nobody},
    ]
    closed = Client().post("/api/v1/statements/2026-10/close", **token)
    assert closed.status_code == 200, closed.content
    body = closed.json()
    assert (body["state"], body["closed_by"], body["amount_usd"], body["adjustments_usd"]) == (
        "closed",
        "olga",
        "2.00",
        "0.00",
    )
    assert body["teams"] == [
        {
            "team": "care", "name": "Care", "amount_usd": "2.00", "cost_usd": "2", "adjustments": [],
            "lines": [{
                "of_month": "2026-10", "service": "support", "feature": "refunds", "model": "gpt-4o", "tool": None,
                "model_calls": 2, "tool_calls": 0, "unpriced_calls": 1, "input_tokens": 200, "output_tokens": 40,
                "cost_usd": "2", "amount_usd": "2.00",
            }],
        }
    ]  # fmt: skip
    again = Client().post("/api/v1/statements/2026-10/close", **token)
    assert (again.status_code, "closed already" in again.json()["detail"]) == (409, True)
    assert Client().post("/api/v1/statements/2026-11/close", **token).status_code == 409
    assert client.get("/api/v1/statements/2026-10").json() == body


@pytest.mark.parametrize("month", ["2026-13", "october", "2026-1", "1999-01", "20260-1"])
def test_what_is_no_month_is_not_found(client: Client, month: str) -> None:
    assert client.get(f"/statements/{month}/").status_code == 404
    assert client.get(f"/api/v1/statements/{month}").status_code == 422


def test_who_may_only_look_closes_nothing(viewer: Client, call: Call) -> None:
    call(at(OCTOBER), DOLLAR)
    assert "Close this month" not in viewer.get("/statements/2026-10/").content.decode()
    assert viewer.post("/statements/2026-10/close").status_code == 403
    assert viewer.post("/api/v1/statements/2026-10/close").status_code == 403
    assert not Closing.objects.exists()


def test_the_pages_take_as_many_statements_however_much_there_is(
    client: Client, call: Call, owned: dict[str, Service]
) -> None:
    def statements(path: str) -> int:
        with CaptureQueriesContext(connection) as caught:
            assert client.get(path).status_code == 200
        return len(caught)

    paths = ["/statements/", "/statements/2026-10/", "/statements/2026-10/?team=care"]
    call(at(OCTOBER), DOLLAR)
    few = [statements(path) for path in paths]
    for day in range(1, 25):
        call(at(AUGUST, day), DOLLAR, feature=f"feature {day}")
        call(at(OCTOBER, day), DOLLAR, feature=f"feature {day}", service=["support", "research", "orphan"][day % 3])
    assert [statements(path) for path in paths] == few
