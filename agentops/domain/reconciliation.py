"""What a provider bills against what is booked, by day or month and model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from agentops.domain.vendors import channel, model_key, seller

HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What two amounts may differ by: so many nano-dollars, or so many percent of what is billed."""

    absolute_nano: int
    percent: Decimal

    def allows(self, difference_nano: int, billed_nano: int) -> bool:
        """Whether a difference is small enough, absolutely or as a share."""
        difference = abs(difference_nano)
        return difference <= self.absolute_nano or difference * HUNDRED <= self.percent * abs(billed_nano)


@dataclass(frozen=True, slots=True)
class Billed:
    """What a bill charges for a model, by the bill's name for it, from a day on."""

    start: date
    model: str
    nano: int


@dataclass(frozen=True, slots=True)
class Booked:
    """What is booked for a model from a day on; ``unpriced_calls`` of its calls are not in the amount."""

    start: date
    model: str
    nano: int
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model of one day or month; ``None`` is the amount of which one side knows nothing.

    ``model`` is the books' name for it, or the bill's where the books have none; empty where the bill names no model.
    """

    start: date
    model: str
    billed_as: tuple[str, ...]
    billed_nano: int | None
    booked_nano: int | None
    unpriced_calls: int
    is_within: bool

    @property
    def difference_nano(self) -> int:
        """By how much more is billed than booked."""
        return (self.billed_nano or 0) - (self.booked_nano or 0)

    @property
    def verdict(self) -> str:
        """What to think of it, in words."""
        if self.booked_nano is None:
            return "billed, not booked"
        if self.billed_nano is None:
            return "booked, not billed"
        return "agrees" if self.is_within else "differs"


@dataclass(slots=True)
class _Cell:
    billed: dict[str, int]
    booked: dict[str, int]
    unpriced_calls: int = 0


def compare(
    billed: Iterable[Billed], booked: Iterable[Booked], tolerance: Tolerance, *, provider: str = ""
) -> list[Comparison]:
    """Each model of each start that either side has, those beyond the tolerance first, the largest difference first.

    Names are matched by ``model_key``. Of the books counts what the bill names on any day, and what ``provider`` is
    known to sell; not what the form of its name shows to be bought elsewhere. A bill that names no model at all is
    compared with all that counts, by start alone.
    """
    charges = list(billed)
    keys = {model_key(charge.model) for charge in charges} - {""}
    by_model = bool(keys)
    cells: dict[tuple[date, str], _Cell] = {}
    for charge in charges:
        cell = cells.setdefault((charge.start, model_key(charge.model)), _Cell({}, {}))
        cell.billed[charge.model] = cell.billed.get(charge.model, 0) + charge.nano
    for spend in booked:
        key = model_key(spend.model)
        if provider and channel(spend.model) not in ("", provider):
            continue
        if not ((by_model and key in keys) or (seller(spend.model) == provider if provider else not by_model)):
            continue
        cell = cells.setdefault((spend.start, key if by_model else ""), _Cell({}, {}))
        cell.booked[spend.model] = cell.booked.get(spend.model, 0) + spend.nano
        cell.unpriced_calls += spend.unpriced_calls
    rows = [_comparison(start, cell, tolerance, by_model=by_model) for (start, _), cell in cells.items()]
    return sorted(rows, key=lambda row: (row.is_within, -abs(row.difference_nano), row.start, row.model))


def _comparison(start: date, cell: _Cell, tolerance: Tolerance, *, by_model: bool) -> Comparison:
    billed = sum(cell.billed.values()) if cell.billed else None
    booked = sum(cell.booked.values()) if cell.booked else None
    names = cell.booked or cell.billed
    return Comparison(
        start,
        max(names, key=lambda name: (abs(names[name]), name)) if by_model else "",
        tuple(sorted(cell.billed)) if by_model else (),
        billed,
        booked,
        cell.unpriced_calls,
        tolerance.allows((billed or 0) - (booked or 0), billed or 0),
    )
