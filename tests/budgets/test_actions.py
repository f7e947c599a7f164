"""What people decide binds the next step, is on record with what was before, and counts what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from agentops.accounts.models import Team
from agentops.budgets import actions
from agentops.budgets.actions import UnsoundRaise, UnsoundStop
from agentops.budgets.definitions import Definition, UnsoundBudget, definition_of
from agentops.budgets.models import Budget, Change, Reservation, Window
from agentops.catalog.models import Service
from agentops.columns import books_cursor
from agentops.domain.budgets import Action, Amounts, Each, Period
from tests.budgets.making import usd, windows
from tests.budgets.test_windows import call, ingest
from tests.guard.asking import RUN, SERVICE, check, settle

pytestmark = pytest.mark.django_db
TOTAL = Definition(period=Period.TOTAL, action=Action.STOP, limit_nano=usd("1"))


def test_a_budget_binds_the_very_next_step_and_counts_no_older_spend() -> None:
    ingest(call(1, "5.00"))
    budget = actions.create(wanted=TOTAL, by=None)
    assert check()["decision"] == "allow"
    assert windows(budget) == {"": (0, usd("0.10"))}


def test_older_spend_counts_when_that_is_asked_for() -> None:
    held = check(run=RUN, user="ana")["reservation"]
    ingest(call(1, "0.50"), call(2, "0.30"))
    budget = actions.create(wanted=replace(TOTAL, count_past=True, period=Period.DAY), by=None)
    assert windows(budget) == {"": (usd("0.80"), usd("0.10"))}
    settle(held, cost_usd="0.06")
    assert windows(budget) == {"": (usd("0.86"), 0)}


def test_older_spend_counts_since_a_moment() -> None:
    ingest(call(1, "0.50"))
    since = timezone.now()
    ingest(call(2, "0.30"))
    wanted = replace(TOTAL, count_past=True, effective_from=since)
    assert windows(actions.create(wanted=wanted, by=None)) == {"": (usd("0.30"), 0)}


def test_a_budget_of_the_future_binds_nobody_yet() -> None:
    wanted = replace(TOTAL, limit_nano=0, effective_from=timezone.now() + timedelta(days=1))
    actions.create(wanted=wanted, by=None)
    assert check()["decision"] == "allow"


def test_what_counts_otherwise_is_counted_anew() -> None:
    budget = actions.create(wanted=TOTAL, by=None)
    ingest(call(1, "0.20", attribution={"user": "ana"}), call(2, "0.30"))
    wanted = replace(definition_of(budget), each=Each.USER)
    budget = actions.change(budget=budget, wanted=wanted, by=None, reason="a limit for each")
    assert windows(budget) == {"ana": (usd("0.50"), 0)}
    (changed, created) = Change.objects.filter(budget=budget)
    assert (created.what, changed.what, changed.reason) == ("created", "changed", "a limit for each")
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before["each"], changed.after["each"]) == (None, "user")


@pytest.mark.parametrize("how", ["off and on", "effective later"])
@pytest.mark.parametrize("end", ["cancelled", "settled", "expired", "a span"])
def test_what_was_granted_before_a_budget_counts_is_never_taken_out_of_it(how: str, end: str) -> None:
    budget = actions.create(wanted=TOTAL, by=None)
    before = check(run=RUN, estimate={"cost_usd": "0.80"})["reservation"]
    if how == "off and on":
        budget = actions.change(budget=budget, wanted=replace(definition_of(budget), is_off=True), by=None)
        budget = actions.change(budget=budget, wanted=replace(definition_of(budget), is_off=False), by=None)
    else:
        later = replace(definition_of(budget), effective_from=timezone.now())
        budget = actions.change(budget=budget, wanted=later, by=None)
    if end == "expired":
        Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif end == "a span":
        ingest(call(1, "0.50", reservation_id=before))
    else:
        settle(before, outcome="ok" if end == "settled" else "cancelled")
    decided = [check(estimate={"cost_usd": "0.40"})["decision"] for _ in range(3)]
    assert decided == ["allow", "warn", "stop"]
    assert windows(budget) == {"": (0, usd("0.80"))}


def test_a_run_that_is_named_otherwise_than_its_trace_is_counted_anew_with_its_step() -> None:
    budget = actions.create(wanted=replace(TOTAL, each=Each.RUN), by=None)
    ingest(call(1, "0.04", reservation_id=check(run="order 17")["reservation"]))
    counted = windows(budget)
    assert counted == {"order 17": (usd("0.04"), 0), RUN: (usd("0.04"), 0)}
    budget = actions.change(budget=budget, wanted=replace(definition_of(budget), services=(SERVICE,)), by=None)
    assert windows(budget) == counted


def test_nothing_changed_leaves_no_record() -> None:
    budget = actions.create(wanted=TOTAL, by=None)
    actions.change(budget=budget, wanted=definition_of(budget), by=None)
    assert Change.objects.filter(budget=budget).count() == 1


def test_a_budget_that_is_off_stops_nobody_and_counts_nothing_meanwhile() -> None:
    budget = actions.create(wanted=replace(TOTAL, limit_nano=0), by=None)
    assert check()["decision"] == "stop"
    budget = actions.change(budget=budget, wanted=replace(definition_of(budget), is_off=True), by=None)
    assert check()["decision"] == "allow"
    ingest(call(1, "0.20"))
    budget = actions.change(
        budget=budget, wanted=replace(definition_of(budget), is_off=False, limit_nano=usd("1")), by=None
    )
    assert windows(budget) == {}


def test_a_raise_is_of_all_or_of_one_member_and_ends() -> None:
    budget = actions.create(wanted=replace(TOTAL, each=Each.USER, limit_nano=usd("0.05")), by=None)
    assert [check(user=user)["decision"] for user in ("ana", "bob")] == ["stop", "stop"]
    until = timezone.now() + timedelta(hours=1)
    raised = actions.raise_limit(
        budget=budget, extra=Amounts(usd("1")), until=until, reason="a demo", by=None, member="ana"
    )
    assert [check(user=user)["decision"] for user in ("ana", "bob")] == ["allow", "stop"]
    actions.end_raise(raised=raised, by=None)
    assert check(user="ana")["decision"] == "stop"


def test_a_raise_needs_a_reason_an_amount_and_an_end() -> None:
    budget = actions.create(wanted=TOTAL, by=None)
    now = timezone.now()
    for extra, until, reason in (
        (Amounts(1), now + timedelta(hours=1), " "),
        (Amounts(), now + timedelta(hours=1), "why"),
        (Amounts(1), now - timedelta(hours=1), "why"),
        (Amounts(1), now + timedelta(days=1_000), "why"),
        (Amounts(10**18 + 1), now + timedelta(hours=1), "why"),
        (Amounts(0, 10**19), now + timedelta(hours=1), "why"),
        (Amounts(0, 0, 10**15 + 1), now + timedelta(hours=1), "why"),
    ):
        with pytest.raises(UnsoundRaise):
            actions.raise_limit(budget=budget, extra=extra, until=until, reason=reason, by=None)


def test_what_somebody_says_of_a_raise_may_hold_anything() -> None:
    budget, until = actions.create(wanted=TOTAL, by=None), timezone.now() + timedelta(hours=1)
    raised = actions.raise_limit(budget=budget, extra=Amounts(1), until=until, reason="a\0 demo ", by=None)
    assert raised.reason == "a demo"


def test_what_a_raise_has_room_for_is_not_used_up_when_it_is_counted_anew() -> None:
    budget = actions.create(wanted=replace(TOTAL, each=Each.USER), by=None)
    until = timezone.now() + timedelta(hours=1)
    actions.raise_limit(budget=budget, extra=Amounts(usd("10")), until=until, reason="a demo", by=None)
    ingest(call(1, "6.00", attribution={"user": "ana"}))
    wanted = replace(definition_of(budget), services=(SERVICE,), count_past=True)
    actions.change(budget=budget, wanted=wanted, by=None)
    window = Window.objects.get(budget_id=budget.pk)
    assert (window.spent_nano, window.exhausted_at, window.fired) == (usd("6"), None, 0.5)


def test_a_team_is_that_of_its_services_now() -> None:
    team = Team.objects.create(slug="research", name="Research")
    service = Service.objects.create(slug=SERVICE)
    budget = actions.create(wanted=replace(TOTAL, team="research", limit_nano=0), by=None)
    assert check()["decision"] == "allow"
    service.team = team
    service.save()
    answer = check()
    assert (answer["decision"], answer["reasons"][0]["budget"]) == ("stop", budget.pk)


def test_services_share_a_budget() -> None:
    actions.create(wanted=replace(TOTAL, services=(SERVICE, "other"), limit_nano=usd("0.15")), by=None)
    assert [check(name)["decision"] for name in (SERVICE, "other", "third")] == ["allow", "stop", "allow"]


@pytest.mark.parametrize("what", ["service", "session", "user", "run"])
def test_the_kill_switch_stops_the_next_step_and_lifting_it_lets_go_on(what: str) -> None:
    facts = {"session": "s", "user": "u", "run": RUN}
    value = SERVICE if what == "service" else facts[what]
    thrown = actions.stop(what=what, value=value, reason="it sends mails", by=None)
    answer = check(**facts)
    assert answer["decision"] == "stop"
    (reason,) = answer["reasons"]
    assert reason["mode"] == "kill_switch"
    assert "it sends mails" in reason["message"]
    actions.lift(thrown=thrown, by=None, reason="mended")
    assert check(**facts)["decision"] == "allow"
    assert list(Change.objects.filter(subject="stop").values_list("what", flat=True)) == ["lifted", "stopped"]


def test_the_kill_switch_thrown_twice_is_on_once() -> None:
    one = actions.stop(what="user", value="u", reason="first", by=None)
    two = actions.stop(what="user", value="u", reason="second", by=None)
    assert one.pk == two.pk
    assert "second" in check(user="u")["reasons"][0]["message"]


@pytest.mark.parametrize(("what", "value"), [("planet", "x"), ("user", " "), ("user", "a\0b"), ("run", "x" * 1_000)])
def test_what_cannot_be_stopped(what: str, value: str) -> None:
    with pytest.raises(UnsoundStop):
        actions.stop(what=what, value=value, reason="", by=None)


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("limit_usd", replace(TOTAL, limit_nano=None)),
        ("limit_usd", replace(TOTAL, limit_nano=-1)),
        ("limit_steps", replace(TOTAL, limit_steps=10**30)),
        ("thresholds", replace(TOTAL, thresholds=(0.0,))),
        ("thresholds", replace(TOTAL, thresholds=(float("nan"),))),
        ("thresholds", replace(TOTAL, thresholds=tuple(n / 100 for n in range(1, 30)))),
        ("timezone", replace(TOTAL, timezone="Mars/Olympus")),
        ("timezone", replace(TOTAL, timezone="../../etc/passwd")),
        ("user", replace(TOTAL, user="a\0")),
        ("final_answer_usd", replace(TOTAL, kept_nano=usd("2"))),
        ("name", replace(TOTAL, name="x" * 1_000)),
        (
            "expires_at",
            replace(TOTAL, effective_from=timezone.now(), expires_at=timezone.now() - timedelta(days=1)),
        ),
    ],
)
def test_a_budget_that_cannot_be(field: str, wanted: Definition) -> None:
    with pytest.raises(UnsoundBudget) as unsound:
        actions.create(wanted=wanted, by=None)
    assert field in unsound.value.problems


def test_a_default_keeps_what_it_counts() -> None:
    budget = Budget.objects.get(is_default=True, period="run")
    with pytest.raises(UnsoundBudget):
        actions.change(budget=budget, wanted=replace(definition_of(budget), period=Period.DAY), by=None)
    changed = actions.change(budget=budget, wanted=replace(definition_of(budget), limit_nano=usd("3")), by=None)
    assert check(run=RUN, estimate={"cost_usd": "4"})["decision"] == "stop"
    assert changed.version == 2


def test_older_windows_are_filled_in_and_nobody_is_told_of_them() -> None:
    ingest(call(1, "0.50"))
    now = timezone.now()
    with books_cursor() as cursor:
        cursor.execute("UPDATE spans SET counted_at = counted_at - interval '2 days'")
        cursor.execute("UPDATE runs SET first_received_at = first_received_at - interval '2 days'")
    ingest(call(2, "0.30"))
    wanted = replace(TOTAL, period=Period.DAY, count_past=True, effective_from=now - timedelta(days=4))
    budget = actions.create(wanted=replace(wanted, limit_nano=usd("0.40")), by=None)
    with books_cursor() as cursor:
        cursor.execute(
            "SELECT starts_at::date, spent_nano, is_due FROM budget_window WHERE budget_id = %s ORDER BY 1", [budget.pk]
        )
        assert cursor.fetchall() == [
            ((now - timedelta(days=2)).date(), usd("0.50"), False),
            (now.date(), usd("0.30"), True),
        ]
