"""What ceilings do not hold, and what one would have done: from the books, within bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agentops.budgets.models import Budget
from agentops.costs.models import Dimension, SpendDaily
from agentops.domain.budgets import Action, Each, Limits, Period, Scope
from agentops.domain.budgets import Budget as Rules
from agentops.guard import coverage, queries, rehearse
from agentops.guard.rehearse import TooMuchError, rehearsal_of
from tests.budgets.making import make_budget, usd
from tests.budgets.test_windows import call, ingest
from tests.factories import RunFactory
from tests.guard.asking import SERVICE, check, settle

pytestmark = pytest.mark.django_db


def spent(dimension: Dimension, key: str, dollars: str, **fields: Any) -> None:
    told = {"environment": "production", "service": SERVICE, "start": timezone.now()} | fields
    SpendDaily.objects.create(dimension=dimension, key=key, cost_nano=usd(dollars), **told)


def shares(*budgets: Budget) -> dict[int, float]:
    held = queries.current()
    return coverage.uncovered([held.by_id[one.pk] for one in budgets], held, now=timezone.now())


def test_the_share_of_spend_that_says_no_user_is_under_no_window_of_users() -> None:
    each = make_budget("1.00", each="user")
    one, other = make_budget("1.00"), make_budget("1.00", each="user", services=["other"])
    shadow = make_budget("1.00", each="user", environment="shadow")
    spent(Dimension.SERVICE, "", "1.00")
    spent(Dimension.USER, "", "0.75")
    spent(Dimension.USER, "ana", "0.25")
    spent(Dimension.SERVICE, "", "1.00", environment="shadow")
    spent(Dimension.USER, "", "1.00", environment="shadow")
    spent(Dimension.USER, "", "9.00", start=timezone.now() - timedelta(days=30))
    assert shares(each, one, other, shadow) == {each.pk: 0.75, shadow.pk: 1.0}


def passed(budget: Budget) -> Any:
    rules, now = queries.current().by_id[budget.pk], timezone.now()
    return coverage.passed(queries.standing(rules, "", now=now), now=now)


def test_what_is_spent_is_told_by_whether_it_was_asked_for() -> None:
    budget = make_budget("9.00", period="day")
    settle(check(run="a run")["reservation"], cost_usd="0.17", outcome="ok")
    settle(check(run="a run")["reservation"], cost_usd="0.04", outcome="ok")
    ingest(call(1, "0.60"))
    found = passed(budget)
    assert (found.asked, found.beyond, found.late) == (usd("0.21"), usd("0.07"), 0)
    assert found.unasked == usd("0.60")


def test_what_is_too_long_ago_is_not_told() -> None:
    budget = make_budget("9.00", period="day")
    rules, now = queries.current().by_id[budget.pk], timezone.now()
    start = rules.window(now - timedelta(days=60))[0]
    assert coverage.passed(queries.standing(rules, "", now=now, start=start), now=now) is None


def proposed(**given: Any) -> Rules:
    now = timezone.now()
    told: dict[str, Any] = {
        "id": 0, "name": "", "scope": Scope(), "each": Each.USER, "period": Period.DAY, "zone": "UTC",
        "limits": Limits(usd("1")), "thresholds": (), "action": Action.STOP, "counts_from": now,
    }  # fmt: skip
    return Rules(**(told | given))


def test_runs_of_the_last_days_are_rehearsed_by_member_and_only_what_fits() -> None:
    now = timezone.now()
    for days, user, service in ((1, "ana", "a"), (2, "ana", "a"), (2, "bob", "b"), (3, None, "a"), (40, "ana", "a")):
        RunFactory(user=user, service=service, cost_nano=usd("2"), started_at=now - timedelta(days=days))
    found = rehearsal_of(proposed(), now=now)
    assert (found.since, found.rehearsal.windows, found.rehearsal.members) == (None, 3, 2)
    assert rehearsal_of(proposed(scope=Scope(frozenset({"b"}))), now=now).rehearsal.windows == 1
    assert rehearsal_of(proposed(scope=Scope(team="none")), now=now).rehearsal.windows == 0
    assert rehearsal_of(proposed(each=None), now=now).rehearsal.beyond.nano == usd("4") + usd("1")


def test_of_too_many_hours_the_latest_are_read_and_it_is_said_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now().replace(minute=30)
    for hours in range(1, 6):
        RunFactory(user="ana", cost_nano=usd("1"), started_at=now - timedelta(hours=hours))
    monkeypatch.setattr(rehearse, "MAX_SPELLS", 3)
    found = rehearsal_of(proposed(period=Period.HOUR), now=now)
    assert found.since == (now - timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    assert found.rehearsal.windows == 2


def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse, "_statement", lambda _: "SELECT pg_sleep(5)")
    monkeypatch.setattr(rehearse, "TIMEOUT", "SET LOCAL statement_timeout = '20ms'")
    with pytest.raises(TooMuchError):
        rehearsal_of(proposed(), now=timezone.now())
    assert Budget.objects.exists(), "the transaction goes on"
