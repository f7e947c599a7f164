"""What proposed rules would have found: runs of the last days are judged again, by them and by the rules in force.

A job goes page by page, each one transaction, and goes on where it stopped, whoever comes after a crash. It reads the
books and writes its own rows: no stream, no finding and no alert knows of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from agentops.accounts.models import User
from agentops.jobs import JobState
from agentops.live.actions import publish
from agentops.runs.findings import Scope
from agentops.runs.store import RunKey
from agentops.watch import decisions, rules, usual
from agentops.watch.look import HOP
from agentops.watch.models import DryRun, DryRunFinding
from agentops.watch.rules import TOPIC, Decided, Rulebook
from agentops.watch.spans import Read, read_on, read_runs
from agentops.watch.trial import Counts, Outcome, Trial

log = logging.getLogger(__name__)

#: How far a dry run looks back, and how much it looks at: the newest.
LOOKED_BACK = timedelta(days=7)
MAX_RUNS, MAX_SPANS = 5_000, 500_000
#: Runs and spans of one transaction.
RUNS_AT_ONCE, SPANS_AT_ONCE = 200, 2_000
#: How long a worker goes on before other work has its turn.
SLICE_SECONDS = 30.0
#: Findings that one keeps, how long it is kept, and how many may wait.
MAX_KEPT = 2_000
KEPT = timedelta(days=7)
MAX_WAITING = 8
TIMEOUT = "SET LOCAL statement_timeout = '55s'"

# The newest runs, then sessions and runs without one by when they began; the runs of a session one after the other.
COLLECT = f"""
WITH newest AS MATERIALIZED (
    SELECT *, sum(spans) OVER (ORDER BY started_at DESC, trace_id DESC) - spans AS before FROM (
        SELECT trace_id, service, started_at, spans::bigint,
            CASE WHEN session IS NULL OR steps > {HOP} THEN 'run ' || encode(trace_id, 'hex') ELSE 'of ' || session END
                AS unit
        FROM runs WHERE NOT is_absorbed AND started_at >= %(since)s AND started_at < %(until)s {{of_service}}
        ORDER BY started_at DESC, trace_id DESC LIMIT {MAX_RUNS} + 1
    ) AS r
), chosen AS (
    SELECT *, min(started_at) OVER (PARTITION BY service, unit) AS began
    FROM (SELECT * FROM newest WHERE before < {MAX_SPANS} ORDER BY started_at DESC, trace_id DESC LIMIT {MAX_RUNS}) AS n
), added AS (
    INSERT INTO watch_dryrunrun (dry_run_id, ordinal, trace_id, service)
    SELECT %(job)s, row_number() OVER (ORDER BY began, service, unit, started_at, trace_id), trace_id, service
    FROM chosen RETURNING 1
)
SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM newest)
"""
NEXT = """
SELECT trace_id, service FROM watch_dryrunrun WHERE dry_run_id = %s AND ordinal > %s ORDER BY ordinal LIMIT %s
"""
SWEEP = """
DELETE FROM watch_dryrunrun WHERE dry_run_id IN (SELECT id FROM watch_dryrun WHERE state = ANY(%s))
"""


class TooManyDryRuns(ValueError):
    """So many wait that another one would come too late."""


@transaction.atomic
def start(*, service: str, decided: Decided, seen: int, by: User | None, now: datetime) -> DryRun:
    """Have it worked out what rules would have found. Raises ``UnsoundRules`` and ``TooManyDryRuns``."""
    if DryRun.objects.filter(state__in=(JobState.PENDING, JobState.RUNNING)).count() >= MAX_WAITING:
        message = "Other dry runs are being worked out. Try again when one of them is done."
        raise TooManyDryRuns(message)
    revision = rules.latest_revision()
    book = rules.load(revision)
    decisions.check(service, decided, book)
    decided = decisions.normal(service, decided)
    job = DryRun(
        service=service,
        revision=revision,
        seen=seen,
        proposed=decided.dump(),
        since_at=now - LOOKED_BACK,
        until_at=now,
        requested_by=by,
    )
    if service:
        known = usual.read_habits([(service, "")]).get((service, ""))
        job.budget_now = book.of(service).budgeted(known).step_budget
        job.budget_proposed = book.with_decided(service, decided).of(service).budgeted(known).step_budget
    job.save()
    publish([TOPIC])
    return job


@transaction.atomic
def cancel(*, job: DryRun, now: datetime) -> bool:
    """Stop a dry run before its next page; whether there was anything to stop."""
    stopped = job.ask_to_cancel(now=now)
    publish([TOPIC])
    return stopped


def work(pk: int, *, clock: Callable[[], float] = time.monotonic, slice_seconds: float = SLICE_SECONDS) -> bool:
    """Do some of a dry run; whether there is more to do. Somebody else's work is left to them."""
    job = DryRun.claim(pk, now=timezone.now())
    if job is None:
        return False
    return job.work(
        lambda: _rulebooks(job),
        lambda books: _step(pk, *books),
        seconds=slice_seconds,
        clock=clock,
        failed=lambda: publish([TOPIC]),
    )


def _rulebooks(job: DryRun) -> tuple[Rulebook, Rulebook]:
    """What was in force when it was asked for, and what is proposed."""
    present = rules.load(job.revision)
    return present, present.with_decided(job.service, Decided.load(job.proposed))


def sweep(*, now: datetime) -> None:
    """Forget which runs dry runs that are over had to look at, and what was found long ago."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TIMEOUT)
        cursor.execute(SWEEP, [[JobState.DONE, JobState.CANCELLED, JobState.FAILED]])
    DryRun.objects.filter(ended_at__lt=now - KEPT).delete()


def _step(pk: int, present: Rulebook, proposed: Rulebook) -> bool:
    """One transaction of a dry run; whether to go on."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(TIMEOUT)
        # Whoever holds the row does the step: another worker that was taken for dead finds where this one stopped.
        job = DryRun.objects.select_for_update().get(pk=pk)
        if job.is_over:
            return False
        if job.cancel_requested:
            job.end(JobState.CANCELLED, now=timezone.now())
        elif not job.is_collected:
            _collect(job)
        else:
            _page(job, Trial(present, proposed, counts=job.counts))
        publish([TOPIC])
    return not job.is_over


def _collect(job: DryRun) -> None:
    statement = COLLECT.format(of_service="AND service = %(service)s" if job.service else "")
    asked: dict[str, Any] = {"job": job.pk, "service": job.service, "since": job.since_at, "until": job.until_at}
    with connection.cursor() as cursor:
        cursor.execute(statement, asked)
        job.total, found = cursor.fetchall()[0]
    job.is_collected, job.is_cut = True, found > (job.total or 0)
    job.save(update_fields=["total", "is_collected", "is_cut"])
    job.report(0, now=timezone.now())


def _page(job: DryRun, trial: Trial) -> None:
    """Judge some spans of some runs."""
    trial.take_up(job.carried)
    keys = _next_runs(job)
    if keys and job.spans < MAX_SPANS:
        _judge(job, trial, keys)
    else:
        trial.end()
        job.is_cut |= bool(keys)
        job.end(JobState.DONE, now=timezone.now())
    _keep(job, trial.outcomes)
    job.counts, job.carried = trial.counts, "" if job.is_over else trial.carry()
    job.save(update_fields=["position", "after_ns", "after_span", "spans", "counts", "carried", "is_cut"])
    job.report(job.position, now=timezone.now())


def _next_runs(job: DryRun) -> list[RunKey]:
    with connection.cursor() as cursor:
        cursor.execute(NEXT, [job.pk, job.position, RUNS_AT_ONCE])
        return [(bytes(trace_id), service) for trace_id, service in cursor.fetchall()]


def _judge(job: DryRun, trial: Trial, keys: Sequence[RunKey]) -> None:
    """Take the next spans, and remember where to go on: in the middle of a run when the page is full."""
    facts = read_runs(keys)
    habits = usual.read_habits(
        name for run in facts.values() for name in ((run.service, ""), (run.service, run.name or ""))
    )
    kept = [key for key in keys if key in facts]  # retention may have taken one since it was chosen
    after = (job.after_ns, bytes(job.after_span)) if kept[:1] == list(keys[:1]) else (-1, b"")
    found = read_on([(key, facts[key].since) for key in kept], after=after, limit=SPANS_AT_ONCE)
    spans: dict[RunKey, list[Read]] = {}
    for key, read in found:
        spans.setdefault(key, []).append(read)
    is_full = len(found) == SPANS_AT_ONCE
    cut = found[-1][0] if is_full else None
    for key in kept if cut is None else kept[: kept.index(cut)]:
        trial.take(facts[key], spans.get(key, ()), habits, is_last=True)
    if cut is None:
        job.position += len(keys)
        job.after_ns, job.after_span = -1, b""
    else:
        trial.take(facts[cut], spans[cut], habits, is_last=False)
        job.position += keys.index(cut)
        job.after_ns, job.after_span = found[-1][1].seen.start_ns, found[-1][1].seen.span_id
    job.spans += len(found)


def _keep(job: DryRun, outcomes: Sequence[Outcome]) -> None:
    """Write down what the two sets of rules do not agree about, up to a limit; the counts know all."""
    if not outcomes:
        return
    room = max(0, MAX_KEPT - job.findings.count())
    DryRunFinding.objects.bulk_create(_row(job, outcome) for outcome in outcomes[:room])


def _row(job: DryRun, outcome: Outcome) -> DryRunFinding:
    place = outcome.place
    return DryRunFinding(
        dry_run=job,
        service=place.service,
        session=place.key if place.scope is Scope.SESSION else None,
        trace_id=outcome.trace_id,
        kind=outcome.kind,
        title=outcome.title,
        severity_now=outcome.severity_now,
        severity_proposed=outcome.severity_proposed,
        detected_at=outcome.detected_at,
        cost_nano=outcome.cost_nano,
    )


def total_of(counts: Counts) -> list[int]:
    """Warnings and pages of all kinds by the present rules, then by the proposed ones."""
    return [sum(column) for column in zip(*counts.values(), strict=True)] or [0] * 4
