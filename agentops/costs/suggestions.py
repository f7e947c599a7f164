"""What a filter that somebody types may mean: dimensions, and the values that cost most of late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from agentops.costs.forms import FILTERS, Asked
from agentops.costs.sources import DIMENSIONS, MANY_KEYED
from agentops.domain.periods import ceil_hour, floor_hour, truncate
from agentops.runs.api import clean
from agentops.runs.filters import WITHOUT

MOST = 10
#: What may be missing: every service has a name.
MAY_LACK = tuple(name for name in FILTERS if name != "service")
_NO, _WORDS_FOR_NONE = ("no ", "without "), "without"

#: Values of few keys over the range, and of many keys over the sums of the widest window and today.
VALUES = """
SELECT dimension, key, sum(cost_nano) FROM (
    SELECT dimension, key, cost_nano FROM spend_daily
    WHERE dimension = ANY(%(few)s) AND start >= %(from)s AND start < %(until)s AND key ILIKE %(like)s
    UNION ALL
    SELECT dimension, key, cost_nano FROM spend_daily
    WHERE dimension = ANY(%(many)s) AND start >= %(today)s AND key ILIKE %(like)s
    UNION ALL
    SELECT dimension, key, cost_nano FROM spend_window
    WHERE days = (SELECT max(days) FROM spend_window_range) AND dimension = ANY(%(many)s) AND environment = ''
        AND key ILIKE %(like)s
) AS v WHERE key <> '' GROUP BY 1, 2 ORDER BY 3 DESC, 2 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A filter: its dimension, the value in words, the query string with it, or what is typed on with."""

    label: str
    value: str
    href: str = ""
    fill: str = ""


def suggest(asked: Asked, text: str, *, names: Mapping[str, Mapping[str, str]], now: datetime) -> list[Suggestion]:
    """What a text may mean, the likeliest first. ``names`` are the known services and teams, with what they are called.

    ``feature:che`` asks for values of one dimension, ``without f`` for what carries none, any other text for both.
    """
    text = clean(text).strip()
    dimension, colon, rest = text.partition(":")
    if colon and dimension.strip().lower() in FILTERS:
        return _of_dimension(asked, dimension.strip().lower(), rest.strip(), names, now)
    lower = text.lower()
    found = list(_missing(asked, lower))
    if lower.startswith(_NO):
        return found
    whole = [Suggestion(name, "…", fill=f"{name}:") for name in FILTERS if name.startswith(lower)]
    values = list(_values(asked, FILTERS, text, names, now)) if lower else []
    return ([*whole, *values, *found] if lower else [*whole, *found])[: MOST + len(whole)]


def _of_dimension(
    asked: Asked, dimension: str, text: str, names: Mapping[str, Mapping[str, str]], now: datetime
) -> list[Suggestion]:
    found = list(_values(asked, (dimension,), text, names, now))
    if text and all(suggestion.value != text for suggestion in found):
        found.append(Suggestion(dimension, text, _with(asked, dimension, text)))
    return found if text or dimension not in MAY_LACK else [*found, _without(asked, dimension)]


def _missing(asked: Asked, lower: str) -> Iterator[Suggestion]:
    for name in MAY_LACK:
        if lower and any(f"{word}{name}".startswith(lower) for word in _NO):
            yield _without(asked, name)


def _without(asked: Asked, name: str) -> Suggestion:
    lacking = dict.fromkeys([*asked.parameters.getlist(WITHOUT), name])
    return Suggestion(_WORDS_FOR_NONE, name, asked.address(without=lacking))


def _with(asked: Asked, name: str, value: str) -> str:
    return asked.address(**{name: dict.fromkeys([*asked.parameters.getlist(name), value])})


def _values(
    asked: Asked, dimensions: tuple[str, ...], text: str, names: Mapping[str, Mapping[str, str]], now: datetime
) -> Iterator[Suggestion]:
    lower = text.lower()
    for name in ("team", "service"):
        if name in dimensions:
            known = [key for key, words in names[name].items() if lower in key.lower() or lower in words.lower()]
            yield from (Suggestion(name, names[name][key], _with(asked, name, key)) for key in known[:MOST])
    rolled = {int(DIMENSIONS[name]): name for name in dimensions if name in DIMENSIONS}
    if not rolled:
        return
    parameters: dict[str, Any] = {
        "few": [number for number, name in rolled.items() if name not in MANY_KEYED],
        "many": [number for number, name in rolled.items() if name in MANY_KEYED],
        "from": truncate(floor_hour(asked.from_), "day"),
        "until": ceil_hour(asked.until),
        "today": truncate(now, "day"),
        "like": _like(text),
        "limit": MOST,
    }
    with connection.cursor() as cursor:
        cursor.execute(VALUES, parameters)
        for number, key, _ in cursor.fetchall():
            yield Suggestion(rolled[number], key, _with(asked, rolled[number], key))


def _like(text: str) -> str:
    """The pattern of what holds a text, in which nothing is a wildcard."""
    for character in "\\%_":
        text = text.replace(character, f"\\{character}")
    return f"%{text}%"


def first_address(suggestions: list[Suggestion]) -> str | None:
    """The query string of the likeliest filter, if any is one."""
    return next((suggestion.href for suggestion in suggestions if suggestion.href), None)
