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

from agentops.costs import queries
from agentops.costs.forms import FILTERS, read_spend
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
    book_runs(range(16))
    page = _page(client, by=by)
    report = queries.spend(by, SpendFilters(), START - timedelta(days=1), NOW)
    keys = {item.key for item in report.items if item.key is not None}
    if by == "team":
        assert _links(page, "nowrap to-runs") == []
        return
    for link in _links(page, "nowrap to-runs"):
        assert link[by][0] in keys
        assert link["range"] == ["custom"]
    drills = [link for link in _links(page, "cut") if "by" in link]
    assert {link[by][0] for link in drills} == keys
    for link in drills:
        behind = queries.spend(link["by"][0], SpendFilters.of(**{by: link[by][0]}), START - timedelta(days=1), NOW)
        whole = next(item for item in report.items if item.key == link[by][0])
        assert behind.total == whole.totals


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
    for target, words in (("figures", "Model calls"), ("table", "Runs of service-0")):
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
    drill = parse_qs(asked.drill_query("alice"))
    assert (drill["user"], drill["service"], drill["feature"]) == (["alice"], ["a"], ["b"])
    assert drill["by"] == ["session"]
    assert drill["environment"] == ["staging"]
    runs = parse_qs(asked.runs_query("alice"))
    assert (runs["user"], runs["service"], runs["feature"]) == (["alice"], ["a"], ["b"])
    assert runs["environment"] == ["staging"]
    assert {name for _, _, name in asked.chips} == {"service", "feature"} < set(FILTERS)


@pytest.mark.parametrize("by", ["service", "user", "model"])
def test_the_page_takes_as_many_statements_for_many_keys_as_for_few(client: Client, by: str) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            _page(client, by=by, interval="day")
        return len(captured)

    book_runs(range(4))
    few = statements()
    book_runs(range(4, 40))
    assert statements() == few <= 20
