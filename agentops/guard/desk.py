"""Where checks and settlements of a process come together: one thread, one connection, one transaction at a time.

While one is under way the next ones queue up and share the following transaction: that is what lets very many clients
ask for one hot budget, whose row only one transaction at a time can hold.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import psycopg
from django.db import DatabaseError, DataError, IntegrityError, close_old_connections
from pydantic import ValidationError

from agentops.budgets.actions import TOPIC
from agentops.guard import grants
from agentops.guard.context import Customs
from agentops.guard.estimates import Estimates
from agentops.guard.grants import Collided
from agentops.guard.round import Check, Round, Settlement
from agentops.guard.shapes import CheckIn, SettleIn
from agentops.ingest.answers import Refused
from agentops.ingest.connections import connect
from agentops.live import store as live

log = logging.getLogger(__name__)

#: Questions of one transaction, and of all that may wait.
MAX_AT_ONCE, MAX_WAITING = 128, 4_000
#: What the desk answers without being in anybody's way.
A_FEW = 4
ATTEMPTS = 5
#: Pages are told of grants so often at most, in seconds.
TELL_SECONDS = 1.0
#: A statement that waits longer than this has met something that is wrong: the client is told to come back.
TIMEOUTS = "SET statement_timeout = '3s'; SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '10s'"
BUSY = "The guard is busy; try again."
NO_DATABASE = "The guard's database is not available; try again."
#: When whoever could not be answered may ask again, in seconds.
AGAIN_SECONDS = 1

#: What the database says of what it is given, whoever else is well.
_ABOUT_VALUES = (psycopg.DataError, psycopg.IntegrityError, DataError, IntegrityError)

Answer = dict[str, Any] | Refused


@dataclass(slots=True)
class Question:
    """A check or a settlement, and who waits for its answer."""

    of: Check | Settlement
    done: Callable[[Answer], None]


class Desk:
    """The guard of one process. ``notify`` tells browsers of an event, at once and without ever waiting."""

    def __init__(self, notify: Callable[[int], None] | None = None) -> None:
        """Start at the first question."""
        self._notify = notify
        self._queue: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._estimates, self._customs = Estimates(), Customs()
        self._told_at = float("-inf")
        self._is_untold = False

    def put(self, question: Question) -> None:
        """Ask. ``done`` is called from the desk's thread, after the commit. Raises ``Refused`` when too many wait."""
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise _not_now(BUSY)
            self._waiting += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="guard-desk", daemon=True)
                self._thread.start()
        self._queue.put(question)

    def ask(self, of: Check | Settlement) -> dict[str, Any]:
        """Ask and wait. Raises ``Refused``."""
        answered = threading.Event()
        found: list[Answer] = []

        def done(answer: Answer) -> None:
            found.append(answer)
            answered.set()

        self.put(Question(of, done))
        answered.wait()
        if isinstance(found[0], Refused):
            raise found[0]
        return found[0]

    @property
    def is_busy(self) -> bool:
        """Whether more than a few wait."""
        return self._waiting > A_FEW

    def close(self) -> None:
        """Answer what waits, then end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=5)
            self._thread = None

    def _run(self) -> None:
        while (first := self._next()) is not None:
            questions = [first]
            is_over = False
            while len(questions) < MAX_AT_ONCE:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    is_over = True
                    break
                questions.append(more)
            self._answer(questions)
            with self._lock:
                self._waiting -= len(questions)
            if is_over:
                break
        if self._is_untold:
            self._tell()
        self._disconnect()

    def _next(self) -> Question | None:
        """The next question, ``None`` at the end. While nobody asks, what is untold is told when its time has come."""
        while self._is_untold:
            try:
                return self._queue.get(timeout=max(self._told_at + TELL_SECONDS - time.monotonic(), 0.0))
            except queue.Empty:
                self._tell()
        return self._queue.get()

    def _answer(self, questions: Sequence[Question]) -> None:
        failure: Refused | None = None
        is_one_to_blame = True
        try:
            self._commit(questions)
        except Collided:
            failure = _not_now(BUSY)
        except (psycopg.Error, DatabaseError) as error:
            log.warning("the guard cannot answer now: %s", error)
            failure, is_one_to_blame = _not_now(NO_DATABASE), isinstance(error, _ABOUT_VALUES)
        except Exception:
            log.exception("the guard failed")
            failure = _not_now("The guard failed; try again.")
        finally:
            close_old_connections()
        if failure is not None and is_one_to_blame and len(questions) > 1:  # the others have an answer
            for question in questions:
                self._answer([question])
            return
        for question in questions:
            question.done(failure or question.of.answer or _not_now(BUSY))

    def _commit(self, questions: Sequence[Question]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            for question in questions:
                question.of.answer = None
            try:
                self._transaction([question.of for question in questions])
            except Collided:
                if attempt == ATTEMPTS:
                    raise
            except psycopg.Error as error:
                lost = self._connection is None or self._connection.broken or self._connection.closed
                if lost:
                    self._disconnect()
                passes = (error.sqlstate or "")[:2] == "40" or (lost and attempt == 1)
                if attempt == ATTEMPTS or not passes:
                    raise
            else:
                return
            time.sleep(0.005 * attempt)

    def _transaction(self, asked: Sequence[Check | Settlement]) -> None:
        checks = [one for one in asked if isinstance(one, Check)]
        settlements = [one for one in asked if isinstance(one, Settlement)]
        event_id, connection = None, self._connected()
        with connection.pipeline(), connection.transaction(), connection.cursor(binary=True) as cursor:
            Round(cursor, self._estimates, self._customs).decide(checks, settlements)
            grants.note_missed(cursor, _missed(checks))
            if time.monotonic() - self._told_at >= TELL_SECONDS:
                event_id = live.record(cursor, [TOPIC])
        self._is_untold = True
        if event_id is not None:
            self._told(event_id)

    def _tell(self) -> None:
        """Tell pages of what has happened since they were last told; when that fails, a little later."""
        try:
            connection = self._connected()
            with connection.transaction(), connection.cursor(binary=True) as cursor:
                event_id = live.record(cursor, [TOPIC])
        except psycopg.Error as error:
            log.warning("pages hear of grants later: %s", error)
            self._disconnect()
            self._told_at = time.monotonic()
        else:
            self._told(event_id)

    def _told(self, event_id: int) -> None:
        """An event is committed, and tells of all that is."""
        self._told_at, self._is_untold = time.monotonic(), False
        if self._notify is not None:
            self._notify(event_id)

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = connect("guard")
            self._connection.execute(TIMEOUTS)
            self._connection.commit()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _not_now(why: str) -> Refused:
    return Refused(503, why, retry_after=AGAIN_SECONDS)


def _missed(checks: Sequence[Check]) -> dict[str, tuple[int, int]]:
    missed: dict[str, tuple[int, int]] = {}
    for check in checks:
        said = check.asked.missed
        if said is not None and (said.closed or said.open) and not isinstance(check.answer, Refused):
            closed, open_ = missed.get(check.service, (0, 0))
            missed[check.service] = (closed + said.closed, open_ + said.open)
    return missed


def check_of(body: bytes, service: str) -> Check:
    """What is asked, by a key of this service (empty: of a collector). Raises ``Refused``."""
    try:
        asked = CheckIn.model_validate_json(body)
    except ValidationError as error:
        raise Refused(422, _words(error)) from error
    named = (asked.service or "").strip()
    if service and named and named != service:
        raise Refused(403, f"This key is bound to the service {service}.")
    if not service and not named:
        raise Refused(422, "service: a collector's key needs it.")
    return Check(asked, service or named, blake2b(_question(asked), digest_size=16).digest())


def settlement_of(body: bytes, service: str) -> Settlement:
    """What is said, by a key of this service (empty: of a collector). Raises ``Refused``."""
    try:
        return Settlement(SettleIn.model_validate_json(body), service)
    except ValidationError as error:
        raise Refused(422, _words(error)) from error


def _question(asked: CheckIn) -> bytes:
    """A question without what may differ when it is asked again."""
    return asked.model_copy(update={"missed": None}).model_dump_json().encode()


def _words(error: ValidationError) -> str:
    found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()[:5]]
    return "; ".join(found)
