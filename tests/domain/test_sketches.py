"""Texts made small: what is the same stays the same, what is alike stays alike, what changes by itself is masked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.sketches import digest, holds, likeness, masked, of_arguments, shortened, words_of

PROSE = "The nightly export writes the ledger of each region before the archive closes"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("done in 12.5s", "done in 9 s"),
        ("took 312 ms, read 4.2 MB", "took 7 seconds, read 120 KiB"),
        ("started at 2026-03-04T10:11:12.123Z", "started at 2026-03-05T22:01:59Z"),
        ("started at 10:11:12 PM", "started at 9:01:59"),
        ("request 550e8400-e29b-41d4-a716-446655440000", "request f50e8400-e29b-41d4-a716-44665544000a"),
        ("commit 3f9c2ab1 pushed", "commit deadbe3f pushed"),
        ("at 0x7f3a2b1c9d", "at 0x55d1aa0000"),
        ("order 1234567890123", "order 9876543210987"),
        ("see /tmp/npm-1a/x.log", "see /private/var/folders/q_/y.log"),
    ],
)
def test_what_changes_by_itself_is_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other) != one


@pytest.mark.parametrize(
    "text",
    ["page 3 of 12", "40 passed, 2 failed", "42 %", "3,204 rows", "feedback", "version 1.2.3", "12345678", "no digits"],
)
def test_what_may_be_progress_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("text", ["sha256:3f9c2ab1d4e5f6071829", "3f9c2ab1d4e5f60718293a4b5c6d7e8f"])
def test_a_hash_that_stands_for_a_result_stays(text: str) -> None:
    assert masked(text) == text


def test_a_long_text_is_judged_by_both_ends_and_its_length() -> None:
    long = "begin " + "x" * 9_000 + " end"
    short = shortened(long)
    assert len(short) < 4_200
    assert short.startswith("begin")
    assert short.endswith("end")
    assert str(len(long)) in short
    assert shortened(long.replace("end", "End")) != short


def test_words_in_another_order_are_alike_and_others_are_not() -> None:
    assert likeness(words_of(PROSE), words_of(" ".join(reversed(PROSE.split())))) == 1.0
    assert likeness(words_of(PROSE), words_of(PROSE.replace("nightly", "weekly"))) > 0.7
    assert likeness(words_of(PROSE), words_of("Please confirm whether it is wanted")) < 0.1


def test_a_number_tells_one_call_from_the_next() -> None:
    assert likeness(words_of("list orders page 3"), words_of("list orders page 4")) < 0.5


def test_long_texts_are_compared_by_a_sample_of_their_words() -> None:
    words = [f"word{number}" for number in range(400)]
    one, other = " ".join(words), " ".join(words[:360] + [f"new{number}" for number in range(40)])
    assert likeness(words_of(one), words_of(other)) > 0.6
    assert words_of(one).bit_count() <= 48


def test_a_text_stands_in_what_is_heard() -> None:
    heard = words_of(f"The other agent says: {PROSE}. Please answer.", sample=False)
    assert holds(heard, words_of(PROSE)) == 1.0
    assert holds(heard, words_of("Something else altogether, which nobody has said")) < 0.3


def test_scripts_without_spaces_have_words_too() -> None:
    one = "お客様の注文番号を確認してから、倉庫の在庫状況をもう一度お知らせください。よろしくお願いします。"
    assert likeness(words_of(one), words_of(one.replace("もう一度", "すぐに"))) > 0.5
    assert words_of(one).bit_count() > 5


def test_arguments_are_the_same_whatever_the_order_of_their_keys() -> None:
    one, other = {"path": "a", "deep": {"x": 1, "y": [2]}}, {"deep": {"y": [2], "x": 1}, "path": "a"}
    assert of_arguments(one) == of_arguments(other)
    assert of_arguments(one)[0] != of_arguments(one | {"path": "b"})[0]


def test_nothing_recorded_is_zero() -> None:
    assert of_arguments(None) == (0, 0)
    assert words_of("") == 0
    assert likeness(0, 0) == holds(5, 0) == 0.0


def test_arguments_beyond_what_json_has_are_taken_all_the_same() -> None:
    deep: object = "end"
    for _ in range(600):
        deep = [deep]
    assert of_arguments(deep)[0] > 0
    assert of_arguments({"big": 1 << 80})[0] > 0


@given(st.text())
def test_a_digest_is_63_bits_and_never_zero(text: str) -> None:
    assert 0 < digest(text) < 1 << 63
    assert digest(text) == digest(text)


@given(st.text(), st.text())
def test_likeness_is_symmetric_and_within_bounds(one: str, other: str) -> None:
    a, b = words_of(one), words_of(other)
    assert likeness(a, b) == likeness(b, a)
    assert 0.0 <= likeness(a, b) <= 1.0


@given(st.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert masked(masked(text)) == masked(text)
