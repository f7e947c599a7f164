"""The overview: today, the month, what is under way, who costs what."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agentops.accounts.models import Team, User
from agentops.catalog.models import Service
from agentops.dashboard import figures
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry
from tests.costs.booking import book_entries

NANO = 10**9
NOON = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)  # a Tuesday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def client(db: None) -> Client:
    """A browser of somebody who may only look."""
    browser = Client()
    browser.force_login(User.objects.create_user("viewer"))
    return browser


def _run(
    number: int,
    at: datetime,
    usd: float = 1,
    *,
    service: str = "support",
    seconds: int = 1,
    is_error: bool = False,
    is_root: bool = True,
    user: str = "alice",
    environment: str = "production",
) -> Entry:
    start = int(at.timestamp()) * NANO
    span = Span(
        trace_id=number.to_bytes(16),
        span_id=number.to_bytes(8),
        parent_span_id=b"" if is_root else b"elsewher",
        service=service,
        kind=Kind.LLM,
        name="chat",
        scope="test",
        start_ns=start,
        end_ns=start + seconds * NANO,
        is_error=is_error,
        response_model="gpt-4o",
        usage=TokenUsage(100, 20),
        attribution={"user": (user, 0), "environment": (environment, 0)},
    )
    return Entry(span, Cost(round(usd * NANO), PriceSource.BOOK, None), None)


def test_today_is_compared_with_the_same_part_of_the_same_weekday(db: None) -> None:
    midnight = NOON.replace(hour=0, minute=0)
    book_entries(
        [
            _run(1, midnight + 2 * HOUR, 3),
            _run(2, NOON - timedelta(minutes=10), 2),
            _run(3, midnight - 7 * DAY + 2 * HOUR, 2),
            # This hour of last week counts by half, as this hour is half over; later ones not at all.
            _run(4, NOON - 7 * DAY + timedelta(minutes=20), 1),
            _run(5, NOON - 7 * DAY + HOUR, 50),
            _run(6, midnight - timedelta(minutes=1), 70),
        ]
    )
    money = figures.money("", now=NOON)
    assert money.today_nano == 5 * NANO
    assert money.before_nano == 2.5 * NANO
    assert money.before_words == "last Tuesday"
    assert money.growth == 1.0
    assert money.today_hours == [0, 0, 3 * NANO, *[0] * 9, 2 * NANO]


def test_without_a_week_before_today_is_compared_with_yesterday(db: None) -> None:
    book_entries([_run(1, NOON - 2 * HOUR, 1), _run(2, NOON - DAY - 2 * HOUR, 4)])
    money = figures.money("", now=NOON)
    assert (money.before_nano, money.before_words, money.growth) == (4 * NANO, "yesterday", -0.75)


def test_the_month_goes_on_as_the_days_before_it_did(client: Client) -> None:
    book_entries([_run(n + 1, NOON - n * DAY - HOUR, 7) for n in range(40)])
    money = figures.money("", now=NOON)
    assert money.month_nano == 24 * 7 * NANO
    assert sum(money.month_days) == money.month_nano
    assert len(money.month_days) == 24
    forecast = money.outlook.forecast
    assert forecast is not None
    assert forecast.expected_nano == pytest.approx(30 * 7 * NANO, rel=0.01)
    assert money.month_nano < forecast.low_nano < forecast.expected_nano < forecast.high_nano


def test_there_is_no_forecast_of_nothing(db: None) -> None:
    money = figures.money("", now=NOON)
    assert (money.outlook.forecast, money.growth, money.month_nano) == (None, None, 0)


def test_the_tile_of_the_month_says_what_is_likely_or_that_it_takes_some_days(client: Client) -> None:
    assert "a forecast needs some days of data" in client.get(reverse("dashboard:overview")).content.decode()
    now = timezone.now()
    book_entries([_run(n + 1, now - n * DAY, 7) for n in range(30)])
    assert re.search(r"likely \$[\d,.]+, \$[\d,.]+.\$", client.get(reverse("dashboard:overview")).content.decode())


def test_runs_under_way_failures_and_p95_are_counted_by_service(db: None) -> None:
    now = timezone.now()
    runs = [_run(n + 1, now - 2 * HOUR, seconds=n + 1, is_error=n >= 90) for n in range(100)]
    runs.append(_run(200, now - HOUR, service="search", is_root=False))
    runs.append(_run(201, now - 3 * DAY, service="search", is_error=True))
    book_entries(runs)
    total, by_service = figures.flights("", now - DAY, now)
    assert (total.running, total.runs, total.failed) == (1, 101, 10)
    support, search = by_service["support"], by_service["search"]
    assert (support.running, support.runs, support.failed, support.p95_ms) == (0, 100, 10, 95_000)
    assert support.error_rate == 0.1
    # What still runs has not failed yet, and how long it takes is not known.
    assert (search.running, search.runs, search.failed, search.p95_ms) == (1, 1, 0, None)


def test_only_the_environment_that_was_asked_for_counts(db: None) -> None:
    now = timezone.now()
    book_entries([_run(1, now - HOUR, 1), _run(2, now - HOUR, 10, environment="shadow", service="other")])
    total, flying = figures.flights("production", now - DAY, now)
    lines = figures.service_lines("production", now - DAY, now, flying, now=now)
    assert total.runs == 1
    assert [(line.service, line.totals.cost_nano) for line in lines] == [("support", NANO)]
    assert figures.money("shadow", now=now).month_nano in (0, 10 * NANO)
    assert sum(figures.pulse("production", now=now).started) == 1


def test_the_page_shows_who_owns_a_service_and_who_does_not(client: Client) -> None:
    now = timezone.now()
    book_entries([_run(1, now - HOUR, 2), _run(2, now - HOUR, 1, service="orphan")])
    team = Team.objects.create(slug="care", name="Customer Care")
    Service.objects.filter(slug="support").update(team=team)
    page = client.get(reverse("dashboard:overview")).content.decode()
    rows = re.findall(r"<tr data-row>.*?</tr>", page, re.DOTALL)
    assert len(rows) == 2
    assert "Customer Care" in rows[0]
    assert "$2.00" in rows[0]
    assert "unowned" in rows[1]
    # Two thirds of the cost has an owner; all of it has a user, none a feature.
    assert re.search(r"<strong>100\s%</strong> of spend has a user, <strong>0.0\s%</strong> a feature", page)
    assert re.search(r"<strong>67\s%</strong> an owner", page)


@pytest.mark.parametrize(("top", "words"), [("runs", "0000…001"), ("users", "alice"), ("features", "No spend")])
def test_what_costs_most_now_is_listed_by_run_user_and_feature(client: Client, top: str, words: str) -> None:
    book_entries([_run(1, timezone.now() - HOUR, 2)])
    answer = client.get(
        reverse("dashboard:overview"), {"top": top}, headers={"HX-Request": "true", "HX-Target": "top"}
    ).content.decode()
    assert words in answer
    assert "<html" not in answer


@pytest.mark.parametrize("target", ["tiles", "services"])
def test_each_region_can_be_fetched_alone(client: Client, target: str) -> None:
    book_entries([_run(1, timezone.now() - timedelta(seconds=2), 2)])
    answer = client.get(
        reverse("dashboard:overview"), headers={"HX-Request": "true", "HX-Target": target}
    ).content.decode()
    assert "$2.00" in answer
    assert "<html" not in answer


def test_a_fresh_instance_says_what_to_do_first(client: Client) -> None:
    page = client.get(reverse("dashboard:overview")).content.decode()
    assert "No service has sent anything yet" in page
    assert reverse("dashboard:setup") in page
    assert client.get(reverse("dashboard:spend_chart")).json()["traces"] == []


@pytest.mark.parametrize(
    "ends", [("0001-01-01", "9999-12-31"), ("9999-12-30", "9999-12-31"), ("0001-01-01", "0001-01-02")]
)
def test_no_range_makes_the_page_fail(client: Client, ends: tuple[str, str]) -> None:
    address = {"range": "custom", "from": ends[0], "until": ends[1]}
    for name in ("dashboard:overview", "dashboard:spend_chart"):
        assert client.get(reverse(name), address).status_code == 200


def test_the_page_takes_as_many_statements_for_many_services_as_for_few(client: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(reverse("dashboard:overview")).status_code == 200
        return len(captured)

    now = timezone.now()
    book_entries([_run(n + 1, now - HOUR) for n in range(3)])
    few = statements()
    book_entries([_run(n + 10, now - n * HOUR, service=f"service-{n}", user=f"user {n}") for n in range(40)])
    assert statements() == few <= 32


def test_what_has_no_feature_leads_to_where_it_can_be_attributed(client: Client) -> None:
    book_entries([_run(1, timezone.now() - HOUR, 3)])
    page = client.get("/").content.decode()
    link = re.search(r'<a href="([^"]+)" title="[^"]+ without a feature">attribute \$3.00</a>', page)
    assert link
    assert "This is spend without a feature." in client.get(link[1].replace("&amp;", "&")).content.decode()
