"""One transaction of the books: from understood spans to ledger, runs, spans and spend.

The number of statements does not depend on the number of spans. Most runs are booked from what
their new spans say of themselves; the whole run is read again only when its tree decides (an
agent named by an ancestor, a model call that repeats another) or its attribution changes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from psycopg import Cursor

from agentops.catalog import store as catalog
from agentops.costs import store as costs
from agentops.costs.cells import (
    Moves,
    Where,
    add_step,
    add_to,
    measures_of,
    place_of,
    stored_measures,
    stored_where,
    where_of,
)
from agentops.domain.runtree import Booking, Node, needs_tree, resolve
from agentops.domain.spans import COSTED_KINDS, Cost, Kind, Span
from agentops.domain.terms import stored_terms
from agentops.runs import store as runs
from agentops.runs.store import NO_MEASURES, RunDelta, RunKey, RunState, SpanKey, StoredSpan

#: Bits below the rank in an attribution order: microseconds since the epoch fit.
_RANK_SHIFT = 52

_MODEL_KINDS = COSTED_KINDS
_CONCLUDING_KINDS = frozenset({Kind.AGENT, Kind.LLM})


@dataclass(slots=True)
class Entry:
    """A span and its price, ready to be booked."""

    span: Span
    cost: Cost
    content: str | None
    key: SpanKey = field(init=False)
    run: RunKey = field(init=False)
    measures: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the keys and what the span counts, once."""
        span = self.span
        self.key = (span.trace_id, span.span_id, span.service)
        self.run = (span.trace_id, span.service)
        self.measures = measures_of(span, self.cost)


@dataclass(slots=True)
class Outcome:
    """What a transaction did: the new spans, those that came again, and what it touched."""

    accepted: set[SpanKey] = field(default_factory=set)
    conflicts: set[SpanKey] = field(default_factory=set)
    runs: set[RunKey] = field(default_factory=set)


def fingerprint(span: Span) -> int:
    """A signed 32-bit check of what is booked of a span, to notice another span under its id."""
    usage = span.usage
    facts = (
        f"{span.name}|{span.kind}|{span.start_ns}|{span.end_ns}|{span.is_error}|{usage.input}|{usage.output}"
        f"|{usage.cache_read}|{usage.cache_creation}|{span.response_model}|{span.reported_cost_nano}"
    )
    value = zlib.crc32(facts.encode("utf-8", "replace"))
    return value - (1 << 32) if value >= 1 << 31 else value


def book(cursor: Cursor[Any], entries: Sequence[Entry], known_services: set[str]) -> Outcome:
    """Book spans, each once; the caller commits. ``known_services`` need no registration.

    ``entries`` may hold the same span twice: the first counts.
    """
    outcome = Outcome()
    unique: dict[SpanKey, Entry] = {}
    for entry in entries:
        unique.setdefault(entry.key, entry)
    if not unique:
        return outcome
    if unknown := {key[2] for key in unique} - known_services:
        catalog.register(cursor, sorted(unknown))
    claimed = runs.claim(
        cursor, [(*key, fingerprint(e.span), e.span.kind in _MODEL_KINDS) for key, e in unique.items()]
    )
    outcome.accepted = set(claimed)
    if len(claimed) < len(unique):
        outcome.conflicts = _conflicts(cursor, {key: e for key, e in unique.items() if key not in claimed})
    fresh = [entry for key, entry in unique.items() if key in claimed]
    if fresh:
        _book_new(cursor, fresh, claimed)
        outcome.runs = {entry.run for entry in fresh}
    return outcome


def _conflicts(cursor: Cursor[Any], repeated: dict[SpanKey, Entry]) -> set[SpanKey]:
    stored = runs.fingerprints(cursor, repeated)
    return {key for key, entry in repeated.items() if stored.get(key) != fingerprint(entry.span)}


def _book_new(cursor: Cursor[Any], fresh: list[Entry], claimed: dict[SpanKey, date]) -> None:
    by_run: dict[RunKey, list[Entry]] = {}
    for entry in fresh:
        by_run.setdefault(entry.run, []).append(entry)
    states = runs.upsert_runs(cursor, [_delta(key, by_run[key]) for key in sorted(by_run)])
    trees = _runs_with_trees(cursor, states, by_run, claimed)
    moved = {key for key, state in states.items() if state.existed and state.attribution != state.was}
    reread = [key for key in sorted(trees | moved) if states[key].existed]
    stored = runs.stored_spans(cursor, [states[key] for key in reread]) if reread else {}

    rebooked: list[tuple[Any, ...]] = []
    corrections: list[tuple[RunKey, Sequence[int]]] = []
    moves = Moves()
    bookings: dict[SpanKey, Booking] = {}
    for key, state in states.items():
        if key not in trees and key not in moved:
            _book_plain(moves.steps(key[1], place_of(state.attribution)), by_run[key])
            continue
        correction = _book_again(moves, bookings, rebooked, state, by_run[key], stored.get(key, []), tree=key in trees)
        if key in trees and (any(correction) or not state.needs_tree):
            corrections.append((key, correction))
    if rebooked:
        runs.rebook_spans(cursor, rebooked)
    runs.copy_spans(cursor, (_span_row(entry, claimed[entry.key], bookings.get(entry.key)) for entry in fresh))
    costs.move_spend(cursor, moves)
    if corrections:
        runs.correct_runs(cursor, corrections)


def _book_plain(steps: dict[Where, list[int]], entries: list[Entry]) -> None:
    """Roll up new spans of one run that speak for themselves."""
    for entry in entries:
        if entry.measures is not NO_MEASURES:
            add_step(steps, where_of(entry.span, entry.span.agent_name), entry.measures)


def _book_again(
    moves: Moves,
    bookings: dict[SpanKey, Booking],
    rebooked: list[tuple[Any, ...]],
    state: RunState,
    entries: list[Entry],
    stored: list[StoredSpan],
    *,
    tree: bool,
) -> list[int]:
    """Roll up a run whose booked spans may move; the answer is what its own measures are off by."""
    service = state.key[1]
    nodes = [_node_of(entry.span) for entry in entries] + [_node_of_stored(span) for span in stored]
    resolved = resolve(nodes) if tree else {}
    now_at, was_at = place_of(state.attribution), place_of(state.was)
    correction = [0] * len(NO_MEASURES)
    for entry in entries:
        span = entry.span
        booking = resolved.get(span.span_id) or Booking(span.agent_name, None)
        bookings[entry.key] = booking
        if booking.merged_into:
            add_to(correction, entry.measures, sign=-1)
        else:
            moves.add(service, now_at, where_of(span, booking.agent), entry.measures)
    for old_span in stored:
        old = Booking(old_span.agent, old_span.merged_into)
        booking = resolved.get(old_span.span_id, old)
        if booking != old:
            key = (old_span.trace_id, old_span.span_id, old_span.service)
            rebooked.append((old_span.received_on, *key, booking.agent, booking.merged_into))
        elif now_at == was_at:
            continue
        measures = stored_measures(old_span)
        if not old.merged_into:
            moves.add(service, was_at, stored_where(old_span, old.agent), measures, sign=-1)
        if not booking.merged_into:
            moves.add(service, now_at, stored_where(old_span, booking.agent), measures)
        if bool(booking.merged_into) != bool(old.merged_into):
            add_to(correction, measures, sign=-1 if booking.merged_into else 1)
    return correction


def _runs_with_trees(
    cursor: Cursor[Any],
    states: dict[RunKey, RunState],
    by_run: dict[RunKey, list[Entry]],
    claimed: dict[SpanKey, date],
) -> set[RunKey]:
    """Runs whose bookings depend on their whole tree; asked after the runs are locked."""
    trees = set()
    for key, state in states.items():
        parents = state.open_parents
        is_caller = any(e.span.span_id.hex() in parents for e in by_run[key] if e.span.kind in _MODEL_KINDS)
        if is_caller or state.needs_tree or len(state.llm_scopes) > 1:
            trees.add(key)
    unseen = {
        (key[0], e.span.parent_span_id, key[1])
        for key, state in states.items()
        if state.existed and key not in trees
        for e in by_run[key]
        if e.span.parent_span_id
    }
    unseen -= claimed.keys()
    if unseen:
        trees |= runs.runs_with_llm_parents(cursor, sorted(unseen))
    answers: set[str] = set()
    answered = []
    for key, state in states.items():
        if not state.existed or key in trees:
            continue
        ids = {e.span.response_id for e in by_run[key] if e.span.response_id and e.span.kind in _MODEL_KINDS}
        if ids:
            answers |= ids
            answered.append(state)
    if answers:
        trees |= runs.runs_with_responses(cursor, answered, sorted(answers))
    return trees


def _delta(key: RunKey, entries: list[Entry]) -> RunDelta:
    delta = RunDelta(key=key, needs_tree=needs_tree(entry.span for entry in entries))
    delta.start_ns = min(entry.span.start_ns for entry in entries)
    delta.end_ns = max(entry.span.end_ns for entry in entries)
    parents, agents, scopes = set(), set(), set()
    for entry in entries:
        span = entry.span
        parent = span.parent_span_id
        if parent:
            parents.add(parent)
        else:
            delta.has_root = True
            delta.root_error |= span.is_error
            delta.name = min(delta.name or span.name, span.name)
        kind = span.kind
        if kind in _CONCLUDING_KINDS and (ended := (span.end_ns, span.is_error)) > delta.last_ended:
            delta.last_ended = ended
        if span.agent_name:
            agents.add(span.agent_name)
        if kind in _MODEL_KINDS:
            scopes.add(span.scope)
            delta.models.update(filter(None, (span.request_model, span.response_model)))
        if span.tool_name:
            delta.tools.add(span.tool_name)
        if span.attribution:
            _attribute(delta.best, span, below_root=bool(parent))
        if entry.measures is not NO_MEASURES:
            add_to(delta.measures, entry.measures)
    delta.agents, delta.llm_scopes = agents, scopes
    delta.parents = {parent.hex() for parent in parents}
    delta.spans = len(entries)
    return delta


def _attribute(best: dict[str, tuple[int, str]], span: Span, *, below_root: bool) -> None:
    # Explicit values before fallbacks, the root's before others', then the earliest span's.
    start_us = span.start_ns // 1000
    for dimension, (value, rank) in span.attribution.items():
        order = ((rank * 2 + below_root) << _RANK_SHIFT) + start_us
        held = best.get(dimension)
        if held is None or order < held[0] or (order == held[0] and value < held[1]):
            best[dimension] = (order, value)


def _node_of(span: Span) -> Node:
    usage = span.usage
    return Node(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kind=span.kind,
        own_agent=span.agent_name,
        scope=span.scope,
        response_id=span.response_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        usage_fields=_known(usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning),
        output_tokens=usage.output,
        is_error=span.is_error,
    )


def _node_of_stored(span: StoredSpan) -> Node:
    return Node(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kind=Kind(span.kind),
        own_agent=span.own_agent,
        scope=span.scope,
        response_id=span.response_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        usage_fields=_known(*span.tokens),
        output_tokens=span.output_tokens,
        is_error=span.is_error,
    )


def _known(*counts: int | None) -> int:
    return sum(1 for count in counts if count)


def _span_row(entry: Entry, received_on: date, booking: Booking | None) -> tuple[Any, ...]:
    span, cost, usage = entry.span, entry.cost, entry.span.usage
    agent, merged_into = (booking.agent, booking.merged_into) if booking else (span.agent_name, None)
    return (
        received_on,
        span.service,
        span.trace_id,
        span.span_id,
        span.parent_span_id or None,
        span.kind,
        span.is_error,
        span.name,
        span.scope,
        span.agent_name,
        agent,
        span.provider,
        span.request_model,
        span.response_model,
        span.response_id,
        span.tool_name,
        span.error_type,
        span.start_ns,
        span.end_ns,
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_creation,
        usage.reasoning,
        cost.nano,
        cost.source,
        cost.price_id,
        merged_into,
        entry.content,
        stored_terms(span),
        cost.is_estimate,
    )
