"""Windows hold what the books hold: each span once, where its run is attributed, when it was granted."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentops.budgets import ceilings, recount, reservations
from agentops.budgets.models import Budget, Reservation, Window
from agentops.budgets.store import Deltas, move
from agentops.columns import books_cursor
from agentops.domain.budgets import Amounts
from agentops.domain.spans import Cost, Kind, PriceSource, Span, TokenUsage
from agentops.guard import queries, reconciliation
from agentops.ingest.booking import Entry, book
from tests.budgets.making import make_budget, usd, windows
from tests.guard.asking import RUN, SERVICE, check, settle
from tests.ingest.simulation import clear_books, run_entries

pytestmark = pytest.mark.django_db
TRACE = bytes.fromhex(RUN)


def call(n: int = 1, cost: str = "0.04", *, kind: Kind = Kind.LLM, **fields: Any) -> Entry:
    """A model call of the run, as its span tells."""
    span = Span(TRACE, n.to_bytes(8, "big"), b"", SERVICE, kind, "chat", "scope", 10**18, 10**18 + 10**9)
    span.agent_name = "planner"
    span.usage = TokenUsage(1_000, 100)
    attribution = fields.pop("attribution", {})
    for name, value in fields.items():
        setattr(span, name, value)
    span.attribution = {name: (value, 0) for name, value in attribution.items()}
    return Entry(span, Cost(usd(cost), PriceSource.BOOK, "test"), None)


def ingest(*entries: Entry) -> None:
    """Book spans."""
    with books_cursor() as cursor:
        book(cursor, list(entries), set())


def match_strays() -> int:
    """Look for spans that came before their settlements."""
    with books_cursor() as cursor:
        moment, deltas = ceilings.share(cursor), Deltas()
        found = reservations.match_strays(cursor, moment, timedelta(minutes=1), deltas)
        move(cursor, moment, deltas)
        return found


def test_spans_count_without_any_guard() -> None:
    budget = make_budget("1", each="user", period="day")
    ingest(call(attribution={"user": "ana"}), call(2, kind=Kind.TOOL))
    assert windows(budget) == {"ana": (usd("0.08"), 0)}


def test_a_user_who_is_known_late_takes_what_was_spent_along() -> None:
    budget = make_budget("1", each="user", period="day")
    ingest(call())
    assert windows(budget) == {}
    ingest(call(2, attribution={"user": "ana"}))
    assert windows(budget) == {"ana": (usd("0.08"), 0)}


def test_a_budget_counts_what_comes_after_it_was_made() -> None:
    budget = make_budget("1", each="user", counts_from=timezone.now() + timedelta(hours=1))
    ingest(call(attribution={"user": "ana"}))
    assert windows(budget) == {}


@pytest.mark.parametrize("tied_by", ["reservation", "span", "answer"])
@pytest.mark.parametrize("first", ["settlement", "span", "span without settlement"])
def test_a_step_and_its_span_count_once_whatever_ties_them_and_whichever_comes_first(tied_by: str, first: str) -> None:
    budget = make_budget("1", each="run")
    reservation = check(run=RUN)["reservation"]
    said: dict[str, Any] = {"cost_usd": "0.07"}
    entry = call()
    if tied_by == "reservation":
        entry.span.reservation_id = reservation
    elif tied_by == "span":
        said |= {"trace_id": RUN, "span_id": entry.span.span_id.hex()}
    else:
        said["response_id"] = entry.span.response_id = "chatcmpl-9f2c71aa"
    if first == "settlement":
        settle(reservation, **said)
        assert windows(budget) == {RUN: (usd("0.07"), 0)}
        ingest(entry)
    else:
        ingest(entry)
        if first == "span":
            settle(reservation, **said)
            match_strays()
    if first == "span without settlement" and tied_by != "reservation":
        assert windows(budget) == {RUN: (usd("0.04"), usd("0.10"))}  # nothing tells that it is the same
    else:
        assert windows(budget) == {RUN: (usd("0.04"), 0)}


def test_a_settlement_that_comes_again_after_its_span_changes_nothing() -> None:
    budget = make_budget("1", each="run")
    reservation = check(run=RUN)["reservation"]
    entry = call(reservation_id=reservation)
    ingest(entry)
    settle(reservation, cost_usd="0.07")
    ingest(entry, call(1, "0.99"))
    assert windows(budget) == {RUN: (usd("0.04"), 0)}


def test_the_spans_of_a_step_belong_to_whom_the_guard_was_asked_for() -> None:
    budget = make_budget("1", each="user", period="day")
    reservation = check(run=RUN, user="ana")["reservation"]
    ingest(call(reservation_id=reservation, attribution={"user": "somebody"}))
    assert windows(budget) == {"ana": (usd("0.04"), 0)}


def test_a_span_counts_in_the_window_in_which_its_step_was_granted() -> None:
    budget = make_budget("1", period="hour")
    reservation = check(run=RUN)["reservation"]
    granted = timezone.now() - timedelta(hours=3)
    Reservation.objects.update(granted_at=granted)
    ingest(call(reservation_id=reservation))
    with books_cursor() as cursor:
        cursor.execute("SELECT starts_at, spent_nano FROM budget_window WHERE budget_id = %s", [budget.pk])
        spent = dict(cursor.fetchall())
    assert spent[granted.replace(minute=0, second=0, microsecond=0)] == usd("0.04")


def test_a_run_that_is_named_otherwise_than_its_trace_keeps_its_own_window() -> None:
    budget = make_budget("1", each="run")
    reservation = check(run="order 17", user="ana")["reservation"]
    total = make_budget("1")
    settle(reservation, cost_usd="0.07")
    ingest(call(reservation_id=reservation))
    assert windows(budget) == {"order 17": (usd("0.04"), 0), RUN: (usd("0.04"), 0)}
    assert windows(total) == {"": (usd("0.04"), 0)}


def test_agents_that_only_contain_a_call_settle_nothing() -> None:
    budget = make_budget("1", each="run")
    reservation = check(run=RUN)["reservation"]
    ingest(call(kind=Kind.AGENT, reservation_id=reservation))
    assert windows(budget) == {RUN: (0, usd("0.10"))}


def test_a_shadow_counts_in_its_own_budgets_alone() -> None:
    everything, shadows = make_budget("1"), make_budget("1", environment="shadow")
    ingest(call(attribution={"environment": "shadow"}))
    assert windows(everything) == {}
    assert windows(shadows) == {"": (usd("0.04"), 0)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_counting_anew_finds_what_was_counted(seed: int) -> None:
    rng = random.Random(seed)
    Budget.objects.all().delete()
    with books_cursor() as cursor:
        clear_books(cursor)
    made = [
        make_budget("100", each="user", period="month"),
        make_budget("100", period="session", services=["service-1"]),
        make_budget("100", environment="x"),
        make_budget("100", each="run", feature="y"),
    ]
    entries = [entry for n in range(4) for entry in run_entries(seed + n)]
    rng.shuffle(entries)
    held = [check(f"service-{rng.randrange(2)}", user="x", session="y", run=rng.choice(["", RUN])) for _ in range(6)]
    half = len(entries) // 2
    for entry, answer in zip(rng.sample(entries[half:], 3), held, strict=False):
        entry.span.reservation_id = answer["reservation"]
    ingest(*entries[:half])
    for answer in held[2:5]:
        for service in ("service-0", "service-1"):
            settle(answer["reservation"], service, cost_usd="0.03")
    ingest(*entries[half:])
    before = [_some(windows(budget)) for budget in made]
    with books_cursor() as cursor:
        moment = ceilings.share(cursor)
        for budget in made:
            recount.recount(cursor, moment, moment.ceilings.by_id[budget.pk])
    assert [_some(windows(budget)) for budget in made] == before
    assert any(before)


def _some(found: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {member: sums for member, sums in found.items() if any(sums)}


def test_amounts_add_up() -> None:
    assert Amounts(1, 2, 3).plus(Amounts(1, 1, 1)).minus(Amounts(2, 3, 4)) == Amounts()


def test_a_window_that_is_gone_and_made_again_by_what_was_held_in_it_has_its_end() -> None:
    budget = make_budget("100", period="day")
    check()
    was = Window.objects.get(budget_id=budget.pk)
    with books_cursor() as cursor:
        cursor.execute("DELETE FROM budget_window")
        cursor.execute("UPDATE budget_reservation SET expires_at = now()")
        moment, deltas = ceilings.share(cursor), Deltas()
        assert reservations.expire(cursor, moment.at)(deltas) == 1
        move(cursor, moment, deltas)
    made = Window.objects.get(budget_id=budget.pk)
    assert was.ends_at is not None
    assert (made.starts_at, made.ends_at) == (was.starts_at, was.ends_at)


def test_what_is_spent_in_total_is_not_forgotten_because_nobody_asked_for_long() -> None:
    total, month = make_budget("0.10"), make_budget("0.10", period="month")
    run, hour = make_budget("0.10", each="run"), make_budget("0.10", period="hour")
    settle(check(run=RUN)["reservation"])
    with books_cursor() as cursor:
        cursor.execute("UPDATE budget_window SET touched_at = now() - interval '91 days'")
        cursor.execute("UPDATE budget_window SET ends_at = touched_at WHERE budget_id = %s", [hour.pk])
    queries.prune(now=timezone.now(), days=90)
    assert [bool(windows(one)) for one in (total, month, run, hour)] == [True, True, False, False]
    assert check()["decision"] == "stop"


def test_windows_agree_with_their_rows_and_one_that_does_not_is_found() -> None:
    budget = make_budget("100", each="user", period="day")
    held = check(run=RUN, user="ana")["reservation"]
    check(run="order 17", user="ana")
    settle(held, cost_usd="0.03")
    ingest(call(1, attribution={"user": "bob"}), call(2, "0.02"))
    windows_, off = reconciliation.compare()
    assert (windows_, off) == (2, [])
    with books_cursor() as cursor:
        cursor.execute("UPDATE budget_window SET spent_nano = spent_nano + 1 WHERE member = 'bob'")
    (one,) = reconciliation.compare()[1]
    assert (one.budget, one.member) == (budget.pk, "bob")
    assert reconciliation.reconcile().off == 1
