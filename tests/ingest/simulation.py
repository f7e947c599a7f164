"""Random runs for the tests of the books: trees of spans with every difficulty in them."""

from __future__ import annotations

import random
from typing import Any

from psycopg import Cursor

from agentops.domain.spans import ATTRIBUTION, Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry

START_NS = 1_764_000_000 * 10**9
HOUR_NS = 3_600 * 10**9

#: Everything that must come out the same, whatever the order of arrival. A rollup cell that
#: became empty again is as good as none.
BOOKS = {
    "ledger": "SELECT trace_id, span_id, service, fingerprint FROM span_ledger ORDER BY 1, 2, 3",
    "runs": """
        SELECT trace_id, service, environment, session, "user", feature, release, environment_order, session_order,
            user_order, feature_order, release_order, name, agents, models, tools, has_root, root_error,
            last_ended_ns, last_error, started_at, latest_at, cost_nano, unpriced_calls, llm_calls, tool_calls, steps,
            errors, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens,
            reasoning_output_tokens, spans
        FROM runs ORDER BY 1, 2""",
    "spans": "SELECT trace_id, span_id, service, agent, merged_into, cost_nano FROM spans ORDER BY 1, 2, 3",
    "hourly": "SELECT * FROM spend_hourly WHERE steps <> 0 OR cost_nano <> 0 ORDER BY 1, 2, 3, 4, 5",
    "daily": "SELECT * FROM spend_days WHERE steps <> 0 OR cost_nano <> 0 ORDER BY 1, 2, 3, 4, 5",
}

TABLES = (
    "runs",
    "spans",
    "span_ledger",
    "span_messages",
    "spend_hourly",
    "spend_daily",
    "spend_past",
    "spend_window",
    "spend_window_range",
    "spend_window_keys",
    "catalog_service",
)


def run_entries(seed: int, size: int = 12, services: int = 2) -> list[Entry]:
    """One run: nested agents and model calls, two scopes, attributes that contradict each other."""
    rng = random.Random(seed)
    trace_id = rng.randbytes(16)
    ids = [rng.randbytes(8) for _ in range(size)]
    entries = []
    for i in range(size):
        kind = rng.choice([Kind.AGENT, Kind.LLM, Kind.LLM, Kind.EMBEDDING, Kind.TOOL, Kind.RETRIEVAL, Kind.OTHER])
        start = START_NS + rng.randrange(30 * HOUR_NS)
        span = Span(
            trace_id=trace_id,
            span_id=ids[i],
            parent_span_id=b"" if i == 0 else ids[rng.randrange(i)],
            service=f"service-{seed % services}",
            kind=kind,
            name=f"span {i}",
            scope=rng.choice(["scope.a"] * 6 + ["scope.b"]),
            start_ns=start,
            end_ns=start + rng.randrange(HOUR_NS),
            is_error=rng.random() < 0.1,
            agent_name=rng.choice(["planner", "writer"]) if rng.random() < 0.6 else None,
        )
        cost = Cost(None, None, None)
        if kind in (Kind.LLM, Kind.EMBEDDING):
            span.usage = TokenUsage(rng.randrange(1_000), rng.randrange(100), rng.choice([None, 5]))
            span.response_model = rng.choice(["gpt-4o", "claude-sonnet-4-5", None])
            span.response_id = rng.choice([None, None, "resp-1", f"resp-{i}"])
            if rng.random() < 0.9:
                cost = Cost(rng.randrange(10**9), PriceSource.GENAI_PRICES, "test")
        if kind is Kind.TOOL:
            span.tool_name = rng.choice(["search", "fetch"])
        for dimension in ATTRIBUTION:
            if rng.random() < 0.2:
                span.attribution[dimension] = (rng.choice(["x", "y", "z"]), rng.randrange(2))
        entries.append(Entry(span, cost, None))
    return entries


def read_books(cursor: Cursor[Any]) -> dict[str, list[Any]]:
    """The whole of the books, comparable."""
    found = {}
    for name, statement in BOOKS.items():
        cursor.execute(statement)
        found[name] = cursor.fetchall()
    return found


def clear_books(cursor: Cursor[Any]) -> None:
    """Forget everything booked."""
    for table in TABLES:
        cursor.execute(f"DELETE FROM {table}")
