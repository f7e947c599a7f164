"""One transaction of the books: from understood spans to ledger, runs, spans and spend.

The number of statements does not depend on the number of spans. Most runs are booked from what
their new spans say of themselves; booked spans are looked at again only where a run's tree decides (an
agent named by an ancestor, a model call that repeats another), or its attribution changes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from psycopg import Cursor

from agentops.budgets.ceilings import Moment, share
from agentops.catalog import store as catalog
from agentops.costs import store as costs
from agentops.costs.cells import Moves, add_step, add_to, place_of, where_of
from agentops.domain.attribution import collect
from agentops.domain.runtree import Booking, needs_tree
from agentops.domain.spans import COSTED_KINDS, Kind, Span
from agentops.ingest import grants
from agentops.ingest.entry import Entry as Entry  # noqa: PLC0414  (its users know it from here)
from agentops.ingest.entry import answer_key, figures_of
from agentops.ingest.trees import Decisions, decide
from agentops.runs import pending
from agentops.runs import store as runs
from agentops.runs.pending import WATCHED_KINDS, Place
from agentops.runs.store import NO_MEASURES, RunDelta, RunKey, RunState, SpanKey, Told

_MODEL_KINDS = COSTED_KINDS
_CONCLUDING_KINDS = frozenset({Kind.AGENT, Kind.LLM})


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
    moment = share(cursor)
    if unknown := {key[2] for key in unique} - known_services:
        catalog.register(cursor, sorted(unknown))
    claimed = runs.claim(cursor, [_claim(entry) for entry in unique.values()])
    outcome.accepted = set(claimed)
    if len(claimed) < len(unique):
        outcome.conflicts = _conflicts(cursor, {key: e for key, e in unique.items() if key not in claimed})
    fresh = [entry for key, entry in unique.items() if key in claimed]
    if fresh:
        moves = Moves()
        for entry in fresh:
            entry.counted_at = moment.at
        if moment.has_grants:
            grants.meet(cursor, moment, fresh, moves.windows)
        outcome.runs = _book_new(cursor, moment, moves, fresh, claimed)
    return outcome


def _claim(entry: Entry) -> tuple[Any, ...]:
    span = entry.span
    return (*entry.key, fingerprint(span), span.kind in _MODEL_KINDS, span.parent_span_id or None, span.start_ns)


def _conflicts(cursor: Cursor[Any], repeated: dict[SpanKey, Entry]) -> set[SpanKey]:
    stored = runs.fingerprints(cursor, repeated)
    return {key for key, entry in repeated.items() if stored.get(key) != fingerprint(entry.span)}


def _book_new(
    cursor: Cursor[Any], moment: Moment, moves: Moves, fresh: list[Entry], claimed: dict[SpanKey, date]
) -> set[RunKey]:
    """Book spans that the ledger did not know; the runs that this touches, those of other traces included."""
    by_run: dict[RunKey, list[Entry]] = {}
    for entry in fresh:
        by_run.setdefault(entry.run, []).append(entry)
    told, telling = _note_answers(cursor, fresh)
    others = telling - by_run.keys()
    deltas = [_delta(key, by_run[key]) if key in by_run else RunDelta(key) for key in sorted(by_run.keys() | others)]
    states = runs.upsert_runs(cursor, deltas)
    locked = {key: states.pop(key).attribution for key in others & states.keys()}
    if moved := [state for _, state in sorted(states.items()) if state.existed and state.attribution != state.was]:
        _move_runs(cursor, moves, moved)
    trees = _runs_with_trees(cursor, states, by_run, claimed, told)
    for key, state in states.items():
        if key not in trees:
            _book_plain(moves, key, place_of(state.attribution), by_run[key])
    decisions = decide(cursor, moves, states, by_run, trees, told, locked) if trees else Decisions()
    runs.copy_spans(cursor, (_span_row(entry, claimed[entry.key], decisions) for entry in fresh))
    pending.add(cursor, (_waiting(e.span) for e in fresh if e.span.kind in WATCHED_KINDS or not e.span.parent_span_id))
    if decisions.corrections:
        runs.correct_runs(cursor, decisions.corrections)
    costs.move_spend(cursor, moves, moment)
    return by_run.keys() | decisions.runs


def _waiting(span: Span) -> tuple[bytes, str, Place]:
    return span.trace_id, span.service, Place(span.span_id, span.start_ns)


def _note_answers(cursor: Cursor[Any], fresh: Iterable[Entry]) -> tuple[dict[bytes, list[Told]], set[RunKey]]:
    """The answers that were told more than once, and all runs that told them."""
    rows, services = [], {}
    for entry in fresh:
        span = entry.span
        if (key := answer_key(span)) is not None:
            rows.append((key, Told(span.trace_id, span.span_id, span.start_ns)))
            services[key] = span.service
    told = runs.note_answers(cursor, rows) if rows else {}
    return told, {(place.trace_id, services[key]) for key, places in told.items() for place in places}


def _move_runs(cursor: Cursor[Any], moves: Moves, moved: Sequence[RunState]) -> None:
    """Take what runs have booked out of where they were attributed, and book it where they are now."""
    places = {state.key: (place_of(state.was), place_of(state.attribution)) for state in moved}
    for key, where, counted_at, measures in costs.booked_steps(cursor, moved):
        for place, sign in zip(places[key], (-1, 1), strict=True):
            moves.book(key, place, where, counted_at, measures, sign=sign)


def _book_plain(moves: Moves, run: RunKey, place: tuple[str, str, str, str, str], entries: list[Entry]) -> None:
    """Roll up new spans of one run that speak for themselves."""
    steps = moves.steps(run[1], place)
    received: dict[datetime | None, list[int]] = {}
    for entry in entries:
        measures = entry.measures
        if measures is not NO_MEASURES:
            add_step(steps, where_of(entry.span, entry.span.agent_name), measures)
            add_step(received, entry.counted_at, measures)
    for counted_at, total in received.items():
        moves.receive(run, place, counted_at, total)


def _runs_with_trees(
    cursor: Cursor[Any],
    states: Mapping[RunKey, RunState],
    by_run: Mapping[RunKey, Sequence[Entry]],
    claimed: Mapping[SpanKey, date],
    told: Mapping[bytes, Sequence[Told]],
) -> set[RunKey]:
    """Runs whose bookings depend on more than their new spans; asked after the runs are locked."""
    trees = {entry.run for entries in by_run.values() for entry in entries if answer_key(entry.span) in told}
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
            collect(delta.best, span.attribution, span.start_ns, below_root=bool(parent))
        if entry.measures is not NO_MEASURES:
            add_to(delta.measures, entry.measures)
    delta.agents, delta.llm_scopes = agents, scopes
    delta.parents = {parent.hex() for parent in parents}
    delta.spans = len(entries)
    return delta


def _span_row(entry: Entry, received_on: date, decisions: Decisions) -> tuple[Any, ...]:
    span = entry.span
    booking = decisions.bookings.get(entry.key) or Booking(span.agent_name, None)
    figures, own = decisions.figures.get(entry.key) or (figures_of(entry), None)
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
        booking.agent,
        span.provider,
        span.request_model,
        span.response_model,
        span.response_id,
        span.tool_name,
        span.error_type,
        span.start_ns,
        span.end_ns,
        *figures,
        booking.merged_into,
        booking.merged_trace,
        own,
        entry.counted_at,
        entry.content,
    )
