"""The outlook on the spend page: in words, over the chart, and each part leading to what made it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agentops.costs.queries import BYS
from agentops.templatetags.formats import DASH, TIMES
from tests.costs.booking import book_entries, priced_run

NANO = 10**9
NOW = datetime(2026, 11, 19, 12, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RUNAWAY = MIDNIGHT - 2 * DAY + 20 * HOUR
HOSTILE = "<img src=x onerror=alert(1)>&amp;"
HTMX = {"HX-Request": "true", "HX-Target": "outlook"}


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def book(*, service: str = "support", feature: str = "tickets") -> None:
    """Ten cents an hour for 25 days, and nine dollars in each of two hours of the Tuesday."""
    names = {"service": service, "feature": feature, "user": "ann"}
    book_entries([priced_run(NOW - hour * HOUR, NANO // 10, **names) for hour in range(25 * 24)])
    at = [RUNAWAY + timedelta(minutes=5), RUNAWAY + HOUR + timedelta(minutes=5)]
    book_entries([priced_run(moment, 9 * NANO, **names) for moment in at])


def region(client: Client, **parameters: str) -> str:
    answer = client.get(reverse("costs:outlook"), {"range": "7d", **parameters}, headers=HTMX)
    assert answer.status_code == 200
    return answer.content.decode()


def marks(page: str) -> dict[str, Any]:
    """The traces over the chart, by name; of several the last."""
    found = re.search(r'data-marks="([^"]*)"', page)
    assert found is not None
    return {trace["name"]: trace for trace in json.loads(unescape(found[1]))["traces"]}


def links(page: str, path: str) -> list[str]:
    return [unescape(href) for href in re.findall(r'href="([^"]+)"', page) if urlsplit(href).path.startswith(path)]


def test_the_page_asks_for_its_outlook_and_leads_there_without_scripts(client: Client) -> None:
    page = client.get(reverse("costs:spend"), {"range": "7d", "by": "user"}).content.decode()
    address = unescape(re.findall(r'id="outlook" hx-get="([^"]+)"', page)[0])
    assert address == f"{reverse('costs:outlook')}?range=7d&by=user"
    assert f'<a href="{address.replace("&", "&amp;")}">' in page
    alone = client.get(address).content.decode()
    assert "<html" in alone
    assert f'{reverse("costs:spend")}?range=7d&amp;by=user"' in alone


def test_a_fresh_instance_says_what_it_takes(client: Client) -> None:
    page = region(client)
    assert "No forecast yet" in page
    assert "Nothing has been spent on a day that is over." in page
    assert "once there is a week of history" in page
    assert marks(page) == {}


def test_the_month_is_told_with_its_band_and_how_it_was_made(client: Client) -> None:
    book()
    page = region(client)
    assert "November 2026" in page
    assert re.search(r"likely, <strong[^>]*>\$[\d.]+ to \$[\d.]+</strong>", page)
    assert "from 25 Oct on" in page
    assert "Told from 24 whole days" in page
    assert "too far off to be a guide" in page
    places = [float(number) for number in re.findall(r'(?:x|x1|width)="([\d.]+)"', page)]
    assert all(0 <= place <= 100 for place in places)


def test_an_unusual_hour_is_told_with_what_made_it_and_leads_there(client: Client) -> None:
    book()
    page = region(client, by="feature")
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert f"Tue 17 Nov 20:00{DASH}22:00 tickets" in words
    assert f"$18.20 where $0.20 is usual ({TIMES} 91); mostly service support, user ann, agent writer, model" in words
    runs = [client.get(link).content.decode() for link in links(page, "/runs/") if link.startswith("/runs/?")]
    assert len(runs) == 1
    assert runs[0].count("<tr data-row") >= 4
    for link in links(page, "/runs/"):
        assert client.get(link).status_code == 200
    drills = [link for link in links(page, "/spend/") if link.startswith("/spend/?")]
    assert len(drills) == 5
    for link in drills:
        behind = client.get(link).content.decode()
        assert "$18.20" in behind


@pytest.mark.parametrize(("by", "name"), [("user", "everything together"), ("service", "support")])
def test_who_is_judged_depends_on_how_many_there_are(client: Client, by: str, name: str) -> None:
    book()
    assert name in region(client, by=by)


def test_hours_are_told_in_the_zone_of_the_page(client: Client) -> None:
    book()
    page = region(client, timezone="Asia/Kolkata", interval="day")
    assert f"Wed 18 Nov 01:30{DASH}03:30" in page
    assert marks(page)["unusually much"]["x"] == ["2026-11-18T00:00:00"]


def test_marks_stand_on_the_bars_of_the_chart(client: Client) -> None:
    book()
    for interval, place in (("day", "2026-11-17T00:00:00"), ("hour", "2026-11-17T20:00:00")):
        asked = {"range": "7d", "interval": interval, "shape": "bars"}
        mark = marks(region(client, **asked))["unusually much"]
        traces = client.get(reverse("costs:chart"), asked).json()["traces"]
        heights = {
            x: y for trace in traces if trace["type"] == "bar" for x, y in zip(trace["x"], trace["y"], strict=True)
        }
        assert mark["x"] == [place]
        assert mark["y"] == pytest.approx([heights[place]])
        assert "support $18.20 where $0.20 is usual" in mark["text"][0]


def test_days_to_come_are_drawn_where_a_range_by_day_reaches_the_present(client: Client) -> None:
    book()
    likely = marks(region(client, interval="day"))["likely"]
    assert likely["x"][0] == "2026-11-19T00:00:00"
    assert len(likely["x"]) == 8  # as many as the range has: the month has four more
    assert likely["y"][0] == pytest.approx(2.4, rel=0.05)
    assert likely["y"][1:] == pytest.approx([2.4] * 7, rel=0.05)
    for other in (
        {"interval": "hour"},
        {"range": "custom", "from": "2026-11-01", "until": "2026-11-10", "interval": "day"},
    ):
        assert "likely" not in marks(region(client, **other))


def test_calls_of_tools_have_no_money_over_them(client: Client) -> None:
    book()
    assert marks(region(client, by="tool", interval="day")) == {}


def test_what_a_name_says_is_only_text(client: Client) -> None:
    book(service=HOSTILE)
    page = region(client)
    assert "<img" not in page
    assert marks(page)["unusually much"]["text"][0].count("&lt;img src=x onerror=alert(1)>&amp;amp;") == 1


@pytest.mark.parametrize(
    "address",
    [
        {"by": "colour", "interval": "century"},
        {"user": "\x00'; DROP TABLE runs; --", "by": "model"},
        {"range": "custom", "from": "0001-01-01", "until": "9999-12-31"},
        {"range": "custom", "from": "9999-12-30", "until": "9999-12-31"},
        {"range": "custom", "from": "0001-01-01", "until": "0001-01-02"},
        {"range": "year", "timezone": "Pacific/Chatham"},
        {"team": "no such team", "by": "team"},
        {"service": "x" * 5_000, "environment": "%s {cells} %(dimension)s"},
        {"without": "agent", "by": "agent"},
    ],
    ids=str,
)
def test_no_address_makes_it_fail(client: Client, address: dict[str, str]) -> None:
    book()
    assert client.get(reverse("costs:outlook"), address).status_code == 200


@pytest.mark.parametrize("by", BYS)
def test_the_region_takes_few_statements(client: Client, by: str) -> None:
    book()
    with CaptureQueriesContext(connection) as captured:
        region(client, by=by)
    assert len(captured) <= 16
