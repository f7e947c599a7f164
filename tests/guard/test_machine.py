"""A ceiling is passed by nothing but what is said to pass it: a machine with a clock of its own, against a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agentops.budgets import actions, ceilings, recount, reservations
from agentops.budgets.ceilings import Moment
from agentops.budgets.definitions import definition_of
from agentops.budgets.models import Budget, Raise, Stop
from agentops.budgets.store import Deltas, move
from agentops.columns import books_cursor
from agentops.domain.budgets import Amounts
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.guard.context import Customs
from agentops.guard.desk import check_of, settlement_of
from agentops.guard.estimates import Estimates
from agentops.guard.round import Check, Round, Settlement
from agentops.ingest.answers import Refused
from agentops.ingest.booking import Entry, book
from tests.budgets.making import make_budget, usd
from tests.guard.model import Ceiling, Key, Model, Step, Sum, Told, Who
from tests.ingest.simulation import clear_books

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("AGENTOPS_MACHINE_EXAMPLES", "40"))
STEPS = int(os.environ.get("AGENTOPS_MACHINE_STEPS", "40"))
CENT = 10**7
#: Clocks change soon after. All that the machine can reach is past, so that the books have it received before today.
START = datetime(2025, 3, 29, 21, 50, tzinfo=UTC)
LONG = timedelta(days=3_650)
ESTIMATES, CUSTOMS = Estimates(), Customs()
#: Runs by their traces, each with whose it is; one is named otherwise, of one it becomes known later whose it is.
TRACES = [f"{n:032x}" for n in range(1, 5)]
OWNERS = {
    TRACES[0]: ("shop", "ana"),
    TRACES[1]: ("desk", "bob"),
    TRACES[2]: ("shop", "bob"),
    TRACES[3]: ("shop", ""),
    "order 17": ("shop", "ana"),
}
LATE, LATE_USER = TRACES[3], "bob"
SWITCHES = [("user", "ana"), ("service", "desk"), ("run", TRACES[0]), ("run", "order 17")]

WHO = st.sampled_from(
    [Who(*owner, run) for run, owner in OWNERS.items()] + [Who(*owner, "") for owner in sorted(set(OWNERS.values()))]
)
#: Such that limits are met to the token.
TOKENS = st.sampled_from([0, 1, 99, 100, 200, 201])
ASKED = st.tuples(
    WHO,
    st.integers(0, 12),
    TOKENS,
    st.sampled_from([""] * 12 + ["a", "b", "c", "d"]),
    st.sampled_from([1, 600, 3_600]),
)


class Guarded(RuleBasedStateMachine):
    """Checks, settlements, spans, decisions and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(START)
        self.budgets: dict[int, Budget] = {}
        self.switches: dict[tuple[str, str], Stop] = {}
        self.raised: dict[int, Raise] = {}
        self.sent: list[tuple[Told, str | None]] = []
        self.numbers = 0
        #: What is known of idempotency keys: the question, and its answer.
        self.keys: dict[tuple[str, str], tuple[bytes, Any]] = {}
        self.received: dict[str, tuple[datetime, datetime]] = {}
        Budget.objects.all().delete()
        Stop.objects.all().delete()
        with books_cursor() as cursor:
            clear_books(cursor)

    @initialize(rounds=st.lists(st.lists(ASKED, min_size=1, max_size=3), min_size=2, max_size=4))
    def begin(self, rounds: list[list[Any]]) -> None:
        """With steps under way from the first: there is something to settle, to tell of and to take away."""
        self.make_budgets()
        for asked in rounds:
            self.ask(asked, None, again=False)

    def make_budgets(self) -> None:
        kathmandu, none = "Asia/Kathmandu", {"thresholds": []}
        made = [
            make_budget("0.60", services=["shop"], **none),
            make_budget("0.30", each="user", period="hour", timezone=kathmandu, **none),
            make_budget(each="user", period="day", timezone="Europe/Berlin", limit_steps=6, action="warn", **none),
            make_budget(each="run", limit_tokens=600, **none),
            make_budget("0.70", services=["desk", "shop"], period="week", timezone=kathmandu, **none),
        ]
        for one in made:
            self.budgets[one.pk] = one
            limits = [one.limit_nano, one.limit_tokens, one.limit_steps]
            stops = one.action == "stop"
            self.model.ceilings[one.pk] = Ceiling(
                one.pk, limits, one.period, one.timezone, one.each, tuple(one.services), stops
            )

    # What the product is asked

    def moment(self, cursor: Any) -> Moment:
        cursor.execute("SELECT revision FROM budgets_revision")
        return Moment(self.model.now, ceilings.known(cursor, cursor.fetchone()[0]), True)

    @contextmanager
    def clock(self) -> Iterator[Any]:
        """All that asks what time it is gets the machine's, and no moment is told twice."""
        self.model.now += timedelta(milliseconds=1)
        with pytest.MonkeyPatch.context() as patch, books_cursor() as cursor:
            for name in ("guard.round.share", "ingest.booking.share", "budgets.ceilings.look"):
                patch.setattr(f"agentops.{name}", self.moment)
            # It spares whoever loads ceilings the raises of long ago, by the database's clock.
            patch.setattr(ceilings, "RAISES", ceilings.RAISES.replace("until > now() - interval '1 day'", "true"))
            patch.setattr(actions, "LONGEST_RAISE", LONG)
            yield cursor

    def round(self, asked: list[Check | Settlement]) -> list[Any]:
        checks = [one for one in asked if isinstance(one, Check)]
        with self.clock() as cursor:
            Round(cursor, ESTIMATES, CUSTOMS).decide(checks, [one for one in asked if isinstance(one, Settlement)])
        return [one.answer for one in asked]

    # Rules

    @rule(
        asked=st.lists(ASKED, min_size=1, max_size=3),
        again=st.booleans(),
        settled=st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 16)),
    )
    def ask(self, asked: list[Any], settled: tuple[int, int] | None, *, again: bool) -> None:
        """Several at once, the last perhaps twice, perhaps with a settlement among them."""
        asked = asked + asked[-1:] * again
        bodies = [_question(*one) for one in asked]
        questions: list[Check | Settlement] = [
            check_of(body, one[0].service) for one, body in zip(asked, bodies, strict=True)
        ]
        step = None
        if settled and self.model.steps:
            step = self.model.steps[settled[0] % len(self.model.steps)]
            said = {"reservation": step.id, "cost_usd": _dollars(settled[1]), "usage": {"input_tokens": 40}}
            questions.append(settlement_of(json.dumps(said).encode(), step.who.service))
        answers = self.round(questions)
        self.model.expire()
        if step and settled:
            self.model.settle(step, (settled[1] * CENT, 40, 1), None)
            assert answers[-1]["late"] is step.is_late
        stopped: dict[tuple[str, str], bytes] = {}
        for one, body, answer in zip(asked, bodies, answers, strict=False):
            self._expect(one, body, answer, stopped)

    def _expect(self, asked: Any, body: bytes, answer: Any, stopped: dict[tuple[str, str], bytes]) -> None:
        """What is granted fits everywhere, what is stopped does not somewhere, and is told where."""
        who, cents, tokens, key, ttl = asked
        own = (who.service, key)
        if key and own in self.keys:
            known = self.keys[own]
            assert isinstance(answer, Refused) if known[0] != body else answer == known[1]
            return
        if key and stopped.get(own, body) != body:
            assert isinstance(answer, Refused)
            return
        full, amounts = self.model.complete(who), (cents * CENT, tokens, 1)
        lacking = self.model.lacking(full, amounts)
        assert {reason["budget"] for reason in answer["reasons"] if reason["mode"] == "budget"} == lacking
        assert answer["decision"] == self.model.decision(full, lacking)
        if answer["decision"] == "stop":
            stopped[own] = body
            return
        now = self.model.now
        windows = self.model.windows_of(full, now)
        self.model.steps.append(Step(answer["reservation"], who, amounts, now, now + timedelta(seconds=ttl), windows))
        if key:
            self.keys[own] = (body, answer)

    @precondition(lambda self: self.model.steps)
    @rule(
        data=st.data(),
        cents=st.integers(0, 16),
        tokens=TOKENS,
        how=st.sampled_from(["ok", "ok", "ok", "says nothing", "error", "cancelled"]),
        tie=st.sampled_from(["", "ids", "answer", "ids of before", "answer of before"]),
        again=st.sampled_from([False, False, False, True]),
    )
    def settle(self, data: st.DataObject, cents: int, tokens: int, how: str, tie: str, *, again: bool) -> None:
        open_ = [step for step in self.model.steps if step.state != "settled"]
        step = data.draw(st.sampled_from(open_ if open_ and not again else self.model.steps))
        amounts: Sum = {"cancelled": (0, 0, 0), "error": (0, 0, 1)}.get(how, step.held)
        said: dict[str, Any] = {"reservation": step.id, "outcome": how if how in ("error", "cancelled") else "ok"}
        if how == "ok":
            said |= {"cost_usd": _dollars(cents), "usage": {"input_tokens": tokens, "output_tokens": 0}}
            amounts = (cents * CENT, tokens, 1)
        told = self._tie(data, step, tie)
        if told and "ids" in tie:
            trace = next((t.who.run for t, _ in self.sent if t.number == told[0]), _trace(step.who.run))
            said |= {"trace_id": trace, "span_id": f"{told[0]:016x}"}
        elif told:
            said["response_id"] = _response(told[0])
        (answer,) = self.round([settlement_of(json.dumps(said).encode(), step.who.service)])
        self.model.expire()
        self.model.settle(step, amounts, told)
        assert answer["late"] is step.is_late

    def _tie(self, data: st.DataObject, step: Step, tie: str) -> tuple[int, str] | None:
        """The number of a span that is still to come, or of one that has come."""
        if "before" in tie:
            there = [told.number for told, _ in self.sent if told.who.service == step.who.service]
            return (data.draw(st.sampled_from(there)), tie) if there else None
        if not tie or not step.who.run:
            return None
        self.numbers += 1
        return (self.numbers, tie)

    @rule(
        data=st.data(),
        run=st.sampled_from([TRACES[0], *TRACES]),
        cents=st.integers(0, 12),
        tokens=TOKENS,
        tie=st.sampled_from(["", "reservation", "reservation", "settlement", "settlement"]),
        is_attributed=st.booleans(),
    )
    def span(self, data: st.DataObject, run: str, cents: int, tokens: int, tie: str, *, is_attributed: bool) -> None:
        """A call is told: one that was granted, or one that nobody had asked for."""
        who, step, number = Who(*OWNERS[run], run), None, 0
        mine = [step for step in self.model.steps if step.who.service == who.service and _trace(step.who.run) == run]
        if tie == "reservation" and mine:
            step = data.draw(st.sampled_from([step for step in mine if not step.is_counted] or mine))
        sent = {told.number for told, _ in self.sent}
        promised = [step.told[0] for step in mine if step.told and step.told[0] not in sent]
        if tie == "settlement" and promised:
            number = data.draw(st.sampled_from(promised))
        else:
            self.numbers += 1
            number = self.numbers
        steps = [one for one in self.model.steps if one is step or (one.told and one.told[0] == number)]
        user = LATE_USER if run == LATE and is_attributed else ""
        told = Told(number, who, self._book(number, who, cents, tokens, step, user), (cents * CENT, tokens, 1))
        for one in steps:
            if told.at - one.granted_at < reservations.REMEMBERED:
                told.at = one.granted_at
        if user:
            self.model.know(run, user)
        self.model.tell(told, steps)
        self.sent.append((told, step.id if step else None))

    def _book(self, number: int, who: Who, cents: int, tokens: int, step: Step | None, user: str = "") -> datetime:
        with self.clock() as cursor:
            book(cursor, [_entry(number, who, cents, tokens, step.id if step else None, user)], set())
            # The books receive by the database's clock.
            now = self.model.now
            first = self.received.setdefault(who.run, (now, now))[0]
            self.received[who.run] = (first, now)
            cursor.execute(
                "UPDATE runs SET first_received_at = %s, last_received_at = %s WHERE trace_id = %s AND service = %s",
                [first, now, bytes.fromhex(who.run), who.service],
            )
        return now

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def the_same_span_comes_again(self, data: st.DataObject) -> None:
        told, reservation = data.draw(st.sampled_from(self.sent))
        step = next((one for one in self.model.steps if one.id == reservation), None)
        self._book(told.number, told.who, told.amounts[0] // CENT, told.amounts[1], step)

    @rule(seconds=st.sampled_from([1, 1, 30, 30, 599, 3_600, 7_000, 90_000, 700_000]))
    def time_passes(self, seconds: int) -> None:
        before = self.model.now
        self.model.now += timedelta(seconds=seconds)
        for one in self.model.ceilings.values():
            if any(before < until <= self.model.now for _, _, _, until in one.raises):
                self.model.allow_what_is_there(one)

    @rule()
    def somebody_looks(self) -> None:
        with self.clock() as cursor:
            moment, deltas = self.moment(cursor), Deltas()
            reservations.expire(cursor, moment.at)(deltas)
            reservations.match_strays(cursor, moment, LONG, deltas)
            move(cursor, moment, deltas)
        self.model.expire()
        self.model.match()

    @rule(
        data=st.data(),
        what=st.sampled_from(["limit", "off", "off", "raise", "raise", "stop", "anew"]),
        place=st.integers(0, 4),
    )
    def somebody_decides(self, data: st.DataObject, what: str, place: int) -> None:
        pk = list(self.budgets)[place]
        if what == "off":
            self._switch(pk)
            if data.draw(st.booleans()):
                self._switch(pk)
        elif what == "anew":
            self._count_anew(pk)
        elif what == "stop":
            self._throw_or_lift(data.draw(st.sampled_from(SWITCHES)))
        elif self.budgets[pk].limit_nano is not None:
            cents = data.draw(st.sampled_from([0, 5, 30, 60, 90] if what == "limit" else [10, 50]))
            self._set_limit(pk, cents) if what == "limit" else self._raise(data, pk, cents)

    def _set_limit(self, pk: int, cents: int) -> None:
        self._change(pk, limit_nano=cents * CENT)
        self.model.ceilings[pk].limits[0] = cents * CENT
        self.model.allow_what_is_there(self.model.ceilings[pk])

    def _switch(self, pk: int) -> None:
        one = self.model.ceilings[pk]
        self._change(pk, is_off=not one.is_off)
        one.is_off = not one.is_off
        if not one.is_off:
            one.counts_from = self.model.now
            self.model.begin_anew(one)

    def _change(self, pk: int, **fields: Any) -> None:
        wanted = replace(definition_of(self.budgets[pk]), **fields)
        with self.clock():
            self.budgets[pk] = actions.change(budget=self.budgets[pk], wanted=wanted, by=None)

    def _raise(self, data: st.DataObject, pk: int, cents: int) -> None:
        """Raise a limit for a time, or end that before it is over."""
        one = self.model.ceilings[pk]
        if pk in self.raised:
            with self.clock():
                actions.end_raise(raised=self.raised.pop(pk), by=None)
            now = self.model.now
            one.raises = [(who, extra, since, min(until, now)) for who, extra, since, until in one.raises]
            self.model.allow_what_is_there(one)
            return
        member = data.draw(st.sampled_from(["", "ana"]))
        seconds = data.draw(st.sampled_from([60, 4_000, 90_000]))
        with self.clock():
            until = self.model.now + timedelta(seconds=seconds)
            self.raised[pk] = actions.raise_limit(
                budget=self.budgets[pk], extra=Amounts(cents * CENT), until=until, reason="why", by=None, member=member
            )
        one.raises.append((member, (cents * CENT, 0, 0), self.model.now, until))

    def _throw_or_lift(self, what: tuple[str, str]) -> None:
        with self.clock():
            if what in self.switches:
                actions.lift(thrown=self.switches.pop(what), by=None)
            else:
                self.switches[what] = actions.stop(what=what[0], value=what[1], reason="why", by=None)
        self.model.stopped = set(self.switches)

    def _count_anew(self, pk: int) -> None:
        one = self.model.ceilings[pk]
        if one.is_off:
            return
        with self.clock() as cursor:
            moment = self.moment(cursor)
            recount.recount(cursor, moment, moment.ceilings.by_id[pk])
        self.model.begin_anew(one)

    # Invariants

    @invariant()
    def windows_are_the_sum_of_their_rows(self) -> None:
        with books_cursor() as cursor:
            cursor.execute(
                "SELECT budget_id, member, starts_at, spent_nano, spent_tokens, spent_steps, reserved_nano,"
                " reserved_tokens, reserved_steps FROM budget_window"
            )
            found = {Key(*row[:3]): (tuple(row[3:6]), tuple(row[6:9])) for row in cursor.fetchall()}
        for key in self.model.all_windows() | found.keys():
            there = found.get(key, ((0, 0, 0), (0, 0, 0)))
            assert min(*there[0], *there[1]) >= 0, (key, there)
            if self.model.is_judged(key):
                assert there == self.model.used(key), key

    @invariant()
    def no_ceiling_is_passed_by_more_than_is_said(self) -> None:
        for key in self.model.all_windows():
            one = self.model.ceilings[key.ceiling]
            if one.stops and self.model.is_judged(key):
                spent, held = self.model.used(key)
                limits, excess = one.limits_at(key.member, self.model.now), self.model.excess[key]
                for limit, in_it, let_go, over in zip(limits, spent, held, excess, strict=True):
                    assert limit is None or in_it + let_go <= limit + over, (key, in_it, let_go, limit, over)

    def teardown(self) -> None:
        for pk in self.budgets:
            self._count_anew(pk)
        self.windows_are_the_sum_of_their_rows()


def _dollars(cents: int) -> str:
    return f"{cents / 100:.2f}"


def _trace(run: str) -> str:
    return TRACES[0] if run == "order 17" else run


def _response(number: int) -> str:
    return f"chatcmpl-{number:08x}b3f1"


def _question(who: Who, cents: int, tokens: int, key: str, ttl: int) -> bytes:
    asked = {
        "step": {"kind": "llm", "model": "m"},
        "user": who.user,
        "run": who.run,
        "ttl_seconds": ttl,
        "estimate": {"cost_usd": _dollars(cents), "input_tokens": tokens, "max_output_tokens": 0},
    }
    return json.dumps(asked | ({"idempotency_key": key} if key else {})).encode()


def _entry(number: int, who: Who, cents: int, tokens: int, reservation: str | None, user: str) -> Entry:
    trace_id = bytes.fromhex(who.run)
    span = Span(trace_id, number.to_bytes(8, "big"), b"", who.service, Kind.LLM, "chat", "s", 10**18, 10**18 + 1)
    span.agent_name, span.usage, span.reservation_id = "planner", TokenUsage(tokens, 0), reservation
    span.response_id = _response(number)
    if said := user or who.user:
        span.attribution = {"user": (said, 0)}
    return Entry(span, Cost(cents * CENT, PriceSource.BOOK, "test"), None)


def test_no_order_of_events_passes_a_ceiling_by_more_than_is_said() -> None:
    run_state_machine_as_test(
        Guarded,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_model_would_notice() -> None:
    machine = Guarded()
    machine.make_budgets()
    machine.ask([(Who("shop", "ana", TRACES[0]), 5, 10, "", 600)], None, again=False)
    machine.windows_are_the_sum_of_their_rows()
    with books_cursor() as cursor:
        cursor.execute("UPDATE budget_window SET spent_nano = spent_nano + 1")
    with pytest.raises(AssertionError):
        machine.windows_are_the_sum_of_their_rows()
    machine.model.spans.append(Told(1, Who("shop", "ana", TRACES[0]), machine.model.now, (usd("0.60"), 0, 1)))
    with pytest.raises(AssertionError):
        machine.no_ceiling_is_passed_by_more_than_is_said()
