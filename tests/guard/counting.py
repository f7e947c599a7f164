"""How many statements a round takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.guard.context import Customs
from agentops.guard.estimates import Estimates
from agentops.guard.round import Check, Round


class Counting(Cursor[Any]):
    """Counts what is executed, by all cursors."""

    count = 0

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """As a cursor does."""
        Counting.count += 1
        return super().execute(*args, **kwargs)


def count_statements(checks: Sequence[Check]) -> int:
    """Decide, and count."""
    with Counting(connection.connection) as cursor:
        cursor.format = Format.BINARY
        columns.register(cursor)
        before = Counting.count
        Round(cursor, Estimates(), Customs()).decide(checks, [])
        return Counting.count - before
