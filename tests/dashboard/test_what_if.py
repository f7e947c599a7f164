"""The page that replays incidents: it says what the watch would have saved, for any address."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agentops.accounts.models import User
from agentops.dashboard import whatif
from agentops.dashboard.whatif import Asked
from agentops.dashboard.whatif_film import SECONDS, lines
from agentops.domain import replays
from agentops.domain.incidents import BY_SLUG, INCIDENTS
from agentops.domain.replays import Reaction
from agentops.domain.watchrules import DEFAULTS


@pytest.fixture
def client(db: None) -> Client:
    """A browser of somebody who may only look."""
    browser = Client()
    browser.force_login(User.objects.create_user("viewer"))
    return browser


def page(client: Client, **parameters: str) -> str:
    answer = client.get(reverse("dashboard:what_if"), parameters)
    assert answer.status_code == 200
    return answer.content.decode()


def words(html: str) -> str:
    """What one reads, with single spaces."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def test_the_page_says_what_the_clarification_loop_cost_and_when_the_watch_spoke(client: Client) -> None:
    said = words(page(client))
    assert "Without the watch $47,203 11 d, 36,554 turns" in said
    assert "With it $1.20 stopped after 6 min 56 s" in said
    assert "Avoided $47,202" in said
    assert "First alert after 3 min 28 s 8 turns" in said
    assert "Spent until then $0.408" in said
    assert "analysis and verification keep asking each other, 4 rounds without a result" in said
    assert "$1,000 spent 6 h 19 min" in said


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.slug)
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_every_incident_is_drawn_in_both_scales(client: Client, incident: object, scale: str) -> None:
    html = page(client, incident=incident.slug, scale=scale)  # type: ignore[attr-defined]
    for points in re.findall(r'points="([^"]+)"', html):
        places = [tuple(map(float, point.split(","))) for point in points.split()]
        assert places
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in places)
        assert len(places) < 450
    assert html.count('class="plot-tick plot-x"') >= 2
    assert html.count('class="plot-tick plot-y"') >= 3


def test_whoever_comes_later_has_spent_more() -> None:
    seen = replays.replay(BY_SLUG["clarification"], DEFAULTS)
    spent = [replays.stopped(seen, reaction).spent_nano for reaction in Reaction]
    assert spent == sorted(spent)
    assert spent[-1] < 2_000 * 10**9


def test_patient_rules_find_it_later(client: Client) -> None:
    said = words(page(client, talk_warn="10", talk_page="20", budget="0"))
    assert "First alert after 8 min 40 s 20 turns" in said
    assert "With it $5.88 stopped after 17 min 20 s" in said
    assert "Rules of the watch changed" in said


def test_a_limit_of_steps_speaks_where_talk_is_allowed(client: Client) -> None:
    said = words(page(client, talk_warn="40", talk_page="80", budget="20"))
    assert "The run has taken 21 steps, more than 20" in said


def test_the_defaults_of_the_form_are_those_of_the_watch() -> None:
    asked = Asked.read({})
    assert asked.rules == DEFAULTS
    assert asked.is_default


@pytest.mark.parametrize("number", range(2, 8))
def test_so_many_identical_calls_are_found_as_were_asked_for(number: int) -> None:
    asked = Asked.read({"incident": "list-files", "calls_warn": str(number), "calls_page": str(number + 1)})
    seen = replays.replay(asked.incident, asked.rules)
    assert seen.warned is not None
    assert seen.paged is not None
    assert (seen.warned.cycles, seen.paged.cycles) == (number, number + 1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"incident": "nothing", "reaction": "never", "scale": "round", "talk_warn": "x", "budget": "-1"},
        {"talk_warn": "0", "talk_page": "99999999999999999999", "calls_page": "²", "budget": "\0"},
    ],
)
def test_any_address_is_a_page(client: Client, parameters: dict[str, str]) -> None:
    page(client, **parameters)


def test_a_changed_form_fetches_the_result_alone_and_asks_the_database_nothing_of_it(client: Client) -> None:
    url, htmx = reverse("dashboard:what_if"), {"HX-Request": "true", "HX-Target": "result"}
    with CaptureQueriesContext(
        connection,
    ) as queries:
        html = client.get(url, {"incident": "rotation"}, headers=htmx).content.decode()
    assert "<form" not in html
    assert "goes round in a circle of 3" in html
    assert all("session" in query["sql"] or "accounts_user" in query["sql"] for query in queries)


def test_the_film_has_what_its_script_needs(client: Client) -> None:
    found = re.search(r'data-film="([^"]+)"', page(client))
    assert found is not None
    film = json.loads(unescape(found[1]))
    assert film["seconds"] == SECONDS
    assert film["curve"][0] == [0, 0]
    assert film["curve"][-1][1] == pytest.approx(47_203.445)
    assert film["warned"]["at"] == 208
    assert film["stop"] == {"at": 416, "usd": 1.2, "is_end": False}
    assert len(found[1]) < 80_000


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.slug)
def test_lines_come_in_order_until_the_end(incident: object) -> None:
    told = lines(incident.slug)  # type: ignore[attr-defined]
    assert [line.at for line in told] == sorted(line.at for line in told)
    assert 60 < len(told) < 400
    assert told[-1].number == incident.cycles  # type: ignore[attr-defined]


def test_what_is_stopped_after_its_end_avoided_nothing(client: Client) -> None:
    said = words(page(client, incident="grep-cached", reaction="morning"))
    assert "over before anybody came" in said
    assert "Avoided $0.00" in said
    assert whatif.REACTIONS[Reaction.MORNING] in said


def test_the_form_carries_range_and_environment_on_and_nothing_twice(client: Client) -> None:
    html = page(client, environment="staging", incident="rotation", talk_warn="9", scale="linear")
    form = html[html.index("<form class") : html.index("</form>", html.index("<form class"))]
    assert '<input type="hidden" name="environment" value="staging">' in form
    assert re.findall(r'type="hidden" name="([a-z_]+)"', form) == ["environment"]
    assert html.count('name="scale" value="linear" form="what-if-form"') == 1
