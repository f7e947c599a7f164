"""What the guard decides: reservations, settlements, repetitions, expiries, and what it says."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from agentops.budgets import ceilings, recount
from agentops.budgets.models import Reservation, Window
from agentops.columns import books_cursor
from agentops.guard import estimates
from agentops.guard.alarms import look
from agentops.guard.context import Customs
from agentops.guard.desk import check_of
from agentops.ingest.answers import Refused
from tests.budgets.making import decided, make_budget, usd, windows
from tests.budgets.test_windows import call, ingest
from tests.guard.asking import RUN, SERVICE, body, check, decide, settle
from tests.guard.counting import OWN, count_statements, process, statements

pytestmark = pytest.mark.django_db


def test_a_step_that_fits_is_held_and_one_that_does_not_is_told_why() -> None:
    budget = make_budget("0.25", name="All of it")
    first, second, third = check(), check(), check()
    assert [first["decision"], second["decision"], third["decision"]] == ["allow", "warn", "stop"]
    assert third["reservation"] is None
    (reason,) = third["reasons"]
    assert {name: reason[name] for name in ("mode", "budget", "limit", "spent", "reserved", "remaining")} == {
        "mode": "budget",
        "budget": budget.pk,
        "limit": "0.25",
        "spent": "0",
        "reserved": "0.2",
        "remaining": "0.05",
    }
    assert "All of it" in reason["message"]
    assert windows(budget) == {"": (0, usd("0.20"))}


def test_checks_of_one_round_know_of_each_other() -> None:
    budget = make_budget("1.00", thresholds=[])
    answers = decide(*(check_of(body(), SERVICE) for _ in range(30)))
    assert [answer["decision"] for answer in answers] == ["allow"] * 10 + ["stop"] * 20
    assert windows(budget) == {"": (0, usd("1.00"))}


def test_settling_books_what_was_spent_and_lets_go_of_the_rest() -> None:
    budget = make_budget("1.00")
    answer = settle(check()["reservation"], cost_usd="0.04")
    assert answer["spent"] == "0.04"
    assert answer["reserved"] == "0"
    assert answer["remaining"] == "0.96"
    assert windows(budget) == {"": (usd("0.04"), 0)}


def test_settling_twice_changes_nothing() -> None:
    budget = make_budget("1.00")
    reservation = check()["reservation"]
    first = settle(reservation, cost_usd="0.04")
    assert settle(reservation, cost_usd="0.09") == first
    assert windows(budget) == {"": (usd("0.04"), 0)}


def test_more_than_was_held_is_booked_and_may_pass_the_limit() -> None:
    budget = make_budget("0.10")
    assert settle(check()["reservation"], cost_usd="0.15")["spent"] == "0.15"
    assert windows(budget) == {"": (usd("0.15"), 0)}
    assert check(estimate={"cost_usd": "0"})["decision"] == "stop"


def test_what_is_cancelled_has_spent_nothing() -> None:
    budget = make_budget("1.00")
    settle(check()["reservation"], outcome="cancelled")
    assert windows(budget) == {"": (0, 0)}


def test_what_ended_well_and_says_nothing_has_spent_its_estimate() -> None:
    budget = make_budget("1.00")
    settle(check()["reservation"])
    assert windows(budget) == {"": (usd("0.10"), 0)}


def test_tokens_are_priced_by_the_book() -> None:
    budget = make_budget("1.00")
    step = {"kind": "llm", "provider": "openai", "model": "gpt-4o"}
    answer = check(step=step, estimate={"input_tokens": 10_000, "max_output_tokens": 1_000})
    assert answer["estimate"] == {"cost_usd": "0.035", "tokens": 11_000, "source": "book"}
    settle(answer["reservation"], usage={"input_tokens": 1_000, "output_tokens": 100})
    assert windows(budget) == {"": (usd("0.0035"), 0)}


def test_the_same_key_gives_the_same_answer_also_after_settlement() -> None:
    budget = make_budget("1.00")
    first = check(idempotency_key="a")
    assert check(idempotency_key="a") == first
    settle(first["reservation"], cost_usd="0.01")
    assert check(idempotency_key="a") == first
    assert windows(budget) == {"": (usd("0.01"), 0)}


def test_a_step_that_knows_its_span_is_known_by_it() -> None:
    budget = make_budget("1.00", each="run")
    ids = {"trace_id": RUN, "span_id": f"{1:016x}"}
    first = check(run=RUN, idempotency_key="a", **ids)
    assert check(run=RUN, idempotency_key="a", **ids) == first
    assert check(run=RUN, idempotency_key="a", **(ids | {"span_id": "fe" * 8})) == 409
    ingest(call(1, "0.04"))
    assert windows(budget) == {RUN: (usd("0.04"), 0)}


@pytest.mark.parametrize(("said", "nano"), [("0.0000000001", 1), ("0.0000000015", 2), ("0.1", 100_000_000), ("-0", 0)])
def test_dollars_are_rounded_up_to_the_nano(said: str, nano: int) -> None:
    budget = make_budget("1.00")
    check(estimate={"cost_usd": said})
    assert windows(budget) == {"": (0, nano)}


def test_the_same_key_twice_in_one_round_holds_once() -> None:
    budget = make_budget("1.00")
    one, two = decide(*(check_of(body(idempotency_key="a"), SERVICE) for _ in range(2)))
    assert one == two
    assert windows(budget) == {"": (0, usd("0.10"))}


def test_a_key_for_another_question_is_a_conflict() -> None:
    make_budget("1.00")
    check(idempotency_key="a")
    assert check(idempotency_key="a", user="bob") == 409


def test_a_key_is_of_its_service() -> None:
    make_budget("1.00")
    assert check(idempotency_key="a")["reservation"] != check("other", idempotency_key="a")["reservation"]


def test_a_key_that_was_stopped_is_asked_afresh() -> None:
    budget = make_budget("0.05")
    assert check(idempotency_key="a")["decision"] == "stop"
    budget.limit_nano = usd("1")
    budget.save()
    decided()
    assert check(idempotency_key="a")["decision"] == "allow"


def test_what_expires_is_free_again_and_a_late_settlement_is_booked_and_said_to_be_late() -> None:
    budget = make_budget("0.10")
    reservation = check()["reservation"]
    assert check()["decision"] == "stop"
    Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert check()["decision"] != "stop"
    answer = settle(reservation, cost_usd="0.07")
    assert answer["late"] is True
    assert windows(budget) == {"": (usd("0.07"), usd("0.10"))}


def test_a_window_that_a_settlement_makes_again_has_its_end() -> None:
    budget = make_budget("1.00", period="day")
    reservation = check()["reservation"]
    (end,) = Window.objects.filter(budget_id=budget.pk).values_list("ends_at", flat=True)
    Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    look()
    with books_cursor() as cursor:
        moment = ceilings.look(cursor)
        recount.recount(cursor, moment, moment.ceilings.by_id[budget.pk])
    assert windows(budget) == {}
    assert settle(reservation, cost_usd="0.07")["late"] is True
    assert windows(budget) == {"": (usd("0.07"), 0)}
    assert list(Window.objects.filter(budget_id=budget.pk).values_list("ends_at", flat=True)) == [end]


def test_every_budget_that_applies_is_asked() -> None:
    make_budget("10", services=[SERVICE])
    small = make_budget("0.05", user="ana")
    make_budget("0.01", user="bob")
    answer = check(user="ana")
    assert answer["decision"] == "stop"
    assert [reason["budget"] for reason in answer["reasons"]] == [small.pk]


def test_nothing_is_held_anywhere_when_one_budget_says_no() -> None:
    large = make_budget("10")
    make_budget("0.05")
    check()
    assert windows(large) == {"": (0, 0)}


def test_everybody_has_a_window_of_their_own() -> None:
    budget = make_budget("0.10", each="user", period="day")
    assert check(user="ana")["decision"] != "stop"
    assert check(user="bob")["decision"] != "stop"
    assert check(user="ana")["decision"] == "stop"
    assert check()["decision"] == "allow"
    assert set(windows(budget)) == {"ana", "bob"}


def test_a_warning_budget_warns_and_counts_on() -> None:
    budget = make_budget("0.05", action="warn")
    answer = check()
    assert (answer["decision"], answer["hard"]) == ("warn", False)
    assert windows(budget) == {"": (0, usd("0.10"))}


def test_steps_and_tokens_are_limited_too() -> None:
    make_budget(limit_steps=2, services=[SERVICE], thresholds=[])
    make_budget(limit_tokens=5_000, services=["other"], thresholds=[])
    assert [check()["decision"] for _ in range(3)] == ["allow", "allow", "stop"]
    estimate = {"cost_usd": "0.1", "input_tokens": 4_000, "max_output_tokens": 2_000}
    answer = check("other", estimate=estimate)
    assert (answer["decision"], answer["reasons"][0]["unit"]) == ("stop", "tokens")


def test_what_is_kept_for_a_final_answer_is_let_through_once() -> None:
    make_budget("0.30", kept_nano=usd("0.20"), thresholds=[])
    assert check(run=RUN)["decision"] == "allow"
    stopped = check(run=RUN)
    assert (stopped["decision"], stopped["final_answer"]) == ("stop", True)
    assert check(run=RUN, final_answer=True)["decision"] == "allow"
    again = check(run=RUN, final_answer=True)
    assert (again["decision"], again["final_answer"]) == ("stop", False)


def test_another_services_reservation_is_unknown() -> None:
    make_budget("1.00")
    assert settle(check()["reservation"], service="other") == 404
    assert settle("nonsense") == 404


@pytest.mark.parametrize(
    "said",
    [
        {"estimate": {"cost_usd": "-1"}},
        {"estimate": {"cost_usd": "NaN"}},
        {"estimate": {"cost_usd": "1e99"}},
        {"estimate": {"input_tokens": -1}},
        {"estimate": {"input_tokens": 2**63}},
        {"step": {"kind": "dance"}},
        {"step": {}},
        {"ttl_seconds": 0},
        {"ttl_seconds": 3_601},
        {"user": "a\0b"},
        {"user": "x" * 1_000},
        {"idempotency_key": ""},
        {"idempotency_key": "  "},
        {"trace_id": "zz"},
        {"trace_id": "0" * 32},
        {"estimate": {"input_tokens": "12"}},
        {"estimate": {"input_tokens": 12.0}},
        {"estimate": {"cost_usd": True}},
        {"estimate": {"cost_usd": "0x10"}},
        {"estimate": {"cost_usd": "1e-9999999999999999999999"}},
        {"service": 5},
        {"step": None},
    ],
)
def test_what_cannot_be_asked_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        check_of(body(**said), SERVICE)
    assert refused.value.status == 422


def test_a_key_asks_for_its_own_service_alone() -> None:
    with pytest.raises(Refused) as refused:
        check_of(body(service="other"), SERVICE)
    assert refused.value.status == 403
    with pytest.raises(Refused) as missing:
        check_of(body(), "")
    assert missing.value.status == 422


def test_the_default_ceilings_hold_from_the_first_step() -> None:
    answer = check(run=RUN, session="s", estimate={"cost_usd": "1000"})
    assert answer["decision"] == "stop"
    assert {reason["name"] for reason in answer["reasons"]} == {"Any run", "Any session"}
    assert check(session="s", estimate={"cost_usd": "1"})["hard"] is True


def test_a_round_takes_a_constant_number_of_statements() -> None:
    make_budget("100", each="user", period="day")
    check()  # the ceilings are read
    counts = [
        count_statements([check_of(body(user=f"user-{n}", run=f"{n:032x}"), SERVICE) for n in range(1, size)])
        for size in (2, 60)
    ]
    assert counts[0] == counts[1]


def test_services_that_nobody_has_asked_for_yet_are_read_of_together() -> None:
    check()  # the ceilings are read
    counts = [
        count_statements([check_of(body(run=f"{n:032x}"), f"service-{size}-{n}") for n in range(1, size)])
        for size in (2, 60)
    ]
    assert counts[0] == counts[1]


def test_what_is_due_is_read_before_anything_is_locked() -> None:
    make_budget("100")
    check()  # the ceilings are read
    clock = count(step=100.0)  # whenever somebody looks at it, all is due
    needs, customs = process(lambda: next(clock))
    asked = [check_of(body(run=RUN, estimate={}), service) for service in ("one", "two")]
    for _ in range(2):
        made = statements(asked, needs, customs)
        first = made.index(OWN)
        assert first > 3
        assert set(made[first:]) == {OWN}


def test_habits_that_cannot_be_read_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    needs, customs = process(lambda: now)
    needs.look()
    customs.look([SERVICE])
    known = customs.steps(SERVICE)
    assert known is not None

    def fail(*args: Any) -> Any:
        raise DatabaseError(args)

    now = 100.0
    monkeypatch.setattr(estimates, "read_habits", fail)
    monkeypatch.setattr("agentops.watch.usual.read_habits", fail)
    needs.look()
    customs.look([SERVICE])
    assert customs.steps(SERVICE) == known
    with pytest.raises(DatabaseError):  # of this one nothing was known
        customs.look([SERVICE, "other"])


def test_a_step_budget_is_read_when_nobody_has_looked() -> None:
    looked = Customs()
    looked.look([SERVICE])
    assert Customs().steps(SERVICE) == looked.steps(SERVICE)
    assert Customs().stops_loops(SERVICE) is looked.stops_loops(SERVICE)
