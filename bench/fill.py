"""Fills the books up to a size: copies, by SQL, of runs that came in through the receiver.

Each copy is moved back by whole hours and has its own traces, sessions and a share of the users, so that the rollups
can be copied by the same rule and everything still agrees; the reconciliation proves it. Rows are written in the order
of time, in which real ones come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from agentops.domain.spans import MEASURES
from bench.payload import LARGE

#: ``Dimension.USER`` and its like, whose keys differ in a copy; this process does without Django.
_BY_USER, _BY_FEATURE, _BY_SESSION = 1, 2, 3

_NEW_TRACE = "decode(md5(o.trace_id || c.n::text::bytea), 'hex')"
_BACK = "make_interval(hours => c.n)"
_DAY = f"((r.latest_at - {_BACK}) AT TIME ZONE 'UTC')::date"
_COPIES = "generate_series(%(first)s::int, %(last)s::int) AS c (n)"


def _shifted(column: str, prefix: str, digits: int, by: str, count: int) -> str:
    """The name of another one: all copies together have all of them, and still some of them more often."""
    number = f"mod(substr({column}, {len(prefix) + 1})::int + {by}, {count})"
    return f"CASE WHEN {column} = '' THEN '' ELSE '{prefix}' || lpad(({number})::text, {digits}, '0') END"


def _user(column: str) -> str:
    return _shifted(column, "user-", 5, "3 * c.n", LARGE.users)


def _feature(column: str) -> str:
    return _shifted(column, "feature-", 3, "c.n", LARGE.features)


_SESSION = "|| '-' || c.n"

_COLUMNS = (
    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
    " AND attgenerated = '' ORDER BY attnum"
)

#: What differs in a copy, by table and column; all other columns are as they were.
_CHANGED: dict[str, dict[str, str]] = {
    "runs": {
        "trace_id": _NEW_TRACE,
        "user": _user('o."user"'),
        "feature": _feature("o.feature"),
        "session": f"o.session {_SESSION}",
        "last_ended_ns": "o.last_ended_ns - c.n * 3600000000000",
        "started_at": f"o.started_at - {_BACK}",
        "latest_at": f"o.latest_at - {_BACK}",
        "first_received_at": f"o.latest_at - {_BACK}",
        "last_received_at": f"o.latest_at - {_BACK}",
    },
    "spans": {
        "trace_id": _NEW_TRACE,
        "received_on": _DAY,
        "start_ns": "o.start_ns - c.n * 3600000000000",
        "end_ns": "o.end_ns - c.n * 3600000000000",
    },
    "span_ledger": {"trace_id": _NEW_TRACE, "received_on": _DAY, "start_ns": "o.start_ns - c.n * 3600000000000"},
}
_TEMPLATES = "bench_runs"
_SOURCES = {
    "runs": f"{_TEMPLATES} o",
    "spans": f"spans o JOIN {_TEMPLATES} r USING (trace_id, service)",
    "span_ledger": f"span_ledger o JOIN {_TEMPLATES} r USING (trace_id, service)",
}
_IN_TIME = {
    "runs": f"o.started_at - {_BACK}",
    "spans": "o.end_ns - c.n * 3600000000000",
    "span_ledger": f"r.latest_at - {_BACK}",
}

_SUMS = ", ".join(f"sum(o.{m})" for m in MEASURES)
_HOURLY = f"""
INSERT INTO spend_hourly AS t (dimension, start, environment, service, key, {", ".join(MEASURES)})
SELECT o.dimension, o.start - {_BACK}, o.environment, o.service,
    CASE o.dimension WHEN {_BY_USER} THEN {_user("o.key")} WHEN {_BY_FEATURE} THEN {_feature("o.key")}
        WHEN {_BY_SESSION} THEN CASE WHEN o.key = '' THEN '' ELSE o.key {_SESSION} END ELSE o.key END, {_SUMS}
FROM bench_spend o, {_COPIES} GROUP BY 1, 2, 3, 4, 5 ORDER BY 2
ON CONFLICT (dimension, start, environment, service, key) DO UPDATE SET
    {", ".join(f"{m} = t.{m} + EXCLUDED.{m}" for m in MEASURES)}
"""
_DAILY = f"""
INSERT INTO spend_daily (dimension, start, environment, service, key, {", ".join(MEASURES)})
SELECT dimension, date_trunc('day', start, 'UTC'), environment, service, key, {", ".join(f"sum({m})" for m in MEASURES)}
FROM spend_hourly GROUP BY 1, 2, 3, 4, 5 ORDER BY 2
"""
_STEPS = f"""
INSERT INTO spend_journal
SELECT extract(epoch FROM o.start) / 3600 - c.n, o.environment, o.service, {_user('o."user"')}, {_feature("o.feature")},
    CASE WHEN o.session = '' THEN '' ELSE o.session {_SESSION} END, o.release, o.agent, o.model, o.tool,
    {", ".join(f"o.{m}" for m in MEASURES)}
FROM bench_steps o, {_COPIES} ORDER BY 1
"""


def remember_templates(connection: psycopg.Connection[Any]) -> None:
    """Keep what is in the books now as the runs to copy."""
    connection.execute(f"CREATE TABLE {_TEMPLATES} AS SELECT * FROM runs")
    connection.execute("CREATE TABLE bench_spend AS SELECT * FROM spend_hourly")
    connection.execute("CREATE TABLE bench_steps AS SELECT * FROM spend_steps")


def copy(connection: psycopg.Connection[Any], first: int, last: int) -> None:
    """Add the copies ``first`` to ``last``: one whole set of the templates each."""
    parameters = {"first": first, "last": last}
    with connection.transaction():
        for table in ("runs", "spans", "span_ledger"):
            names = [row[0] for row in connection.execute(_COLUMNS, (table,))]
            connection.execute(_insert(table, names), parameters)
        connection.execute(_HOURLY, parameters)
        connection.execute(_STEPS, parameters)
        forget_days(connection)
        connection.execute(_DAILY)


def forget_everything(connection: psycopg.Connection[Any]) -> None:
    """Empty the books."""
    connection.execute("TRUNCATE runs, spans, span_ledger, answers, span_waiting, span_messages, spend_hourly")
    connection.execute("TRUNCATE spend_journal, spend_details, spend_pairs, spend_closed")
    forget_days(connection)


def forget_days(connection: psycopg.Connection[Any]) -> None:
    """Empty everything that is summed up by day."""
    connection.execute("TRUNCATE spend_daily, spend_past, spend_window, spend_window_range, spend_window_keys")


def _insert(table: str, names: Sequence[str]) -> sql.Composed:
    changed = _CHANGED[table]
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}, {} ORDER BY {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.SQL(changed[name]) if name in changed else sql.Identifier("o", name) for name in names),
        sql.SQL(_SOURCES[table]),
        sql.SQL(_COPIES),
        sql.SQL(_IN_TIME[table]),
    )


def forget_templates(connection: psycopg.Connection[Any]) -> None:
    """Remove what only the copying needed."""
    connection.execute(f"DROP TABLE IF EXISTS {_TEMPLATES}, bench_spend, bench_steps")
