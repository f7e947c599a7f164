"""Which booked spans a batch makes look different, and how: agents named above them, calls that are told twice.

A run up to ``LARGE`` is read again as a whole; of a larger one what surrounds the new spans. Calls of other traces are
found by their answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from psycopg import Cursor

from agentops.costs.cells import (
    Moves,
    Place,
    Where,
    add_to,
    measures,
    place_of,
    stored_measures,
    stored_where,
    where_of,
)
from agentops.domain.runtree import Booking, CallKey, Node, lineages, merge_across, resolve
from agentops.domain.spans import STEP_KINDS
from agentops.ingest.entry import Entry, answer_key, figures_of, node_of, node_of_stored
from agentops.ingest.neighbourhood import nearby
from agentops.runs import store as runs
from agentops.runs.store import Correction, RunKey, RunState, SpanKey, StoredSpan, Told

#: Spans of a run that are read again at once.
LARGE = 500
#: How a run is attributed, in the order of ``ATTRIBUTION``.
Attribution = tuple[str | None, ...]


@dataclass(slots=True)
class Step:
    """A span of a run while its booking is decided: ``entry`` when it is new, ``stored`` when it is booked already.

    ``figures`` is what it counts, in the order of ``FIGURES``; ``own`` what it tells itself.
    """

    key: SpanKey
    node: Node
    entry: Entry | None
    stored: StoredSpan | None
    own: tuple[Any, ...]
    figures: tuple[Any, ...]
    booking: Booking

    @property
    def measures(self) -> tuple[int, ...]:
        """What it counts when it is not merged away."""
        return measures(self.node.kind, self.figures[5], self.figures[:5], is_error=self.node.is_error)

    @property
    def before(self) -> Sequence[int]:
        """What it counted, or was taken to count, when it was not merged away."""
        if self.entry is not None:
            return self.entry.measures
        assert self.stored is not None
        return stored_measures(self.stored)

    @property
    def counted_at(self) -> datetime | None:
        """By when budgets count it."""
        known = self.entry or self.stored
        return None if known is None else known.counted_at

    @property
    def answer(self) -> bytes | None:
        """Under what its answer is remembered."""
        told = self.stored if self.entry is None else self.entry.span
        return None if told is None else answer_key(told)

    def where(self, agent: str | None) -> Where:
        """Where it is booked under this agent."""
        if self.entry is not None:
            return where_of(self.entry.span, agent)
        assert self.stored is not None
        return stored_where(self.stored, agent)


@dataclass(slots=True)
class Decisions:
    """How the spans of a batch are booked, and which booked ones change; ``runs`` are those that other traces touched.

    ``figures`` says which new spans count what another one tells, with its own figures.
    """

    bookings: dict[SpanKey, Booking] = field(default_factory=dict)
    figures: dict[SpanKey, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    corrections: dict[RunKey, Correction] = field(default_factory=dict)
    runs: set[RunKey] = field(default_factory=set)


def decide(
    cursor: Cursor[Any],
    moves: Moves,
    states: Mapping[RunKey, RunState],
    batch: Mapping[RunKey, Sequence[Entry]],
    trees: set[RunKey],
    told: Mapping[bytes, Sequence[Told]],
    others: dict[RunKey, Attribution],
) -> Decisions:
    """Decide how the spans of some runs are booked, now that the batch's have come, and book what changes.

    ``trees`` are the runs of the batch that their tree decides, ``told`` the answers of the batch that were told more
    than once, ``others`` the runs, locked, of other traces that told them. What
    changes is written to booked spans and to ``moves``; the answer says it of new spans, and what runs are off by.
    """
    steps = _steps_of(cursor, moves, states, batch, trees, told)
    others = others | _merge_strays(cursor, steps, told, states.keys() | others.keys())
    decisions = Decisions(runs=set(others))
    places = {key: place_of(attribution) for key, attribution in others.items()}
    places |= {key: place_of(states[key].attribution) for key in batch}
    _settle(cursor, moves, steps.values(), places, decisions)
    for key in trees:
        if not states[key].needs_tree:
            decisions.corrections.setdefault(key, Correction()).needs_tree = True
    return decisions


def _steps_of(
    cursor: Cursor[Any],
    moves: Moves,
    states: Mapping[RunKey, RunState],
    batch: Mapping[RunKey, Sequence[Entry]],
    trees: set[RunKey],
    told: Mapping[bytes, Sequence[Told]],
) -> dict[SpanKey, Step]:
    """Every new span of these runs, and those of their booked ones that may change, as their own tree books them."""
    steps: dict[SpanKey, Step] = {}
    small = [states[key] for key in sorted(trees) if 0 < states[key].stored <= LARGE]
    large = {key: batch[key] for key in sorted(trees) if states[key].stored > LARGE}
    stored = runs.stored_spans(cursor, small) if small else {}
    around = nearby(cursor, moves, states, large, told) if large else {}
    waiting: list[tuple[bytes, str, bytes, bytes]] = []
    for key in trees:
        found = [_step_of_entry(entry) for entry in batch[key]]
        touched: set[bytes] | None = None
        if key in large:
            booked, touched = around[key]
            found += map(_step_of_stored, booked)
        else:
            found += map(_step_of_stored, stored.get(key, ()))
        nodes = [step.node for step in found]
        resolved = resolve(nodes)
        for step in found:
            if touched is None or step.stored is None or step.key[1] in touched:
                _rebook(step, resolved[step.key[1]])
                steps[step.key] = step
        if states[key].stored + len(batch[key]) > LARGE:
            waiting += [
                (*key, ancestor, span_id)
                for span_id, (_, ancestor) in lineages(nodes).items()
                if ancestor is not None and _is_leaf(steps.get((key[0], span_id, key[1])))
            ]
    if waiting:
        runs.wait(cursor, waiting)
    return steps


def _is_leaf(step: Step | None) -> bool:
    return step is not None and step.node.kind in STEP_KINDS


def _rebook(step: Step, found: Booking) -> None:
    """Book a span as its own tree says; what is known of other traces holds as long as the tree lets it count."""
    old = step.booking
    if found.merged_into is not None:
        step.figures = step.own
    elif old.merged_trace is not None:
        found = Booking(found.agent, old.merged_into, old.merged_trace)
    step.booking = found


def _merge_strays(
    cursor: Cursor[Any],
    steps: dict[SpanKey, Step],
    told: Mapping[bytes, Sequence[Told]],
    locked: AbstractSet[RunKey],
) -> dict[RunKey, Attribution]:
    """Decide which calls of different traces are one; the spans of other traces that this touches join the steps.

    The answer is how those of their runs are attributed that had to be locked.
    """
    shared = {answer: places for answer, places in told.items() if len({p.trace_id for p in places}) > 1}
    changed = {
        answer
        for step in steps.values()
        if step.stored is not None
        and step.booking != _booking_of(step.stored)
        and (answer := step.answer) is not None
        and answer not in told
    }
    if changed:
        again = runs.answers(cursor, sorted(changed))
        shared |= {answer: ps for answer, ps in again.items() if len({p.trace_id for p in ps}) > 1}
    services = {answer: step.key[2] for step in steps.values() if (answer := step.answer) in shared}
    members = {
        answer: [(place.trace_id, place.span_id, services[answer]) for place in places]
        for answer, places in shared.items()
        if answer in services
    }
    everybody = {key for keys in members.values() for key in keys}
    others: dict[RunKey, Attribution] = {}
    if unlocked := {(key[0], key[2]) for key in everybody} - locked:
        others = runs.lock_runs(cursor, unlocked)
    _join(cursor, steps, everybody)
    targets = {key: _target(steps[key]) for keys in members.values() for key in keys if key in steps}
    _join(cursor, steps, {target for target in targets.values() if target is not None})
    for answer, keys in members.items():
        calls: dict[CallKey, Step] = {}
        for key in keys:
            target = targets.get(key) or key
            if (step := steps.get(target)) is not None and _target(step) is None:
                calls[target[0], target[1]] = step
        _merge_calls(answer, calls)
    return others


def _join(cursor: Cursor[Any], steps: dict[SpanKey, Step], keys: set[SpanKey]) -> None:
    if wanted := keys - steps.keys():
        steps |= {span.key: _step_of_stored(span) for span in runs.spans_by_key(cursor, wanted)}


def _target(step: Step) -> SpanKey | None:
    """The span of its own trace that it is merged into."""
    booking = step.booking
    if booking.merged_into is None or booking.merged_trace is not None:
        return None
    return (step.key[0], booking.merged_into, step.key[2])


def _merge_calls(answer: bytes, calls: Mapping[CallKey, Step]) -> None:
    """Book the calls that tell an answer; one that stands for such a call, but tells another answer, stays as it is."""
    merged, told = merge_across((trace_id, step.node) for (trace_id, _), step in calls.items())
    for key, step in calls.items():
        if step.answer == answer:
            trace_id, span_id = merged.get(key, (None, None))
            step.booking = Booking(step.booking.agent, span_id, trace_id)
            step.figures = calls[told[key]].own if key in told else step.own


def _settle(
    cursor: Cursor[Any], moves: Moves, steps: Iterable[Step], places: Mapping[RunKey, Place], decisions: Decisions
) -> None:
    """Write what has changed, and collect what follows from it."""
    rebooked: list[tuple[StoredSpan, str | None, bytes | None, bytes | None]] = []
    refigured: list[tuple[StoredSpan, str | None, Sequence[Any]]] = []
    for step in steps:
        run: RunKey = (step.key[0], step.key[2])
        booking, stored = step.booking, step.stored
        told = _json(step.own) if step.figures != step.own else None
        if stored is None:
            decisions.bookings[step.key] = booking
            if told is not None:
                decisions.figures[step.key] = (step.figures, told)
        elif booking == (old := _booking_of(stored)) and step.figures == stored.figures:
            continue
        else:
            if not old.merged_into:
                where = stored_where(stored, old.agent)
                moves.book(run, places[run], where, step.counted_at, step.before, sign=-1)
            rebooked.append((stored, booking.agent, booking.merged_into, booking.merged_trace))
            if step.figures != stored.figures:
                refigured.append((stored, told, step.figures))
        if not booking.merged_into:
            moves.book(run, places[run], step.where(booking.agent), step.counted_at, step.measures)
        _correct(decisions.corrections.setdefault(run, Correction()), step)
    decisions.corrections = {key: c for key, c in decisions.corrections.items() if c.absorbed or any(c.measures)}
    if rebooked:
        runs.rebook_spans(cursor, rebooked)
    if refigured:
        runs.refigure_spans(cursor, refigured)


def _correct(correction: Correction, step: Step) -> None:
    """Add what a run's own row is off by: it counts its new spans as they are."""
    old = Booking(None, None) if step.stored is None else _booking_of(step.stored)
    if not old.merged_into:
        add_to(correction.measures, step.before, sign=-1)
    if not step.booking.merged_into:
        add_to(correction.measures, step.measures)
    correction.absorbed += (step.booking.merged_trace is not None) - (old.merged_trace is not None)


def _json(figures: Sequence[Any]) -> str:
    return orjson.dumps(figures).decode()


def _booking_of(span: StoredSpan) -> Booking:
    return Booking(span.agent, span.merged_into, span.merged_trace_id)


def _step_of_entry(entry: Entry) -> Step:
    own = figures_of(entry)
    return Step(entry.key, node_of(entry.span), entry, None, own, own, Booking(entry.span.agent_name, None))


def _step_of_stored(span: StoredSpan) -> Step:
    own = span.figures if span.own_figures is None else tuple(orjson.loads(span.own_figures))
    return Step(span.key, node_of_stored(span), None, span, own, span.figures, _booking_of(span))
