"""What a dialect is: a table of names. The loop that reads it is in ``normalise``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from agentops.domain.spans import RANK_EXPLICIT, RANK_FALLBACK, Attributes, AttributeValue, Kind, RawSpan

#: Attribute names in order of precedence: the first that is present and not empty counts.
Names = tuple[str, ...]
Tables = Mapping[str, Names]

EXPLICIT, FALLBACK = 1_000, 2_000
#: Sets of names of which something is remembered, and the most names and characters of one.
_MAX_READINGS, _MAX_NAMES, _MAX_CHARS = 2_048, 64, 4_096
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def remember(known: dict[_Key, _Value], key: _Key, names: Names, value: _Value) -> None:
    """Keep what was worked out of a set of names, within bounds."""
    if len(names) <= _MAX_NAMES and sum(map(len, names)) <= _MAX_CHARS:
        if len(known) >= _MAX_READINGS:
            known.clear()
        known[key] = value


def nothing(_: RawSpan, __: Attributes) -> list[dict[str, object]]:
    """No tool calls."""
    return []


def as_is(_: RawSpan, value: AttributeValue) -> AttributeValue:
    """The value as the attribute carries it."""
    return value


@dataclass(frozen=True, slots=True)
class Reading:
    """What the attributes of one set of names serve: each field and dimension with its names, best first.

    A dimension's names come with what each is worth. ``rest`` serves nothing, and is no noise.
    """

    fields: tuple[tuple[str, Names], ...]
    dimensions: tuple[tuple[str, tuple[tuple[int, str], ...]], ...]
    rest: Names


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one instrumentation spells things.

    A span speaks it when it has the attribute ``mark``, comes from one of ``scopes`` or is called one of ``names``
    (which are asked before all others). ``kind`` then says what the span is, or ``None`` to let the next dialect try.
    ``expand`` names attributes that hold an object in JSON, whose members are read as attributes ``<prefix><member>``,
    and theirs as ``<prefix><member>.<member>``; of a list the first counts. ``fields`` gives the names of each
    canonical field; ``explicit`` and ``fallback`` those of each dimension of attribution, by how much they are worth.
    ``noise`` are prefixes of attributes that repeat others and are not kept. ``errors`` are attributes that say with
    that value that the span failed, whatever its status. ``requested_tools`` lists what a model call asked for,
    ``{tool, arguments}`` each; ``arguments`` finds a tool's arguments in the value of their attribute. ``finish`` may
    correct the field values found (``dict`` of field to value) by what this dialect is known to do.
    """

    name: str
    kind: Callable[[RawSpan], Kind | None]
    fields: Tables
    mark: str = ""
    scopes: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    expand: tuple[tuple[str, str], ...] = ()
    explicit: Tables = field(default_factory=dict)
    fallback: Tables = field(default_factory=dict)
    noise: Names = ()
    errors: tuple[tuple[str, AttributeValue], ...] = ()
    requested_tools: Callable[[RawSpan, Attributes], list[dict[str, object]]] = nothing
    arguments: Callable[[RawSpan, AttributeValue], AttributeValue] = as_is
    finish: Callable[[RawSpan, Kind, dict[str, AttributeValue]], None] | None = None
    #: Every name that the tables read, with each field it serves and its place in the order of
    #: precedence; a place from ``EXPLICIT`` on is a dimension of attribution, from ``FALLBACK`` on
    #: one of little worth.
    readers: dict[str, tuple[tuple[str, int], ...]] = field(init=False)
    #: What those names begin with, up to each of their dots.
    holders: frozenset[str] = field(init=False)
    _readings: dict[Names, Reading] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Turn the tables around, so that one pass over a span's attributes finds every field."""
        readers: dict[str, tuple[tuple[str, int], ...]] = {}
        for first, table in ((0, self.fields), (EXPLICIT, self.explicit), (FALLBACK, self.fallback)):
            for target, names in table.items():
                for place, name in enumerate(names, first):
                    readers[name] = (*readers.get(name, ()), (target, place))
        object.__setattr__(self, "readers", readers)
        holders = (name[:at] for name in readers for at, character in enumerate(name) if character == ".")
        object.__setattr__(self, "holders", frozenset(holders))

    def reading(self, names: Names) -> Reading:
        """How to read attributes with these names. Most spans have the same names as many others."""
        found = self._readings.get(names)
        if found is None:
            found = self._reading(names)
            remember(self._readings, names, names, found)
        return found

    def _reading(self, names: Names) -> Reading:
        serving: dict[str, list[tuple[int, str]]] = {}
        for name in names:
            for target, place in self.readers.get(name, ()):
                serving.setdefault(target, []).append((place, name))
        fields, dimensions = [], []
        for target, found in serving.items():
            found.sort()
            if found[0][0] < EXPLICIT:
                fields.append((target, tuple(name for _, name in found)))
            else:
                dimensions.append((target, tuple((_worth(place), name) for place, name in found)))
        rest = (name for name in names if name not in self.readers and not name.startswith(self.noise))
        return Reading(tuple(fields), tuple(dimensions), tuple(rest))


def _worth(place: int) -> int:
    return RANK_EXPLICIT if place < FALLBACK else RANK_FALLBACK


def before(first: Tables, then: Tables) -> dict[str, Names]:
    """Two tables in one: the names of the first go before those of the second."""
    return {target: (*first.get(target, ()), *then.get(target, ())) for target in {**first, **then}}
