"""From a decoded request to the books: understand, price, and commit several requests at once.

A process has one writer thread with a connection of its own. While a transaction is under way
the next requests queue up and then share one (group commit): at small batches this halves the
cost of a span. Each request is answered after the commit that holds it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
import psycopg
from django.conf import settings
from django.db import DatabaseError

from agentops.costs.rules import latest_revision as latest_rules
from agentops.costs.rules import load_rules
from agentops.current import Current
from agentops.domain.attribution import attribute
from agentops.domain.dialects import normalise, told_by
from agentops.domain.pricing import span_cost
from agentops.domain.spans import Resource
from agentops.domain.steps import withheld
from agentops.ingest import store
from agentops.ingest.batch import Batch, Receipt, Unavailable
from agentops.ingest.booking import Entry, Outcome, book
from agentops.ingest.cardinality import Cardinality
from agentops.ingest.connections import connect
from agentops.ingest.nudge import Nudger
from agentops.live import store as live
from agentops.live.broadcast import broadcast
from agentops.prices.store import latest_revision as latest_book
from agentops.prices.store import load_prices
from agentops.runs import messages, pending
from agentops.runs.messages import Message
from agentops.runs.pending import Place
from agentops.runs.store import RunKey

log = logging.getLogger(__name__)

#: Spans that share a transaction at most; a larger request has one of its own.
MAX_SPANS_PER_TRANSACTION = 4_096
#: When a transaction ended this recently, who waited for it sends again: the next one, while it is small, waits for
#: as many requests as came together lately, for a share of the time that the last took.
BUSY_SECONDS, LINGER_SHARE, LINGER_SECONDS, LINGER_SPANS = 0.05, 0.3, 0.02, 512
#: Spans that may wait for the writer; beyond, senders are asked to come back.
MAX_SPANS_WAITING = 60_000
#: Tries of a transaction that collided with another one.
ATTEMPTS = 4
#: The writer gives way for as long as it has worked, and for so long at most: telemetry waits, but it is not starved.
REST_SECONDS = 0.5
UNKNOWN_SERVICE = "unknown_service"
NO_DATABASE = "The database is not available; try again."
MAX_SERVICE_CHARS = 128
MAX_RUN_TOPICS = 200
#: Different warnings that one request is answered with.
MAX_WARNINGS = 10

#: SQLSTATE classes and codes that say *not now*, rather than *never*.
_RETRY_HERE = {"40001", "40P01"}
_UNAVAILABLE_CLASSES = {"08", "53", "57", "40"}
_UNAVAILABLE_CODES = {"55P03", "25006", "25P03", "58030"}


@dataclass(slots=True)
class Job:
    """A request on its way into the books, and who waits for it."""

    batch: Batch
    done: Callable[[Receipt | BaseException], None]
    loop: asyncio.AbstractEventLoop
    entries: list[Entry] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    receipt: Receipt | None = None


@dataclass(slots=True)
class Result:
    """What a committed transaction tells browsers."""

    event_id: int | None = None
    topics: list[str] = field(default_factory=list)


class Pipeline:
    """The books' front door for one process."""

    def __init__(self, gives_way: Callable[[], bool] = bool) -> None:
        """``gives_way`` says whether somebody waits just now who must not: then the writer rests between its turns."""
        self._prices = Current(latest_book, load_prices)
        self._rules = Current(latest_rules, load_rules)
        self._cardinality = Cardinality()
        self._writer = Writer(self.understand, gives_way)
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quarantine")

    async def submit(self, batch: Batch) -> Receipt:
        """Book a batch and return after the commit.

        Raises ``Unavailable`` when nothing was booked and a retry may help.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()

        def settle(result: Receipt | BaseException) -> None:
            if future.done():
                return
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

        def done(result: Receipt | BaseException) -> None:
            try:
                loop.call_soon_threadsafe(settle, result)
            except RuntimeError:  # the loop is gone: nobody waits any more
                log.warning("a request ended after its server did")

        job = Job(batch, done, loop)
        self._writer.put(job)
        receipt = await future
        if job.failures:
            await self.quarantine(batch, ValueError(job.failures[0]))
        return receipt

    def book_now(self, batch: Batch) -> None:
        """Book a batch in this thread. Raises what kept any of its spans from being understood or booked."""
        entries, failures = self.understand(batch)
        if failures:
            raise ValueError(failures[0])
        known: set[str] = set()
        with connect("redigest") as connection, connection.cursor(binary=True) as cursor:
            for start in range(0, len(entries), MAX_SPANS_PER_TRANSACTION):
                with connection.transaction():
                    outcome = book(cursor, entries[start : start + MAX_SPANS_PER_TRANSACTION], known)
                    if outcome.runs:
                        live.record(cursor, _topics(outcome))

    def understand(self, batch: Batch) -> tuple[list[Entry], list[str]]:
        """Normalise, attribute and price the spans of a batch; the second list says which could not be understood.

        Raises ``Unavailable`` when the price book or the rules of attribution cannot be read.
        """
        entries: list[Entry] = []
        failures: list[str] = []
        keep, limit = settings.INGEST_KEEP_CONTENT, settings.INGEST_MAX_TEXT_CHARS
        try:
            prices, rules = self._prices.get(), self._rules.get()
        except DatabaseError as error:
            raise Unavailable(NO_DATABASE, retry_after=1.0) from error
        service, resource = batch.service, None
        for raw in batch.spans:
            try:
                if raw.resource is not resource:
                    resource = raw.resource
                    service = batch.service or service_of(resource)
                span = normalise(raw, service, max_text=limit)
                if not keep:
                    span.content = withheld(span)
                self._cardinality.bound(span, own_service=bool(batch.service))
                if said := rules.of(span.service):
                    attribute(span, said)
                content = orjson.dumps(span.content, default=str).decode() if span.content else None
                entries.append(Entry(span, span_cost(span, prices), content))
            except Exception as error:
                log.exception("a span could not be understood")
                failures.append(f"span {raw.span_id.hex()}: {type(error).__name__}: {error}")
        return entries, failures

    async def quarantine(self, batch: Batch, error: BaseException) -> None:
        """Keep a batch that could not be digested, in a transaction of its own."""
        await asyncio.get_running_loop().run_in_executor(self._threads, store.quarantine, batch, error)

    def close(self) -> None:
        """Finish what is queued and end the writer."""
        self._writer.close()
        self._threads.shutdown(wait=False)


def understand_records(batch: Batch) -> list[Message]:
    """What the log records of a batch tell of model calls; one that cannot be understood tells nothing."""
    found: list[Message] = []
    for record in batch.records if settings.INGEST_KEEP_CONTENT else ():
        try:
            content = told_by(record, settings.INGEST_MAX_TEXT_CHARS)
            if content:
                text = orjson.dumps(content, default=str)
                digest = blake2b(b"%d %b" % (record.time_ns, text), digest_size=8).digest()
                service = batch.service or service_of(record.resource)
                found.append(Message(record.trace_id, record.span_id, service, digest, record.time_ns, text.decode()))
        except Exception:
            log.exception("a log record could not be understood")
    return found


def service_of(resource: Resource) -> str:
    """The service that a collector's spans name, as it is stored."""
    name = resource.attributes.get("service.name")
    if not isinstance(name, str) or not name.strip():
        return UNKNOWN_SERVICE
    return name.strip().replace("\x00", "�")[:MAX_SERVICE_CHARS]


class Writer:
    """One thread, one connection: groups waiting jobs into transactions.

    It also understands them, group by group: the interpreter runs one thread at a time, and taking turns with the
    event loop for each small request costs more than it gains.
    """

    def __init__(
        self, understand: Callable[[Batch], tuple[list[Entry], list[str]]], gives_way: Callable[[], bool] = bool
    ) -> None:
        self._understand = understand
        self._gives_way = gives_way
        #: ``None`` is the end.
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._held: deque[Job | None] = deque()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._known_services: set[str] = set()
        self._nudger = Nudger()
        self._wrote_at, self._took = 0.0, 0.0
        self._company = 1

    def put(self, job: Job) -> None:
        """Queue a job. Raises ``Unavailable`` when too much waits already."""
        size = job.batch.size + 1
        with self._lock:
            if self._waiting and self._waiting + size > MAX_SPANS_WAITING:
                message = "Too many spans wait to be written; try again."
                raise Unavailable(message, retry_after=2.0)
            self._waiting += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="books-writer", daemon=True)
                self._thread.start()
        self._queue.put(job)

    def close(self) -> None:
        """Write what waits, then end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=8)
            self._thread = None

    def _run(self) -> None:
        while (first := self._held.popleft() if self._held else self._queue.get()) is not None:
            group = self._gather(first)
            # It shrinks slowly: one request that came late does not mean that there are fewer senders.
            self._company = max(len(group), self._company - 1)
            began = time.monotonic()
            self._write(group)
            self._wrote_at = time.monotonic()
            self._took = self._wrote_at - began
            with self._lock:
                self._waiting -= sum(job.batch.size + 1 for job in group)
            if self._gives_way():
                time.sleep(min(self._took, REST_SECONDS))
        self._disconnect()

    def _gather(self, first: Job) -> list[Job]:
        """What shares the next transaction; what was taken from the queue and does not is held for later."""
        group, spans = [first], first.batch.size
        began = time.monotonic()
        busy = began - self._wrote_at < BUSY_SECONDS
        until = began + (min(LINGER_SECONDS, LINGER_SHARE * self._took) if busy else 0.0)
        while spans < MAX_SPANS_PER_TRANSACTION:
            lonely = spans < LINGER_SPANS and len(group) < self._company
            wait = until - time.monotonic() if lonely else 0.0
            try:
                more = self._queue.get(block=wait > 0, timeout=max(wait, 0.0) or None)
            except queue.Empty:
                break
            if more is None or spans + more.batch.size > MAX_SPANS_PER_TRANSACTION:
                self._held.append(more)
                break
            group.append(more)
            spans += more.batch.size
        return group

    def _write(self, jobs: list[Job]) -> None:
        try:
            for job in jobs:
                job.entries, job.failures = self._understand(job.batch)
                job.messages = understand_records(job.batch)
            result = self._commit(jobs)
        except Unavailable as error:
            for job in jobs:
                job.done(error)
        except Exception as error:
            if len(jobs) > 1:  # one of them spoils the transaction: book the others
                for job in jobs:
                    self._write([job])
                return
            log.exception("a batch could not be booked")
            jobs[0].done(error)
        else:
            for job in jobs:
                job.done(job.receipt or Receipt(0))
            if result.topics:
                broadcast(jobs[0].loop, result.event_id, result.topics)
                self._nudger.nudge()

    def _commit(self, jobs: list[Job]) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._transaction(jobs)
            except psycopg.Error as error:
                state = error.sqlstate or ""
                self._recover(state)
                if state in _RETRY_HERE and attempt < ATTEMPTS:
                    time.sleep(0.01 * attempt)
                    continue
                lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
                if state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_CODES or (lost and not state):
                    log.warning("the books cannot be written now: %s", error)
                    raise Unavailable(NO_DATABASE, retry_after=1.0) from error
                raise
        raise AssertionError

    def _transaction(self, jobs: list[Job]) -> Result:
        if self._connection is None:
            self._connection = connect("ingest")
        result = Result()
        entries = [entry for job in jobs for entry in job.entries]
        told = [message for job in jobs for message in job.messages]
        with self._connection.transaction(), self._connection.cursor(binary=True) as cursor:
            outcome = book(cursor, entries, self._known_services)
            store.add_counters(cursor, _give_receipts(jobs, outcome))
            result.topics = _topics(outcome) if outcome.runs else []
            if told:
                new = messages.add(cursor, told)
                result.topics += _run_topics(new - outcome.runs)
                runs = [(m.trace_id, m.service, Place(m.span_id, 0)) for m in told if (m.trace_id, m.service) in new]
                pending.add(cursor, runs)
            if result.topics:
                result.event_id = live.record(cursor, result.topics)
        self._known_services.update(key[2] for key in outcome.accepted)
        return result

    def _recover(self, state: str) -> None:
        if self._connection is not None and (self._connection.broken or self._connection.closed or not state):
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _give_receipts(jobs: Iterable[Job], outcome: Outcome) -> dict[str, store.Counters]:
    """Give each request its receipt; what is counted of them by service."""
    counters: dict[str, store.Counters] = {}
    unclaimed = set(outcome.accepted)
    for job in jobs:
        if job.batch.records:
            continue
        requests = counters.setdefault(job.batch.service, store.Counters())
        requests.requests += 1
        requests.rejected_spans += job.batch.rejected
        requests.bytes_received += len(job.batch.body)
        accepted = conflicts = 0
        warnings: set[str] = set()
        for entry in job.entries:
            span = entry.span
            counter = counters.get(span.service)
            if counter is None:
                counter = counters[span.service] = store.Counters()
            if entry.key in unclaimed:
                unclaimed.remove(entry.key)
                counter.accepted_spans += 1
                accepted += 1
            else:
                counter.duplicate_spans += 1
                if entry.key in outcome.conflicts:
                    counter.conflicting_spans += 1
                    conflicts += 1
            if span.warnings:
                warnings.update(span.warnings)
        said = list(job.failures)
        if conflicts:
            said.append(f"{conflicts} spans came again with other content: the first one counts")
        said += sorted(warnings)[:MAX_WARNINGS]
        job.receipt = Receipt(accepted=accepted, duplicates=len(job.entries) - accepted, warnings=said)
    return counters


def _topics(outcome: Outcome) -> list[str]:
    return ["runs", "spend", *_run_topics(outcome.runs)]


def _run_topics(keys: Iterable[RunKey]) -> list[str]:
    traces = sorted({trace_id.hex() for trace_id, _ in keys})
    names = traces if len(traces) <= MAX_RUN_TOPICS else ["*"]  # every run: too many to name each
    return [f"run:{name}" for name in names]
