"""One transaction of the books: from understood spans to ledger, runs, spans and spend.

The number of statements does not depend on the number of spans. Most runs are booked from what
their new spans say of themselves; the whole run is read again only when its tree decides (an
agent named by an ancestor, a model call that repeats another) or its attribution changes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from psycopg import Cursor

from agentops.catalog import store as catalog
from agentops.costs import store as costs
from agentops.costs.models import Dimension
from agentops.domain.pricing import counts_as_unpriced
from agentops.domain.runtree import Booking, Node, needs_tree, resolve
from agentops.domain.spans import ATTRIBUTION, COSTED_KINDS, DEFAULT_ENVIRONMENT, Cost, Kind, Span
from agentops.runs import store as runs
from agentops.runs.store import NO_MEASURES, RunDelta, RunKey, RunState, SpanKey, StoredSpan

NS_PER_HOUR = 3_600_000_000_000
#: Bits below the rank in an attribution order: microseconds since the epoch fit.
_RANK_SHIFT = 52

_MODEL_KINDS = COSTED_KINDS
_STEP_KINDS = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.TOOL, Kind.RETRIEVAL})
_CONCLUDING_KINDS = frozenset({Kind.AGENT, Kind.LLM})

#: Attribution: (user, session, feature, release, environment), in the order of ``ATTRIBUTION``.
_USER, _SESSION, _FEATURE, _RELEASE, _ENVIRONMENT = range(len(ATTRIBUTION))

# Plain integers: members of an enum are hashed by a Python function.
_SERVICE, _BY_USER, _BY_FEATURE, _BY_SESSION, _BY_RELEASE, _BY_AGENT, _BY_MODEL, _BY_TOOL = map(int, Dimension)


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


@dataclass(slots=True, frozen=True)
class Item:
    """What both a new and a booked span are to the rollups: where it goes and what it counts."""

    node: Node
    hour: int
    model: str
    tool: str
    measures: tuple[int, ...]


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
    cells: costs.Cells = {}
    bookings: dict[SpanKey, Booking] = {}
    for key, state in states.items():
        if key not in trees and key not in moved:
            _book_plain(cells, key[1], _place(state.attribution), by_run[key])
            continue
        correction = _book_again(cells, bookings, rebooked, state, by_run[key], stored.get(key, []), tree=key in trees)
        if key in trees and (any(correction) or not state.needs_tree):
            corrections.append((key, correction))
    if rebooked:
        runs.rebook_spans(cursor, rebooked)
    runs.copy_spans(cursor, (_span_row(entry, claimed[entry.key], bookings.get(entry.key)) for entry in fresh))
    costs.move_spend(cursor, cells)
    if corrections:
        runs.correct_runs(cursor, corrections)


def _book_plain(cells: costs.Cells, service: str, place: Place, entries: list[Entry]) -> None:
    """Roll up new spans of one run that speak for themselves."""
    steps: dict[tuple[int, str, str, str], list[int]] = {}
    for entry in entries:
        measures = entry.measures
        if measures is NO_MEASURES:
            continue
        span = entry.span
        where = (span.start_ns // NS_PER_HOUR, span.agent_name or "", model_key(span), tool_key(span))
        total = steps.get(where)
        if total is None:
            steps[where] = list(measures)
        else:
            _add_to(total, measures)
    environment = place[0]
    hours: dict[int, list[int]] = {}
    for (hour, agent, model, tool), total in steps.items():
        _add_keys(cells, hour, environment, service, ((_BY_AGENT, agent), (_BY_MODEL, model), (_BY_TOOL, tool)), total)
        _add_to(hours.setdefault(hour, list(NO_MEASURES)), total)
    for hour, total in hours.items():
        _add_keys(cells, hour, environment, service, _run_keys(place), total)


def _book_again(
    cells: costs.Cells,
    bookings: dict[SpanKey, Booking],
    rebooked: list[tuple[Any, ...]],
    state: RunState,
    entries: list[Entry],
    stored: list[StoredSpan],
    *,
    tree: bool,
) -> list[int]:
    """Roll up a run whose booked spans may move; the answer is what its own measures are off by."""
    trace_id, service = state.key
    news = [_item_of_entry(entry) for entry in entries]
    olds = [(span, _item_of_stored(span)) for span in stored]
    resolved = resolve([i.node for i in news] + [i.node for _, i in olds]) if tree else {}
    now_at, was_at = _place(state.attribution), _place(state.was)
    correction = [0] * len(NO_MEASURES)
    for item in news:
        booking = resolved.get(item.node.span_id) or Booking(item.node.own_agent, None)
        bookings[trace_id, item.node.span_id, service] = booking
        _add_item(cells, service, now_at, item, booking)
        if booking.merged_into:
            _add_to(correction, item.measures, sign=-1)
    for span, item in olds:
        old = Booking(span.agent, span.merged_into)
        booking = resolved.get(span.span_id, old)
        if booking != old:
            rebooked.append((span.received_on, *_key_of(span), booking.agent, booking.merged_into))
        elif now_at == was_at:
            continue
        _add_item(cells, service, was_at, item, old, sign=-1)
        _add_item(cells, service, now_at, item, booking)
        if bool(booking.merged_into) != bool(old.merged_into):
            _add_to(correction, item.measures, sign=-1 if booking.merged_into else 1)
    return correction


def _key_of(span: StoredSpan) -> SpanKey:
    return (span.trace_id, span.span_id, span.service)


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
        if span.attribution:
            _attribute(delta.best, span, below_root=bool(parent))
        if entry.measures is not NO_MEASURES:
            _add_to(delta.measures, entry.measures)
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


def _add_to(total: list[int], measures: Sequence[int], *, sign: int = 1) -> None:
    for i, value in enumerate(measures):
        if value:
            total[i] += sign * value


def measures_of(span: Span, cost: Cost) -> tuple[int, ...]:
    """What a span counts when it is not merged away, in the order of ``MEASURES``."""
    kind = span.kind
    if kind not in _STEP_KINDS:
        return NO_MEASURES
    error = 1 if span.is_error else 0
    if kind not in _MODEL_KINDS:
        return (0, 0, 0, 1 if kind is Kind.TOOL else 0, 1, error, 0, 0, 0, 0, 0)
    usage = span.usage
    return (
        cost.nano or 0,
        1 if counts_as_unpriced(span, cost) else 0,
        1,
        0,
        1,
        error,
        usage.input or 0,
        usage.output or 0,
        usage.cache_read or 0,
        usage.cache_creation or 0,
        usage.reasoning or 0,
    )


def model_key(span: Span) -> str:
    """The model that a span's spend is shown under; empty for none."""
    return (span.response_model or span.request_model or "") if span.kind in _MODEL_KINDS else ""


def tool_key(span: Span) -> str:
    """The tool that a span is shown under; empty for none."""
    return (span.tool_name or "") if span.kind is Kind.TOOL else ""


def _item_of_entry(entry: Entry) -> Item:
    span, usage = entry.span, entry.span.usage
    return Item(
        node=Node(
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            kind=span.kind,
            own_agent=span.agent_name,
            scope=span.scope,
            response_id=span.response_id,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            usage_fields=_usage_fields(
                usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning
            ),
        ),
        hour=span.start_ns // NS_PER_HOUR,
        model=model_key(span),
        tool=tool_key(span),
        measures=entry.measures,
    )


def _usage_fields(*fields: int | None) -> int:
    return sum(1 for value in fields if value)


def _item_of_stored(span: StoredSpan) -> Item:
    tokens = (
        span.input_tokens,
        span.output_tokens,
        span.cache_read_input_tokens,
        span.cache_creation_input_tokens,
        span.reasoning_output_tokens,
    )
    kind = Kind(span.kind)
    is_model = kind in _MODEL_KINDS
    measures: tuple[int, ...] = NO_MEASURES
    if is_model:
        # The rule of counts_as_unpriced, on what is stored.
        unpriced = span.cost_nano is None and (any(t is not None for t in tokens) or not span.is_error)
        measures = (span.cost_nano or 0, int(unpriced), 1, 0, 1, int(span.is_error), *(t or 0 for t in tokens))
    elif kind in _STEP_KINDS:
        measures = (0, 0, 0, int(kind is Kind.TOOL), 1, int(span.is_error), 0, 0, 0, 0, 0)
    return Item(
        node=Node(
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            kind=kind,
            own_agent=span.own_agent,
            scope=span.scope,
            response_id=span.response_id,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            usage_fields=_usage_fields(*tokens),
        ),
        hour=span.start_ns // NS_PER_HOUR,
        model=(span.response_model or span.request_model or "") if is_model else "",
        tool=(span.tool or "") if kind is Kind.TOOL else "",
        measures=measures,
    )


#: (environment, user, feature, session, release), as the rollups spell them.
Place = tuple[str, str, str, str, str]


def _place(attribution: Sequence[str | None]) -> Place:
    return (
        attribution[_ENVIRONMENT] or DEFAULT_ENVIRONMENT,
        attribution[_USER] or "",
        attribution[_FEATURE] or "",
        attribution[_SESSION] or "",
        attribution[_RELEASE] or "",
    )


def _add_item(cells: costs.Cells, service: str, place: Place, item: Item, booking: Booking, *, sign: int = 1) -> None:
    """Add a span to its cell in every dimension, or take it out again."""
    if item.measures is NO_MEASURES or booking.merged_into:
        return
    measures = item.measures if sign > 0 else tuple(-value for value in item.measures)
    keys = ((_BY_AGENT, booking.agent or ""), (_BY_MODEL, item.model), (_BY_TOOL, item.tool))
    _add_keys(cells, item.hour, place[0], service, (*_run_keys(place), *keys), measures)


def _run_keys(place: Place) -> tuple[tuple[int, str], ...]:
    """The dimensions that all spans of a run share."""
    _, user, feature, session, release = place
    return (
        (_SERVICE, ""),
        (_BY_USER, user),
        (_BY_FEATURE, feature),
        (_BY_SESSION, session),
        (_BY_RELEASE, release),
    )


def _add_keys(
    cells: costs.Cells,
    hour: int,
    environment: str,
    service: str,
    keys: Iterable[tuple[int, str]],
    measures: Sequence[int],
) -> None:
    for dimension, key in keys:
        cell = (dimension, hour, environment, service, key)
        total = cells.get(cell)
        if total is None:
            cells[cell] = list(measures)
        else:
            _add_to(total, measures)


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
    )
