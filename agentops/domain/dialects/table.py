"""What a dialect is: a table of names. The loop that reads it is in ``normalise``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agentops.domain.spans import Attributes, Kind, RawSpan

#: Attribute names in order of precedence: the first that is present and not empty counts.
Names = tuple[str, ...]
Fields = dict[str, Names]

EXPLICIT, FALLBACK = 1_000, 2_000


def nothing(_: RawSpan, __: Attributes) -> list[dict[str, object]]:
    """No tool calls."""
    return []


def as_is(_: RawSpan, value: object) -> object:
    """The value as the attribute carries it."""
    return value


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one instrumentation spells things.

    ``kind`` says what a span is, or ``None`` when the span does not speak this dialect.
    ``expand`` names attributes that hold a JSON object whose members are read as attributes
    ``<prefix><member>``. ``fields`` gives the names of each canonical field. ``explicit`` and
    ``fallback`` give the names of each dimension of attribution, by how much they are worth.
    ``requested_tools`` lists what a model call asked for, ``{tool, arguments}`` each;
    ``arguments`` turns the value found for a tool's arguments into JSON. ``finish`` may correct the
    field values found (``dict`` of field to value) by what this dialect is known to do.
    """

    name: str
    kind: Callable[[RawSpan], Kind | None]
    fields: Fields
    expand: tuple[tuple[str, str], ...] = ()
    explicit: Fields | None = None
    fallback: Fields | None = None
    requested_tools: Callable[[RawSpan, Attributes], list[dict[str, object]]] = nothing
    arguments: Callable[[RawSpan, object], object] = as_is
    finish: Callable[[RawSpan, Kind, Attributes, dict[str, object]], None] | None = None
    #: Every name that the tables read, with each field it serves and its place in the order of
    #: precedence; a place from ``EXPLICIT`` on is a dimension of attribution, from ``FALLBACK`` on
    #: one of little worth.
    readers: dict[str, tuple[tuple[str, int], ...]] = field(init=False)

    def __post_init__(self) -> None:
        """Turn the tables around, so that one pass over a span's attributes finds every field."""
        readers: dict[str, tuple[tuple[str, int], ...]] = {}
        tables = ((0, self.fields), (EXPLICIT, self.explicit or {}), (FALLBACK, self.fallback or {}))
        for first, table in tables:
            for target, names in table.items():
                for place, name in enumerate(names, first):
                    readers[name] = (*readers.get(name, ()), (target, place))
        object.__setattr__(self, "readers", readers)
