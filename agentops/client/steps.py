"""Runs and their steps as context managers.

A step asks when it is entered and is settled when it is left at the latest. Both are context variables: what is
nested, a transport among it, knows the run it belongs to and the step it may be a part of.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from agentops.client import telemetry
from agentops.client.answers import Decision, Reason, Settlement
from agentops.client.errors import stop_of
from agentops.client.outbox import giving_up
from agentops.client.questions import Kind, Outcome, Question, Told, Usage, Whose, dollars, hash_of


class Asking(Protocol):
    """What a step needs of the guard."""

    def check(self, question: Question) -> Decision:
        """Ask."""

    async def acheck(self, question: Question) -> Decision:
        """Ask."""

    def settle(self, told: Told) -> Settlement | None:
        """Tell."""

    async def asettle(self, told: Told) -> Settlement | None:
        """Tell."""


class Steps:
    """What opens steps: the guard itself, or a run of it."""

    def _open(self, question: Question) -> Step:
        raise NotImplementedError

    def step(
        self,
        kind: Kind,
        *,
        model: str | None = None,
        provider: str | None = None,
        tool: str | None = None,
        arguments: Any = None,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        cost_usd: Decimal | float | str | None = None,
        final_answer: bool = False,
    ) -> Step:
        """A step that is about to be made; a context manager that asks on entering.

        ``arguments`` are a tool's; only their hash is sent. What the estimate leaves open the server knows of the
        price book and of what such steps took before.
        """
        return self._open(
            Question(
                kind=kind,
                provider=provider,
                model=model,
                tool=tool,
                arguments_hash=None if arguments is None else hash_of(arguments),
                input_tokens=input_tokens,
                max_output_tokens=max_output_tokens,
                cost_usd=dollars(cost_usd),
                final_answer=final_answer,
            )
        )


class Run(Steps):
    """Steps that belong together, and for whom they are made. ``id`` is known once it is entered."""

    def __init__(self, guard: Asking, **whose: str | None) -> None:
        self.guard = guard
        self.outer: Run | None = None
        self._whose = Whose(**whose)
        self._tokens: list[Token[Run | None]] = []

    @property
    def id(self) -> str | None:
        """What the run is called; the trace's id where there is one."""
        return self._whose.run

    @property
    def whose(self) -> Whose:
        """For whom its steps are made."""
        return self._whose

    @property
    def is_open(self) -> bool:
        """Whether it is entered."""
        return bool(self._tokens)

    def __enter__(self) -> Self:
        outer = current_run()
        # The run around it goes first: what it spends inside must not escape its ceiling.
        whose = self._whose if outer is None else self._whose.within(outer.whose)
        self._whose = replace(whose, run=whose.run or telemetry.current_trace() or secrets.token_hex(16))
        self.outer = outer if not self._tokens else self.outer
        self._tokens.append(_run.set(self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _reset(_run, self._tokens.pop())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, at)

    @contextmanager
    def final_answer(self) -> Iterator[Self]:
        """Within it steps are the run's last: they may use what a budget keeps for the answer of a stopped run."""
        ending = _Ending()
        token = _final.set(ending)
        try:
            yield self
        finally:
            ending.is_open = False
            _reset(_final, token)

    def _open(self, question: Question) -> Step:
        return Step(self.guard, replace(question, whose=self._whose))


class Step:
    """One call of a model or a tool, or one hand-over. It is asked for once, and settled once."""

    def __init__(self, guard: Asking, question: Question) -> None:
        self.guard = guard
        self.question = question
        self.decision: Decision | None = None
        self.settlement: Settlement | None = None
        self.is_settled = False
        #: Whether what it was settled with was worked out of texts, because the provider did not tell.
        self.usage_is_estimated = False
        self.outer: Step | None = None
        self._token: Token[Step | None] | None = None
        self._is_claimed = False

    @property
    def kind(self) -> Kind:
        """What it calls."""
        return self.question.kind

    @property
    def is_open(self) -> bool:
        """Whether it is entered."""
        return self._token is not None

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """What the guard warns of and does not stop for yet."""
        return self.decision.warnings if self.decision is not None else ()

    @property
    def reservation(self) -> str | None:
        """What is reserved for it; ``None`` when nothing is."""
        return self.decision.reservation if self.decision is not None else None

    def claim(self) -> bool:
        """Become the step of a call made within it, once: a second call needs a step of its own."""
        is_free = self.kind == "llm" and not self._is_claimed and not self.is_settled
        self._is_claimed = self._is_claimed or is_free
        return is_free

    def release(self) -> None:
        """Let another call have it: the one that claimed it came to nothing."""
        self._is_claimed = False

    def ask(self) -> Self:
        """Ask, without becoming the current step. Raises ``GuardStopped`` or ``GuardMisconfigured``."""
        self._complete()
        return self._decided(self.guard.check(self.question))

    async def aask(self) -> Self:
        """``ask`` for coroutines."""
        self._complete()
        return self._decided(await self.guard.acheck(self.question))

    def settle(
        self,
        usage: Usage | None = None,
        *,
        outcome: Outcome = "ok",
        cost_usd: Decimal | float | str | None = None,
        model: str | None = None,
        response_id: str | None = None,
        is_estimated: bool = False,
        **tokens: int | None,
    ) -> Settlement | None:
        """Say what it came to; the first time counts. ``tokens`` are those of ``Usage``, instead of one.

        ``is_estimated`` says that they were worked out of texts, because the provider did not tell.
        It never raises for what the guard says or does not say: the step is made already. What cannot be sent now is
        sent later. Without any usage a step that went well is booked as it was estimated.
        """
        told = self._told(usage or Usage(**tokens), outcome, dollars(cost_usd), model, response_id, is_estimated)
        if told is not None:
            with giving_up():
                self.settlement = self.guard.settle(told)
        return self.settlement

    async def asettle(
        self,
        usage: Usage | None = None,
        *,
        outcome: Outcome = "ok",
        cost_usd: Decimal | float | str | None = None,
        model: str | None = None,
        response_id: str | None = None,
        is_estimated: bool = False,
        **tokens: int | None,
    ) -> Settlement | None:
        """``settle`` for coroutines."""
        told = self._told(usage or Usage(**tokens), outcome, dollars(cost_usd), model, response_id, is_estimated)
        if told is not None:
            with giving_up():
                self.settlement = await self.guard.asettle(told)
        return self.settlement

    def __enter__(self) -> Self:
        self.ask()
        return self._enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()
        self.settle(outcome=outcome_of(error))

    async def __aenter__(self) -> Self:
        await self.aask()
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._leave()
        await self.asettle(outcome=outcome_of(error))

    def _complete(self) -> None:
        """Add what is known where it is asked: the run around it and the span that is recorded."""
        ids = telemetry.current_ids(self.kind)
        outer = current_run()
        whose = self.question.whose if outer is None else self.question.whose.within(outer.whose)
        self.question = replace(
            self.question,
            whose=whose if whose.run else replace(whose, run=ids.trace_id),
            ids=ids,
            final_answer=self.question.final_answer or _is_final(),
        )

    def _decided(self, decision: Decision) -> Self:
        self.decision = decision
        if decision.decision == "stop":
            raise stop_of(decision)
        if decision.reservation is not None:
            telemetry.mark(decision.reservation, self.kind)
        return self

    def _told(
        self,
        usage: Usage,
        outcome: Outcome,
        cost_usd: Decimal | None,
        model: str | None,
        response_id: str | None,
        is_estimated: bool,  # noqa: FBT001  (only ``settle`` calls it)
    ) -> Told | None:
        if self.is_settled or self.reservation is None:
            return None
        self.is_settled, self.usage_is_estimated = True, is_estimated
        return Told(
            reservation=self.reservation,
            outcome=outcome,
            usage=usage,
            cost_usd=cost_usd,
            model=model or self.question.model,
            provider=self.question.provider,
            response_id=response_id,
            ids=self.question.ids,
        )

    def _enter(self) -> Self:
        self.outer = current_step()
        self._token = _step.set(self)
        return self

    def _leave(self) -> None:
        if self._token is not None:
            _reset(_step, self._token)
            self._token = None


class _Ending:
    """A run that gives its final answer."""

    def __init__(self) -> None:
        self.is_open = True


def current_run() -> Run | None:
    """The run around this code."""
    return _innermost(_run.get())


def current_step() -> Step | None:
    """The step around this code."""
    return _innermost(_step.get())


_Around = TypeVar("_Around", Run, Step)


def _innermost(around: _Around | None) -> _Around | None:
    """What is entered still: a generator that was closed elsewhere leaves its own behind."""
    while around is not None and not around.is_open:
        around = around.outer
    return around


def _is_final() -> bool:
    ending = _final.get()
    return ending is not None and ending.is_open


def outcome_of(error: BaseException | None) -> Outcome:
    """How a step ended: cancellations, interrupts and closed generators are no errors, and no exceptions either."""
    if error is None:
        return "ok"
    return "error" if isinstance(error, Exception) else "cancelled"


def _reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    # A generator may be closed in another context than the one it was begun in; see ``_innermost``.
    with suppress(ValueError):
        variable.reset(token)


_run: ContextVar[Run | None] = ContextVar("agentops_run", default=None)
_step: ContextVar[Step | None] = ContextVar("agentops_step", default=None)
_final: ContextVar[_Ending | None] = ContextVar("agentops_final_answer", default=None)
