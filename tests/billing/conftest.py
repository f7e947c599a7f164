"""Who is signed in, and books with calls of some models on some days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import count

import pytest
from django.db import connection
from django.test import Client
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.accounts.models import Role, User
from agentops.costs.cells import NS_PER_HOUR, Moves
from agentops.costs.store import move_spend
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry
from tests.costs.booking import book_entries

Call = Callable[..., None]


@pytest.fixture
def owner(db: None) -> User:
    """Somebody who may settle."""
    return User.objects.create_user("olga", role=Role.OWNER)


@pytest.fixture
def client(owner: User) -> Client:
    """Their browser."""
    browser = Client()
    browser.force_login(owner)
    return browser


@pytest.fixture
def viewer(db: None) -> Client:
    """A browser of somebody who may only look."""
    browser = Client()
    browser.force_login(User.objects.create_user("viewer"))
    return browser


@pytest.fixture
def call(db: None) -> Call:
    """Books one model call: a run of its own at a moment, with a cost in nano-dollars or none that is known.

    Their trace ids are 1, 2, …
    """
    numbers = count(1)

    def book_call(
        at: datetime,
        nano: int | None,
        *,
        model: str = "gpt-4o",
        tool: str = "",
        service: str = "support",
        **attribution: str,
    ) -> None:
        number = next(numbers)
        start_ns = int(at.timestamp()) * 10**9
        span = Span(
            trace_id=number.to_bytes(16),
            span_id=number.to_bytes(8),
            parent_span_id=b"",
            service=service,
            kind=Kind.TOOL if tool else Kind.LLM,
            name="chat",
            scope="test",
            start_ns=start_ns,
            end_ns=start_ns + 1,
            agent_name="triage",
            provider="openai",
            response_model=None if tool else model,
            tool_name=tool or None,
            usage=TokenUsage(100, 20, 10),
            attribution={name: (value, 0) for name, value in attribution.items()},
        )
        cost = Cost(nano, PriceSource.BOOK if nano is not None else None, "book" if nano is not None else None)
        book_entries([Entry(span, cost, None)])

    return book_call


@pytest.fixture
def correct(db: None) -> Call:
    """Gives a booked call another cost or another feature, as whoever corrects the books does."""

    def correct_call(number: int, *, nano: int | None = None, feature: str | None = None) -> None:
        at = f"trace_id = '\\x{number:032x}'"
        connection.ensure_connection()
        with Cursor(connection.connection) as cursor:
            cursor.execute(f"SELECT service, start_ns, cost_nano, response_model FROM spans WHERE {at}")
            service, start_ns, before, model = cursor.fetchone() or ()
            cursor.execute(f"SELECT coalesce(feature, '') FROM runs WHERE {at}")
            (old,) = cursor.fetchone() or ("",)
            new, after = old if feature is None else feature, before if nano is None else nano
            cursor.execute(f"UPDATE spans SET cost_nano = %s WHERE {at}", [after])
            cursor.execute(f"UPDATE runs SET feature = %s, cost_nano = %s WHERE {at}", [new or None, after])
            moves = Moves()
            where = (start_ns // NS_PER_HOUR, "triage", model, "")
            for sign, name, cost in ((-1, old, before), (1, new, after)):
                place = ("production", "", name, "", "")
                moves.add(service, place, where, (cost, 0, 1, 0, 1, 0, 100, 20, 10, 0, 0), sign=sign)
            cursor.format = Format.BINARY
            columns.register(cursor)
            move_spend(cursor, moves)

    return correct_call
