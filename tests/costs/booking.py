"""Books random runs through the real booking, for tests of what is read from the books."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.ingest.booking import Entry, book
from tests.ingest.simulation import START_NS, run_entries

START = datetime.fromtimestamp(START_NS // 10**9, UTC)


def book_entries(entries: list[Entry]) -> None:
    """Book spans in the connection that the test uses."""
    connection.ensure_connection()
    with Cursor(connection.connection) as raw:
        raw.format = Format.BINARY
        columns.register(raw)
        book(raw, entries, set())


def book_runs(seeds: Iterable[int], size: int = 12) -> None:
    """Book one random run for each seed; they last up to thirty hours from ``START``."""
    book_entries([entry for seed in seeds for entry in run_entries(seed, size=size)])
