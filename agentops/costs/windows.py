"""Days that are over, and the sums over the usual windows of what has so many keys that a page cannot add them up.

Users and sessions grow with what happens. Their cells of days that are over are moved from ``spend_daily``, which
ingest writes, to ``spend_past``, and added to each window that holds their day, in one transaction: whoever reads both
tables (``spend_days``) misses nothing and counts nothing twice, at any moment. What comes late for such a day is one
more cell to move. A window of N days holds the N - 1 whole days before today: ``spend_window_range`` says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from agentops.costs.models import MEASURES
from agentops.costs.sources import DIMENSIONS, MANY_KEYED, By, Source, SpendFilters, cells, whole_days
from agentops.domain.periods import DAY, truncate
from agentops.pages import RANGES

#: The lengths of the windows, in days: of all ranges in the menu that hold whole days.
WINDOWS = [length.days for length, _ in RANGES.values() if length > DAY]
#: Cells moved in one transaction, for whose length ingest may wait for one of them.
AT_ONCE = 5_000
TIMEOUT = "SET LOCAL statement_timeout = '55s'"
_CELL = "dimension, start, environment, service, key"
_MEASURES = ", ".join(MEASURES)
_SUMS = ", ".join(f"sum({m}) AS {m}" for m in MEASURES)
_ADD = ", ".join(f"{m} = t.{m} + EXCLUDED.{m}" for m in MEASURES)

BEGIN = """
INSERT INTO spend_window_range (days, begins, ends)
SELECT days, 'epoch', 'epoch' FROM unnest(%(windows)s::smallint[]) AS w (days) ON CONFLICT DO NOTHING
"""
# Who holds these rows is the one that moves; anybody else has nothing to do.
LOCK = "SELECT days, ends FROM spend_window_range WHERE days = ANY(%(windows)s) ORDER BY days FOR UPDATE SKIP LOCKED"
#: Each cell counts for its own environment and, with an empty one, for all together.
_INTO_WINDOW = f"""
INSERT INTO spend_window AS t (days, dimension, environment, key, {_MEASURES})
SELECT days, dimension, e.environment, key, {_SUMS}
FROM ({{cells}}) AS c CROSS JOIN LATERAL (VALUES (c.environment), ('')) AS e (environment) GROUP BY 1, 2, 3, 4
ON CONFLICT (days, dimension, environment, key) DO UPDATE SET {_ADD}
"""
_LEAVING = ", ".join(f"-{m}" for m in MEASURES)
SHIFT = _INTO_WINDOW.format(
    cells=f"""
    SELECT days, dimension, environment, key, {_MEASURES} FROM spend_past, spend_window_range
    WHERE days = %(days)s AND start >= greatest(ends, %(begins)s) AND start < %(ends)s
    UNION ALL
    SELECT days, dimension, environment, key, {_LEAVING} FROM spend_past, spend_window_range
    WHERE days = %(days)s AND start >= begins AND start < least(ends, %(begins)s)"""
)
SHIFTED = "UPDATE spend_window_range SET begins = %(begins)s, ends = %(ends)s WHERE days = %(days)s"
SWEEP = "DELETE FROM spend_window WHERE days = %(days)s AND steps = 0 AND cost_nano = 0"
# Ingest never waits for a lock that waits for it: what it holds just now is moved the next time.
MOVE = f"""
WITH due AS (
    SELECT {_CELL} FROM spend_daily WHERE dimension = ANY(%(dimensions)s) AND start < %(today)s
    ORDER BY {_CELL} LIMIT %(at_once)s FOR UPDATE SKIP LOCKED
), moved AS (
    DELETE FROM spend_daily WHERE ({_CELL}) IN (SELECT {_CELL} FROM due) RETURNING *
), past AS (
    INSERT INTO spend_past AS t SELECT * FROM moved ON CONFLICT ({_CELL}) DO UPDATE SET {_ADD}
), windowed AS (
    {_INTO_WINDOW.format(cells="SELECT * FROM moved JOIN spend_window_range ON start >= begins AND start < ends")}
)
SELECT count(*) FROM moved
"""
#: How many keys each window has, so that a page need not count them.
FORGET_KEYS = "DELETE FROM spend_window_keys"
COUNT_KEYS = """
INSERT INTO spend_window_keys (days, dimension, environment, keys)
SELECT days, dimension, environment, count(*) FROM spend_window WHERE steps <> 0 OR cost_nano <> 0 GROUP BY 1, 2, 3
"""


def close_days(*, now: datetime) -> int:
    """Move what days that are over hold and the windows along with today; how many cells moved.

    May run at any time, any number of times, also at once.
    """
    total, moved = 0, AT_ONCE
    while moved == AT_ONCE:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(TIMEOUT)
            cursor.execute(BEGIN, {"windows": WINDOWS})
            cursor.execute(LOCK, {"windows": WINDOWS})
            windows = cursor.fetchall()
            if len(windows) < len(WINDOWS):
                break
            moved = _advance(cursor, windows, truncate(now, "day"))
            total += moved
    return total


def _advance(cursor: CursorWrapper, windows: Sequence[tuple[int, datetime]], today: datetime) -> int:
    """Let the windows end today, then move some cells; how many."""
    late = [days for days, ends in windows if ends < today]
    for days in late:
        # Days that it has not seen go in, those that are too old come out.
        window: dict[str, Any] = {"days": days, "begins": today - (days - 1) * DAY, "ends": today}
        for statement in (SHIFT, SHIFTED, SWEEP):
            cursor.execute(statement, window)
    dimensions = [int(dimension) for dimension in MANY_KEYED.values()]
    cursor.execute(MOVE, {"dimensions": dimensions, "today": today, "at_once": AT_ONCE})
    moved: int = cursor.fetchone()[0]
    if moved or late:
        cursor.execute(FORGET_KEYS)
        cursor.execute(COUNT_KEYS)
    return moved


_WINDOWED = f"""
WITH held AS MATERIALIZED (
    SELECT days, begins, ends FROM spend_window_range
    WHERE begins >= %(first_day)s AND ends <= %(last_day)s AND begins < ends ORDER BY ends - begins DESC LIMIT 1
), rest AS MATERIALIZED (
    SELECT key, {_SUMS} FROM ({{cells}}) AS c GROUP BY key
), windowed AS NOT MATERIALIZED (
    SELECT key, {_MEASURES} FROM spend_window
    WHERE days = (SELECT days FROM held) AND dimension = %(dimension)s AND environment = %(environment)s
        AND (steps <> 0 OR cost_nano <> 0)
), mixed AS MATERIALIZED (
    SELECT r.key, w.key IS NOT NULL AS is_windowed, {", ".join(f"r.{m} + coalesce(w.{m}, 0) AS {m}" for m in MEASURES)}
    FROM rest AS r LEFT JOIN windowed AS w USING (key)
), counted AS (
    SELECT coalesce((SELECT keys FROM spend_window_keys
            WHERE days = (SELECT days FROM held) AND dimension = %(dimension)s AND environment = %(environment)s), 0)
        + (SELECT count(*) FILTER (WHERE steps <> 0 OR cost_nano <> 0) - count(*) FILTER (WHERE is_windowed) FROM mixed)
        AS keys
)
"""
#: The largest keys of a range, and in each row how many keys there are: from the widest window inside the range, and
#: from ``rest``, the cells that it does not hold. Keys that have none of these are read in their order from an index.
LARGEST = f"""{_WINDOWED}
SELECT key, (SELECT keys FROM counted), {_MEASURES}
FROM (
    (SELECT * FROM windowed WHERE key NOT IN (SELECT key FROM rest) ORDER BY {{order}} LIMIT %(limit)s)
    UNION ALL
    SELECT key, {_MEASURES} FROM mixed WHERE steps <> 0 OR cost_nano <> 0
) AS c ORDER BY {{order}} LIMIT %(limit)s
"""
#: How many keys there are in a range, what carries none left out.
KEYS = f"""{_WINDOWED}
SELECT keys - (
    SELECT count(*) FROM (SELECT key FROM windowed WHERE key NOT IN (SELECT key FROM rest)
        UNION ALL SELECT key FROM mixed WHERE steps <> 0 OR cost_nano <> 0) AS k WHERE key = ''
) FROM counted
"""
#: Days that are over and in no window.
_PAST = f"""
SELECT start, key, {_MEASURES} FROM spend_past WHERE dimension = %(dimension)s {{environment}}
    AND start >= %(first_day)s AND start < coalesce((SELECT begins FROM held), %(last_day)s)
UNION ALL
SELECT start, key, {_MEASURES} FROM spend_past WHERE dimension = %(dimension)s {{environment}}
    AND start >= (SELECT ends FROM held) AND start < %(last_day)s
"""


def hold(by: By, filters: SpendFilters) -> bool:
    """Whether the windows can answer: the only filter that they know is the environment."""
    return by in MANY_KEYED and not (filters.service or filters.team or filters.keyed())


def rest(by: By, filters: SpendFilters, from_: datetime, until: datetime) -> Source:
    """The cells of ``[from_, until)``, whole hours, for ``LARGEST`` and ``KEYS``."""
    source = cells(by, filters, from_, until, with_past=False)
    past = _PAST.format(environment="AND environment = %(environment)s" if filters.environment else "")
    first_day, last_day = whole_days(from_, until)
    parameters: dict[str, Any] = {"first_day": first_day, "last_day": last_day, "dimension": int(DIMENSIONS[by])}
    return Source(f"{source.sql} UNION ALL {past}", source.parameters | parameters)
