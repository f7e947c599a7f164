"""One transaction of the guard: the checks and settlements that came together, decided one after the other.

Every window that they touch is locked first, in the one order that everybody keeps; then each step is decided against
what is spent and held by then, so that of two steps that come at once the second knows of the first. The number of
statements does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg import Cursor

from agentops.budgets import reservations, store
from agentops.budgets.ceilings import Moment, share
from agentops.budgets.reservations import Ids, Reservation
from agentops.budgets.store import Deltas, WindowKey, windows_of
from agentops.columns import beside
from agentops.domain.budgets import NOTHING, Amounts, Budget, Each, Facts, Period, Position
from agentops.domain.spans import DEFAULT_ENVIRONMENT, Kind, TokenUsage
from agentops.guard import context, grants
from agentops.guard.context import Customs, Found, RunFacts
from agentops.guard.estimates import Estimates, Need, Wanted
from agentops.guard.grants import Grant, Refusal, Stated
from agentops.guard.shapes import CheckIn, SettleIn, moment_text, position_shapes
from agentops.guard.verdict import STOP, Verdict, judge
from agentops.ingest.answers import Refused
from agentops.runs.api import usd
from agentops.runs.findings import Scope
from agentops.runs.store import RunKey, answer_key


@dataclass(slots=True)
class Check:
    """A step that is asked about, by whom, and the hash of the question."""

    asked: CheckIn
    service: str
    body_hash: bytes
    answer: dict[str, Any] | Refused | None = None
    # What the round finds out.
    facts: Facts = field(init=False)
    need: Need = field(init=False)
    windows: list[tuple[Budget, WindowKey]] = field(init=False, default_factory=list)

    @property
    def stated(self) -> Stated:
        """What it says of itself."""
        asked, step = self.asked, self.asked.step
        return Stated(
            self.service,
            asked.environment,
            asked.run,
            asked.session,
            asked.user,
            asked.feature,
            asked.agent,
            step.kind,
            step.provider,
            step.model,
            step.tool,
            step.arguments_hash,
        )

    @property
    def key(self) -> tuple[str, str] | None:
        """Under what it asks to be known again."""
        return (self.service, self.asked.idempotency_key) if self.asked.idempotency_key else None


@dataclass(slots=True)
class Settlement:
    """What a client says of a step. ``service`` is its key's, empty for a collector."""

    asked: SettleIn
    service: str
    answer: dict[str, Any] | Refused | None = None


@dataclass(slots=True)
class Round:
    """One transaction."""

    cursor: Cursor[Any]
    estimates: Estimates
    customs: Customs
    moment: Moment = field(init=False)
    deltas: Deltas = field(init=False, default_factory=Deltas)
    positions: dict[WindowKey, Position] = field(init=False, default_factory=dict)
    settled: list[tuple[Settlement, Reservation]] = field(init=False, default_factory=list)
    _found: dict[tuple[str, int, str], list[Found]] = field(init=False, default_factory=dict)
    #: Steps of each check's run, by its identity.
    _made: dict[int, int] = field(init=False, default_factory=dict)
    #: Runs that have had their final answer.
    _ended: set[tuple[str, str]] = field(init=False, default_factory=set)

    def decide(self, checks: Sequence[Check], settlements: Sequence[Settlement]) -> None:
        """Answer all of them. Raises ``grants.Collided``: then the transaction has to be made again.

        Prices, rules and habits are read, over a connection that may have to be waited for, before anything is locked.
        What does not depend on each other is asked at once: where the connection is in a pipeline, one answer is waited
        for instead of six.
        """
        self.estimates.look()
        self.customs.look({check.service for check in checks if check.asked.run})
        self.moment = share(self.cursor)
        ids = {id(one): _uuid(one.asked.reservation) for one in settlements}
        keys = {id(check): grants.run_key(check.service, check.asked.run) for check in checks}
        places = {place for check in checks for place in context.keys_of(_facts(check, None))}
        expired = reservations.expire(beside(self.cursor), self.moment.at)
        locked = reservations.lock(beside(self.cursor), {pk for pk in ids.values() if pk is not None})
        known = grants.known(beside(self.cursor), (check.key for check in checks if check.key is not None))
        runs = context.runs(beside(self.cursor), (key for key in keys.values() if key is not None))
        asked_last = ((check.service, check.asked.run) for check in checks if check.asked.run)
        ended = grants.ended(beside(self.cursor), asked_last)
        found = context.found(beside(self.cursor), places, self.moment.at)
        expired(self.deltas)
        self._settle(settlements, ids, locked())
        fresh = _recall(checks, known())
        self._know(fresh, keys, runs())
        self._ended, self._found = ended(), found()
        if more := {place for check in fresh for place in context.keys_of(check.facts)} - places:
            self._found |= context.found(self.cursor, more, self.moment.at)()
        self._open(fresh)
        confirm = self._judge(fresh)
        for check in checks:
            _repeat(check, fresh)
        store.move(self.cursor, self.moment, self.deltas)
        confirm()
        self._tell()

    # Settlements

    def _settle(
        self,
        settlements: Sequence[Settlement],
        ids: Mapping[int, UUID | None],
        known: Mapping[UUID, Reservation],
    ) -> None:
        saved: list[tuple[Reservation, Ids]] = []
        for one in settlements:
            pk = ids[id(one)]
            reservation = None if pk is None else known.get(pk)
            if reservation is None or one.service not in ("", reservation.service):
                one.answer = _unknown(one)
                continue
            if reservation.state != reservations.SETTLED:
                amounts = self._spent(reservation, one.asked)
                reservations.settle(reservation, amounts, self.deltas)
                saved.append((reservation, _ids(reservation, one.asked)))
            self.settled.append((one, reservation))
        reservations.save(self.cursor, saved)

    def _spent(self, reservation: Reservation, asked: SettleIn) -> Amounts:
        """What a step has spent: as is said, else by its tokens, else what was held for it."""
        usage = asked.usage
        if asked.outcome != "ok" and usage is None and asked.cost_usd is None:
            return Amounts(0, 0, 0 if asked.outcome == "cancelled" else reservation.held.steps)
        tokens = reservation.held.tokens
        nano = asked.cost_usd
        if usage is not None:
            tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
            if nano is None:
                nano = self._cost(reservation, asked, usage)
        return Amounts(reservation.held.nano if nano is None else nano, tokens, reservation.held.steps)

    def _cost(self, reservation: Reservation, asked: SettleIn, usage: Any) -> int | None:
        counts = TokenUsage(
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.cache_creation_input_tokens,
            usage.reasoning_output_tokens,
        )
        return self.estimates.cost(
            service=reservation.service,
            kind=reservation.kind,
            provider=asked.provider or reservation.provider,
            model=asked.model or reservation.model,
            tool=reservation.tool,
            usage=counts,
            at=self.moment.at,
        )

    def _tell(self) -> None:
        for one, reservation in self.settled:
            positions = [self.positions[key] for key in reservation.windows if key in self.positions]
            shapes = [(position.used_share, position_shapes(position)) for position in positions]
            _, tightest = max(shapes, key=lambda pair: pair[0], default=(0.0, [{}]))
            one.answer = {
                "reservation": str(reservation.id),
                "state": "settled",
                "late": reservation.is_late,
                "cost_usd": usd((reservation.spent or NOTHING).nano),
                **{name: tightest[0].get(name) for name in _TIGHTEST},
                "positions": [shape for _, each in shapes for shape in each],
            }

    # Checks

    def _know(
        self,
        checks: Sequence[Check],
        keys: Mapping[int, RunKey | None],
        runs: Mapping[RunKey, RunFacts],
    ) -> None:
        """Complete what checks say by what telemetry has told of their runs."""
        for check in checks:
            key = keys[id(check)]
            run = runs.get(key) if key is not None else None
            check.facts = _facts(check, run)
            check.need = self.estimates.need(_wanted(check), self.moment.at)
            self._made[id(check)] = 0 if run is None else run.steps

    def _open(self, checks: Sequence[Check]) -> None:
        """Lock every window that is touched, and read where it stands, what was settled just now included."""
        ceilings, at = self.moment.ceilings, self.moment.at
        wanted: dict[WindowKey, str] = {}
        for check in checks:
            check.windows = [
                window
                for window in windows_of(ceilings, check.facts, at)
                if ceilings.replaced.holds(window[0], check.service, at)
            ]
            wanted |= {key: check.service for _, key in check.windows}
        for key, delta in self.deltas.items():
            wanted.setdefault(key, delta.service)
        for _, reservation in self.settled:
            for key in reservation.windows:
                wanted.setdefault(key, reservation.service)
        if not wanted:
            return
        found = store.open_windows(self.cursor, self.moment, wanted)
        for key, (spent, reserved) in found.items():
            budget = ceilings.by_id.get(key.budget_id)
            if budget is not None:
                end = budget.window(key.starts_at)[1]
                limits = budget.limits_at(key.member, at)
                position = Position(budget, key.member, key.starts_at, end, limits, spent, reserved)
                self.positions[key] = position
                if (moved := self.deltas.get(key)) is not None:
                    position.spent = position.spent.plus(Amounts(*moved.spent))
                    position.reserved = position.reserved.plus(Amounts(*moved.reserved))

    def _judge(self, checks: Sequence[Check]) -> Callable[[], None]:
        granted: list[Grant] = []
        refused: list[tuple[Refusal, Position | None]] = []
        for check in checks:
            positions = [self.positions[key] for _, key in check.windows]
            verdict = self._verdict(check, positions)
            if verdict.decision == STOP:
                check.answer = _answer(check, verdict)
                refused += self._refusals(check, verdict)
            else:
                grant = self._grant(check, verdict, positions)
                check.answer = grant.answer
                granted.append(grant)
        confirm = grants.write(beside(self.cursor), granted)
        first = grants.refuse(self.cursor, [refusal for refusal, _ in refused])
        for refusal, position in refused:
            if position is not None:
                key = WindowKey(position.budget.id, position.member, position.starts_at)
                moved = self.deltas.of(key, service=refusal.stated.service)
                moved.refused += 1
                if refusal in first:
                    moved.refused_nano += refusal.estimate_nano
                    first.discard(refusal)
        return confirm

    def _verdict(self, check: Check, positions: Sequence[Position]) -> Verdict:
        facts, asked = check.facts, check.asked
        found = [
            *self._found.get((facts.service, int(Scope.RUN), facts.run), ()),
            *self._found.get((facts.service, int(Scope.SESSION), facts.session), ()),
        ]
        made = max([self._made[id(check)], *(_steps_of(position) for position in positions)])
        return judge(
            check.need.amounts,
            positions,
            halts=self.moment.ceilings.halts_of(facts),
            found=found,
            steps=(made, self.customs.steps(facts.service) if facts.run else None),
            stops_loops=self.customs.stops_loops(facts.service),
            is_final=asked.final_answer,
            is_last=bool(asked.run) and (check.service, asked.run) not in self._ended,
        )

    def _grant(self, check: Check, verdict: Verdict, positions: Sequence[Position]) -> Grant:
        asked, amounts, at = check.asked, check.need.amounts, self.moment.at
        for (_, key), position in zip(check.windows, positions, strict=True):
            self.deltas.of(key, service=check.service).hold(amounts)
            position.reserved = position.reserved.plus(amounts)
        if asked.final_answer:
            self._ended.add((check.service, asked.run))
        pk, expires_at = uuid4(), at + timedelta(seconds=asked.ttl_seconds)
        return Grant(
            id=pk,
            stated=check.stated,
            key=asked.idempotency_key,
            body_hash=check.body_hash,
            is_final=asked.final_answer,
            held=amounts,
            windows=[key for _, key in check.windows],
            answer=_answer(check, verdict, reservation=pk, expires_at=expires_at),
            granted_at=at,
            expires_at=expires_at,
            trace_id=asked.trace_id if asked.span_id else None,  # type: ignore[arg-type]
            span_id=asked.span_id if asked.trace_id else None,  # type: ignore[arg-type]
        )

    def _refusals(self, check: Check, verdict: Verdict) -> list[tuple[Refusal, Position | None]]:
        by_window = {(position.budget.id, position.member): position for position in verdict.refusing}
        nano, message = check.need.amounts.nano, next(r["message"] for r in verdict.reasons if r["action"] == STOP)
        return [
            (Refusal(cause, pk, member, check.stated, nano, message), by_window.get((pk, member)))
            for cause, pk, member, _ in verdict.causes
        ]


_TIGHTEST = ("budget", "unit", "limit", "spent", "reserved", "remaining", "resets_at")


def _recall(checks: Sequence[Check], known: Mapping[tuple[str, str], tuple[bytes, Any]]) -> list[Check]:
    """Answer what was answered before; the others, of which each key comes once."""
    fresh: dict[tuple[str, str] | int, Check] = {}
    for check in checks:
        answered = None if check.key is None else known.get(check.key)
        if answered is not None:
            check.answer = answered[1] if answered[0] == check.body_hash else _other_body()
        else:
            fresh.setdefault(check.key or id(check), check)
    return list(fresh.values())


def _repeat(check: Check, fresh: Sequence[Check]) -> None:
    """Give the same answer to the same question, asked twice at once."""
    if check.answer is None:
        first = next(one for one in fresh if one.key == check.key)
        check.answer = first.answer if first.body_hash == check.body_hash else _other_body()


def _facts(check: Check, run: RunFacts | None) -> Facts:
    """What a check says, and where it says nothing, what is known of its run."""
    asked = check.asked
    told = run or RunFacts("", "", "", "", 0)
    return Facts(
        service=check.service,
        environment=asked.environment or told.environment or DEFAULT_ENVIRONMENT,
        user=asked.user or told.user,
        feature=asked.feature or told.feature,
        session=asked.session or told.session,
        run=asked.run,
    )


def _wanted(check: Check) -> Wanted:
    step, estimate = check.asked.step, check.asked.estimate
    return Wanted(
        check.service,
        step.kind,
        step.provider,
        step.model,
        step.tool,
        estimate.input_tokens,
        estimate.max_output_tokens,
        estimate.cost_usd,
    )


def _steps_of(position: Position) -> int:
    """The steps of a run, where the window is of one."""
    is_run = position.budget.period is Period.RUN or position.budget.each is Each.RUN
    return position.used.steps if is_run else 0


def _answer(
    check: Check, verdict: Verdict, *, reservation: UUID | None = None, expires_at: datetime | None = None
) -> dict[str, Any]:
    amounts, source = check.need
    return {
        "decision": verdict.decision,
        "reservation": None if reservation is None else str(reservation),
        "expires_at": moment_text(expires_at),
        "hard": verdict.hard,
        "final_answer": verdict.final_answer,
        "estimate": {"cost_usd": usd(amounts.nano), "tokens": amounts.tokens, "source": source},
        "reasons": verdict.reasons,
    }


def _ids(reservation: Reservation, asked: SettleIn) -> Ids:
    """What ties a settlement to its span; half an address is none."""
    trace_id: Any = asked.trace_id if asked.span_id else None
    span_id: Any = asked.span_id if asked.trace_id else None
    answer = answer_key(reservation.service, Kind.LLM, asked.response_id) if asked.response_id else None
    return Ids(asked.outcome, trace_id, span_id, answer)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _unknown(one: Settlement) -> Refused:
    return Refused(404, f"There is no reservation {one.asked.reservation} of this key's service.")


def _other_body() -> Refused:
    return Refused(409, "This idempotency_key was used for another question.")
