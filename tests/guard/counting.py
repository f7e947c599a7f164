"""Which statements a round takes, its own and those over Django's connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.current import Current
from agentops.guard.context import Customs
from agentops.guard.estimates import Estimates
from agentops.guard.round import Check, Round
from agentops.watch import rules

OWN, DJANGOS = "own", "Django's"
_made: list[str] = []


class Noting(Cursor[Any]):
    """Notes what is executed, by all cursors."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """As a cursor does."""
        _made.append(OWN)
        return super().execute(*args, **kwargs)


def statements(checks: Sequence[Check], estimates: Estimates, customs: Customs) -> list[str]:
    """Decide; over which connection each statement went, in their order."""

    def note(execute: Callable[..., Any], *args: Any) -> Any:
        _made.append(DJANGOS)
        return execute(*args)

    _made.clear()
    with Noting(connection.connection) as cursor, connection.execute_wrapper(note):
        cursor.format = Format.BINARY
        columns.register(cursor)
        Round(cursor, estimates, customs).decide(checks, [])
    return list(_made)


def count_statements(checks: Sequence[Check]) -> int:
    """Decide in a process that has read nothing yet, and count."""
    return len(statements(checks, Estimates(), Customs()))


def process(clock: Callable[[], float]) -> tuple[Estimates, Customs]:
    """What a process keeps in mind, by this clock."""
    return Estimates(clock=clock), Customs(clock, Current(rules.latest_revision, rules.load, clock=clock))
