"""How amounts are shown in cents so that they add up: each part, and their sum, to the cent."""

from __future__ import annotations

from collections.abc import Sequence

NANO_PER_CENT = 10_000_000


def to_cents(nano: int) -> int:
    """Nano-dollars as whole cents; half a cent goes away from zero."""
    half = NANO_PER_CENT // 2
    return (nano + half) // NANO_PER_CENT if nano >= 0 else -((-nano + half) // NANO_PER_CENT)


def apportion(parts: Sequence[int], total_cents: int) -> list[int]:
    """The cents of each part, given in nano-dollars, that add up to the total: the largest remainders are rounded up.

    ``total_cents`` is the parts' sum, rounded to the cent below or above. Each part gets its amount rounded down, and
    those of which most was cut off, the first of equal ones first, one cent more until all add up: no part is a cent
    off.
    """
    cents = [nano // NANO_PER_CENT for nano in parts]
    order = sorted(range(len(parts)), key=lambda place: (-(parts[place] % NANO_PER_CENT), place))
    for place in order[: total_cents - sum(cents)]:
        cents[place] += 1
    return cents
