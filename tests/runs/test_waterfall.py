"""Rows of the waterfall, and what a step's texts look like."""

from __future__ import annotations

import pytest

from agentops.domain.spans import Kind
from agentops.runs import waterfall
from agentops.runs.tree import lines
from agentops.runs.waterfall import AXIS, Axis
from tests.runs.test_tree import call, step


def test_every_bar_lies_on_the_axis_and_can_be_seen() -> None:
    steps = [step(0, end_ns=10**12), step(5, 0), step(999, 0), step(1_000, 0, end_ns=1_000 * 10**9)]
    for row in waterfall.rows(lines(steps), Axis.of(steps), {}):
        assert 0 <= row.x < AXIS
        assert row.width >= waterfall.NARROWEST
        assert row.x + row.width <= AXIS


def test_a_run_of_one_instant_is_drawn() -> None:
    steps = [step(1, end_ns=10**9)]
    (row,) = waterfall.rows(lines(steps), Axis.of(steps), {})
    assert row.width > 0


def test_a_model_call_is_called_by_its_model_and_says_its_tokens() -> None:
    steps = [call(1, name="chat", response_model="gpt-4o", agent="writer", cache_read_input_tokens=6)]
    (row,) = waterfall.rows(lines(steps), Axis.of(steps), {})
    assert (row.title, row.agent, row.words) == ("gpt-4o", "writer", "chat · 8 in · 2 out · 6 cached")


def test_a_failed_tool_says_what_went_wrong_instead_of_its_arguments() -> None:
    failed = step(1, kind=Kind.TOOL, tool="fetch", is_error=True, error_type="ConnectionError")
    (row,) = waterfall.rows(lines([failed]), Axis.of([failed]), {failed.span_id: "name not known"})
    assert (row.title, row.words) == ("fetch", "ConnectionError: name not known")


def test_an_unpriced_call_is_not_free() -> None:
    steps = [call(1, cost=None), call(2, cost=0)]
    unpriced, free = waterfall.rows(lines(steps), Axis.of(steps), {})
    assert (unpriced.cost, free.cost) == ("unpriced", "$0.00")


def test_a_merged_call_says_where_it_counts_and_shows_no_cost() -> None:
    merged = call(2, merged_into=(1).to_bytes(8, "big"))
    row = waterfall.rows(lines([call(1), merged]), Axis.of([merged]), {})[1]
    assert (row.words, row.cost, row.tokens) == (waterfall.MERGED, "", "")


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ('[{"role": "user", "content": "hi"}]', [("user", "hi")]),
        (
            [{"role": "user", "parts": [{"type": "text", "content": "a"}, {"type": "text", "content": "b"}]}],
            [("user", "a\nb")],
        ),
        ({"messages": [{"role": "system", "content": "be kind"}]}, [("system", "be kind")]),
        ({"role": "assistant", "content": None, "finish_reason": "stop"}, [("assistant", "")]),
        ([{"role": "user", "content": [{"type": "text", "text": "hello"}]}], [("user", "hello")]),
    ],
)
def test_messages_of_any_dialect_are_told_apart(value: object, messages: list[tuple[str, str]]) -> None:
    (text,) = waterfall.texts({"input": value})
    assert text.messages == messages


@pytest.mark.parametrize("value", ["plain words", "[not json", '{"a": 1}', [1, 2], [{"no": "role"}], 7, [["role"]]])
def test_what_is_no_conversation_is_shown_as_it_is(value: object) -> None:
    (text,) = waterfall.texts({"output": value})
    assert text.text
    assert not text.messages


def test_a_tool_that_the_model_asked_for_stays_visible_in_its_message() -> None:
    part = {"type": "tool_call", "name": "search", "arguments": {"q": "churn"}}
    (text,) = waterfall.texts({"output": [{"role": "assistant", "parts": [part]}]})
    assert "churn" in text.messages[0][1]


def test_json_nested_too_deeply_is_shown_as_text() -> None:
    deep = "[" * 100_000
    (text,) = waterfall.texts({"result": deep})
    assert text.text == deep


def test_instructions_that_come_in_parts_read_as_text() -> None:
    (text,) = waterfall.texts({"system": '[{"type": "text", "content": "Be kind."}]'})
    assert text.text == "Be kind."
