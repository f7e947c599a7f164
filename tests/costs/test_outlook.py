"""The month's end, unusual hours and what made them, as the booked rollups tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agentops.accounts.models import Team
from agentops.catalog.models import Service
from agentops.costs import outlook, queries
from agentops.costs.outlook import month_outlook, unusual_hours
from agentops.costs.sources import SpendFilters
from agentops.costs.windows import close_days
from agentops.domain.forecast import Forecast, forecast_month
from agentops.ingest.booking import Entry
from tests.costs.booking import book_entries, priced_run

pytestmark = pytest.mark.django_db

NANO = 10**9
NOW = datetime(2026, 11, 19, 12, 30, tzinfo=UTC)  # a Thursday
MIDNIGHT = NOW.replace(hour=0, minute=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK_AGO = NOW - 7 * DAY
#: When research ran away: two hours on Tuesday evening.
RUNAWAY = MIDNIGHT - 2 * DAY + 20 * HOUR


def history(days: int = 25) -> list[Entry]:
    """Two services with a run an hour: support costs a dollar in the daytime, research ten cents, always."""
    entries = []
    for hour in range(days * 24 + NOW.hour + 1):
        at = MIDNIGHT - days * DAY + hour * HOUR + timedelta(minutes=10)
        busy = 8 <= at.hour < 18 and at.weekday() < 5
        entries.append(priced_run(at, NANO if busy else NANO // 50, user=f"user-{hour % 7}", feature="tickets"))
        entries.append(priced_run(at, NANO // 10, service="research", agent="searcher", user="ann", feature="papers"))
    return entries


def runaway() -> list[Entry]:
    """In two hours six runs of one user, that wait for each other on a dear model."""
    return [
        priced_run(
            RUNAWAY + place * timedelta(minutes=15) + timedelta(seconds=7),
            (5 + place) * NANO,
            service="research",
            agent="verifier",
            model="o3",
            user="bob",
            feature="papers",
        )
        for place in range(8)
    ]


@pytest.fixture
def booked() -> None:
    book_entries(history() + runaway())


def unusual(by: Any = "service", **filters: str | None) -> outlook.UnusualHours:
    return unusual_hours(by, SpendFilters.of(**filters), WEEK_AGO, NOW, now=NOW)


# --- The month's end


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize(
    ("filters", "are_closed"),
    [({}, False), ({}, True), ({"user": "user-3"}, True), ({"service": "support", "environment": "production"}, False)],
)
def test_the_forecast_is_what_the_rule_says_of_the_booked_days(filters: dict[str, str], are_closed: bool) -> None:
    if are_closed:
        close_days(now=NOW)
    asked = SpendFilters.of(**filters)
    month = MIDNIGHT.replace(day=1)
    told = month_outlook(asked, now=NOW)
    assert told.booked_nano == queries.spend("service", asked, month, NOW).total.cost_nano
    assert told.previous_nano == queries.spend("service", asked, month - 31 * DAY, month).total.cost_nano
    first = MIDNIGHT - 60 * DAY
    points = queries.spend("environment", asked, first, MIDNIGHT, interval="day").series
    costs = {point.start: point.value for point in points}
    days = [costs.get(first + place * DAY, 0) for place in range(60)]
    assert told.forecast is not None
    rest = told.forecast.expected_nano - told.forecast.booked_nano
    later = forecast_month(days, today=NOW.date(), booked_nano=0, left_of_today=0.0)
    whole = forecast_month(days, today=NOW.date(), booked_nano=0, left_of_today=1.0)
    assert isinstance(later, Forecast)
    assert isinstance(whole, Forecast)
    assert later.expected_nano < rest < whole.expected_nano


@pytest.mark.usefixtures("booked")
def test_what_is_left_of_today_follows_the_hours_of_the_day() -> None:
    """At half past twelve more than half of the working day of support is still to come, and of research half."""
    shares = {}
    for service in ("support", "research"):
        for hour in (0, 12.5):
            told = month_outlook(SpendFilters.of(service=service), now=MIDNIGHT + hour * HOUR)
            assert told.forecast is not None
            shares[service, hour] = told.forecast.days[0].expected_nano
    assert shares["support", 12.5] / shares["support", 0] == pytest.approx(5.5 / 10, abs=0.02)
    assert shares["research", 12.5] / shares["research", 0] == pytest.approx(11.5 / 24, abs=0.02)


def test_a_runaway_is_booked_and_does_not_become_the_forecast() -> None:
    book_entries(history())
    quiet = month_outlook(SpendFilters(), now=NOW).forecast
    book_entries(runaway())
    found = month_outlook(SpendFilters(), now=NOW).forecast
    assert quiet is not None
    assert found is not None
    more = sum(entry.cost.nano or 0 for entry in runaway())
    assert found.booked_nano - quiet.booked_nano == more
    assert found.expected_nano - quiet.expected_nano == pytest.approx(more, rel=0.1)
    assert found.left_out > quiet.left_out


def test_the_forecast_is_compared_with_the_whole_month_before() -> None:
    book_entries(history(60))
    told = month_outlook(SpendFilters(), now=NOW)
    assert told.growth == pytest.approx(-0.03, abs=0.06)  # a day less, and as many working days
    assert told.previous_since is None


def test_a_month_in_which_spend_began_is_not_compared_with() -> None:
    book_entries(history(25))
    told = month_outlook(SpendFilters(), now=NOW)
    assert (told.growth, told.previous_since) == (None, (MIDNIGHT - 25 * DAY).date())
    assert told.previous_nano


def test_too_little_history_is_said() -> None:
    book_entries(history(2))
    assert "whole days" in month_outlook(SpendFilters(), now=NOW).reason
    assert "nothing has been spent" in month_outlook(SpendFilters.of(service="nobody"), now=NOW).reason
    assert unusual().is_cold
    assert not unusual().found


# --- Unusual hours


@pytest.mark.usefixtures("booked")
def test_an_unusual_hour_is_found_where_it_was_with_what_made_it() -> None:
    told = unusual("service")
    (found,) = told.found
    assert (found.key, found.is_total, found.anomaly.kind) == ("research", False, "spike")
    assert (found.anomaly.start, found.anomaly.end) == (RUNAWAY, RUNAWAY + 2 * HOUR)
    assert found.anomaly.observed_nano == (sum(range(5, 13)) * 10 + 2) * NANO // 10
    assert found.anomaly.expected_nano == pytest.approx(NANO // 5, rel=0.01)
    assert {(maker.by, maker.key) for maker in found.makers} == {
        ("agent", "verifier"), ("model", "o3"), ("user", "bob"), ("feature", "papers"),
    }  # fmt: skip
    assert all(0.9 < maker.share <= 1 for maker in found.makers)
    assert [run.cost_nano for run in found.runs] == [12 * NANO, 11 * NANO, 10 * NANO]
    assert all(RUNAWAY <= run.started_at < RUNAWAY + 2 * HOUR for run in found.runs)


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize(
    ("by", "key", "makers"),
    [
        ("agent", "verifier", {("service", "research")}),
        ("model", "o3", {("service", "research")}),
        ("feature", "papers", {("service", "research")}),
        (
            "environment",
            "production",
            {("service", "research"), ("agent", "verifier"), ("model", "o3"), ("user", "bob")},
        ),
    ],
)
def test_every_dimension_of_few_keys_tells_of_its_own(by: str, key: str, makers: set[tuple[str, str]]) -> None:
    found = unusual(by).found[0]
    if by in ("agent", "model"):
        # It was never called before: nothing is usual for it, and the total tells.
        assert found.is_total
        assert (by, key) in {(maker.by, maker.key) for maker in found.makers}
        return
    assert (found.key, found.is_total) == (key, False)
    assert makers <= {(maker.by, maker.key) for maker in found.makers}
    assert [run.cost_nano for run in found.runs] == [12 * NANO, 11 * NANO, 10 * NANO]


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize("by", ["user", "session"])
def test_of_many_keys_only_everything_is_judged(by: str) -> None:
    (found,) = unusual(by).found
    assert found.is_total
    assert ("user", "bob") in {(maker.by, maker.key) for maker in found.makers}
    assert ("service", "research") in {(maker.by, maker.key) for maker in found.makers}


@pytest.mark.usefixtures("booked")
def test_filters_leave_what_is_asked_for() -> None:
    team = Team.objects.create(slug="science", name="Science")
    Service.objects.filter(slug="research").update(team=team)
    assert unusual("service", service="support").found == ()
    assert unusual("service", environment="staging").found == ()
    (found,) = unusual("team").found
    assert found.key == "science"
    assert ("model", "o3") in {(maker.by, maker.key) for maker in found.makers}
    assert len(found.runs) == 3
    assert {maker.by for maker in unusual("feature", team="science").found[0].makers} == {"agent", "model", "user"}
    (found,) = unusual("service", feature="papers", release=None).found
    assert (found.key, len(found.runs)) == ("research", 3)
    makers = {(maker.by, maker.key) for maker in found.makers}
    assert makers == {("agent", "verifier"), ("model", "o3"), ("user", "bob")}
    assert unusual("service", feature="papers").found[0].key == "research"
    assert unusual("service", feature="tickets").found == ()


def test_what_carries_no_key_is_judged_like_any_key() -> None:
    book_entries([priced_run(NOW - hour * HOUR, NANO // 10) for hour in range(25 * 24)])
    book_entries([priced_run(RUNAWAY + timedelta(seconds=7), 9 * NANO)])
    (found,) = unusual("feature").found
    assert (found.key, found.is_total) == (None, False)
    assert found.runs[0].cost_nano == 9 * NANO


def test_an_outage_is_a_drop_and_nobody_made_it() -> None:
    lost = MIDNIGHT - DAY + 9 * HOUR
    book_entries(
        [
            priced_run(at, 20 * NANO)
            for at in (NOW - hour * HOUR for hour in range(25 * 24))
            if not lost <= at < lost + 4 * HOUR
        ]
    )
    (found,) = unusual("service").found
    assert (found.anomaly.kind, found.makers, found.runs) == ("drop", (), ())
    assert (found.anomaly.start, found.anomaly.end) == (lost, lost + 4 * HOUR)


@pytest.mark.usefixtures("booked")
def test_the_hours_of_everything_are_told_with_them() -> None:
    told = unusual("service")
    assert told.total.start == WEEK_AGO.replace(minute=0)
    assert len(told.total.costs) == 7 * 24 + 1
    assert sum(told.total.costs) == queries.spend("service", SpendFilters(), WEEK_AGO, NOW).total.cost_nano


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize(
    "ends", [(NOW + DAY, NOW + 2 * DAY), (NOW - 4000 * DAY, NOW), (NOW - 400 * DAY, NOW - 399 * DAY), (NOW, NOW)]
)
def test_any_range_is_answered(ends: tuple[datetime, datetime]) -> None:
    told = unusual_hours("service", SpendFilters(), *ends, now=NOW)
    assert told.judged_from >= min(ends[1], NOW) - 93 * DAY
    assert [u.key for u in told.found] == (["research"] if ends[0] < RUNAWAY < ends[1] else [])


def test_more_data_takes_no_more_statements() -> None:
    def statements(ask: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as captured:
            ask()
        return len(captured)

    book_entries(history())
    asked = SpendFilters()
    assert statements(lambda: month_outlook(asked, now=NOW)) == 2
    few = statements(lambda: unusual_hours("feature", asked, WEEK_AGO, NOW, now=NOW))
    for n in range(9):
        names = {"service": f"s{n}", "feature": f"f{n}", "user": f"u{n}"}
        book_entries([priced_run(NOW - hour * HOUR, NANO // 100, **names) for hour in range(25 * 24)])
    assert statements(lambda: month_outlook(asked, now=NOW)) == 2
    assert statements(lambda: unusual_hours("feature", asked, WEEK_AGO, NOW, now=NOW)) == few == 4


# --- Over the API


@pytest.fixture
def answer(client: Client) -> Callable[..., Any]:
    def ask(path: str, **parameters: str) -> Any:
        found = client.get(f"/api/v1/spend/{path}", parameters)
        assert found.status_code == 200, found.content
        return found.json()

    return ask


def test_the_forecast_over_the_api_adds_up(answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentops.costs.api.now", lambda: NOW)
    book_entries(history())
    told = answer("forecast")
    assert (told["month"], told["reason"], told["confidence"]) == ("2026-11-01", None, 0.8)
    booked, low, expected, high = (Decimal(told[f"{name}_usd"]) for name in ("booked", "low", "expected", "high"))
    assert booked < low < expected < high
    assert [day["day"] for day in told["days"]] == [f"2026-11-{day}" for day in range(19, 31)]
    assert booked + sum(Decimal(day["expected_usd"]) for day in told["days"]) == pytest.approx(
        expected, abs=Decimal("0.001")
    )
    assert answer("forecast", service="nobody")["expected_usd"] is None
    assert Decimal(answer("forecast", user="ann", model="gpt-4o")["expected_usd"]) > 0


def test_anomalies_over_the_api_lead_to_their_runs(answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentops.costs.api.now", lambda: NOW)
    book_entries(history() + runaway())
    told = answer("anomalies", **{"by": "service", "from": WEEK_AGO.isoformat()})
    (item,) = told["items"]
    assert (item["key"], item["kind"], item["is_total"]) == ("research", "spike", False)
    assert (item["from"], item["until"]) == ("2026-11-17T20:00:00Z", "2026-11-17T22:00:00Z")
    assert Decimal(item["observed_usd"]) - Decimal(item["expected_usd"]) == Decimal(item["excess_usd"])
    assert {"by": "model", "key": "o3", "share": 1.0} in item["made_by"]
    assert [run["cost_usd"] for run in item["runs"]] == ["12", "11", "10"]
    assert len(item["runs"][0]["trace_id"]) == 32
    assert (told["from"], told["is_cold"]) == ("2026-11-12T12:00:00Z", False)


def test_what_the_api_cannot_tell_it_refuses(client: Client) -> None:
    for parameters in ({"by": "colour"}, {"from": "0001-01-02T00:00:00Z"}):
        found = client.get("/api/v1/spend/anomalies", parameters)
        assert found.status_code == 422, parameters
        assert found.json()["detail"]
    assert Client().get("/api/v1/spend/forecast").status_code == 401
    assert Client().get("/api/v1/spend/anomalies").status_code == 401
