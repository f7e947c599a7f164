"""Errors swept under the rug: a tool failed, and the model that goes on was never told.

A model that is not shown a failure repeats it, or answers as if it had succeeded. Looked for is the failure in what the
next model call of the same agent is given: its words, or any word for failure where the tool's answer would stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Words of an error by which it is known again, and how many of them must be there.
_MOST_WORDS, _ENOUGH = 12, 0.5
_WORD = re.compile(r"[^\W_]{4,}")
_FAILURE = re.compile(
    r"error|exception|fail|timed? ?out|unsuccessful|unable|could ?n[o']t|cannot|can't|denied|refused|invalid|not found"
    r"|unavailable|unreachable|rejected|aborted|no (?:results?|answer|response)|crash|traceback|\b[45]\d\d\b",
    re.IGNORECASE,
)
_ANSWERS = frozenset({"assistant", "model", "ai", "agent"})
_RULES = frozenset({"system", "developer"})


class Failure(NamedTuple):
    """A tool call that failed, and the words by which its error is known again."""

    span_id: bytes
    agent: str
    tool: str
    end_ns: int
    words: tuple[str, ...]


def words_of(error: str) -> tuple[str, ...]:
    """The longest words of an error's text, lower case: what is said of this one more than of others."""
    words = sorted(set(_WORD.findall(error[:2_000].lower())), key=lambda word: (-len(word), word))
    return tuple(words[:_MOST_WORDS])


def is_hidden(failure: Failure, messages: Sequence[Mapping[str, object]], texts: Sequence[str]) -> bool | None:
    """Whether a model was not told of a failure, by its input: messages and the text of each.

    ``None`` when that cannot be known: the input holds no history, or nothing is known of the error.
    """
    roles = [str(message.get("role") or message.get("type") or "").lower() for message in messages]
    said = [(role, text) for role, text in zip(roles, texts, strict=True) if role not in _RULES]
    if len(said) < 2 or all(role not in _ANSWERS for role, _ in said):
        return None
    latest = next((at for at in range(len(said) - 1, -1, -1) if said[at][0] in _ANSWERS), -1)
    trailing = " ".join(text for _, text in said[latest + 1 :])
    if _FAILURE.search(trailing):
        return False
    if not failure.words:
        return None
    everything = " ".join(text for _, text in said).lower()
    found = sum(word in everything for word in failure.words)
    return found < _ENOUGH * len(failure.words)
