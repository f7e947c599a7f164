"""The spend page: each number leads somewhere, and nothing in its address makes it fail."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agentops.accounts.models import Team
from agentops.catalog.models import Service
from agentops.costs import queries
from agentops.costs.forms import FILTERS, read_spend
from agentops.costs.lines import belongs
from agentops.costs.queries import BYS
from agentops.costs.sources import SpendFilters
from agentops.pages import read_page
from tests.costs.booking import START, book_runs

RANGE = {
    "range": "custom",
    "from": (START - timedelta(days=1)).isoformat(),
    "until": (START + timedelta(days=3)).isoformat(),
}
NOW = START + timedelta(days=3)


def _page(client: Client, **parameters: str) -> str:
    answer = client.get(reverse("costs:spend"), {**RANGE, **parameters})
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def _links(page: str, css: str) -> list[dict[str, list[str]]]:
    found = re.findall(rf'<a class="{css}" href="([^"]+)"', page)
    return [parse_qs(urlsplit(link).query) for link in found]


@pytest.mark.parametrize("by", BYS)
def test_each_row_leads_to_its_runs_and_to_what_is_behind_it(client: Client, by: Any) -> None:
    Service.objects.create(slug="service-0", team=Team.objects.create(slug="blue", name="The blue team"))
    book_runs(range(16))
    page = _page(client, by=by)
    report = queries.spend(by, SpendFilters(), START - timedelta(days=1), NOW)
    shown = {item.key: item.totals for item in report.items if belongs(by, item)}
    behind = _links(page, "nowrap to-runs")
    assert len(behind) == len(shown)
    assert {link["range"][0] for link in behind} == {"custom"}
    if by == "team":
        assert [link["service"] for link in behind] == [["service-0"] if key else ["service-1"] for key in shown]
    else:
        assert {_key(link, by) for link in behind} == set(shown)
    drills = [link for link in _links(page, "cut(?: quiet muted)?") if "by" in link]
    assert {_key(link, by) for link in drills} == set(shown)
    for link in drills:
        asked = SpendFilters.of(**{by: _key(link, by)})
        assert queries.spend(link["by"][0], asked, START - timedelta(days=1), NOW).total == shown[_key(link, by)]


def _key(link: dict[str, list[str]], by: str) -> str | None:
    """The key of a dimension that a link filters by; ``None`` for what carries none."""
    return link[by][0] if by in link else None if link["without"] == [by] else "?"


def test_the_page_says_what_has_no_price_and_how_much_is_attributed(client: Client) -> None:
    book_runs(range(16))
    page = _page(client)
    total = queries.spend("service", SpendFilters(), START - timedelta(days=1), NOW).total
    assert f"{total.unpriced_calls} calls without a known price" in page
    assert "of this cost has a user" in page
    assert "gpt-4o" in page


def test_by_month_shows_a_table_of_months_that_adds_up(client: Client) -> None:
    book_runs(range(8))
    page = _page(client, by="model", interval="month", **{"from": "2025-09-10", "until": "2025-12-20"})
    assert [month in page for month in ("Sep 2025", "Oct 2025", "Nov 2025", "Dec 2025")] == [True] * 4
    assert "By month" in page


def test_a_range_without_spend_says_what_to_do(client: Client) -> None:
    assert "Connect an agent" in _page(client)
    assert "All spend" in _page(client, user="nobody")


@pytest.mark.parametrize(
    "address",
    [
        {"by": "colour", "interval": "century", "sort": "-nothing", "rows": "many"},
        {"user": "\x00'; DROP TABLE runs; --", "by": "model"},
        {"range": "custom", "from": "0001-01-01", "until": "9999-12-31"},
        {"range": "custom", "from": "9999-12-30", "until": "9999-12-31"},
        {"range": "custom", "from": "0001-01-01", "until": "0001-01-02"},
        {"range": "90d", "interval": "hour"},
        {"team": "no such team", "by": "team"},
        {"service": "x" * 5_000, "environment": "%s {cells} %(dimension)s"},
    ],
    ids=str,
)
def test_no_address_makes_the_page_fail(client: Client, address: dict[str, str]) -> None:
    book_runs(range(2))
    for name in ("costs:spend", "costs:chart", "costs:spend_csv", "billing:focus_csv"):
        answer = client.get(reverse(name), address)
        assert answer.status_code == 200
        if answer.streaming:
            assert b"".join(answer.streaming_content)


def test_the_regions_are_parts_of_the_same_page(client: Client) -> None:
    book_runs(range(8))
    for target, words in (("figures", "Per 1,000 tokens"), ("table", "Runs of service-0")):
        answer = client.get(
            reverse("costs:spend"), RANGE, headers={"HX-Request": "true", "HX-Target": target}
        ).content.decode()
        assert words in answer
        assert "<html" not in answer


def test_the_chart_names_the_largest_and_sums_the_rest(client: Client) -> None:
    book_runs(range(24))
    for by in BYS:
        chart = client.get(reverse("costs:chart"), {**RANGE, "by": by, "interval": "day"}).json()
        report = queries.spend(by, SpendFilters(), START - timedelta(days=1), NOW)
        drawn = sum(sum(trace["y"]) for trace in chart["traces"])
        expected = report.total.tool_calls if by == "tool" else report.total.cost_nano / 10**9
        assert drawn == pytest.approx(expected)
        assert len({len(trace["x"]) for trace in chart["traces"]}) == 1


def test_a_century_is_drawn_without_naming_its_months(client: Client) -> None:
    book_runs(range(2))
    year, century = (
        client.get(reverse("costs:chart"), {"from": f"{year}-01-01", "until": "2100-01-01", "interval": "month"}).json()
        for year in (2099, 2000)
    )
    assert year["layout"]["xaxis"]["dtick"] == "M1"
    assert "dtick" not in century["layout"]["xaxis"]


def test_layers_of_one_colour_are_kept_apart_by_a_hatch(client: Client) -> None:
    book_runs(range(24))
    traces = client.get(reverse("costs:chart"), {**RANGE, "by": "user", "interval": "day"}).json()["traces"]
    plain = [trace["series"] for trace in traces if not trace.get("hatched")]
    assert len(plain) == len(set(plain))


def test_filters_survive_in_every_link_of_a_drill(client: Client) -> None:
    page = read_page({**RANGE, "environment": "staging"}, now=NOW)
    asked = read_spend(QueryDict("by=user&service=a&feature=b&environment=staging&" + urlencode(RANGE)), page)
    drill = parse_qs(asked.of_key("user", "alice", asked.filters).removeprefix("?"))
    assert (drill["user"], drill["service"], drill["feature"]) == (["alice"], ["a"], ["b"])
    assert drill["by"] == ["session"]
    assert drill["environment"] == ["staging"]
    runs = parse_qs(asked.runs_query(asked.filters.within("user", "alice"), {}))
    assert (runs["user"], runs["service"], runs["feature"]) == (["alice"], ["a"], ["b"])
    assert runs["environment"] == ["staging"]
    assert {name for name, values in asked.dimensions.items() if values} == {"service", "feature"} < set(FILTERS)


@pytest.mark.parametrize("by", ["service", "user", "model"])
def test_the_page_takes_as_many_statements_for_many_keys_as_for_few(client: Client, by: str) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            _page(client, by=by, interval="day")
        return len(captured)

    book_runs(range(4))
    few = statements()
    book_runs(range(4, 40))
    assert statements() == few <= 25
