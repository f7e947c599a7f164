"""The explorer: what it draws and what it lists agree, rows open, filters are chips, ranges are compared."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from agentops.costs import queries
from agentops.costs.forms import FEW_OPEN, Asked, read_spend
from agentops.costs.sources import SpendFilters
from agentops.costs.windows import close_days
from agentops.pages import read_page
from tests.costs.booking import START, book_runs

FROM, UNTIL = START - timedelta(days=1), START + timedelta(days=3)
RANGE = {"range": "custom", "from": FROM.isoformat(), "until": UNTIL.isoformat()}
NOW = START + timedelta(days=3)


def read(**parameters: str | list[str]) -> Asked:
    """What an address asks for."""
    query = QueryDict(urlencode(RANGE | parameters, doseq=True))
    return read_spend(query, read_page(query, now=NOW))


def page(client: Client, **parameters: str | list[str]) -> str:
    """The page's text."""
    answer = client.get(reverse("costs:spend"), RANGE | parameters)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def costs(text: str, row: str = r"[^>]*") -> list[Decimal]:
    """The exact costs in rows of the table, as their tooltips say."""
    found = re.findall(rf'<tr{row}>.*?data-label="Cost"[^>]*title="\$([\d,.]+)"', text, re.DOTALL)
    return [Decimal(cost.replace(",", "")) for cost in found]


@pytest.mark.parametrize("top", ["5", "50"])
@pytest.mark.parametrize(
    ("by", "filters"), [("user", {}), ("model", {"without": "user"}), ("session", {}), ("team", {})]
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_the_chart_and_the_table_agree_to_the_cent(
    client: Client, by: str, filters: dict[str, str], zone: str, top: str
) -> None:
    book_runs(range(24))
    asked = {"by": by, "timezone": zone, "top": top, "interval": "day", **filters}
    text = page(client, **asked)
    (total,) = costs(text, ' class="total"')
    listed = costs(text, " data-row") + costs(text, ' class="others"')
    chart = client.get(reverse("costs:chart"), RANGE | asked).json()
    layers = [sum(Decimal(str(y)) for y in trace["y"]) for trace in chart["traces"] if "tone" not in trace]
    assert sum(listed) == total
    assert abs(sum(layers) - total) < Decimal("0.0000001")
    named = [layer for layer, trace in zip(layers, chart["traces"], strict=False) if trace["name"] != "other"]
    for layer, cost in zip(named, listed, strict=False):
        assert abs(layer - cost) < Decimal("0.0000001")


@pytest.mark.parametrize(("by", "then"), [("service", "feature"), ("user", "model"), ("model", "agent")])
def test_an_open_row_shows_what_is_inside_it(client: Client, by: Any, then: Any) -> None:
    book_runs(range(24))
    report = queries.spend(by, SpendFilters(), FROM, UNTIL)
    opened = report.items[1]
    text = page(client, by=by, then=then, open=opened.key or "")
    inside = costs(text, r' class="inside"(?: data-row)?')
    assert len(inside) > 1
    assert sum(inside) * 10**9 == opened.totals.cost_nano
    assert text.count('aria-expanded="true"') == 1
    everything = page(client, by=by, then=then, inside="all")
    assert everything.count('aria-expanded="true"') == len(report.items)
    closed = re.search(r'href="([^"]+)" aria-expanded="true"', text)
    assert closed
    assert "open=" not in closed[1]


def test_where_few_rows_are_open_at_once_the_next_one_closes_the_first(client: Client) -> None:
    book_runs(range(24))
    keys = [item.key for item in queries.spend("user", SpendFilters(), FROM, UNTIL).items]
    assert len(keys) > FEW_OPEN
    asked = read(by="user", then="session")
    for number, key in enumerate(keys):
        address = parse_qs(urlsplit(asked.toggle(key)).query, keep_blank_values=True)
        asked = read(**address)
        assert list(asked.opened) == keys[max(0, number + 1 - FEW_OPEN) : number + 1]
        assert page(client, **address).count('aria-expanded="true"') == len(asked.opened)


def test_what_carries_no_key_can_be_opened_too(client: Client) -> None:
    book_runs(range(24))
    none = queries.spend("user", SpendFilters.of(user=None), FROM, UNTIL).total
    text = page(client, by="user", then="model", open="")
    assert sum(costs(text, r' class="inside"(?: data-row)?')) * 10**9 == none.cost_nano


def test_a_chip_takes_one_value_away_and_leaves_the_others(client: Client) -> None:
    book_runs(range(8))
    text = page(client, user=["x", "y"], without=["feature", "user"], service="service-0")
    chips = re.findall(r'href="([^"]+)" aria-label="Remove the filter ([^"]+)"', text)
    left = {words: parse_qs(urlsplit(href).query) for href, words in chips}
    assert set(left) == {"user x", "user y", "without feature", "without user", "service service-0"}
    assert left["user x"]["user"] == ["y"]
    assert left["user x"]["without"] == ["feature", "user"]
    assert left["without feature"]["without"] == ["user"]
    assert left["without feature"]["user"] == ["x", "y"]
    assert "service" not in left["service service-0"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"from": "2026-03-01", "until": "2026-04-01"}, ("2026-01-29", "2026-03-01")),
        ({"from": "2026-03-01", "until": "2026-04-01", "compare": "month"}, ("2026-02-01", "2026-03-01")),
        ({"from": "2026-03-01", "until": "2026-04-01", "compare": "year"}, ("2025-03-01", "2025-04-01")),
        ({"from": "2026-03-30", "until": "2026-03-31", "compare": "month"}, None),
    ],
)
def test_a_range_is_compared_with_the_time_before_or_the_same_days_earlier(
    parameters: dict[str, str], expected: tuple[str, str] | None
) -> None:
    before = read(**parameters).before
    assert before == (expected and tuple(datetime.fromisoformat(day).replace(tzinfo=UTC) for day in expected))


def test_a_month_earlier_is_that_of_the_calendar_on_the_wall() -> None:
    asked = read(**{"from": "2026-04-01", "until": "2026-05-01", "timezone": "Europe/Berlin", "compare": "month"})
    berlin = ZoneInfo("Europe/Berlin")
    assert (asked.from_, asked.until) == (datetime(2026, 4, 1, tzinfo=berlin), datetime(2026, 5, 1, tzinfo=berlin))
    assert asked.before == (datetime(2026, 3, 1, tzinfo=berlin), datetime(2026, 4, 1, tzinfo=berlin))


def test_days_of_a_zone_off_by_half_an_hour_follow_each_other_without_a_gap() -> None:
    first = read(**{"from": "2026-03-01", "until": "2026-03-02", "timezone": "Asia/Kolkata"})
    second = read(**{"from": "2026-03-02", "until": "2026-03-03", "timezone": "Asia/Kolkata"})
    assert first.until == second.from_ == datetime(2026, 3, 1, 19, tzinfo=UTC)


def test_the_earlier_range_is_drawn_as_a_line_of_its_own_sum(client: Client) -> None:
    book_runs(range(12))
    later = {"from": (FROM + timedelta(days=4)).isoformat(), "until": (UNTIL + timedelta(days=4)).isoformat()}
    book_runs(range(12, 13))
    empty = client.get(reverse("costs:chart"), later | {"range": "custom", "interval": "day"}).json()
    assert empty["traces"] == []
    first = {"from": START.isoformat(), "until": (START + timedelta(days=1)).isoformat(), "range": "custom"}
    second = {"from": (START + timedelta(days=1)).isoformat(), "until": (START + timedelta(days=2)).isoformat()}
    chart = client.get(reverse("costs:chart"), second | {"range": "custom", "interval": "hour"}).json()
    (line,) = [trace for trace in chart["traces"] if trace.get("tone")]
    earlier = client.get(reverse("costs:chart"), first | {"interval": "hour"}).json()
    assert sum(line["y"]) == pytest.approx(sum(sum(t["y"]) for t in earlier["traces"] if "tone" not in t))
    assert line["x"][0] == chart["traces"][0]["x"][0]


def _suggested(client: Client, text: str, **parameters: str) -> list[tuple[str, str]]:
    answer = client.get(reverse("costs:suggest"), RANGE | {"filter": text} | parameters).content.decode()
    return [
        (unescape(label), unescape(value))
        for label, value in re.findall(r'<span class="muted">([^<]*)</span> <span class="cut">([^<]*)</span>', answer)
    ]


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("service", "…")),
        ("fea", ("feature", "…")),
        ("service:", ("service", "service-1")),
        ("user:x", ("user", "x")),
        ("feature:made up", ("feature", "made up")),
        ("no f", ("without", "feature")),
        ("without us", ("without", "user")),
        ("user:", ("without", "user")),
        ("GPT-4", ("model", "gpt-4o")),
    ],
)
def test_what_is_typed_suggests_dimensions_values_and_what_is_missing(
    client: Client, text: str, expected: tuple[str, str], *, closed: bool
) -> None:
    book_runs(range(12))
    if closed:
        close_days(now=NOW)
    assert expected in _suggested(client, text)


@pytest.mark.parametrize("text", ["%", "_", "\\", "a:b", ":", "\x00", "x" * 2_000, "without"])
def test_nothing_that_is_typed_is_a_wildcard_or_breaks_the_list(client: Client, text: str) -> None:
    book_runs(range(4))
    assert all(value in {text, "…"} or label == "without" for label, value in _suggested(client, text))


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("user:x", {"user": ["x", "y"]}),
        ("no feature", {"without": ["feature"]}),
        ("nothing is called so", {}),
    ],
)
def test_a_filter_typed_without_script_becomes_a_chip(client: Client, typed: str, left: dict[str, list[str]]) -> None:
    book_runs(range(8))
    answer = client.get(reverse("costs:spend"), RANGE | {"user": "y", "filter": typed})
    assert answer.status_code == 302
    found = parse_qs(urlsplit(answer["Location"]).query)
    assert "filter" not in found
    assert {name: sorted(values) for name, values in found.items() if name in {"user", "without"}} == {
        "user": ["y"]
    } | left


def test_unit_costs_are_the_cost_by_what_it_brought_about(client: Client) -> None:
    book_runs(range(24))
    text = page(client, by="service", show="units")
    rows = re.findall(r"<tr data-row>.*?</tr>", text, re.DOTALL)
    assert len(rows) == 2
    for row in rows:
        cost = Decimal(re.findall(r'data-label="Cost"[^>]*title="\$([\d.]+)"', row)[0])
        runs = int(re.findall(r'data-label="Runs"[^>]*>(\d+)<', row)[0])
        per_run = Decimal(re.findall(r'data-label="Per run"[^>]*title="\$([\d.]+)"', row)[0])
        assert runs == 12
        assert abs(per_run - cost / runs) < Decimal("0.000000001")


def test_every_link_of_the_page_leads_to_a_page(client: Client) -> None:
    book_runs(range(12))
    text = page(client, by="feature", then="model", inside="all", show="units", interval="month", top="5")
    links = set(re.findall(r'href="(\?[^"]*)"', text))
    assert len(links) > 40
    for link in sorted(links)[::7]:
        assert client.get(f"{reverse('costs:spend')}{link}").status_code == 200
