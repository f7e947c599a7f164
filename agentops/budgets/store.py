"""How windows are written: what was booked is added to every window that counts it, in the transaction that books it.

Locks are taken in one order everywhere: the ledger and the runs, then reservations, then windows, each by their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor

from agentops.budgets.ceilings import Ceilings, Moment
from agentops.columns import Booleans, Column, Integers, Texts, transpose
from agentops.domain.budgets import ALWAYS, Amounts, Budget, Facts

_UNITS = ("nano", "tokens", "steps")


def spent_share(*limits: str) -> str:
    """SQL: how much of its tightest limit a window ``w`` has spent; the limits as SQL, in the order of ``Amounts``."""
    shares = (f"w.spent_{unit}::float8 / nullif({limit}, 0)" for unit, limit in zip(_UNITS, limits, strict=True))
    return f"GREATEST({', '.join(shares)}, 0)"


#: The same of limits that are parameters.
SPENT_SHARE = spent_share("%(nano)b::bigint", "%(tokens)b::bigint", "%(steps)b::bigint")
#: SQL: the highest of some thresholds that a share ``s.share`` has reached.
HIGHEST_REACHED = "coalesce((SELECT max(t) FROM unnest(%(thresholds)b::float8[]) AS t WHERE t <= s.share), 0)"


class WindowKey(NamedTuple):
    """A window: of which budget, whose, since when."""

    budget_id: int
    member: str
    starts_at: datetime


class Receipt(NamedTuple):
    """What a sum of spans counts as: where, and as having come when."""

    facts: Facts
    at: datetime


@dataclass(slots=True)
class Delta:
    """What is added to a window."""

    service: str
    spent: list[int] = field(default_factory=lambda: [0, 0, 0])
    reserved: list[int] = field(default_factory=lambda: [0, 0, 0])
    refused: int = 0
    refused_nano: int = 0

    def spend(self, amounts: Iterable[int], sign: int = 1) -> None:
        """Add to what is spent, or take out of it."""
        for i, amount in enumerate(amounts):
            self.spent[i] += sign * amount

    def hold(self, amounts: Iterable[int], sign: int = 1) -> None:
        """Add to what is held, or let go of it."""
        for i, amount in enumerate(amounts):
            self.reserved[i] += sign * amount

    @property
    def row(self) -> tuple[int, ...]:
        """In the order of the statement."""
        return (*self.spent, *self.reserved, self.refused, self.refused_nano)


class Deltas(dict[WindowKey, Delta]):
    """By how much windows move in a transaction."""

    def of(self, key: WindowKey, *, service: str = "") -> Delta:
        """What is added to a window, to be added to."""
        found = self.get(key)
        if found is None:
            found = self[key] = Delta(service)
        return found


def windows_of(ceilings: Ceilings, facts: Facts, at: datetime) -> list[tuple[Budget, WindowKey]]:
    """The windows that count what comes at a moment, with their budgets."""
    return [
        (budget, WindowKey(budget.id, member, budget.window(at)[0]))
        for budget in ceilings.counting(facts)
        if budget.is_on(at) and (member := budget.member(facts)) is not None
    ]


def receive(ceilings: Ceilings, receipts: Mapping[Receipt, Iterable[int]], deltas: Deltas) -> None:
    """Add what was booked, or taken out of the books, to what windows are moved by."""
    for (facts, at), amounts in receipts.items():
        if any(amounts):
            for _, key in windows_of(ceilings, facts, at):
                deltas.of(key, service=facts.service).spend(amounts)


_KEY = "budget_id, member, starts_at, ends_at, service"
_SUMS = (*(f"spent_{unit}" for unit in _UNITS), *(f"reserved_{unit}" for unit in _UNITS), "refused", "refused_nano")
_NEXT = tuple(f"next_{unit}" for unit in _UNITS)
_REACHED = " OR ".join(f"w.spent_{unit} + EXCLUDED.spent_{unit} >= w.next_{unit}" for unit in _UNITS)
_ROWS = f"""
SELECT budget_id, member, to_timestamp(0) + starts_at * interval '1 second',
    to_timestamp(0) + ends_at * interval '1 second', service, {{columns}}
FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::text[], {{types}}) AS u ({_KEY}, {{columns}})
ORDER BY budget_id, member COLLATE "C", starts_at
ON CONFLICT (budget_id, member, starts_at) DO UPDATE SET
"""
_MOVED = ", ".join((*_SUMS, *_NEXT, "is_due"))
MOVE = f"""
INSERT INTO budget_window AS w ({_KEY}, {_MOVED})
{_ROWS.format(columns=_MOVED, types="%b::bigint[], " * (len(_SUMS) + len(_NEXT)) + "%b::bool[]")}
    {", ".join(f"{column} = w.{column} + EXCLUDED.{column}" for column in _SUMS)},
    service = coalesce(nullif(EXCLUDED.service, ''), w.service), touched_at = clock_timestamp(),
    is_due = w.is_due OR coalesce({_REACHED}, false) OR (EXCLUDED.refused > 0 AND w.exhausted_at IS NULL)
"""
_KEY_TYPES: tuple[type[Column], ...] = (Integers, Texts, Integers, Integers, Texts)
_TYPES: tuple[type[Column], ...] = (*_KEY_TYPES, *(Integers for _ in (*_SUMS, *_NEXT)), Booleans)


def move(cursor: Cursor[Any], moment: Moment, deltas: Deltas) -> None:
    """Move windows: one statement, and none for nothing."""
    rows, next_amounts_of = [], moment.ceilings.coming
    for key in sorted(deltas):
        delta = deltas[key]
        if any(row := delta.row):
            coming = next_amounts_of(key.budget_id, key.member, moment.at)
            is_due = delta.refused > 0 or _reaches(delta.spent, coming)
            rows.append((*_key_row(moment.ceilings, key, delta.service), *row, *coming, is_due))
    if rows:
        cursor.execute(MOVE, transpose(_TYPES, rows))


def _reaches(spent: Iterable[int], coming: Iterable[int | None]) -> bool:
    return any(limit is not None and amount >= limit for amount, limit in zip(spent, coming, strict=True))


def _key_row(ceilings: Ceilings, key: WindowKey, service: str) -> tuple[Any, ...]:
    """Its end follows from its start: a window that is gone, and is made again by what was held in it, has one too."""
    if key.starts_at is ALWAYS:
        return (key.budget_id, key.member, 0, None, service)
    budget = ceilings.by_id.get(key.budget_id)
    end = None if budget is None else budget.window(key.starts_at)[1]
    seconds = None if end is None else int(end.timestamp())
    return (key.budget_id, key.member, int(key.starts_at.timestamp()), seconds, service)


# Makes the rows that are missing, so that everybody who comes at once finds the same one, and locks them all.
OPEN = f"""
INSERT INTO budget_window AS w ({_KEY}, {", ".join(_NEXT)})
{_ROWS.format(columns=", ".join(_NEXT), types=", ".join(["%b::bigint[]"] * len(_NEXT)))}
    touched_at = clock_timestamp()
RETURNING budget_id, member, starts_at, {", ".join(f"w.{column}" for column in _SUMS[:6])}
"""
_OPEN_TYPES: tuple[type[Column], ...] = (*_KEY_TYPES, *(Integers for _ in _NEXT))


def open_windows(
    cursor: Cursor[Any], moment: Moment, windows: Mapping[WindowKey, str]
) -> dict[WindowKey, tuple[Amounts, Amounts]]:
    """Lock windows until the end of the transaction, each with its service; what is spent and held in each."""
    coming, at = moment.ceilings.coming, moment.at
    rows = [
        (*_key_row(moment.ceilings, key, windows[key]), *coming(key.budget_id, key.member, at))
        for key in sorted(windows)
    ]
    cursor.execute(OPEN, transpose(_OPEN_TYPES, rows))
    return {WindowKey(*row[:3]): (Amounts(*row[3:6]), Amounts(*row[6:9])) for row in cursor.fetchall()}


def amounts_of(measures: Iterable[int]) -> tuple[int, int, int]:
    """What budgets count of what a span counts, in the order of ``MEASURES``."""
    cost, _, _, _, steps, _, given, output, *_ = measures
    return cost, given + output, steps
