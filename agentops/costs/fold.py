"""Spend by several keys at once: from the journal that ingest appends to, into what pages read.

A row of ``spend_journal`` is a difference by all keys of a step together. Folding moves rows, in one transaction, into

- ``spend_details``: the same by hour; the rows of one hour with the same keys are to be added up;
- ``spend_pairs``: by two keys at once (``PAIRS``) and day, without users and sessions, of which there are many.

Whoever reads one of them and the journal misses nothing and counts nothing twice, at any moment. Days that are over
are closed, and so are blocks of days: their pairs are summed up once more over all services, so that a page of three
months reads a few blocks and the days at its ends. What comes late is added to closed blocks too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from agentops.costs.models import MEASURES, Dimension
from agentops.domain.periods import truncate

#: Rows of the journal that one transaction moves, and transactions of one call.
AT_ONCE, MOST = 10_000, 6
#: Lengths of closed blocks in days, and of the parts that they are made of; they start with the epoch.
BLOCKS = {8: 1, 32: 8}
BOUNDED = (Dimension.FEATURE, Dimension.RELEASE, Dimension.AGENT, Dimension.MODEL, Dimension.TOOL)
#: Two bounded dimensions, in their order.
PAIRS = tuple(combinations(BOUNDED, 2))
KEYS = ("environment", "service", '"user"', "feature", "session", "release", "agent", "model", "tool")


def number(first: Dimension, second: Dimension) -> int:
    """How ``spend_pairs`` calls two dimensions; a bounded one with ``SERVICE`` or with itself is in blocks only."""
    return 10 * first + second


def dimensions(number: int) -> list[Dimension]:
    """The dimensions that a number of ``spend_pairs`` stands for; a single digit is one dimension."""
    return [Dimension(int(digit)) for digit in str(number)]


def _column(dimension: Dimension) -> str:
    return f"c.{dimension.name.lower()}"


#: Number, key and other key of each row of the details.
_OF_DAYS = [(number(a, b), _column(a), _column(b)) for a, b in PAIRS]
_OF_FEATURES = [row for row in _OF_DAYS if row[1] == "c.feature"]
_OF_OTHERS = [row for row in _OF_DAYS if row[1] != "c.feature"]
_DAY_PAIRS = ", ".join(str(pair) for pair, *_ in _OF_DAYS)


def _single(dimension: Dimension) -> tuple[int, str]:
    """A pair that a bounded dimension is in, and on which side."""
    first = next(pair for pair in PAIRS if dimension in pair)
    return number(*first), "c.key" if dimension is first[0] else "c.other_key"


#: What blocks hold besides, out of one of a day's pairs: the dimension with the service, and alone.
_OF_BLOCKS = [
    (pair, *row)
    for d in BOUNDED
    for pair, key in (_single(d),)
    for row in ((number(d, Dimension.SERVICE), key, "c.service"), (number(d, d), key, "''"))
]
_SINGLE_PAIRS = ", ".join(sorted({str(pair) for pair, *_ in _OF_BLOCKS}))
_BLOCK_PAIRS = ", ".join([_DAY_PAIRS, *(str(pair) for _, pair, *_ in _OF_BLOCKS)])

_KEYS = ", ".join(KEYS)
_MEASURES = ", ".join(MEASURES)
# Counts stay what they are, or summing them up once more takes several times as long.
_SUMS = ", ".join(f"sum({m}){'' if m == 'cost_nano' else '::bigint'} AS {m}" for m in MEASURES)
_NOT_NOTHING = "(" + " OR ".join(f"{m} <> 0" for m in MEASURES) + ")"
_SAME = " AND ".join(f"d.{key} = l.{key}" for key in ("start", *KEYS))
_CELL = "pair, days, start, key, other_key, environment, service"


def _values(rows: list[tuple[int, str, str]]) -> str:
    values = ", ".join(f"({pair}, {key}, {other})" for pair, key, other in rows)
    return f"CROSS JOIN LATERAL (VALUES {values}) AS p (pair, key, other_key)"


def parts(days: int, table: str, condition: str = "true") -> str:
    """SQL for the cells of a table that blocks of so many days are made of; ``condition`` says which."""
    part = BLOCKS[days]
    cells = f"""SELECT pair, start, key, other_key, environment, {_MEASURES} FROM {table}
        WHERE pair = ANY(ARRAY[{_DAY_PAIRS if part == 1 else _BLOCK_PAIRS}]) AND days = {part} AND {condition}"""
    if part > 1:
        return cells
    values = ", ".join(f"({of_pair}, {pair}, {key}, {other})" for of_pair, pair, key, other in _OF_BLOCKS)
    return f"""{cells} UNION ALL
        SELECT p.pair, start, p.key, p.other_key, environment, {_MEASURES} FROM {table} AS c
        JOIN LATERAL (VALUES {values}) AS p (of_pair, pair, key, other_key) ON p.of_pair = c.pair
        WHERE c.pair = ANY(ARRAY[{_SINGLE_PAIRS}]) AND days = 1 AND {condition}"""


def of_closed(days: int, table: str) -> str:
    """SQL for the same of all closed blocks: each part with its block's start."""
    part = BLOCKS[days]
    return f"""SELECT c.pair, {days} AS days, b.start, c.key, c.other_key, c.environment, '' AS service, {_MEASURES}
        FROM ({parts(days, table)}) AS c JOIN (
            SELECT start, generate_series(start, start + interval '{days - part} days', '{part} days') AS part
            FROM spend_closed WHERE days = {days}
        ) AS b ON b.part = c.start"""


def _summed(cells: str) -> str:
    return f"SELECT {_CELL}, {_SUMS} FROM ({cells}) AS c GROUP BY {_CELL}"


BEGIN = "INSERT INTO spend_fold (folded_at) VALUES ('epoch') ON CONFLICT DO NOTHING"
# Who holds this row is the one that folds; anybody else has nothing to do.
LOCK = "SELECT id FROM spend_fold FOR UPDATE SKIP LOCKED"
SETTINGS = "SET LOCAL statement_timeout = '55s'; SET LOCAL work_mem = '64MB'"
FOLDED = "UPDATE spend_fold SET folded_at = %(now)s"
#: What is left of the keys where users and sessions do not matter, and where features do not either.
_WITH_FEATURE = "environment, service, feature, release, agent, model, tool"
_WITHOUT_FEATURE = "environment, service, release, agent, model, tool"
_PER_DAY = "SELECT p.*, 1 AS days, start, environment, service, {measures} FROM {rows} AS c {values}"
_DAYS = " UNION ALL ".join(
    _PER_DAY.format(measures=_MEASURES, rows=rows, values=_values(values))
    for rows, values in (("by_day", _OF_FEATURES), ("fewer", _OF_OTHERS))
)
#: Blocks of each length, and out of what their parts come.
_CHAIN = [(days, "of_days" if part == 1 else f"of_{part}") for days, part in BLOCKS.items()]
_TOLD = ["of_days", *(f"of_{days}" for days in BLOCKS)]
# In closed days a row of the details is looked for and added to: there is one of the same keys. Pairs are summed up
# from fewer and fewer rows: most of what comes at once differs in users and sessions.
FOLD = f"""
WITH moved AS (
    DELETE FROM spend_journal WHERE ctid = ANY(ARRAY(SELECT ctid FROM spend_journal LIMIT %(at_once)s)) RETURNING *
), told AS MATERIALIZED (
    SELECT to_timestamp(hour * 3600.0) AS start, {_KEYS}, {_SUMS} FROM moved GROUP BY hour, {_KEYS}
), late AS MATERIALIZED (
    SELECT t.* FROM told AS t JOIN spend_closed AS c ON c.days = 1 AND c.start = date_trunc('day', t.start, 'UTC')
), found AS (
    DELETE FROM spend_details AS d USING late AS l WHERE {_SAME} RETURNING d.*
), detailed AS (
    INSERT INTO spend_details (start, {_KEYS}, {_MEASURES})
    SELECT * FROM (
        SELECT start, {_KEYS}, {_MEASURES} FROM told AS l WHERE NOT EXISTS (SELECT FROM found AS d WHERE {_SAME})
        UNION ALL
        SELECT l.start, {", ".join(f"l.{key}" for key in KEYS)}, {", ".join(f"l.{m} + d.{m}" for m in MEASURES)}
        FROM late AS l JOIN found AS d ON {_SAME}
    ) AS d WHERE {_NOT_NOTHING}
), by_day AS MATERIALIZED (
    SELECT date_trunc('day', start, 'UTC') AS start, {_WITH_FEATURE}, {_SUMS} FROM told GROUP BY 1, {_WITH_FEATURE}
), fewer AS (
    SELECT start, {_WITHOUT_FEATURE}, {_SUMS} FROM by_day GROUP BY start, {_WITHOUT_FEATURE}
), of_days AS MATERIALIZED ({_summed(_DAYS)}), {
    ", ".join(f"of_{days} AS MATERIALIZED ({_summed(of_closed(days, table))})" for days, table in _CHAIN)
}, paired AS (
    INSERT INTO spend_pairs AS t ({_CELL}, {_MEASURES})
    {" UNION ALL ".join(f"SELECT * FROM {table}" for table in _TOLD)} ORDER BY {_CELL}
    ON CONFLICT ({_CELL}) DO UPDATE SET {", ".join(f"{m} = t.{m} + EXCLUDED.{m}" for m in MEASURES)}
)
SELECT count(*) FROM moved
"""
#: Whole days, and blocks of them, that are over and not closed: from the longest block on that holds the first day with
#: any spend. What comes for a day before that one finds the parts of each closed block closed too.
OPEN = f"""
SELECT n.days, g.start FROM (
    SELECT min(start) AS first FROM spend_pairs WHERE pair = ANY(ARRAY[{_DAY_PAIRS}]) AND days = 1
) AS f
CROSS JOIN unnest(ARRAY[{", ".join(map(str, (1, *BLOCKS)))}]) AS n (days)
CROSS JOIN LATERAL generate_series(
    to_timestamp(floor(extract(epoch FROM f.first) / {max(BLOCKS) * 86400}) * {max(BLOCKS) * 86400}),
    %(today)s - n.days * interval '1 day', n.days * interval '1 day') AS g (start)
LEFT JOIN spend_closed AS c ON c.days = n.days AND c.start = g.start
WHERE c.start IS NULL ORDER BY g.start + n.days * interval '1 day', n.days LIMIT %(at_once)s
"""
CLOSED = "INSERT INTO spend_closed (days, start) VALUES (%(days)s, %(start)s) ON CONFLICT DO NOTHING"
_IN_RANGE = "start >= %(start)s AND start < %(end)s"
#: Of the rows of one hour with the same keys makes one.
TIDY = f"""
WITH several AS (
    SELECT start, {_KEYS} FROM spend_details WHERE {_IN_RANGE} GROUP BY start, {_KEYS} HAVING count(*) > 1
), found AS (
    DELETE FROM spend_details AS d USING several AS l
    WHERE d.start >= %(start)s AND d.start < %(end)s AND {_SAME} RETURNING d.*
)
INSERT INTO spend_details (start, {_KEYS}, {_MEASURES})
SELECT * FROM (SELECT start, {_KEYS}, {_SUMS} FROM found GROUP BY start, {_KEYS}) AS d WHERE {_NOT_NOTHING}
"""
_BLOCK = f"""
INSERT INTO spend_pairs ({_CELL}, {_MEASURES})
SELECT pair, %(days)s, %(start)s, key, other_key, environment, '', {_SUMS} FROM ({{cells}}) AS c
GROUP BY pair, key, other_key, environment ORDER BY pair, key, other_key, environment
"""
SUM_UP = {days: _BLOCK.format(cells=parts(days, "spend_pairs", _IN_RANGE)) for days in BLOCKS}


def fold(*, now: datetime) -> int:
    """Move what the journal holds, and close what is over; how many rows moved.

    May run at any time, any number of times, also at once. A long journal takes several calls.
    """
    total = 0
    for _ in range(MOST):
        with transaction.atomic(), connection.cursor() as cursor:
            if not _is_ours(cursor):
                break
            cursor.execute(FOLD, {"at_once": AT_ONCE})
            moved = int(cursor.fetchone()[0])
            cursor.execute(FOLDED, {"now": now})
        total += moved
        if moved < AT_ONCE:
            break
    for days, start in _open(now):
        with transaction.atomic(), connection.cursor() as cursor:
            if not _is_ours(cursor):
                break
            _close(cursor, days, start)
    return total


def _is_ours(cursor: CursorWrapper) -> bool:
    """Whether nobody else folds until the end of the transaction."""
    cursor.execute(SETTINGS)
    cursor.execute(BEGIN)
    cursor.execute(LOCK)
    return cursor.fetchone() is not None


def _open(now: datetime) -> list[tuple[int, datetime]]:
    with connection.cursor() as cursor:
        cursor.execute(OPEN, {"today": truncate(now, "day"), "at_once": 100})
        blocks: list[tuple[int, datetime]] = cursor.fetchall()
    return blocks


def _close(cursor: CursorWrapper, days: int, start: datetime) -> None:
    block: dict[str, Any] = {"days": days, "start": start, "end": start + timedelta(days=days)}
    cursor.execute(CLOSED, block)
    if not cursor.rowcount:  # somebody else was faster
        return
    if days == 1:
        cursor.execute(TIDY, block)
    else:
        cursor.execute(SUM_UP[days], block)
