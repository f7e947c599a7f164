"""Texts made small enough to be remembered and compared: an exact digest, and the words as bits.

Both are pure functions of the text and the same in every process, so that they can be stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from zlib import crc32

import orjson

#: Words that are remembered of a text: those with the smallest hashes, which is a fair sample of any two texts alike.
MAX_WORDS = 48
BITS = 512
#: Longer texts are judged by their beginning and their end, in characters.
MAX_CHARS, _HEAD = 4_096, 3_072
#: Fewer words than one in so many characters are no words: the beginning of a script without spaces is cut into
#: pieces, one at each character, so that they are the same wherever they stand.
_CHARS_PER_WORD, _PIECE, _PIECES = 24, 3, 1_000
_MAX_DEPTH = 8
#: A number tells one call from the next where words are the same (page 3, page 4), so it weighs as several words.
_NUMBER_WEIGHT = (b"", b"#", b"##")

_SPACED = bytes(b if chr(b).isalnum() or b >= 0x80 or chr(b) == "_" else 0x20 for b in range(256))

#: What changes from one answer to the next though nothing has happened. Plain numbers stay: they may be progress.
#: It begins with a set of characters, so that most of a text is passed over without a try.
_VOLATILE = re.compile(
    r"""
    [0-9a-fA-F/](?:
      (?<=[0-9])(?:
        [0-9]{3}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?         # moments
          (?:\s?(?:Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?)?
        | (?<=\b.)(?:
          [0-9]?:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:\s?[AP]M)?\b
          | [0-9]*(?:[.,][0-9]+)?\s?
            (?:ns|us|µs|ms|s|secs?|seconds?|mins?|minutes?|hours?|hrs?                           # durations
            |[kKMGT]i?B|bytes?|B)\b                                                              # sizes
          | [0-9a-fA-F]{7}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b                               # UUIDs
          | [0-9]{8,}\b                                                                          # long ids
          | (?=[0-9]*[a-fA-F])[0-9a-fA-F]{6,}\b                                                  # hex with a letter
          | x[0-9a-fA-F]{7,}\b
          | (?:(?<=[Aa]ttempt\ .)|(?<=[Rr]etry\ .)|(?<=[Tt]ry\ .))[0-9]*\b                       # attempts
        )
      )
      | (?<=\b[a-fA-F])(?:
        [0-9a-fA-F]{7}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b
        | (?=[a-fA-F]*[0-9])[0-9a-fA-F]{6,}\b
      )
      | (?<=/)(?:private/)?(?:tmp|var/folders|var/tmp)/[^\s"'),;]+                               # temporary paths
    )
    """,
    re.VERBOSE,
)
_HASH = re.compile(r"(?:\w{2,12}[:-])?[0-9a-fA-F]{16,}")
_HASH_CHARS = 160
_HAS_DIGIT = re.compile(r"\d|/tmp/|/var/")


def masked(text: str) -> str:
    """A result without what changes by itself: moments, durations, sizes, long ids, hex, temporary paths.

    A text that is nothing but a hash stands for what is not recorded: it stays.
    """
    if not _HAS_DIGIT.search(text) or (len(text) <= _HASH_CHARS and _HASH.fullmatch(text)):
        return text
    return _VOLATILE.sub("~", text)


def shortened(text: str) -> str:
    """A text's beginning and end; where something was left out, its length stands between them."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:_HEAD]} {len(text)} {text[_HEAD - MAX_CHARS :]}"


def digest(text: str) -> int:
    """63 bits that are the same for the same text, and never 0: that stands for what is not recorded."""
    return (int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1) or 1


def words_of(text: str, *, sample: bool = True) -> int:
    """The words of a text as ``BITS`` bits; 0 for a text without any.

    Of many words a sample stands for all, which lets long texts be compared; without it, ``holds`` can be asked.
    """
    spaced = text.lower().encode("utf-8", "replace").translate(_SPACED)
    found = spaced.split()
    words = set(found)
    if len(found) * _CHARS_PER_WORD < len(text):
        begin = text[:_PIECES]
        words.update(begin[at : at + _PIECE].encode("utf-8", "replace") for at in range(len(begin)))
    if numbers := [*filter(bytes.isdigit, words)]:
        words.update(number + mark for number in numbers for mark in _NUMBER_WEIGHT)
    hashes = map(crc32, words)
    bits = 0
    for value in hashes if not sample or len(words) <= MAX_WORDS else sorted(hashes)[:MAX_WORDS]:
        bits |= 1 << (value % BITS)
    return bits


def likeness(one: int, other: int) -> float:
    """How alike the words of two texts are, from 0 to 1 (Jaccard)."""
    either = one | other
    return (one & other).bit_count() / either.bit_count() if either else 0.0


def holds(whole: int, part: int) -> float:
    """Which share of the words of ``part`` stand in ``whole`` too, from 0 to 1."""
    return (whole & part).bit_count() / part.bit_count() if part else 0.0


def of_arguments(arguments: object) -> tuple[int, int]:
    """Digest and words of what a tool is given: keys in any order are the same; the words are those of the values."""
    if arguments is None:
        return 0, 0
    if isinstance(arguments, str):
        text = shortened(arguments.strip())
        return digest(text), words_of(text)
    try:
        text = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str).decode()
    except (TypeError, ValueError):  # deeper than orjson goes, or an integer past 64 bits
        text = repr(arguments)
    return digest(text), words_of(shortened(" ".join(_values(arguments, _MAX_DEPTH))))


def _values(part: object, depth: int) -> Iterator[str]:
    if isinstance(part, dict) and depth:
        for inner in part.values():
            yield from _values(inner, depth - 1)
    elif isinstance(part, list) and depth:
        for inner in part:
            yield from _values(inner, depth - 1)
    else:
        yield str(part)
