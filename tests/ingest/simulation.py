"""Random runs for the tests of the books: trees of spans with every difficulty in them."""

from __future__ import annotations

import random
from typing import Any

from psycopg import Cursor

from agentops.costs.fold import BOUNDED, PAIRS, number
from agentops.costs.models import MEASURES, Dimension
from agentops.domain.spans import ATTRIBUTION, Cost, Kind, PriceSource, Span, TokenUsage
from agentops.ingest.booking import Entry

START_NS = 1_764_000_000 * 10**9
HOUR_NS = 3_600 * 10**9

_KEYS = 'environment, service, "user", feature, session, release, agent, model, tool'
_SUMS = ", ".join(f"sum({m})" for m in MEASURES)
_SOME = "HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0"


def pairs_of(steps: str, days: str) -> str:
    """What ``spend_pairs`` should say of rows with all keys: of each day, or else of each block of so many days."""
    columns = [(number(a, b), a.name.lower(), b.name.lower()) for a, b in PAIRS]
    if days != "1":
        columns += [(number(d, Dimension.SERVICE), d.name.lower(), "service") for d in BOUNDED]
        columns += [(number(d, d), d.name.lower(), "''") for d in BOUNDED]
    values = ", ".join(f"({pair}, {key}, {other})" for pair, key, other in columns)
    service = "service" if days == "1" else "''"
    start = f"to_timestamp(floor(extract(epoch FROM start) / ({days} * 86400)) * {days} * 86400)"
    return f"""SELECT {days} AS days, p.pair, {start} AS start, environment, {service} AS service, p.key, p.other_key,
        {", ".join(MEASURES)} FROM {steps} CROSS JOIN LATERAL (VALUES {values}) AS p (pair, key, other_key)"""


#: Everything that must come out the same, whatever the order of arrival. A rollup cell that
#: became empty again is as good as none.
BOOKS = {
    "ledger": "SELECT trace_id, span_id, service, fingerprint FROM span_ledger ORDER BY 1, 2, 3",
    "runs": """
        SELECT trace_id, service, environment, session, "user", feature, release, environment_order, session_order,
            user_order, feature_order, release_order, name, agents, models, tools, has_root, root_error,
            last_ended_ns, last_error, started_at, latest_at, cost_nano, unpriced_calls, llm_calls, tool_calls, steps,
            errors, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens,
            reasoning_output_tokens, spans, absorbed_spans, is_absorbed
        FROM runs ORDER BY 1, 2""",
    "spans": """
        SELECT trace_id, span_id, service, agent, merged_into, merged_trace_id, cost_nano, own_figures
        FROM spans ORDER BY 1, 2, 3""",
    "hourly": "SELECT * FROM spend_hourly WHERE steps <> 0 OR cost_nano <> 0 ORDER BY 1, 2, 3, 4, 5",
    "daily": "SELECT * FROM spend_days WHERE steps <> 0 OR cost_nano <> 0 ORDER BY 1, 2, 3, 4, 5",
    # Where windows begin depends on the clock.
    "windows": """
        SELECT budget_id, member, sum(spent_nano), sum(spent_tokens), sum(spent_steps), sum(reserved_nano)
        FROM budget_window GROUP BY 1, 2 HAVING sum(spent_steps) <> 0 OR sum(spent_nano) <> 0 ORDER BY 1, 2""",
    # With what is folded and what is not.
    "steps": f"SELECT start, {_KEYS}, {_SUMS} FROM spend_steps GROUP BY start, {_KEYS} {_SOME} ORDER BY start, {_KEYS}",
    "pairs": f"""
        SELECT pair, start, environment, service, key, other_key, {_SUMS} FROM (
            SELECT * FROM spend_pairs WHERE days = 1
            UNION ALL {pairs_of("(SELECT to_timestamp(hour * 3600.0) AS start, * FROM spend_journal) AS j", "1")}
        ) AS p GROUP BY 1, 2, 3, 4, 5, 6 {_SOME} ORDER BY 1, 2, 3, 4, 5, 6""",
}

TABLES = (
    "runs",
    "spans",
    "span_ledger",
    "span_messages",
    "answers",
    "span_waiting",
    "watch_queue",
    "run_findings",
    "spend_hourly",
    "spend_daily",
    "spend_past",
    "spend_window",
    "spend_window_range",
    "spend_window_keys",
    "spend_journal",
    "spend_details",
    "spend_pairs",
    "spend_fold",
    "spend_closed",
    "budget_window",
    "budget_reservation",
    "budget_refusal",
    "budget_sample",
    "budget_habit",
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


def call_tree(seed: int, size: int = 30) -> list[Entry]:
    """A run as it happens: what is below a span starts while it lasts; calls within calls, streams in two spans."""
    rng = random.Random(seed)
    trace_id = rng.randbytes(16)
    entries: list[Entry] = []
    above: list[Span] = []
    for i in range(size):
        parent = rng.choice(above) if above else None
        start = START_NS if parent is None else rng.randrange(parent.start_ns, parent.end_ns + 1)
        longest = 3_000 * 10**9 if parent is None else parent.end_ns - start
        kind = rng.choice([Kind.AGENT, Kind.LLM, Kind.LLM, Kind.LLM, Kind.TOOL, Kind.OTHER]) if parent else Kind.AGENT
        if kind is Kind.LLM:
            longest = min(longest, 60 * 10**9)
        span = Span(
            trace_id=trace_id,
            span_id=rng.randbytes(8),
            parent_span_id=parent.span_id if parent else b"",
            service="caller",
            kind=kind,
            name=f"span {i}",
            scope=rng.choice(["scope.a", "scope.a", "scope.b", "com.anthropic.sdk.python"]),
            start_ns=start,
            end_ns=start + (rng.randrange(longest + 1) if rng.random() < 0.9 else 0),
            is_error=rng.random() < 0.1,
            agent_name=f"agent {rng.randrange(3)}" if kind is Kind.AGENT and rng.random() < 0.7 else None,
        )
        cost = Cost(None, None, None)
        if kind is Kind.LLM:
            span.response_model = "gpt-4o"
            if rng.random() < 0.7:
                span.usage = TokenUsage(rng.randrange(1_000), rng.randrange(100), rng.choice([None, 5]))
                cost = Cost(rng.randrange(10**9), PriceSource.GENAI_PRICES, "test")
            span.response_id = rng.choice([None, f"resp-{seed}-{rng.randrange(size)}", f"resp-{seed}-{i}"])
        above.append(span)
        entries.append(Entry(span, cost, None))
    return entries


def with_strays(entries: list[Entry], seed: int) -> list[Entry]:
    """The same, and traces of the SDK's own that repeat some of the calls."""
    rng = random.Random(seed)
    strays = []
    for entry in entries:
        span = entry.span
        if span.kind is not Kind.LLM or span.response_id is None or rng.random() < 0.5:
            continue
        stray = Span(
            trace_id=rng.randbytes(16),
            span_id=rng.randbytes(8),
            parent_span_id=b"",
            service=span.service,
            kind=Kind.LLM,
            name="messages.create",
            scope=rng.choice(["com.anthropic.sdk.python", "scope.c"]),
            start_ns=span.start_ns + rng.choice([0, 1_000, HOUR_NS * 30]),
            end_ns=span.end_ns + HOUR_NS * 30,
        )
        stray.response_model, stray.response_id = "gpt-4o", span.response_id
        stray.usage = TokenUsage(rng.randrange(1_000), rng.randrange(1_000), 1, 1)
        strays.append(Entry(stray, Cost(rng.randrange(10**9), PriceSource.GENAI_PRICES, "sdk"), None))
    return entries + strays


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
