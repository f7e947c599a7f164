"""Who is signed in, and books with calls of some models on some days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import count

import pytest
from django.test import Client

from agentops.accounts.models import Role, User
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
    """Books one model call: a run of its own at a moment, with a cost in nano-dollars or none that is known."""
    numbers = count(1)

    def book_call(
        at: datetime, nano: int | None, *, model: str = "gpt-4o", service: str = "support", **attribution: str
    ) -> None:
        number = next(numbers)
        start_ns = int(at.timestamp()) * 10**9
        span = Span(
            trace_id=number.to_bytes(16),
            span_id=number.to_bytes(8),
            parent_span_id=b"",
            service=service,
            kind=Kind.LLM,
            name="chat",
            scope="test",
            start_ns=start_ns,
            end_ns=start_ns + 1,
            agent_name="triage",
            provider="openai",
            response_model=model,
            usage=TokenUsage(100, 20, 10),
            attribution={name: (value, 0) for name, value in attribution.items()},
        )
        cost = Cost(nano, PriceSource.BOOK if nano is not None else None, "book" if nano is not None else None)
        book_entries([Entry(span, cost, None)])

    return book_call
