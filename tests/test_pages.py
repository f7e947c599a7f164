"""Page parameters: whatever stands in the address, a page knows its window; cursors are checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from agentops.pages import (
    RANGES,
    InvalidCursorError,
    Window,
    decode_cursor,
    encode_cursor,
    page_context,
    read_page,
)

NOW = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize("name", RANGES)
def test_a_named_range_ends_now_and_is_as_long_as_it_says(name: str) -> None:
    window = Window.parse({"range": name}, now=NOW)
    assert (window.name, window.until, window.length) == (name, NOW, RANGES[name][0])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"range": "1y"},
        {"range": "custom"},
        {"range": "custom", "from": "yesterday"},
        {"from": "2026-03-02", "until": "2026-03-01"},
        {"from": "2026-03-02", "until": "2026-03-02"},
        {"until": "0001-01-01"},
        {"from": "2026-13-45T99:99"},
    ],
)
def test_what_cannot_be_read_is_the_last_day(parameters: dict[str, str]) -> None:
    assert Window.parse(parameters, now=NOW) == Window.relative("24h", now=NOW)


@pytest.mark.parametrize(
    ("parameters", "from_", "until"),
    [
        ({"from": "2026-03-01", "until": "2026-03-02T06:00"}, (1, 0), (2, 6)),
        ({"range": "custom", "from": "2026-03-01T02:00+02:00", "until": "2026-03-02T00:00Z"}, (1, 0), (2, 0)),
        ({"until": "2026-03-05T00:00"}, (4, 0), (5, 0)),
    ],
)
def test_a_custom_range_is_read_in_utc(
    parameters: dict[str, str], from_: tuple[int, int], until: tuple[int, int]
) -> None:
    window = Window.parse(parameters, now=NOW)
    assert (window.from_, window.until) == (
        datetime(2026, 3, *from_, tzinfo=UTC),
        datetime(2026, 3, *until, tzinfo=UTC),
    )
    assert window.name == "custom"


@pytest.mark.parametrize(
    ("name", "from_", "until"),
    [
        ("today", "2026-03-29T00:00", None),
        ("yesterday", "2026-03-28T00:00", "2026-03-29T00:00"),
        ("week", "2026-03-23T00:00", None),
        ("month", "2026-03-01T00:00", None),
        ("last-month", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("year", "2026-01-01T00:00", None),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_the_ranges_of_the_calendar_are_those_of_the_time_zone(
    name: str, from_: str, until: str | None, zone: str
) -> None:
    page = read_page({"range": name, "timezone": zone}, now=NOW)
    place = ZoneInfo(zone)
    assert page.window.from_ == datetime.fromisoformat(from_).replace(tzinfo=place)
    assert page.window.until == (datetime.fromisoformat(until).replace(tzinfo=place) if until else NOW)
    assert page.window.ends_now == (until is None)
    assert [chosen for chosen, _, is_chosen in page.calendar if is_chosen] == [name]


def test_moments_without_a_zone_are_those_of_the_pages_time_zone() -> None:
    asked = {"from": "2026-03-28T12:00", "until": "2026-03-29T12:00", "timezone": "Europe/Berlin"}
    page = read_page(asked, now=NOW)
    assert page.window.from_ == datetime(2026, 3, 28, 11, tzinfo=UTC)
    assert page.window.until == datetime(2026, 3, 29, 10, tzinfo=UTC)  # the clocks went forward
    assert page.window.label == "28 Mar 12:00 to 29 Mar 12:00"
    assert page.local_range == ("2026-03-28T12:00", "2026-03-29T12:00")
    assert "timezone=Europe%2FBerlin" in page.kept


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "\0", "utc ", "x" * 5_000])
def test_a_time_zone_that_is_none_is_utc(zone: str) -> None:
    assert str(read_page({"timezone": zone}, now=NOW).zone) == "UTC"


def test_a_range_without_an_end_ends_now() -> None:
    assert Window.parse({"from": "2026-03-29T00:00"}, now=NOW).until == NOW


@pytest.mark.parametrize(
    ("parameters", "during"),
    [
        ({"range": "7d"}, "in the last 7 days"),
        ({"range": "last-month"}, "last month"),
        ({"from": "2026-03-01"}, "since 01 Mar 00:00"),
        ({"from": "2026-03-01", "until": "2026-03-02T06:00"}, "from 01 Mar 00:00 to 02 Mar 06:00"),
        ({"from": "1970-01-01", "until": "2100-01-01"}, "from 01 Jan 1970 00:00 to 01 Jan 2100 00:00"),
    ],
)
def test_a_range_can_be_said_in_a_sentence(parameters: dict[str, str], during: str) -> None:
    assert Window.parse(parameters, now=NOW).during == during


def test_a_named_range_wins_over_dates_left_in_the_address() -> None:
    assert Window.parse({"range": "7d", "from": "2020-01-01"}, now=NOW).name == "7d"


@pytest.mark.parametrize(("name", "interval"), [("1h", "hour"), ("7d", "hour"), ("30d", "day"), ("90d", "day")])
def test_a_long_range_is_shown_by_day(name: str, interval: str) -> None:
    assert Window.relative(name, now=NOW).interval == interval


@given(st.dictionaries(st.sampled_from(["range", "from", "until", "timezone", "environment", "x"]), st.text()))
def test_no_address_breaks_a_page(parameters: dict[str, str]) -> None:
    page = read_page(parameters, now=NOW)
    assert page.window.length > timedelta(0)
    assert "\0" not in page.environment
    assert sum(chosen for _, _, chosen in (*page.ranges, *page.calendar)) == (page.window.name != "custom")


def test_links_keep_range_and_environment_and_nothing_else() -> None:
    page = read_page({"range": "7d", "environment": "a&b", "cursor": "x", "q": "y"}, now=NOW)
    assert page.kept == "range=7d&environment=a%26b"


def test_the_context_of_a_page_ends_now() -> None:
    context = page_context(RequestFactory().get("/?environment=staging"))
    assert context["environment"] == "staging"
    assert context["window"].until == context["now"] == context["page"].now


@given(st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=50)), max_size=4))
def test_a_cursor_comes_back_as_it_went(values: list[str | int | None]) -> None:
    text = encode_cursor(*values)
    assert decode_cursor(text, length=len(values)) == values
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=100))
def test_what_is_no_cursor_is_refused_by_name(text: str) -> None:
    try:
        decode_cursor(text, length=2)
    except InvalidCursorError:
        return
    pytest.fail("random text is hardly ever a cursor")


@pytest.mark.parametrize(
    "text",
    [encode_cursor(1), encode_cursor(1, 2, 3), "W1tdXQ", "eyJhIjoxfQ", "W3RydWUsMV0", "A" * 5000, "W" * 2047],
    ids=["short", "long", "nested", "object", "boolean", "huge", "deep"],
)
def test_a_cursor_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        decode_cursor(text, length=2)
