"""Books random runs through the real booking, for tests of what is read from the books."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

from agentops.columns import books_cursor
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry, book
from tests.ingest.simulation import START_NS, run_entries

START = datetime.fromtimestamp(START_NS // 10**9, UTC)


def book_entries(entries: list[Entry]) -> None:
    """Book spans in the connection that the test uses."""
    with books_cursor() as cursor:
        book(cursor, entries, set())


def book_runs(seeds: Iterable[int], size: int = 12) -> None:
    """Book one random run for each seed; they last up to thirty hours from ``START``."""
    book_entries([entry for seed in seeds for entry in run_entries(seed, size=size)])


def priced_run(
    at: datetime,
    cost_nano: int,
    *,
    service: str = "support",
    agent: str = "writer",
    model: str = "gpt-4o",
    environment: str = "production",
    seconds: int = 1,
    **attribution: str,
) -> Entry:
    """A run of one model call at a moment; no two of one service may start in the same second."""
    start_ns = int(at.timestamp()) * 10**9
    number = f"{service}{start_ns}"
    span = Span(
        trace_id=hashlib.md5(number.encode(), usedforsecurity=False).digest(),
        span_id=b"onespan.",
        parent_span_id=b"",
        service=service,
        kind=Kind.LLM,
        name="chat",
        scope="test",
        start_ns=start_ns,
        end_ns=start_ns + seconds * 10**9,
        is_error=False,
        agent_name=agent,
        response_model=model,
        usage=TokenUsage(100, 20),
        attribution={name: (value, 0) for name, value in {"environment": environment, **attribution}.items()},
    )
    return Entry(span, Cost(cost_nano, PriceSource.BOOK, None), None)
