"""Partitions of the span table: made ahead of time, dropped when their days are over."""

from __future__ import annotations

from datetime import date, timedelta

from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

from agentops.runs import messages

#: Days ahead for which a partition exists; without a working beat, rows go to the default one.
DAYS_AHEAD = 7
CLEAR_AT_ONCE = 5_000

PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'spans'::regclass AND c.relname ~ '^spans_p[0-9]{8}$'
"""
TODAY = "SELECT CURRENT_DATE"
CLEAR_CONTENT = """
UPDATE spans SET content = NULL WHERE (received_on, trace_id, span_id, service) IN (
    SELECT received_on, trace_id, span_id, service FROM spans
    WHERE received_on = %s AND content IS NOT NULL LIMIT %s)
"""
FORGET = """
DELETE FROM span_ledger WHERE (trace_id, span_id, service) IN (
    SELECT trace_id, span_id, service FROM span_ledger WHERE received_on < %s LIMIT 50000)
"""
FORGET_ANSWERS = "DELETE FROM answers WHERE received_on < %s"
FORGET_WAITING = "DELETE FROM span_waiting WHERE received_on < %s"


def _name(day: date) -> str:
    return f"spans_p{day:%Y%m%d}"


def existing() -> list[date]:
    """The days that have a partition of their own."""
    with connection.cursor() as cursor:
        cursor.execute(PARTITIONS)
        return sorted(date.fromisoformat(row[0].removeprefix("spans_p")) for row in cursor.fetchall())


def maintain() -> dict[str, list[date]]:
    """Make the partitions of the next days and drop those past retention: ``{made, dropped}``.

    May run at any time and any number of times. Message text has a shorter retention of its own.
    """
    with connection.cursor() as cursor:
        cursor.execute(TODAY)
        today: date = cursor.fetchone()[0]
    have = existing()
    made = [day for n in range(DAYS_AHEAD + 1) if (day := today + timedelta(days=n)) not in have]
    for day in made:
        _make(day)
    dropped = [day for day in have if day < today - timedelta(days=settings.SPAN_RETENTION_DAYS)]
    for day in dropped:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(_name(day))))
    for day in have:
        if day < today - timedelta(days=settings.CONTENT_RETENTION_DAYS) and day not in dropped:
            _clear_content(day)
    messages.forget(today - timedelta(days=settings.CONTENT_RETENTION_DAYS))
    # The ledger remembers a day longer than the spans stay, so that none is ever counted again
    # while its original is still shown.
    _forget(today - timedelta(days=settings.SPAN_RETENTION_DAYS + 1))
    return {"made": made, "dropped": dropped}


def _make(day: date) -> None:
    """Make a day's partition, and move there what the default partition already took of it."""
    table, default = sql.Identifier(_name(day)), sql.Identifier("spans_default")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE spans INCLUDING ALL)").format(table))
        cursor.execute(
            sql.SQL(
                "WITH moved AS (DELETE FROM {} WHERE received_on = %s RETURNING *) INSERT INTO {} SELECT * FROM moved"
            ).format(default, table),
            [day],
        )
        cursor.execute(
            sql.SQL("ALTER TABLE spans ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                table, sql.Literal(day), sql.Literal(day + timedelta(days=1))
            )
        )


def _clear_content(day: date) -> None:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(CLEAR_CONTENT, [day, CLEAR_AT_ONCE])
            if cursor.rowcount < CLEAR_AT_ONCE:
                return


def _forget(before: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FORGET_ANSWERS, [before])
        cursor.execute(FORGET_WAITING, [before])
    while True:
        with connection.cursor() as cursor:
            cursor.execute(FORGET, [before])
            if not cursor.rowcount:
                return
