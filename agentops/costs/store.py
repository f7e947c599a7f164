"""How spend is written: rollups of a batch, by hour and by day, one statement each."""

from __future__ import annotations

from typing import Any

from psycopg import Cursor

from agentops.columns import Column, Integers, Texts, transpose
from agentops.costs.cells import Cells, Moves, add_to
from agentops.costs.models import MEASURES

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


def move_spend(cursor: Cursor[Any], moves: Moves) -> None:
    """Add a batch's differences to both rollups: two statements."""
    cells = moves.cells()
    days: Cells = {}
    for (dimension, hour, environment, service, key), measures in cells.items():
        cell = (dimension, hour - hour % HOURS_PER_DAY, environment, service, key)
        if (total := days.get(cell)) is None:
            days[cell] = list(measures)
        else:
            add_to(total, measures)
    for statement, rows in ((MOVE_HOURLY, cells), (MOVE_DAILY, days)):
        moved = [(d, hour * 3600, e, s, k, *m) for (d, hour, e, s, k), m in rows.items() if any(m)]
        if moved:
            cursor.execute(statement, transpose(_TYPES, moved))
