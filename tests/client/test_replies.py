"""Requests and replies of the providers, read: what counts as input, what as output, what is estimated."""

from __future__ import annotations

from typing import Any

import pytest

from agentops.client import Usage
from agentops.client.calls import TOKENS_PER_PART, Dialect, dialect_of, estimated_input, max_output, read_call
from agentops.client.replies import Events, Reading


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/chat/completions", Dialect.CHAT),
        ("POST", "/openai/deployments/gpt-5/chat/completions", Dialect.CHAT),
        ("POST", "/v1/responses", Dialect.RESPONSES),
        ("POST", "/v1/completions", Dialect.COMPLETIONS),
        ("POST", "/v1/embeddings", Dialect.EMBEDDINGS),
        ("POST", "/v1/messages", Dialect.MESSAGES),
        ("POST", "/v1beta/models/gemini-3:streamGenerateContent", Dialect.GEMINI),
        ("GET", "/v1/responses", None),
        ("POST", "/v1/threads/t-1/messages", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("POST", "/v1/responses/r-1/cancel", None),
        ("POST", "/v1beta/models/gemini-3:countTokens", None),
    ],
)
def test_model_calls_are_known_by_their_paths(method: str, path: str, expected: Dialect | None) -> None:
    assert dialect_of(method, path) is expected


def test_text_is_a_token_for_three_bytes_rounded_up() -> None:
    assert estimated_input({"model": "m" * 99, "messages": [{"role": "", "content": "four"}]}) == 2
    assert estimated_input({"input": "本本"}) == 2
    assert estimated_input({"input": [1, 2, 3]}) == 3
    assert estimated_input({"tools": [{"name": "a"}]}) == len('[{"name": "a"}]') / 3


def test_what_a_request_names_and_leaves_empty_counts_nothing() -> None:
    assert estimated_input({"tools": None, "response_format": {}, "functions": [], "messages": []}) == 0


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "image", "source": {"type": "base64", "data": "QUJD" * 10_000}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "QUJD" * 10_000}},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD" * 10_000}},
        "QUJD" * 10_000,
    ],
)
def test_what_is_no_text_counts_as_a_fixed_number(part: Any) -> None:
    assert TOKENS_PER_PART <= estimated_input({"messages": [{"content": [part]}]}) <= TOKENS_PER_PART + 2


def test_the_longest_answer_is_what_the_request_allows_for_all_its_choices() -> None:
    assert max_output({"max_tokens": 100, "n": 3}) == 300
    assert max_output({"max_completion_tokens": 7, "max_tokens": 9}) == 7
    assert max_output({"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}) == 10
    assert max_output({"max_tokens": True}) is None


def test_a_request_tells_its_model_and_its_provider_where_the_host_is_known() -> None:
    gemini = read_call(Dialect.GEMINI, "generativelanguage.googleapis.com", "/v1beta/models/g-3:generateContent", b"{}")
    assert (gemini.model, gemini.provider) == ("g-3", "gcp.gemini")
    strange = read_call(Dialect.CHAT, "notopenai.com", "/v1/chat/completions", b"\xff")
    assert (strange.model, strange.provider, strange.input_tokens) == (None, None, None)


def read(dialect: Dialect, *replies: Any, is_complete: bool = True, given: int = 50) -> tuple[Usage, bool]:
    reading = Reading(dialect)
    for reply in replies:
        reading.take(reply)
    reading.is_complete |= is_complete
    return reading.usage(given, needs_output=dialect is not Dialect.EMBEDDINGS)


def test_gemini_s_thoughts_and_tool_prompts_are_counted_with_the_rest() -> None:
    told = {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 4}
    reply = {"candidates": [{"content": {"parts": [{"text": "x"}]}}], "usageMetadata": told}
    expected = Usage(15, 7, reasoning_output_tokens=4)
    assert read(Dialect.GEMINI, reply) == (expected, False)
    # Without server-sent events a stream is one list.
    assert read(Dialect.GEMINI, [{"candidates": []}, reply]) == (expected, False)


def test_anthropic_s_caches_are_part_of_the_input_and_its_end_may_tell_the_output_alone() -> None:
    start = {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 30, "output_tokens": 1}
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": start}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    assert read(Dialect.MESSAGES, *events) == (Usage(60, 9, 20, 30), False)


def test_what_breaks_off_counts_by_its_texts_whatever_they_are() -> None:
    deltas = [{"text": "abc"}, {"thinking": "abc"}, {"partial_json": "abc"}, {"signature": "x" * 900}]
    events = [{"type": "content_block_delta", "delta": {"type": "any", **delta}} for delta in deltas]
    assert read(Dialect.MESSAGES, *events, is_complete=False) == (Usage(50, 3), True)
    call = {"function": {"name": "abc", "arguments": '{"a":1}'}, "type": "function", "id": "call_1"}
    chunk = {"choices": [{"delta": {"tool_calls": [call], "reasoning_content": "ab"}}]}
    assert read(Dialect.CHAT, chunk, is_complete=False) == (Usage(50, 4), True)


def test_an_error_in_a_stream_is_a_failure_of_the_call() -> None:
    reading = Reading(Dialect.MESSAGES)
    reading.take({"type": "error", "error": {"type": "overloaded_error"}})
    assert reading.is_failed


def test_embeddings_need_no_output_and_nonsense_counts_nothing() -> None:
    assert read(Dialect.EMBEDDINGS, {"usage": {"prompt_tokens": 4}}) == (Usage(4), False)
    assert read(Dialect.CHAT, {"usage": {"prompt_tokens": -1, "completion_tokens": "many"}}) == (Usage(50, 0), True)
    assert read(Dialect.CHAT, "text", 3, None, {"choices": "none", "usage": []}) == (Usage(50, 0), True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_events_are_the_same_however_their_bytes_are_cut(size: int) -> None:
    stream = b': hello\r\n\r\nevent: a\r\ndata: {"n": 1}\r\n\r\ndata: {"n":\ndata: 2}\n\n'
    stream += b'data: no\n\ndata: [DONE]\n\ndata: {"n": 3}'
    events, found = Events(), []
    for start in range(0, len(stream), size):
        found += list(events.feed(stream[start : start + size]))
    found += list(events.end())
    assert found == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert events.is_done
