"""Days that are over: moved once, whatever else happens, and pages read them from a window's sums."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from agentops.costs import books, queries, windows
from agentops.costs.sources import SpendFilters
from agentops.domain.periods import truncate
from tests.costs.booking import START, book_runs

LATER = START + timedelta(days=3)
WIDE = (START - timedelta(days=9), LATER + timedelta(days=1))


def count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE dimension IN (1, 3)")
        return int(cursor.fetchone()[0])


def test_days_that_are_over_move_and_today_stays(db: None) -> None:
    book_runs(range(8))
    cells, tomorrow = count("spend_daily"), truncate(START + timedelta(days=1), "day")
    moved = windows.close_days(now=tomorrow)
    assert 0 < moved < cells
    assert (count("spend_daily"), count("spend_past")) == (cells - moved, moved)
    assert windows.close_days(now=tomorrow) == 0
    assert windows.close_days(now=LATER) == cells - moved


def test_many_cells_move_in_several_transactions(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "AT_ONCE", 3)
    book_runs(range(8))
    cells = count("spend_daily")
    assert windows.close_days(now=LATER) == cells > 3
    assert books.check_books(now=timezone.now()) == []


def test_a_range_around_a_window_reads_its_sums_and_not_its_days(db: None) -> None:
    book_runs(range(8))
    windows.close_days(now=LATER)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE spend_window SET cost_nano = 7, steps = 1 WHERE dimension = 1 AND environment = ''")
    items = queries.spend("user", SpendFilters(), *WIDE).items
    assert {item.totals.cost_nano for item in items} == {7}


def test_what_has_left_every_window_leaves_no_empty_rows(db: None) -> None:
    book_runs(range(8))
    windows.close_days(now=LATER)
    assert count("spend_window")
    windows.close_days(now=START + timedelta(days=200))
    assert count("spend_window") == 0


@pytest.mark.django_db(transaction=True)
def test_a_cell_that_ingest_holds_is_not_waited_for_and_moves_later() -> None:
    book_runs(range(8))
    cells = count("spend_daily")
    with psycopg.connect(**connection.get_connection_params(), autocommit=False) as ingest:
        ingest.execute("UPDATE spend_daily SET errors = errors WHERE dimension = 1 AND key = 'x'")
        windows.close_days(now=LATER)
        assert 0 < count("spend_daily") < cells
        ingest.commit()
    windows.close_days(now=LATER)
    assert count("spend_daily") == 0
    assert books.check_books(now=timezone.now()) == []


@pytest.mark.django_db(transaction=True)
def test_only_one_closes_at_a_time() -> None:
    book_runs(range(8))
    windows.close_days(now=START)
    with psycopg.connect(**connection.get_connection_params(), autocommit=False) as other:
        other.execute("SELECT FROM spend_window_range FOR UPDATE")
        assert windows.close_days(now=LATER) == 0
    assert windows.close_days(now=LATER) > 0
