"""How numbers and times are written."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from agentops.pages import page_context
from agentops.templatetags import formats
from agentops.templatetags.formats import DASH, MINUS, TIMES


def plain(text: str) -> str:
    return str(text).replace(formats.NBSP, " ")


@pytest.mark.parametrize(
    ("nano", "words"),
    [
        (None, DASH),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (8_000_000, "$0.008"),
        (1_234_567, "$0.0012"),
        (40_000_000, "$0.04"),
        (634_000_000, "$0.634"),
        (500_000_000, "$0.50"),
        (999_960_000, "$1.00"),
        (41_200_000_000, "$41.20"),
        (1_286_400_000_000, "$1,286.40"),
        (24_911_000_000_000, "$24,911"),
        (Decimal(8_000_000), "$0.008"),
        (-41_200_000_000, f"{MINUS}$41.20"),
        (1_000_000_000_000_000_000_000, "$1,000,000,000,000"),
    ],
)
def test_money(nano: int | None, words: str) -> None:
    assert formats.money(nano) == words


def test_unknown_money_says_what_it_is_told() -> None:
    assert formats.money(None, "unpriced") == "unpriced"


@given(st.integers(1, 10**20))
def test_money_that_is_not_zero_never_reads_as_zero(nano: int) -> None:
    assert any(digit in "123456789" for digit in formats.money(nano))


def test_exact_money_has_every_digit() -> None:
    assert formats.exact_money(1_234_567_890_123) == "$1,234.567890123"
    assert formats.exact_money(None) == ""


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, DASH), (0, "0"), (412, "412"), (999, "999"), (1_000, "1.0 k"), (1_049, "1.0 k"), (61_900, "61.9 k"),
        (999_949, "999.9 k"), (999_960, "1.00 M"), (3_410_000, "3.41 M"), (2_500_000_000, "2.50 G"),
    ],
)  # fmt: skip
def test_tokens(count: int | None, words: str) -> None:
    assert plain(formats.tokens(count)) == words


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (None, DASH), (0, "0 ms"), (0.2, "<1 ms"), (412, "412 ms"), (999.7, "1.0 s"), (18_400, "18.4 s"),
        (59_990, "1 min"), (192_000, "3 min 12 s"), (9_600_000, "2 h 40 min"), (timedelta(days=3, hours=4), "3 d 4 h"),
        (timedelta(minutes=1), "1 min"),
    ],
)  # fmt: skip
def test_duration(ms: float | timedelta | None, words: str) -> None:
    assert plain(formats.duration(ms)) == words


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (None, DASH),
        (0, "0.0 %"),
        (0.021, "2.1 %"),
        (0.0001, "<0.1 %"),
        (0.12, "12 %"),
        (1, "100 %"),
        (-0.2, f"{MINUS}20 %"),
    ],
)
def test_percent(fraction: float | None, words: str) -> None:
    assert plain(formats.percent(fraction)) == words


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (None, DASH),
        (0, "±0 %"),
        (0.00001, "±0 %"),
        (0.38, "+38 %"),
        (-0.11, f"{MINUS}11 %"),
        (8.9, "+890 %"),
        (1_467.3, f"{TIMES} 1,468"),
    ],
)
def test_growth(fraction: float | None, words: str) -> None:
    assert plain(formats.growth(fraction)) == words


@pytest.mark.parametrize(
    ("age", "words", "sentence"),
    [
        (timedelta(0), "now", "just now"),
        (timedelta(seconds=12), "12 s", "12 s ago"),
        (timedelta(minutes=2, seconds=30), "2 min", "2 min ago"),
        (timedelta(days=3, hours=1), "3 d", "3 d ago"),
        (timedelta(hours=-2, seconds=-1), "in 2 h", "in 2 h"),
    ],
)
def test_ago_says_the_exact_time_on_hover(age: timedelta, words: str, sentence: str) -> None:
    moment = timezone.now() - age
    assert f">{words}</time>" in plain(formats.ago(moment))
    assert f">{sentence}</time>" in plain(formats.ago(moment, "ago"))
    assert f'title="{moment:%Y-%m-%d %H:%M:%S} UTC"' in formats.ago(moment)


def test_ids_are_hex_and_short_ones_keep_both_ends() -> None:
    assert formats.hexid(memoryview(b"\x7f\x3a")) == "7f3a"
    assert formats.short_id(bytes.fromhex("7f3a0000000000000000000000000c21")) == "7f3a…c21"


def test_a_service_has_one_colour_and_nothing_has_the_colour_of_other() -> None:
    assert formats.series("research-assistant") == formats.series("research-assistant") == "series-6"
    assert formats.series("") == formats.series(None) == "series-5"
    assert formats.OTHER_SERIES not in {formats.series_index(f"service-{n}") for n in range(200)}


def test_a_sparkline_is_inert_svg_and_needs_two_values() -> None:
    svg = formats.sparkline([0, 1, None, 3], css='"><script>', label="<b>")
    assert svg.count("<polyline") == 1
    assert "<script>" not in svg
    assert "<b>" not in svg
    assert formats.sparkline([1]) == formats.sparkline(None) == ""
    assert "nan" not in formats.sparkline([0, 0])


def render(template: str, address: str, **context: Any) -> str:
    request = RequestFactory().get(address)
    text = "{% load formats %}" + template
    return Template(text).render(Context({"request": request, **page_context(request), **context}))


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{% query range='7d' %}", "?range=7d&amp;q=x%26y&amp;sort=-cost"),
        ("{% query q='' %}", "?range=1h&amp;sort=-cost"),
        ("{% query from_='2026-01-01' q=None sort=None %}", "?range=1h&amp;from=2026-01-01"),
        ("{% query cursor='abc' q=None sort=None %}", "?range=1h&amp;cursor=abc"),
        ("{% keep service='a b' %}", "?range=1h&amp;service=a+b"),
        (
            "{% hidden_parameters 'q' 'sort' %}",
            '<input type="hidden" name="range" value="1h">',
        ),
    ],
)
def test_links_change_what_they_say_and_forget_the_cursor(template: str, result: str) -> None:
    assert render(template, "/runs/?range=1h&q=x%26y&sort=-cost&cursor=old") == result


def test_a_header_sorts_down_first_and_then_up() -> None:
    down = render("{% sort_header 'cost' 'Cost' %}", "/?")
    up = render("{% sort_header 'cost' 'Cost' %}", "/?sort=-cost")
    assert "?sort=-cost" in down
    assert "aria-sort" not in down
    assert 'aria-sort="descending"' in up
    assert '?sort=cost"' in up
