"""Pricing booked calls again: what would change, and the adjusting entries that change it.

A dry run and its application do the same work: page by page, each one transaction, they price the spans of a period by
the book as it was at one revision. The dry run only counts. The application locks the runs, moves spans, runs and
rollups by the difference, and writes an adjustment for every span. Both go on where they stopped, whoever comes after a
crash, and change nothing when done twice.

What comes while an application runs has the new prices already: it begins only when every receiver knows the book, and
ends when somebody changes the book again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from psycopg import Cursor

from agentops.columns import Booleans, Byteas, Integers, Texts, books_cursor, transpose
from agentops.costs import store as costs
from agentops.costs.cells import Moves, add_to, place_of, stored_measures, stored_where
from agentops.domain.pricelist import SOURCE_VERSION
from agentops.domain.pricing import PriceList
from agentops.domain.spans import COSTED_KINDS, Cost
from agentops.jobs import JobState
from agentops.live.actions import publish
from agentops.prices.models import Repricing
from agentops.prices.spans import PricedSpan, priced_spans
from agentops.prices.store import TOPIC, latest_revision, load_prices, to_moment, to_ns
from agentops.runs import store as runs
from agentops.runs.store import MAX_NAMES, Correction, RunKey

log = logging.getLogger(__name__)

#: Runs and spans of one transaction, for whose length ingest may wait for one of them.
RUNS_AT_ONCE, SPANS_AT_ONCE = 200, 1_000
#: How long a worker goes on before other work has its turn.
SLICE_SECONDS = 30.0
#: After this long every receiver prices by a revision, and what was priced before is booked.
KNOWN_EVERYWHERE = timedelta(seconds=15)
MAX_RUN_TOPICS = 200
TIMEOUT = "SET LOCAL statement_timeout = '55s'"
STALE_BOOK = "The price book was changed. What is done stays; make a new dry run for the rest."
STALE_LIST = "The public prices came in a new version. What is done stays; make a new dry run for the rest."

# In the order in which writers lock runs.
COLLECT = """
INSERT INTO prices_repricingrun (repricing_id, ordinal, trace_id, service)
SELECT %(job)s, row_number() OVER (ORDER BY trace_id, service), trace_id, service FROM runs
WHERE latest_at >= %(from)s AND started_at < %(until)s AND (%(service)s = '' OR service = %(service)s)
    AND (%(name)s = '' OR models @> ARRAY[%(name)s::text] OR tools @> ARRAY[%(name)s::text]
        OR cardinality(models) >= %(most)s OR cardinality(tools) >= %(most)s)
"""
NEXT = """
SELECT trace_id, service FROM prices_repricingrun WHERE repricing_id = %s AND ordinal > %s ORDER BY ordinal LIMIT %s
"""
SWEEP = """
DELETE FROM prices_repricingrun WHERE repricing_id IN (SELECT id FROM prices_repricing WHERE state = ANY(%s))
"""
ADD_LINES = """
INSERT INTO prices_repricingline AS l
    (repricing_id, service, month, is_tool, name, calls, old_nano, new_nano, old_unpriced, new_unpriced)
SELECT %b::bigint, * FROM unnest(%b::text[], %b::date[], %b::bool[], %b::text[], %b::bigint[], %b::bigint[],
    %b::bigint[], %b::bigint[], %b::bigint[])
    AS u (service, month, is_tool, name, calls, old, new, old_unpriced, new_unpriced)
ON CONFLICT (repricing_id, service, month, is_tool, name) DO UPDATE SET calls = l.calls + EXCLUDED.calls,
    old_nano = l.old_nano + EXCLUDED.old_nano, new_nano = l.new_nano + EXCLUDED.new_nano,
    old_unpriced = l.old_unpriced + EXCLUDED.old_unpriced, new_unpriced = l.new_unpriced + EXCLUDED.new_unpriced
"""
ADJUST = """
INSERT INTO prices_costadjustment (repricing_id, trace_id, span_id, service, at, started_at, is_counted, old_nano,
    new_nano, old_source, new_source, old_price_id, new_price_id)
SELECT %b::bigint, trace_id, span_id, service, now(), to_timestamp(0) + start_us * interval '1 microsecond', is_counted,
    old_nano, new_nano, old_source, new_source, old_price_id, new_price_id
FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::bigint[], %b::bool[], %b::bigint[], %b::bigint[], %b::bigint[],
    %b::bigint[], %b::text[], %b::text[])
    AS u (trace_id, span_id, service, start_us, is_counted, old_nano, new_nano, old_source, new_source, old_price_id,
        new_price_id)
"""
ADJUSTMENT = (Byteas, Byteas, Texts, Integers, Booleans, *(Integers for _ in range(4)), Texts, Texts)
LineKey = tuple[str, date, bool, str]


@dataclass(slots=True)
class Changes:
    """What a page of spans changes: each span with its new cost, and the sums by line."""

    spans: list[tuple[PricedSpan, Cost]] = field(default_factory=list)
    lines: dict[LineKey, list[int]] = field(default_factory=dict)

    def add(self, priced: PricedSpan, cost: Cost) -> None:
        """Take in a span whose price is another one; one that was merged into another counts in no sum."""
        self.spans.append((priced, cost))
        old = priced.stored
        if old.merged_into:
            return
        is_tool = old.kind not in COSTED_KINDS
        name = (old.tool if is_tool else old.response_model or old.request_model) or ""
        month = to_moment(old.start_ns).date().replace(day=1)
        before, after = stored_measures(old), stored_measures(replace(old, cost_nano=cost.nano))
        line = self.lines.setdefault((old.service, month, is_tool, name), [0] * 5)
        add_to(line, (1, before[0], after[0], before[1], after[1]))


def work(pk: int, *, clock: Callable[[], float] = time.monotonic, slice_seconds: float = SLICE_SECONDS) -> bool:
    """Do some of a job; whether there is more to do. Somebody else's work is left to them."""
    job = Repricing.claim(pk, now=timezone.now())
    if job is None:
        return False
    if starts_in(job, timezone.now()) > timedelta(0):
        job.release()
        return True
    return job.work(
        lambda: load_prices(job.revision_id or 0),
        lambda prices: _step(pk, prices),
        seconds=slice_seconds,
        clock=clock,
        failed=lambda: publish([TOPIC]),
    )


def sweep() -> None:
    """Forget which runs jobs that are over had to look at."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TIMEOUT)
        cursor.execute(SWEEP, [[JobState.DONE, JobState.CANCELLED, JobState.FAILED]])


def starts_in(job: Repricing, now: datetime) -> timedelta:
    """How long an application has to wait until every receiver knows its prices."""
    if job.dry_run_id is None or job.revision is None:
        return timedelta(0)
    return max(timedelta(0), job.revision.at + KNOWN_EVERYWHERE - now)


def _step(pk: int, prices: PriceList) -> bool:
    """One transaction of a job; whether to go on."""
    with transaction.atomic(), books_cursor() as cursor:
        cursor.execute(TIMEOUT)
        # Whoever holds the row does the step: another worker that was taken for dead finds where this one stopped.
        job = Repricing.objects.select_for_update().get(pk=pk)
        if job.is_over:
            return False
        topics = [TOPIC]
        if (end := _reason_to_end(job)) is not None:
            state, message = end
            job.end(state, now=timezone.now(), message=message)
        elif not job.is_collected:
            _collect(cursor, job)
        else:
            topics += _page(cursor, job, prices)
        publish(topics)
    return not job.is_over


def _reason_to_end(job: Repricing) -> tuple[JobState, str] | None:
    if job.cancel_requested:
        return JobState.CANCELLED, ""
    if job.list_version != SOURCE_VERSION:
        return JobState.FAILED, STALE_LIST
    if job.dry_run_id and latest_revision() != (job.revision_id or 0):
        return JobState.FAILED, STALE_BOOK
    return None


def _collect(cursor: Cursor[Any], job: Repricing) -> None:
    asked = {name: getattr(job, f"{name}_at") for name in ("from", "until")}
    asked |= {"job": job.pk, "service": job.service, "name": job.name, "most": MAX_NAMES}
    cursor.execute(COLLECT, asked)
    job.total, job.is_collected = cursor.rowcount, True
    job.save(update_fields=["total", "is_collected"])
    job.report(0, now=timezone.now())


def _page(cursor: Cursor[Any], job: Repricing, prices: PriceList) -> list[str]:
    """Price some spans again; the topics that this changes."""
    cursor.execute(NEXT, [job.pk, job.position, RUNS_AT_ONCE])
    keys: list[RunKey] = [(bytes(trace_id), service) for trace_id, service in cursor.fetchall()]
    if not keys:
        job.end(JobState.DONE, now=timezone.now())
        return ["spend", "runs"] if job.dry_run_id else []
    attributions = runs.lock_runs(cursor, keys) if job.dry_run_id else {}
    spans = priced_spans(
        cursor,
        keys,
        to_ns(job.from_at, 0),
        to_ns(job.until_at, 0),
        name=job.name,
        provider=job.provider,
        after=(job.after_ns, bytes(job.after_span)),
        limit=SPANS_AT_ONCE,
    )
    changes = Changes()
    for priced in spans:
        cost = priced.cost(prices)
        if not priced.costs_as(cost):
            changes.add(priced, cost)
    if changes.lines:
        _add_lines(cursor, job.pk, changes)
    _advance(job, len(keys), spans)
    if not job.dry_run_id or not changes.spans:
        return []
    return _apply(cursor, job.pk, changes, attributions, prices)


def _advance(job: Repricing, taken: int, spans: Sequence[PricedSpan]) -> None:
    """Remember where to go on: in the middle of a run when the page was full, else after all of them."""
    if len(spans) == SPANS_AT_ONCE:
        last = spans[-1]
        job.position += last.place - 1
        job.after_ns, job.after_span = last.stored.start_ns, last.stored.span_id
    else:
        job.position += taken
        job.after_ns, job.after_span = -1, b""
    job.spans += len(spans)
    job.save(update_fields=["position", "after_ns", "after_span", "spans"])
    job.report(job.position, now=timezone.now())


def _add_lines(cursor: Cursor[Any], pk: int, changes: Changes) -> None:
    rows = [(*key, *sums) for key, sums in sorted(changes.lines.items())]
    services, months, *rest = zip(*rows, strict=True)
    types = (Booleans, Texts, *(Integers for _ in range(5)))
    cursor.execute(
        ADD_LINES,
        [pk, Texts(services), list(months), *(kind(values) for kind, values in zip(types, rest, strict=True))],
    )


def _apply(
    cursor: Cursor[Any],
    pk: int,
    changes: Changes,
    attributions: Mapping[RunKey, Sequence[str | None]],
    prices: PriceList,
) -> list[str]:
    """Write what changes; the topics of pages that show it."""
    moves, corrections = Moves(), dict[RunKey, Correction]()
    for priced, cost in changes.spans:
        old = priced.stored
        if old.merged_into:
            continue
        before, after = stored_measures(old), stored_measures(replace(old, cost_nano=cost.nano))
        place, where = place_of(attributions[old.run]), stored_where(old, old.agent)
        for measures, sign in ((before, -1), (after, 1)):
            moves.book(old.run, place, where, old.counted_at, measures, sign=sign)
        correction = corrections.setdefault(old.run, Correction())
        add_to(correction.measures, before, sign=-1)
        add_to(correction.measures, after)
    runs.refigure_spans(cursor, [(p.stored, p.own_figures(prices), p.figures(cost)) for p, cost in changes.spans])
    cursor.execute(ADJUST, [pk, *transpose(ADJUSTMENT, [_adjustment(*change) for change in changes.spans])])
    costs.move_spend(cursor, moves)
    if corrections:
        runs.correct_runs(cursor, corrections)
    return _topics(corrections)


def _adjustment(priced: PricedSpan, cost: Cost) -> tuple[Any, ...]:
    old = priced.stored
    return (
        *old.key,
        old.start_ns // 1_000,
        not old.merged_into,
        old.cost_nano,
        cost.nano,
        old.price_source,
        cost.source,
        old.price_id,
        cost.price_id,
    )


def _topics(touched: Iterable[RunKey]) -> list[str]:
    traces = sorted({trace_id.hex() for trace_id, _ in touched})
    if not traces:
        return []
    names = traces if len(traces) <= MAX_RUN_TOPICS else ["*"]
    return ["runs", "spend", *(f"run:{name}" for name in names)]
