"""The pages of runs: what they show, what they ask the database, and that text from outside stays text."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agentops.accounts.models import User
from agentops.domain.spans import Kind
from agentops.runs import views
from agentops.runs.models import Run
from tests.factories import RunFactory, SpanFactory

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
EVIL = """"'><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7|add:7 }}"""


@pytest.fixture
def client() -> Client:
    """A browser in which a viewer is signed in."""
    client = Client()
    client.force_login(User.objects.create_user("viewer", password="a-long-password"))
    return client


def detail(run: Run) -> str:
    return reverse("runs:detail", args=[bytes(run.trace_id).hex()])


def step_page(run: Run, span: Any) -> str:
    return reverse("runs:step", args=[bytes(run.trace_id).hex(), span.span_id.hex()])


def big_run(spans: int) -> Run:
    """A run of an agent with that many spans in all."""
    run = RunFactory(spans=spans)
    root = SpanFactory(run=run, kind=Kind.AGENT, after_ms=0, took_ms=60_000)
    SpanFactory.create_batch(spans - 1, run=run, parent_span_id=root.span_id)
    return run


def test_a_person_who_is_not_signed_in_is_sent_to_the_login_page() -> None:
    run = RunFactory()
    for url in (reverse("runs:list"), reverse("runs:csv"), detail(run)):
        assert Client().get(url).headers["Location"].startswith(reverse("accounts:login"))


def test_the_list_shows_runs_with_links_to_them(client: Client) -> None:
    run = RunFactory(user="maria@example.com")
    page = client.get(reverse("runs:list")).content.decode()
    assert detail(run) in page
    assert "maria@example.com" in page
    assert "$0.041" in page


def test_an_empty_list_leads_to_the_set_up_and_a_filtered_one_back_to_all(client: Client) -> None:
    assert reverse("dashboard:setup") in client.get(reverse("runs:list")).content.decode()
    page = client.get(reverse("runs:list"), {"user": "nobody"}).content.decode()
    assert "No run matches" in page


def test_the_list_pages_by_cursor_and_a_later_page_does_not_move_under_the_reader(client: Client) -> None:
    RunFactory.create_batch(views.PAGE_SIZE + 3)
    first = client.get(reverse("runs:list"))
    assert "live:runs" in first.content.decode()
    second = client.get(reverse("runs:list"), {"cursor": first.context["next_cursor"]})
    assert len(second.context["runs"]) == 3
    assert "live:runs" not in second.content.decode()


@pytest.mark.parametrize(
    "parameters",
    [
        {"cursor": "nonsense"},
        {"min_cost": "NaN"},
        {"min_cost": "1e999999"},
        {"min_cost": "-1"},
        {"status": "exploded"},
        {"sort": "; DROP TABLE runs"},
        {"user": "a\0b"},
        {"q": "x" * 10_000},
        {"from": "yesterday", "until": "0001-01-01"},
        {"range": "custom", "from": "9999-12-31T23:59:59+00:00"},
        {"environment": "<b>"},
    ],
)
def test_no_address_makes_the_list_fail(client: Client, parameters: dict[str, str]) -> None:
    RunFactory()
    for url in (reverse("runs:list"), reverse("runs:csv")):
        assert client.get(url, parameters).status_code == 200


@pytest.mark.parametrize("parameters", [{"line": "x"}, {"shown": "-1"}, {"show": "x"}, {"line": "9" * 30}])
def test_no_address_makes_a_run_fail(client: Client, parameters: dict[str, str]) -> None:
    run = big_run(3)
    for part in ("", "live", "more"):
        assert client.get(detail(run), parameters | {"part": part}, headers=HTMX).status_code == 200


def test_a_whole_trace_id_in_the_search_leads_to_its_run(client: Client) -> None:
    run = RunFactory(started_at=timezone.now() - timedelta(days=80))
    answer = client.get(reverse("runs:list"), {"q": bytes(run.trace_id).hex().upper(), "environment": "staging"})
    assert answer.headers["Location"] == f"{detail(run)}?environment=staging"
    assert client.get(reverse("runs:list"), {"q": "f" * 32}).status_code == 200


def test_the_export_holds_the_runs_of_the_list_in_its_order(client: Client) -> None:
    RunFactory(name="cheap", cost_nano=1_000_000)
    RunFactory(name="dear", cost_nano=2_500_000_000)
    RunFactory(name="other", service="another")
    answer = client.get(reverse("runs:csv"), {"service": "research-assistant", "sort": "-cost"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [(row["name"], row["cost_usd"]) for row in rows] == [("dear", "2.5"), ("cheap", "0.001")]


def test_an_export_of_several_pages_holds_every_run_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentops.runs.queries.MAX_LIMIT", 4)
    RunFactory.create_batch(10)
    rows = list(csv.DictReader(io.StringIO(client.get(reverse("runs:csv")).content.decode())))
    assert len({row["trace_id"] for row in rows}) == len(rows) == 10


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1"])  # noqa: RUF001
def test_no_cell_of_the_export_is_a_formula(client: Client, text: str) -> None:
    RunFactory(user=text, name=text, agents=[text])
    (row,) = csv.DictReader(io.StringIO(client.get(reverse("runs:csv")).content.decode(), newline=""))
    assert row["user"] == row["name"] == row["agents"] == f"'{text}"


def test_a_run_that_does_not_exist_is_not_found(client: Client) -> None:
    assert client.get(reverse("runs:detail", args=["0" * 32])).status_code == 404
    run = RunFactory()
    assert client.get(detail(run), {"service": "another"}).status_code == 404
    assert client.get(f"{detail(run)}{'0' * 16}/").status_code == 404


def spans_in(answer: Any) -> list[str]:
    """The spans of the rows of an answer, page or region."""
    return re.findall(r'data-span="([0-9a-f]{16})"', answer.content.decode())


def test_a_run_shows_200_steps_and_offers_the_others(client: Client) -> None:
    run = big_run(450)
    answer, shown = client.get(detail(run)), []
    assert len(spans_in(answer)) == views.ROWS_AT_ONCE
    while True:
        shown += spans_in(answer)
        following = re.search(r"part=more&amp;line=(\d+)", answer.content.decode())
        if following is None:
            break
        answer = client.get(detail(run), {"part": "more", "line": following[1]}, headers=HTMX)
    assert len(set(shown)) == len(shown) == 450


def test_a_refetch_keeps_the_rows_that_were_asked_for(client: Client) -> None:
    run = big_run(450)
    answer = client.get(f"{detail(run)}?part=live&shown=200&shown=400", headers=HTMX)
    assert len(spans_in(answer)) == 400
    assert "<html" not in answer.content.decode()


def test_a_tab_shows_its_kind_of_step_only(client: Client) -> None:
    run = RunFactory()
    agent = SpanFactory(run=run, kind=Kind.AGENT)
    SpanFactory(run=run, parent_span_id=agent.span_id)
    SpanFactory(run=run, kind=Kind.TOOL, is_error=True, parent_span_id=agent.span_id)
    for show, kinds in (("", ["agent", "llm", "tool"]), ("models", ["llm"]), ("tools", ["tool"]), ("errors", ["tool"])):
        page = client.get(detail(run), {"show": show})
        assert sorted(row.kind for row in page.context["rows"]) == kinds
        assert page.context["tabs"] == [
            ("", "All", 3), ("models", "Model calls", 1), ("tools", "Tools", 1), ("errors", "Errors", 1),
        ]  # fmt: skip


def test_a_run_of_a_trace_in_two_services_leads_to_the_other_one(client: Client) -> None:
    run = RunFactory()
    RunFactory(trace_id=run.trace_id, service="tools-server", has_root=False)
    page = client.get(detail(run)).content.decode()
    assert "also in tools-server" in page
    assert client.get(detail(run), {"service": "tools-server"}).context["run"].service == "tools-server"


def test_a_run_whose_spans_are_gone_still_shows_its_totals(client: Client) -> None:
    page = client.get(detail(RunFactory(cost_nano=2_500_000_000))).content.decode()
    assert "$2.50" in page
    assert "The spans are gone" in page


def test_the_same_number_of_queries_whatever_the_size(client: Client) -> None:
    small, large = big_run(2), big_run(300)
    RunFactory.create_batch(views.PAGE_SIZE)
    urls = {
        "list": (reverse("runs:list"), f"{reverse('runs:list')}?user=nobody"),
        "run": (detail(small), detail(large)),
        "chart": tuple(f"{detail(run)}cost.json" for run in (small, large)),
    }
    for one, other in urls.values():
        counts = []
        for url in (one, one, other):
            with CaptureQueriesContext(connection) as asked:
                assert client.get(url).status_code == 200
            counts.append(len(asked))
        assert counts[1] == counts[2] <= 11


def test_a_step_shows_its_price_its_texts_and_its_attributes(client: Client) -> None:
    run = RunFactory()
    span = SpanFactory(
        run=run,
        content={
            "input": '[{"role": "user", "content": "Why did churn rise?"}]',
            "output": "x" * 5_000,
            "attributes": {"gen_ai.request.temperature": 0.2},
        },
    )
    expected = ["$0.004500000", "from public prices", "genai-prices 0.2.3 openai/gpt-4o", "Why did churn rise?"]
    expected += ["Show all 5000 characters", "gen_ai.request.temperature"]
    for headers in ({}, HTMX):
        page = client.get(step_page(run, span), headers=headers).content.decode()
        assert all(words in page for words in expected)
        assert ("<html" in page) == (not headers)


def test_a_step_says_what_its_price_depends_on_and_that_it_is_an_estimate(client: Client) -> None:
    run = RunFactory()
    terms = {"tier": "flex", "audio_input": 40, "cache_creation_1h": 2_048, "estimated_output": 1_234}
    failed = SpanFactory(run=run, is_error=True, is_estimate=True, terms=terms)
    page = client.get(step_page(run, failed)).content.decode()
    for words in ("flex", "40 tokens of the input", "2,048 of the tokens", "estimate", "about 1,234 tokens out"):
        assert words in page
    usual = client.get(step_page(run, SpanFactory(run=run))).content.decode()
    assert not any(words in usual for words in ("Service tier", "estimate", "Audio", "For an hour"))


def test_a_tool_that_has_a_price_shows_its_cost(client: Client) -> None:
    run = RunFactory()
    tool = SpanFactory(run=run, kind=Kind.TOOL, cost_nano=7_500_000, price_source=2, price_id="book 3 v4")
    page = client.get(step_page(run, tool)).content.decode()
    for words in ("$0.0075", "$0.007500000", "from your price book", '<a href="/prices/3/">book 3 v4</a>'):
        assert words in page


def test_a_step_says_why_its_cost_is_not_known(client: Client) -> None:
    run = RunFactory()
    unpriced = SpanFactory(run=run, cost_nano=None)
    silent = SpanFactory(run=run, cost_nano=None, input_tokens=None, output_tokens=None)
    merged = SpanFactory(run=run, merged_into=unpriced.span_id)
    assert "no price for this model" in client.get(step_page(run, unpriced)).content.decode()
    assert "reported no usage" in client.get(step_page(run, silent)).content.decode()
    page = client.get(step_page(run, merged)).content.decode()
    assert "counted there" in page
    assert "$0.0045" not in page


class Tags(HTMLParser):
    """Collects what a browser would act upon: elements that load or run, and handlers of events."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src") or ""
        if tag in {"img", "iframe", "object", "b", "i"} or (tag == "script" and not source.startswith("/static/")):
            self.found.append(tag)
        self.found += [
            name for name, value in attrs if name.startswith("on") or (value or "").startswith("javascript:")
        ]
        self.found += [name for name, _ in attrs if name == "style"]


def test_text_from_outside_stays_text_on_every_page(client: Client) -> None:
    run = RunFactory(
        service=EVIL,
        user=EVIL,
        session=EVIL,
        feature=EVIL,
        release=EVIL,
        environment=EVIL,
        name=EVIL,
        agents=[EVIL, "b"],
    )
    texts = dict.fromkeys(("system", "input", "output", "arguments", "result", "error_message"), EVIL)
    common = {"run": run, "name": EVIL, "error_type": EVIL, "provider": EVIL, "price_id": EVIL, "is_error": True}
    content = texts | {"attributes": {EVIL: EVIL}, "requested_tools": [{"tool": EVIL, "arguments": {EVIL: EVIL}}]}
    messages = {"input": [{"role": EVIL, "content": EVIL}]}
    spans = [
        SpanFactory(**common, request_model=EVIL, response_model=EVIL, agent=EVIL, content=content),
        SpanFactory(**common, response_model=EVIL, agent="b", content=messages),
        SpanFactory(**common, kind=Kind.TOOL, tool=EVIL, agent=EVIL, content=content),
    ]
    pages = [
        reverse("runs:list"),
        f"{reverse('runs:list')}?q=onerror",
        detail(run),
        *(step_page(run, s) for s in spans),
    ]
    for url in pages:
        answer = client.get(url)
        body = answer.content.decode()
        tags = Tags()
        tags.feed(body)
        assert answer.status_code == 200
        assert tags.found == []
        assert "onerror=alert(1)&gt;" in body
        assert re.search(r"\b14\b", body) is None or "{{ 7|add:7 }}" in body


def test_the_chart_of_a_run_sums_its_cost(client: Client) -> None:
    run = big_run(4)
    chart = client.get(f"{detail(run)}cost.json").json()
    assert chart["traces"][0]["y"][-1] == pytest.approx(3 * 0.0045)
