"""What runs and spend are filtered by: any number of values of each dimension, what carries none among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Values of a dimension any of which will do, the empty one for what carries none; no values at all mean any.
Values = tuple[str, ...]
#: The parameter that names dimensions whose missing value is asked for.
WITHOUT = "without"


def read_values(values: Mapping[str, Iterable[str]], without: Iterable[str] = ()) -> dict[str, Values]:
    """The values that are asked for in each dimension: texts that are not empty, then what carries none."""
    lacking = set(without)
    return {
        name: tuple(dict.fromkeys([*filter(None, texts), *([""] if name in lacking else [])]))
        for name, texts in values.items()
    }


def write_values(values: Mapping[str, Values]) -> list[tuple[str, str]]:
    """The same as parameters of a query string."""
    return [(name, value) if value else (WITHOUT, name) for name, wanted in values.items() for value in wanted]


def is_named(values: Values) -> bool:
    """Whether values are asked for, and none of them is the missing one."""
    return bool(values) and "" not in values
