"""Thresholds fire once in each window; what is used up pages; what burns is said, and what is over ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agentops.alerts import actions as alerts
from agentops.alerts.models import Alert
from agentops.budgets import actions
from agentops.budgets.models import Budget
from agentops.columns import books_cursor
from agentops.domain.budgets import Amounts
from agentops.guard.alarms import look
from agentops.guard.minutes import minute
from tests.budgets.making import make_budget, usd
from tests.budgets.test_windows import call, ingest
from tests.guard.asking import SERVICE, check, settle

pytestmark = pytest.mark.django_db


def kinds(**wanted: Any) -> list[tuple[str, str, str]]:
    """Kind, severity and title of alerts, the earliest first."""
    return list(Alert.objects.filter(**wanted).order_by("pk").values_list("kind", "severity", "title"))


def test_each_threshold_fires_once() -> None:
    make_budget("1.00", name="All", period="day")
    ingest(call(1, "0.30"))
    look()
    assert kinds() == []
    ingest(call(2, "0.30"))
    look()
    ingest(call(3, "0.05"))
    look()
    assert kinds() == [("budget.threshold", "warn", "50% of “All” is spent: $0.60 of $1.00")]
    ingest(call(4, "0.20"))
    look()
    assert [title for _, _, title in kinds()][1:] == ["80% of “All” is spent: $0.85 of $1.00"]
    assert Alert.objects.filter(cleared_at=None).count() == 1


def test_what_is_used_up_pages_once_and_says_who_set_it() -> None:
    make_budget("1.00", name="All", period="day")
    ingest(call(1, "1.20"))
    look()
    ingest(call(2, "0.20"))
    look()
    found = kinds(cleared_at=None)
    assert found == [("budget.exhausted", "page", "“All” is used up: $1.20 of $1.00")]
    evidence = Alert.objects.get(kind="budget.exhausted").evidence
    assert (evidence["limit"], evidence["spent"], evidence["unit"]) == ("1", "1.2", "usd")
    assert evidence["resets_at"]


def test_a_refusal_says_that_nothing_more_is_let_through() -> None:
    make_budget("0.15", name="All", thresholds=[])
    check()
    check()
    look()
    assert kinds() == [
        ("budget.exhausted", "page", "“All” lets no more through: $0.00 of $0.15, $0.10 held"),
    ]
    check()
    look()
    assert Alert.objects.count() == 1


def test_a_person_at_their_own_limit_wakes_nobody() -> None:
    make_budget("0.50", each="user", period="day")
    ingest(call(1, "0.60", attribution={"user": "ana"}))
    look()
    (alert,) = Alert.objects.filter(kind="budget.exhausted")
    assert (alert.severity, alert.user) == ("warn", "ana")


def test_a_default_says_nothing_of_a_service_with_a_ceiling_of_its_own() -> None:
    make_budget("100", services=[SERVICE], period="run")
    ingest(call(1, "30"))
    look()
    assert kinds() == []
    settled = settle(check("other", run="a" * 32, estimate={"cost_usd": "1"})["reservation"], "other", cost_usd="26")
    assert settled["remaining"] == "0"
    look()
    assert [kind for kind, *_ in kinds(cleared_at=None)] == ["budget.exhausted"]


def test_a_raise_lets_go_on_and_ends_the_alert() -> None:
    budget = make_budget("1.00", period="day")
    ingest(call(1, "1.00"))
    assert check()["decision"] == "stop"
    look()
    until = timezone.now() + timedelta(hours=1)
    actions.raise_limit(budget=budget, extra=Amounts(usd("1")), until=until, reason="the launch", by=None)
    assert check()["decision"] != "stop"
    look()
    minute()
    assert not Alert.objects.filter(cleared_at=None, kind="budget.exhausted").exists()
    ingest(call(2, "1.00"))
    look()
    assert Alert.objects.filter(cleared_at=None, kind="budget.exhausted").exists()


def test_when_a_raise_is_over_the_old_limit_holds() -> None:
    budget = make_budget("1.00", period="day")
    until = timezone.now() + timedelta(hours=1)
    raised = actions.raise_limit(budget=budget, extra=Amounts(usd("1")), until=until, reason="the launch", by=None)
    ingest(call(1, "1.50"))
    assert check()["decision"] != "stop"
    raised.until = timezone.now() - timedelta(seconds=1)
    raised.save()
    minute()
    assert check()["decision"] == "stop"
    assert budget.changes.filter(what="ended").count() == 1


def test_what_burns_is_told_before_it_is_used_up() -> None:
    now = timezone.now()
    noon = f"Etc/GMT{now.hour - 12:+d}"  # where it is noon now: at midnight nothing burns yet
    budget = make_budget("100", name="All", period="day", timezone=noon, thresholds=[])
    ingest(call(1, "1.00"))
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=12)
    samples = [(now - timedelta(minutes=m), usd("20") - m * usd("1")) for m in range(15, 0, -1)]
    with connection.cursor() as cursor:
        for at, spent in samples:
            cursor.execute(
                "INSERT INTO budget_sample (budget_id, member, starts_at, at, spent_nano, spent_tokens, spent_steps)"
                " VALUES (%s, '', %s, %s, %s, 0, 0)",
                [budget.pk, start, at, spent],
            )
        cursor.execute("UPDATE budget_window SET spent_nano = %s WHERE budget_id = %s", [usd("20"), budget.pk])
    minute()
    found = kinds(cleared_at=None)
    assert [kind for kind, *_ in found] == ["budget.burn_rate"]  # by both rules, and told once
    assert "times too fast: used up in" in found[0][2]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE budget_sample SET at = at - interval '3 hours'")
    minute()
    assert kinds(cleared_at=None) == []


def test_a_window_that_is_over_ends_its_alerts() -> None:
    budget = make_budget("1.00", period="day")
    ingest(call(1, "1.00"))
    look()
    alert = Alert.objects.get(kind="budget.exhausted")
    alert.evidence["resets_at"] = (timezone.now() - timedelta(minutes=1)).isoformat()
    alert.save()
    minute()
    alerts.settle(now=timezone.now() + timedelta(minutes=2))
    alert.refresh_from_db()
    assert alert.state == "resolved"
    assert budget.pk


def test_a_budget_that_is_off_says_nothing() -> None:
    budget = make_budget("1.00", period="day")
    ingest(call(1, "1.00"))
    Budget.objects.filter(pk=budget.pk).update(is_off=True)
    with books_cursor() as cursor:
        cursor.execute("SELECT budgets_decided()")
    look()
    assert kinds() == []


def test_clients_that_could_not_ask_are_told_of() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO guard_missed VALUES (now(), %s, 3, 0)", [SERVICE])
    assert not minute(), "it would be looked for again at once"
    assert kinds() == [
        (
            "guard.unreachable",
            "warn",
            "Agents could not ask the guard: 3 steps were not made, 0 were made unasked",
        )
    ]
