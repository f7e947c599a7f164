"""Spend by several keys: the same whenever it is folded and closed, however late things come, whoever does it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.costs import fold
from agentops.costs.models import MEASURES
from agentops.ingest.booking import book
from tests.costs.booking import START, book_runs
from tests.ingest.simulation import clear_books, pairs_of, read_books, run_entries

LATER = START + timedelta(days=3)
#: When both blocks that hold the start are over.
MUCH_LATER = START + timedelta(days=40)
_SUMS = ", ".join(f"sum({m})" for m in MEASURES)


@pytest.fixture
def cursor(db: None) -> Iterator[Cursor[Any]]:
    """A binary psycopg cursor inside the test's own transaction."""
    connection.ensure_connection()
    with Cursor(connection.connection) as raw:
        raw.format = Format.BINARY
        columns.register(raw)
        yield raw


def count(table: str, condition: str = "true") -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}")
        return int(cursor.fetchone()[0])


def differing_blocks() -> list[Any]:
    """Cells of closed blocks that differ from what the details say of them."""
    cells = "days, pair, start, environment, service, key, other_key"
    told = " UNION ALL ".join(pairs_of("spend_details", str(days)) for days in fold.BLOCKS)
    sides = [
        f"SELECT {cells}, {_SUMS} FROM {rows} GROUP BY {cells} HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0"
        for rows in (
            f"(SELECT t.* FROM ({told}) AS t JOIN spend_closed USING (days, start)) AS t",
            "(SELECT * FROM spend_pairs WHERE days > 1) AS p",
        )
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"({sides[0]} EXCEPT {sides[1]}) UNION ALL ({sides[1]} EXCEPT {sides[0]})")
        return cursor.fetchall()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    order=st.randoms(use_true_random=False),
    folds=st.lists(st.sampled_from([None, START, LATER, MUCH_LATER]), min_size=8, max_size=8),
)
def test_folding_and_closing_at_any_moment_changes_nothing(
    cursor: Cursor[Any], seed: int, order: random.Random, folds: list[datetime | None]
) -> None:
    entries = [entry for n in range(3) for entry in run_entries(seed + n)]
    clear_books(cursor)
    book(cursor, entries, set())
    expected = read_books(cursor)
    clear_books(cursor)
    order.shuffle(entries)
    for place, now in enumerate(folds):
        book(cursor, entries[place * 5 : (place + 1) * 5], set())
        if now is not None:
            fold.fold(now=now)
    assert read_books(cursor) == expected
    fold.fold(now=MUCH_LATER)
    assert read_books(cursor) == expected
    assert count("spend_journal") == 0
    assert differing_blocks() == []


def test_a_closed_day_has_one_row_of_the_same_keys_in_each_hour(db: None) -> None:
    keys = "start, " + ", ".join(fold.KEYS)
    for seed in (1, 2, 1_001):
        book_runs([seed], size=60)
        fold.fold(now=START)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO spend_details SELECT * FROM spend_details LIMIT 20")
    rows = count("spend_details")
    assert rows > count(f"(SELECT DISTINCT {keys} FROM spend_details) AS d")
    fold.fold(now=LATER)
    assert count("spend_details") == count(f"(SELECT DISTINCT {keys} FROM spend_details) AS d") == rows - 20
    book_runs([3], size=60)
    fold.fold(now=LATER)
    assert count("spend_details") == count(f"(SELECT DISTINCT {keys} FROM spend_details) AS d") > rows - 20


def test_what_moves_away_leaves_no_details(db: None) -> None:
    book_runs(range(4))
    fold.fold(now=LATER)
    with connection.cursor() as cursor:
        cursor.execute(f"""INSERT INTO spend_journal SELECT extract(epoch FROM start) / 3600, {", ".join(fold.KEYS)},
            {", ".join(f"-{m}" for m in MEASURES)} FROM spend_details""")
    fold.fold(now=LATER)
    assert count("spend_details") == 0


def test_blocks_close_when_they_are_over_and_sum_up_all_services(db: None) -> None:
    book_runs(range(8))
    fold.fold(now=START + timedelta(hours=1))
    assert count("spend_closed") == 0
    fold.fold(now=MUCH_LATER)
    assert {days for days in (1, 8, 32) if count("spend_closed", f"days = {days}")} == {1, 8, 32}
    assert count("spend_pairs", "days = 32 AND service = ''")
    assert count("spend_pairs", "days > 1 AND service <> ''") == 0
    assert differing_blocks() == []


@pytest.mark.parametrize("days", [1, 5, 9, 20, 40])
def test_days_before_the_first_one_are_closed_when_they_come(db: None, days: int) -> None:
    book_runs([1])
    fold.fold(now=MUCH_LATER)
    entries = run_entries(2)
    for entry in entries:
        entry.span.start_ns -= days * 86_400 * 10**9
        entry.span.end_ns -= days * 86_400 * 10**9
    with Cursor(connection.connection) as raw:
        raw.format = Format.BINARY
        columns.register(raw)
        book(raw, entries, set())
    fold.fold(now=MUCH_LATER)
    first = count("(SELECT FROM spend_pairs AS p JOIN spend_closed AS c USING (days, start) WHERE days = 1) AS p")
    assert first == count("spend_pairs", "days = 1")
    assert differing_blocks() == []


def test_a_long_journal_takes_several_transactions_and_calls(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "AT_ONCE", 5)
    monkeypatch.setattr(fold, "MOST", 3)
    book_runs(range(4))
    rows = count("spend_journal")
    assert rows > 15
    assert fold.fold(now=LATER) == 15
    assert count("spend_journal") == rows - 15


@pytest.mark.django_db(transaction=True)
def test_only_one_folds_at_a_time() -> None:
    book_runs(range(4))
    fold.fold(now=START)
    book_runs(range(4, 8))
    with psycopg.connect(**connection.get_connection_params(), autocommit=False) as other:
        other.execute("SELECT FROM spend_fold FOR UPDATE")
        assert fold.fold(now=LATER) == 0
    assert fold.fold(now=LATER) > 0
    assert fold.fold(now=LATER) == 0


@pytest.mark.django_db(transaction=True)
def test_ingest_does_not_wait_for_a_fold() -> None:
    book_runs(range(4))
    with psycopg.connect(**connection.get_connection_params(), autocommit=False) as folding:
        folding.execute("DELETE FROM spend_journal")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        book_runs(range(4, 8))
        folding.rollback()
    assert fold.fold(now=LATER) > 0
