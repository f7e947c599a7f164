"""How spend is written: rollups of a batch, by hour and by day, one statement each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Cursor

from agentops.columns import Column, Integers, Texts, transpose
from agentops.costs.models import MEASURES

#: (dimension, hours since the epoch, environment, service, key)
CellKey = tuple[int, int, str, str, str]
Cells = dict[CellKey, list[int]]

HOURS_PER_DAY = 24

_MEASURES = ", ".join(MEASURES)


def _move(table: str) -> str:
    # Money is cast from bigint: one batch stays far below 2^63 nano-dollars, the sum may not.
    return f"""
INSERT INTO {table} AS t (dimension, start, environment, service, key, {_MEASURES})
SELECT dimension, to_timestamp(start), environment, service, key, {_MEASURES}
FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::text[], %b::text[],
    {", ".join(["%b::bigint[]"] * len(MEASURES))})
    AS u (dimension, start, environment, service, key, {_MEASURES})
ORDER BY dimension, start, environment COLLATE "C", service COLLATE "C", key COLLATE "C"
ON CONFLICT (dimension, start, environment, service, key) DO UPDATE SET
    {", ".join(f"{m} = t.{m} + EXCLUDED.{m}" for m in MEASURES)}
"""


_TYPES: tuple[type[Column], ...] = (Integers, Integers, Texts, Texts, Texts, *(Integers for _ in MEASURES))

MOVE_HOURLY = _move("spend_hourly")
MOVE_DAILY = _move("spend_daily")


def move_spend(cursor: Cursor[Any], cells: Mapping[CellKey, Sequence[int]]) -> None:
    """Add a batch's differences to both rollups: two statements. Cells are keyed by hour."""
    days: Cells = {}
    for (dimension, hour, environment, service, key), measures in cells.items():
        cell = (dimension, hour - hour % HOURS_PER_DAY, environment, service, key)
        if (total := days.get(cell)) is None:
            days[cell] = list(measures)
        else:
            for i, value in enumerate(measures):
                total[i] += value
    for statement, rows in ((MOVE_HOURLY, cells), (MOVE_DAILY, days)):
        moved = [(d, hour * 3600, e, s, k, *m) for (d, hour, e, s, k), m in rows.items() if any(m)]
        if moved:
            cursor.execute(statement, transpose(_TYPES, moved))
