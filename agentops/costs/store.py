"""How spend is written: a batch's differences, to the rollups by hour and by day and to the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import Cursor

from agentops.budgets.ceilings import Moment, share
from agentops.budgets.store import move, receive
from agentops.columns import Byteas, Column, Integers, Texts, transpose
from agentops.costs.cells import NS_PER_HOUR, Cells, Moves, Where, add_to
from agentops.costs.models import MEASURES
from agentops.costs.spans import COUNTED, SPAN_KEYS, SPAN_MEASURES
from agentops.runs.store import Booked, RunKey, SpanKey

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


_KEYS = ("environment", "service", '"user"', "feature", "session", "release", "agent", "model", "tool")
COPY_JOURNAL = f"COPY spend_journal (hour, {', '.join(_KEYS)}, {_MEASURES}) FROM STDIN (FORMAT BINARY)"
_JOURNAL_TYPES = ["int4", *("text" for _ in _KEYS), *("int8" for _ in MEASURES)]


def move_spend(cursor: Cursor[Any], moves: Moves, moment: Moment | None = None) -> None:
    """Add a batch's differences to both rollups, to the journal of what is folded later, and to budgets' windows.

    Four statements, and two more without the ``moment`` of a transaction that has asked for the ceilings already.
    Windows come last: who grants steps waits for them.
    """
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
    _append(cursor, moves)
    if moves.receipts or moves.windows:
        moment = moment or share(cursor)
        deltas = moves.windows
        receive(moment.ceilings, moves.receipts, deltas)
        move(cursor, moment, deltas)


def _append(cursor: Cursor[Any], moves: Moves) -> None:
    with cursor.copy(COPY_JOURNAL) as copy:
        copy.set_types(_JOURNAL_TYPES)
        write = copy.write_row
        for (service, (environment, *place)), steps in moves.runs.items():
            for (hour, *names), measures in steps.items():
                if any(measures):
                    write((hour, environment, service, *place, *names, *measures))


#: (run, where, counted at, measures)
BookedSteps = Iterator[tuple[RunKey, Where, datetime | None, tuple[int, ...]]]
#: What runs have booked, by all keys of a step and by when budgets count it.
_STEPS = f"""SELECT s.trace_id, s.service, s.start_ns / {NS_PER_HOUR}, {SPAN_KEYS["agent"]}, {SPAN_KEYS["model"]},
    {SPAN_KEYS["tool"]}, s.counted_at,
    {", ".join(f"sum({expression})::bigint" for expression in SPAN_MEASURES.values())}"""
BOOKED = f"""
{_STEPS}
FROM unnest(%b::bytea[], %b::text[], %b::date[]) AS k (trace_id, service, since)
JOIN spans s ON s.trace_id = k.trace_id AND s.service = k.service AND s.received_on >= k.since
WHERE {COUNTED} GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


def booked_steps(cursor: Cursor[Any], runs: Sequence[Booked]) -> BookedSteps:
    """What some runs have booked: run, where, by when it counts, measures."""
    keys = transpose((Byteas, Texts), [run.key for run in runs])
    cursor.execute(BOOKED, [*keys, [run.since for run in runs]])
    yield from _steps(cursor)


#: All that wait for a span have the same agent above them.
NAME_AGENTS = f"""
WITH s AS (
    UPDATE spans SET agent = k.agent
    FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::text[]) AS k (trace_id, ancestor, service, agent)
    JOIN span_waiting w USING (trace_id, ancestor, service)
    JOIN span_ledger l USING (trace_id, span_id, service)
    WHERE spans.received_on = l.received_on AND spans.trace_id = l.trace_id AND spans.start_ns = l.start_ns
        AND spans.span_id = l.span_id AND spans.service = l.service
    RETURNING spans.*
)
{_STEPS} FROM s WHERE {COUNTED} GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


def name_agents(cursor: Cursor[Any], agents: Mapping[SpanKey, str]) -> BookedSteps:
    """Book the steps that waited for these spans under the agents above them; where they are booked now."""
    rows = [(*key, agent) for key, agent in sorted(agents.items())]
    cursor.execute(NAME_AGENTS, transpose((Byteas, Byteas, Texts, Texts), rows))
    yield from _steps(cursor)


def _steps(cursor: Cursor[Any]) -> BookedSteps:
    for trace_id, service, hour, agent, model, tool, counted_at, *measures in cursor.fetchall():
        yield (trace_id, service), (hour, agent, model, tool), counted_at, tuple(measures)
