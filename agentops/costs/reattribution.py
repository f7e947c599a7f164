"""Attributing booked runs by the rules as they are now: what would move, and the moving.

A preview and its application do the same work: page by page, each one transaction, they ask the rules about every span
of every run, as if it came in just now. The preview only counts. The application locks the runs, moves them and the
rollups, and records every run that it changes. Both go on where they stopped, whoever comes after a crash, and change
nothing when done twice.

What telemetry says itself stays. What a rule said that says it no more goes back to what stood there before, as far as
that is on record. What comes while an application runs is attributed by the rules already: it begins only when every
receiver knows them, and ends when somebody changes them again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from psycopg import Cursor

from agentops.columns import Byteas, Integers, Texts, books_cursor, transpose
from agentops.costs import rules as ruled
from agentops.costs import store as costs
from agentops.costs.cells import Moves, place_of
from agentops.costs.models import AttributionRule, Reattribution
from agentops.costs.queries import kept_since
from agentops.costs.rules import TOPIC, load_rules
from agentops.domain.attribution import RULED, Rules, collect, rank_of, said
from agentops.domain.spans import ATTRIBUTION, RANK_RULE
from agentops.jobs import JobState
from agentops.live.actions import publish
from agentops.runs import attribution as runs
from agentops.runs.attribution import AttributedRun, Place, Wanted
from agentops.runs.store import RunKey

log = logging.getLogger(__name__)

#: Runs of one transaction, for whose length ingest may wait for one of them.
AT_ONCE = 200
#: How long a worker goes on before it lets another task have its turn.
SLICE_SECONDS = 30.0
#: After this long every receiver attributes by a revision, and what was attributed before is booked.
KNOWN_EVERYWHERE = timedelta(seconds=15)
MAX_RUN_TOPICS = 200
TIMEOUT = "SET LOCAL statement_timeout = '55s'"
STALE = "The rules were changed. What is done stays; make a new preview for the rest."

#: The last value that the telemetry itself gave a run before a rule took its place, where that is on record.
RECORDED = f"""
SELECT DISTINCT ON (c.trace_id, c.service, c.dimension) c.trace_id, c.service, c.dimension, c.old_value, c.old_order
FROM unnest(%b::bytea[], %b::text[]) AS k (trace_id, service) JOIN costs_attributionchange c USING (trace_id, service)
WHERE c.old_order >> 53 <> {RANK_RULE} ORDER BY c.trace_id, c.service, c.dimension, c.at DESC
"""
ADD_LINES = """
INSERT INTO costs_reattributionline AS l
    (reattribution_id, month, service, dimension, old_value, new_value, runs, cost_nano)
SELECT %b::bigint, * FROM unnest(%b::date[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[])
    AS u (month, service, dimension, old_value, new_value, runs, cost_nano)
ON CONFLICT (reattribution_id, month, service, dimension, old_value, new_value) DO UPDATE SET
    runs = l.runs + EXCLUDED.runs, cost_nano = l.cost_nano + EXCLUDED.cost_nano
"""
RECORD = """
INSERT INTO costs_attributionchange
    (reattribution_id, trace_id, service, dimension, at, old_value, old_order, new_value, new_order)
SELECT %b::bigint, trace_id, service, dimension, now(), old_value, old_order, new_value, new_order
FROM unnest(%b::bytea[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::bigint[])
    AS u (trace_id, service, dimension, old_value, old_order, new_value, new_order)
"""
#: Order and value.
Best = tuple[int | None, str | None]
LineKey = tuple[date, str, str, str, str]


@dataclass(slots=True)
class Changes:
    """What a page of runs changes: each run with its new attribution, the sums by line, and the moves of rollups."""

    runs: dict[RunKey, dict[str, Best]] = field(default_factory=dict)
    records: list[tuple[Any, ...]] = field(default_factory=list)
    lines: dict[LineKey, list[int]] = field(default_factory=dict)
    moves: Moves = field(default_factory=Moves)


def work(pk: int, *, clock: Callable[[], float] = time.monotonic, slice_seconds: float = SLICE_SECONDS) -> bool:
    """Do some of a job; whether there is more to do. Somebody else's work is left to them."""
    job = Reattribution.claim(pk, now=timezone.now())
    if job is None:
        return False
    if starts_in(job, timezone.now()) > timedelta(0):
        job.release()
        return True
    return job.work(
        lambda: load_rules(job.revision), lambda rules: _step(pk, rules), seconds=slice_seconds, clock=clock
    )


def starts_in(job: Reattribution, now: datetime) -> timedelta:
    """How long an application has to wait until every receiver knows its rules."""
    changed_at = AttributionRule.objects.filter(pk=job.revision).values_list("at", flat=True).first()
    if job.preview_id is None or changed_at is None:
        return timedelta(0)
    return max(timedelta(0), changed_at + KNOWN_EVERYWHERE - now)


def _step(pk: int, rules: Rules) -> bool:
    """One transaction of a job; whether to go on."""
    with transaction.atomic(), books_cursor() as cursor:
        cursor.execute(TIMEOUT)
        # Whoever holds the row does the step: another worker that was taken for dead finds where this one stopped.
        job = Reattribution.objects.select_for_update().get(pk=pk)
        if job.is_over:
            return False
        topics = [TOPIC]
        if job.cancel_requested:
            job.end(JobState.CANCELLED, now=timezone.now())
        elif job.preview_id and ruled.latest_revision() != job.revision:
            job.end(JobState.FAILED, now=timezone.now(), message=STALE)
        else:
            topics += _page(cursor, job, rules)
        publish(topics)
    return not job.is_over


def _page(cursor: Cursor[Any], job: Reattribution, rules: Rules) -> list[str]:
    """Ask the rules about some runs; the topics that this changes."""
    wanted = Wanted(job.from_at, job.until_at, job.service, kept_since())
    if job.total is None:
        job.total = runs.count_runs(cursor, wanted)
        job.save(update_fields=["total"])
    after = (job.after_at, bytes(job.after_trace), job.after_service) if job.after_at else None
    places = runs.next_runs(cursor, wanted, after=after, limit=AT_ONCE)
    if not places:
        job.end(JobState.DONE, now=timezone.now())
        return ["spend", "runs"] if job.preview_id else []
    found = runs.attributed_runs(cursor, [place[1:] for place in places], lock=job.preview_id is not None)
    changes = _changes(cursor, found, rules)
    if changes.lines:
        _add_lines(cursor, job.pk, changes)
    if job.preview_id and changes.runs:
        runs.set_attribution(cursor, list(changes.runs.items()))
        types = (Byteas, Texts, Texts, Texts, Integers, Texts, Integers)
        cursor.execute(RECORD, [job.pk, *transpose(types, changes.records)])
        costs.move_spend(cursor, changes.moves)
    job.changed += len(changes.runs)
    _advance(job, places[-1], len(places))
    return _topics(changes) if job.preview_id else []


def _advance(job: Reattribution, last: Place, done: int) -> None:
    job.after_at, job.after_trace, job.after_service = last
    job.save(update_fields=["after_at", "after_trace", "after_service", "changed"])
    job.report(job.done + done, now=timezone.now())


def _changes(cursor: Cursor[Any], found: Sequence[AttributedRun], rules: Rules) -> Changes:
    """What the rules change of some runs."""
    candidates: dict[RunKey, dict[str, tuple[int, str]]] = {run.key: {} for run in found}
    asked = {run.key: rules.of(run.key[1]) for run in found}
    ruled_runs = [run for run in found if asked[run.key]]
    for key, start_ns, facts in runs.span_facts(cursor, ruled_runs, rules.needles or []) if ruled_runs else ():
        values = {dimension: (value, RANK_RULE) for dimension, value in said(asked[key], facts, start_ns).items()}
        if values:
            collect(candidates[key], values, start_ns, below_root=not facts.is_root)
    recorded = _recorded(cursor, found)
    changes = Changes()
    changed: list[AttributedRun] = []
    for run in found:
        best = {d: _decide(run, d, candidates[run.key].get(d), recorded.get((*run.key, d))) for d in RULED}
        moved = [d for d in RULED if best[d] != _held(run, d)]
        if moved:
            changes.runs[run.key] = best
            changes.records += [(*run.key, d, *reversed(_held(run, d)), *reversed(best[d])) for d in moved]
            changed.append(run)
    _move(cursor, changes, changed)
    return changes


def _held(run: AttributedRun, dimension: str) -> Best:
    place = ATTRIBUTION.index(dimension)
    return run.orders[place], run.attribution[place]


def _decide(run: AttributedRun, dimension: str, candidate: tuple[int, str] | None, recorded: Best | None) -> Best:
    """The best of what the run has, unless a rule gave it, of what the rules say, and of what stood there before."""
    order, value = _held(run, dimension)
    own: Best = (order, value) if order is None or rank_of(order) != RANK_RULE else recorded or (None, None)
    if candidate is None or (own[0] is not None and (own[0], own[1] or "") <= candidate):
        return own
    return candidate


def _recorded(cursor: Cursor[Any], found: Sequence[AttributedRun]) -> dict[tuple[bytes, str, str], Best]:
    by_rule = [run.key for run in found if any((o := _held(run, d)[0]) and rank_of(o) == RANK_RULE for d in RULED)]
    if not by_rule:
        return {}
    cursor.execute(RECORDED, transpose((Byteas, Texts), by_rule))
    return {(row[0], row[1], row[2]): (row[4], row[3]) for row in cursor.fetchall()}


def _move(cursor: Cursor[Any], changes: Changes, changed: Sequence[AttributedRun]) -> None:
    """Move what changed runs have booked, and count it by line."""
    by_key = {run.key: run for run in changed}
    for run in changed:
        for line in _lines_of(run, changes.runs[run.key], run.started_at):
            changes.lines.setdefault(line, [0, 0])[0] += 1
    for key, where, counted_at, measures in costs.booked_steps(cursor, changed) if changed else ():
        run, best = by_key[key], changes.runs[key]
        now = [best[d][1] if d in best else value for d, value in zip(ATTRIBUTION, run.attribution, strict=True)]
        for place, sign in ((place_of(run.attribution), -1), (place_of(now), 1)):
            changes.moves.book(key, place, where, counted_at, measures, sign=sign)
        for line in _lines_of(run, best, datetime.fromtimestamp(where[0] * 3600, UTC)):
            changes.lines.setdefault(line, [0, 0])[1] += measures[0]


def _lines_of(run: AttributedRun, best: dict[str, Best], moment: datetime) -> list[LineKey]:
    """The lines that a change counts in; one of them for each dimension whose value is another one."""
    month = moment.astimezone(UTC).date().replace(day=1)
    pairs = ((d, _held(run, d)[1] or "", best[d][1] or "") for d in RULED)
    return [(month, run.key[1], d, old, new) for d, old, new in pairs if old != new]


def _add_lines(cursor: Cursor[Any], pk: int, changes: Changes) -> None:
    rows = [(*key, *sums) for key, sums in sorted(changes.lines.items())]
    months, *rest = zip(*rows, strict=True)
    types = (Texts, Texts, Texts, Texts, Integers, Integers)
    cursor.execute(ADD_LINES, [pk, list(months), *(kind(values) for kind, values in zip(types, rest, strict=True))])


def _topics(changes: Changes) -> list[str]:
    traces = sorted({key[0].hex() for key in changes.runs})
    if not traces:
        return []
    names = traces if len(traces) <= MAX_RUN_TOPICS else ["*"]
    return ["runs", "spend", *(f"run:{name}" for name in names)]
