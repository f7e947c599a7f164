"""No two things wait for each other by accident."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentops.billing import actions as billing
from agentops.budgets.ceilings import share
from agentops.ingest.connections import connect
from agentops.locks import Lock
from agentops.runs import pending
from tests.watch.scenes import Scene, booked, watched

ROOT = Path(__file__).resolve().parent.parent / "agentops"


def test_the_numbers_of_locks_stand_in_one_place_and_in_the_database_s_function() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), int(number))
        for path in ROOT.rglob("*.py")
        for number in re.findall(r"advisory\w*\((\d+)", path.read_text())
    }
    assert found == {("budgets/migrations/0002_tables.py", Lock.CEILINGS)}


@pytest.mark.django_db(transaction=True)
def test_what_is_being_booked_keeps_neither_the_watch_nor_an_invoice_waiting() -> None:
    scene = Scene()
    scene.says("a word")
    booked(scene)
    with connect("test") as other, other.cursor(binary=True) as cursor, other.transaction():
        share(cursor)
        assert watched() == 1
        assert pending.lag().pending == 0
        cursor.execute(billing.LOCK_IMPORTS.replace("pg_advisory", "pg_try_advisory").encode())
        assert cursor.fetchone() == (True,)
    with connect("test") as watching, watching.cursor() as cursor, watching.transaction():
        cursor.execute("SET LOCAL lock_timeout = '200ms'")
        cursor.execute(f"SELECT pg_advisory_xact_lock({Lock.WATCH}), pg_advisory_xact_lock({Lock.INVOICES})")
        with connect("test") as other, other.cursor(binary=True) as booking, other.transaction():
            booking.execute("SET LOCAL lock_timeout = '200ms'")
            share(booking)
