"""The guard as a program sees it: asked before each step, told after it.

It never makes a step wait longer than ``tries`` times ``timeout`` seconds for each phase of a connection. When it
cannot be asked, ``on_unreachable`` decides; either is counted, and the server is told with the next question.
"""

from __future__ import annotations

import atexit
import logging
import os
import ssl
import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

from agentops.client.answers import Decision, Settlement
from agentops.client.errors import GuardMisconfigured, GuardUnreachable
from agentops.client.outbox import Outbox
from agentops.client.questions import Question, Told
from agentops.client.steps import Run, Step, Steps
from agentops.client.wire import Wire

log = logging.getLogger("agentops.client")

OnUnreachable = Literal["auto", "closed", "open"]
#: Settlements that wait for a guard which does not answer.
OUTBOX = 1_000
#: How many of them go along with one call, so that no step pays for a long outage.
AT_ONCE = 8


@dataclass(slots=True)
class Missed:
    """How often the guard could not be asked, and what was done then."""

    closed: int = 0
    open: int = 0

    def __bool__(self) -> bool:
        return bool(self.closed or self.open)


class Guard(Steps):
    """A connection to the guard, for one key; safe for any number of threads and coroutines.

    ``url`` is that of the installation, ``key`` an ingest key; without them ``AGENTOPS_URL``, ``AGENTOPS_INGEST_KEY``
    and ``AGENTOPS_SERVICE`` are read. ``service`` is needed for a key that is bound to none. ``on_unreachable`` says
    what becomes of a step when the guard cannot be asked: ``closed`` stops it, ``open`` lets it go on, ``auto`` stops
    it where the last answer told of a ceiling that must hold, or none was ever had. Raises ``GuardMisconfigured``.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        service: str | None = None,
        *,
        timeout: float = 2.0,
        tries: int = 2,
        on_unreachable: OnUnreachable = "auto",
        environment: str | None = None,
        ttl_seconds: int | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        url = url or os.environ.get("AGENTOPS_URL")
        key = key or os.environ.get("AGENTOPS_INGEST_KEY")
        if not url or not key:
            message = "The guard needs a URL and an ingest key: AGENTOPS_URL and AGENTOPS_INGEST_KEY."
            raise GuardMisconfigured(message)
        if on_unreachable not in ("auto", "closed", "open"):
            message = f"on_unreachable is auto, closed or open, not {on_unreachable!r}."
            raise GuardMisconfigured(message)
        self._wire = Wire(url, key, timeout=timeout, verify=verify)
        self._service = service or os.environ.get("AGENTOPS_SERVICE") or None
        self._tries = max(1, tries)
        self._on_unreachable = on_unreachable
        self._ttl_seconds = ttl_seconds
        self.environment = environment
        self._lock = threading.Lock()
        self._missed = Missed()
        self._hard: bool | None = None
        self._outbox = Outbox(OUTBOX)
        atexit.register(_close, weakref.ref(self))

    @property
    def missed(self) -> Missed:
        """What the server has not been told yet of steps that were decided without it."""
        with self._lock:
            return replace(self._missed)

    @property
    def unsettled(self) -> int:
        """How many settlements wait for the guard to answer again."""
        return len(self._outbox)

    def check(self, question: Question) -> Decision:
        """Ask whether a step may be made. Raises ``GuardMisconfigured``, and nothing else.

        A stop is a decision like others here, and so is what was decided without an answer.
        """
        try:
            with self._asking(question) as body:
                decision = _decision(self._wire.post("check", body, tries=self._tries))
        except GuardUnreachable as error:
            return self._without_answer(error)
        self._hard = decision.hard
        self._flush(AT_ONCE)
        return decision

    async def acheck(self, question: Question) -> Decision:
        """``check`` for coroutines."""
        try:
            with self._asking(question) as body:
                decision = _decision(await self._wire.apost("check", body, tries=self._tries))
        except GuardUnreachable as error:
            return self._without_answer(error)
        self._hard = decision.hard
        await self._aflush(AT_ONCE)
        return decision

    def settle(self, told: Told) -> Settlement | None:
        """Tell what a step came to; ``None`` when it waits for a guard that does not answer now.

        Raises ``GuardMisconfigured``, also for a reservation that the server does not know.
        """
        try:
            answer = self._wire.post("settle", told.body(), tries=1)
        except GuardMisconfigured:
            raise
        except BaseException as error:
            self._keep(told, error)
            if isinstance(error, GuardUnreachable):
                return None
            raise
        self._flush(AT_ONCE)
        return Settlement.of(answer)

    async def asettle(self, told: Told) -> Settlement | None:
        """``settle`` for coroutines. One that is cancelled meanwhile leaves its settlement to the next call."""
        try:
            answer = await self._wire.apost("settle", told.body(), tries=1)
        except GuardMisconfigured:
            raise
        except BaseException as error:
            self._keep(told, error)
            if isinstance(error, GuardUnreachable):
                return None
            raise
        await self._aflush(AT_ONCE)
        return Settlement.of(answer)

    def run(
        self,
        run: str | None = None,
        session: str | None = None,
        user: str | None = None,
        feature: str | None = None,
        agent: str | None = None,
    ) -> Run:
        """A run whose steps are asked for together; a context manager.

        Without an id it is the run around it, else the trace that is recorded now, else a new one.
        """
        return Run(self, run=run, session=session, user=user, feature=feature, agent=agent)

    def close(self) -> None:
        """Send what waits, as far as the guard takes it, and close the connections. It may be used again after."""
        self._flush(OUTBOX)
        self._wire.close()

    async def aclose(self) -> None:
        """``close`` for coroutines, with the connections of this event loop."""
        await self._aflush(OUTBOX)
        await self._wire.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def _open(self, question: Question) -> Step:
        return Step(self, question)

    @contextmanager
    def _asking(self, question: Question) -> Iterator[dict[str, Any]]:
        """The body of a question, the same in all its tries, with what it tells of steps decided without an answer."""
        body = question.body()
        if self._service:
            body["service"] = self._service
        if self.environment:
            body.setdefault("environment", self.environment)
        if self._ttl_seconds is not None:
            body["ttl_seconds"] = self._ttl_seconds
        body["idempotency_key"] = uuid.uuid4().hex
        # Taken, so that of two threads one tells it; put back unless it arrives.
        with self._lock:
            missed, self._missed = self._missed, Missed()
        if missed:
            body["missed"] = asdict(missed)
        try:
            yield body
        except BaseException:
            with self._lock:
                self._missed.closed += missed.closed
                self._missed.open += missed.open
            raise

    def _without_answer(self, error: GuardUnreachable) -> Decision:
        closed = self._on_unreachable == "closed" or (self._on_unreachable == "auto" and self._hard is not False)
        with self._lock:
            self._missed.closed += closed
            self._missed.open += not closed
        log.warning("%s The step was %s.", error, "stopped" if closed else "let through unguarded")
        return Decision("stop" if closed else "allow", hard=closed, is_answer=False)

    def _keep(self, told: Told, error: BaseException) -> None:
        self._outbox.put(told)
        log.warning("A settlement waits for the guard: %s", error or type(error).__name__)

    def _flush(self, most: int) -> None:
        with suppress(GuardUnreachable):
            for told in self._outbox.some(most):
                with self._outbox.sending(told):
                    self._wire.post("settle", told.body(), tries=1)

    async def _aflush(self, most: int) -> None:
        with suppress(GuardUnreachable):
            for told in self._outbox.some(most):
                with self._outbox.sending(told):
                    await self._wire.apost("settle", told.body(), tries=1)


def _decision(answer: Mapping[str, Any]) -> Decision:
    try:
        return Decision.of(answer)
    except (ValueError, AttributeError, TypeError) as error:
        raise GuardUnreachable(str(error)) from error


def _close(guard: weakref.ref[Guard]) -> None:
    if (alive := guard()) is not None:
        # The process ends, and its logging may have ended already.
        with suppress(Exception):
            alive.close()
