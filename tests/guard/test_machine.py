"""A ceiling is passed by nothing but what is said to pass it: a machine with a clock of its own, against a model."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
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

from agentops.budgets import ceilings, recount, reservations
from agentops.budgets.ceilings import Moment
from agentops.budgets.models import Budget, Stop
from agentops.budgets.store import Deltas, move
from agentops.columns import books_cursor
from agentops.domain.budgets import NOTHING, Amounts, Facts, window
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.guard.context import Customs
from agentops.guard.desk import check_of, settlement_of
from agentops.guard.estimates import Estimates
from agentops.guard.round import Check, Refused, Round, Settlement
from agentops.ingest.booking import Entry, book
from tests.budgets.making import decided, make_budget, usd
from tests.ingest.simulation import clear_books

pytestmark = pytest.mark.django_db
EXAMPLES, STEPS = int(os.environ.get("AGENTOPS_MACHINE_EXAMPLES", "25")), 40
SERVICES, USERS = ("shop", "desk"), ("", "ana", "bob")
OUTCOMES = ("ok", "cancelled")
RUNS = ("", *(f"{n:032x}" for n in (1, 2, 3)))
CENT = 10**7
START = datetime(2026, 3, 28, 21, 50, tzinfo=UTC)


@dataclass
class Held:
    """A step that was granted, as the model knows it."""

    id: str
    service: str
    facts: Facts
    held: Amounts
    granted_at: datetime
    expires_at: datetime
    windows: list[tuple[int, str, datetime]]
    state: str = "held"
    spent: Amounts = NOTHING
    counted: bool = False
    is_late: bool = False


@dataclass
class Model:
    """What windows must hold: their steps, their spans, and by how much each may be passed."""

    steps: list[Held] = field(default_factory=list)
    #: (facts, moment, amounts) of every span that counts by itself.
    spans: list[tuple[Facts, datetime, Amounts]] = field(default_factory=list)


class Guarded(RuleBasedStateMachine):
    """Checks, settlements, spans and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.model = Model()
        self.budgets: list[Budget] = []
        self.excess: dict[tuple[int, str, datetime], Amounts] = defaultdict(lambda: NOTHING)
        self.sent = 0
        self.keys: dict[str, tuple[bytes, Any]] = {}
        Budget.objects.all().delete()
        Stop.objects.all().delete()
        with books_cursor() as cursor:
            clear_books(cursor)

    @initialize()
    def make_budgets(self) -> None:
        self.budgets = [
            make_budget("0.60", services=["shop"], thresholds=[]),
            make_budget("0.30", each="user", period="hour", timezone="Asia/Kathmandu", thresholds=[]),
            make_budget("0.40", each="user", period="day", timezone="Europe/Berlin", limit_steps=9, thresholds=[]),
            make_budget(each="run", limit_tokens=600, thresholds=[]),
            make_budget("0.50", services=["shop", "desk"], period="week", action="warn", thresholds=[]),
        ]

    # What the product is asked

    def moment(self, cursor: Any) -> Moment:
        cursor.execute("SELECT revision FROM budgets_revision")
        return Moment(self.now, ceilings.known(cursor, cursor.fetchone()[0]), True)

    def round(self, *asked: Any) -> list[Any]:
        checks = [one for one in asked if isinstance(one, Check)]
        with pytest.MonkeyPatch.context() as patch, books_cursor() as cursor:
            patch.setattr("agentops.guard.round.share", self.moment)
            Round(cursor, ESTIMATES, CUSTOMS).decide(checks, [one for one in asked if isinstance(one, Settlement)])
        return [one.answer for one in asked]

    def limits(self, key: tuple[int, str, datetime]) -> tuple[int | None, ...]:
        budget = next(one for one in self.budgets if one.pk == key[0])
        return (budget.limit_nano, budget.limit_tokens, budget.limit_steps)

    def windows_of(self, facts: Facts, at: datetime) -> list[tuple[int, str, datetime]]:
        """Independent of the product's own: scope and member by hand, the start by the calendar's rule."""
        found = []
        for budget in self.budgets:
            if budget.services and facts.service not in budget.services:
                continue
            member = getattr(facts, budget.each) if budget.each else ""
            if budget.each and not member:
                continue
            found.append((budget.pk, member, window(budget.period, budget.timezone, at)[0]))
        return found

    def used(self, key: tuple[int, str, datetime]) -> tuple[Amounts, Amounts]:
        spent, held = NOTHING, NOTHING
        for step in self.model.steps:
            if key in step.windows:
                if step.state == "held":
                    held = held.plus(step.held)
                elif step.state == "settled" and not step.counted:
                    spent = spent.plus(step.spent)
        for facts, at, amounts in self.model.spans:
            if key in self.windows_of(facts, at):
                spent = spent.plus(amounts)
        return spent, held

    def expire(self) -> None:
        for step in self.model.steps:
            if step.state == "held" and step.expires_at <= self.now:
                step.state = "expired"

    # Rules

    @rule(
        service=st.sampled_from(SERVICES),
        user=st.sampled_from(USERS),
        run=st.sampled_from(RUNS),
        cents=st.integers(0, 12),
        tokens=st.integers(0, 200),
        key=st.sampled_from(["", "a", "b"]),
        ttl=st.sampled_from([1, 600, 3_600]),
        count=st.integers(1, 3),
    )
    def check(self, service: str, user: str, run: str, cents: int, tokens: int, key: str, ttl: int, count: int) -> None:
        self.expire()
        if run:
            service, user = _whose(run)
        asked = {
            "step": {"kind": "llm", "model": "m"},
            "user": user,
            "run": run,
            "ttl_seconds": ttl,
            "estimate": {"cost_usd": f"{cents / 100:.2f}", "input_tokens": tokens, "max_output_tokens": 0},
        }
        if key:
            asked["idempotency_key"] = key
        body = json.dumps(asked).encode()
        facts = Facts(service, "", "production", user, "", "", run)
        amounts = Amounts(cents * CENT, tokens, 1)
        for answer in self.round(*(check_of(body, service) for _ in range(count))):
            known = self.keys.get(f"{service}/{key}") if key else None
            if known is not None:
                assert isinstance(answer, Refused) if known[0] != body else answer == known[1]
                continue
            self.expect(answer, facts, amounts, ttl)
            if key and answer["decision"] != "stop":
                self.keys[f"{service}/{key}"] = (body, answer)

    def expect(self, answer: Any, facts: Facts, amounts: Amounts, ttl: int) -> None:
        """What is granted fits everywhere, what is stopped does not somewhere."""
        windows = self.windows_of(facts, self.now)
        lacking = set()
        for key in windows:
            spent, held = self.used(key)
            for limit, used, wanted in zip(self.limits(key), spent.plus(held), amounts, strict=True):
                if limit is not None and (used + wanted > limit or used >= limit):
                    lacking.add(key[0])
        hard = {pk for pk in lacking if next(b for b in self.budgets if b.pk == pk).action == "stop"}
        named = {reason["budget"] for reason in answer["reasons"]}
        assert named == lacking
        assert answer["decision"] == ("stop" if hard else "warn" if lacking else "allow")
        if answer["decision"] != "stop":
            expires_at = self.now + timedelta(seconds=ttl)
            self.model.steps.append(
                Held(answer["reservation"], facts.service, facts, amounts, self.now, expires_at, windows)
            )

    @precondition(lambda self: self.model.steps)
    @rule(
        data=st.data(), cents=st.integers(0, 16), tokens=st.integers(0, 260), how=st.sampled_from(["ok", "cancelled"])
    )
    def settle(self, data: st.DataObject, cents: int, tokens: int, how: str) -> None:
        self.expire()
        step = data.draw(st.sampled_from(self.model.steps))
        said: dict[str, Any] = {"reservation": step.id, "outcome": how}
        amounts = Amounts()
        if how == "ok":
            said |= {"cost_usd": f"{cents / 100:.2f}", "usage": {"input_tokens": tokens, "output_tokens": 0}}
            amounts = Amounts(cents * CENT, tokens, 1)
        (answer,) = self.round(settlement_of(json.dumps(said).encode(), step.service))
        if step.state != "settled":
            step.is_late = step.state == "expired"
            for key in step.windows:
                self.pass_by(key, amounts if step.is_late else _beyond(amounts, step.held))
            step.state, step.spent = "settled", amounts
        assert answer["late"] is step.is_late

    @rule(
        data=st.data(),
        tied=st.booleans(),
        run=st.sampled_from(RUNS[1:]),
        cents=st.integers(0, 12),
        tokens=st.integers(0, 200),
        again=st.booleans(),
    )
    def span(
        self,
        data: st.DataObject,
        *,
        tied: bool,
        run: str,
        cents: int,
        tokens: int,
        again: bool,
    ) -> None:
        self.expire()
        service, user = _whose(run)
        facts = Facts(service, "", "production", user, "", "", run)
        step = None
        if tied:
            fitting = [s for s in self.model.steps if s.facts == facts]
            step = data.draw(st.sampled_from(fitting)) if fitting else None
        self.sent += 1
        entry = _entry(self.sent, facts, cents, tokens, step.id if step else None)
        for _ in range(2 if again else 1):
            with pytest.MonkeyPatch.context() as patch, books_cursor() as cursor:
                patch.setattr("agentops.ingest.booking.share", self.moment)
                book(cursor, [entry], set())
        amounts = Amounts(cents * CENT, tokens, 1)
        at = self.now
        if step is not None and self.now - step.granted_at < reservations.REMEMBERED:
            at = step.granted_at
        first = step is not None and not step.counted
        if first and step is not None:
            step.is_late = step.is_late or step.state == "expired"
            excess = _beyond(amounts, step.held) if step.state == "held" else amounts
            step.state, step.counted = "settled", True
        else:
            excess = amounts
        for key in self.windows_of(facts, at):
            self.pass_by(key, excess)
        self.model.spans.append((facts, at, amounts))

    @rule(seconds=st.sampled_from([1, 30, 599, 3_600, 7_000, 90_000, 700_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def sweep(self) -> None:
        self.expire()
        with books_cursor() as cursor:
            deltas = Deltas()
            reservations.expire(cursor, self.now)(deltas)
            move(cursor, self.moment(cursor), deltas)

    @rule(place=st.integers(0, 2), cents=st.sampled_from([5, 30, 60, 90]))
    def change_a_limit(self, place: int, cents: int) -> None:
        budget = self.budgets[place]
        if cents * CENT < (budget.limit_nano or 0):
            for key in {key for step in self.model.steps for key in step.windows if key[0] == budget.pk}:
                self.pass_by(key, Amounts((budget.limit_nano or 0) - cents * CENT))
            for facts, at, _ in self.model.spans:
                for key in self.windows_of(facts, at):
                    if key[0] == budget.pk:
                        self.pass_by(key, Amounts((budget.limit_nano or 0) - cents * CENT))
        budget.limit_nano = cents * CENT
        budget.save()
        decided()

    def pass_by(self, key: tuple[int, str, datetime], amounts: Amounts) -> None:
        """A window may be passed by so much more."""
        self.excess[key] = self.excess[key].plus(Amounts(*(max(amount, 0) for amount in amounts)))

    # Invariants

    @invariant()
    def windows_are_the_sum_of_their_rows(self) -> None:
        with books_cursor() as cursor:
            cursor.execute(
                "SELECT budget_id, member, starts_at, spent_nano, spent_tokens, spent_steps, reserved_nano,"
                " reserved_tokens, reserved_steps FROM budget_window"
            )
            found = {tuple(row[:3]): (Amounts(*row[3:6]), Amounts(*row[6:9])) for row in cursor.fetchall()}
        self.lapsed = [s for s in self.model.steps if s.state == "expired"]
        keys = {key for step in self.model.steps for key in step.windows}
        keys |= {key for facts, at, _ in self.model.spans for key in self.windows_of(facts, at)}
        for key in keys | found.keys():
            spent, held = found.get(key, (NOTHING, NOTHING))
            wanted_spent, wanted_held = self.used(key)
            # What has expired is let go of at the next round or sweep.
            due = sum((s.held.nano for s in self.lapsed if key in s.windows), 0)
            assert spent == wanted_spent, key
            assert wanted_held.nano <= held.nano <= wanted_held.nano + due, key
            assert min(*spent, *held) >= 0, key

    @invariant()
    def no_ceiling_is_passed_by_more_than_is_said(self) -> None:
        for budget in self.budgets:
            if budget.action != "stop":
                continue
            for step in self.model.steps:
                for key in step.windows:
                    if key[0] == budget.pk:
                        spent, held = self.used(key)
                        limits, excess = self.limits(key), self.excess[key]
                        for limit, used, over in zip(limits, spent.plus(held), excess, strict=True):
                            assert limit is None or used <= limit + over, (key, used, limit, over)

    def teardown(self) -> None:
        if not self.budgets:
            return
        self.expire()
        with books_cursor() as cursor:
            deltas = Deltas()
            reservations.expire(cursor, self.now)(deltas)
            move(cursor, self.moment(cursor), deltas)
            moment = self.moment(cursor)
            for budget in self.budgets:
                if budget.period != "total":
                    continue
                known = moment.ceilings.by_id[budget.pk]
                recount.recount(cursor, moment, known)
        self.windows_are_the_sum_of_their_rows()


def _whose(run: str) -> tuple[str, str]:
    """A run belongs to one service and user here: what becomes known late is another test's."""
    place = RUNS.index(run)
    return SERVICES[place % 2], USERS[1 + place % 2]


def _beyond(amounts: Amounts, held: Amounts) -> Amounts:
    return Amounts(*(max(amount - had, 0) for amount, had in zip(amounts, held, strict=True)))


def _entry(number: int, facts: Facts, cents: int, tokens: int, reservation: str | None) -> Entry:
    trace_id = bytes.fromhex(facts.run)
    span = Span(trace_id, number.to_bytes(8, "big"), b"", facts.service, Kind.LLM, "chat", "s", 10**18, 10**18 + 1)
    span.agent_name, span.usage, span.reservation_id = "planner", TokenUsage(tokens, 0), reservation
    span.attribution = {"user": (facts.user, 0)}
    return Entry(span, Cost(cents * CENT, PriceSource.BOOK, "test"), None)


ESTIMATES, CUSTOMS = Estimates(), Customs()


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
    machine.check("shop", "ana", RUNS[1], 5, 10, "", 600, 1)
    with books_cursor() as cursor:
        cursor.execute("UPDATE budget_window SET spent_nano = spent_nano + 1")
    with pytest.raises(AssertionError):
        machine.windows_are_the_sum_of_their_rows()
    assert usd("0.05") == 5 * CENT
