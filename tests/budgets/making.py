"""Budgets for tests, as they lie in the table once somebody has decided."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone

from agentops.budgets.models import Budget
from agentops.domain.budgets import ALWAYS

NANO = 10**9


def make_budget(usd: str | int | None = None, **fields: Any) -> Budget:
    """A budget that counts everything since ever and stops at so many dollars in total, unless it is said otherwise."""
    now = timezone.now()
    values: dict[str, Any] = {
        "period": "total",
        "action": "stop",
        "thresholds": [0.5, 0.8, 1.0],
        "limit_nano": None if usd is None else int(Decimal(usd) * NANO),
        "effective_from": ALWAYS,
        "counts_from": ALWAYS,
        "created_at": now,
    }
    budget = Budget.objects.create(**(values | fields))
    decided()
    return budget


def decided() -> None:
    """Let everybody notice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_decided()")


def windows(budget: Budget | None = None) -> dict[str, tuple[int, int]]:
    """What is spent and held of dollars in the windows of a budget, by member, in nano-dollars."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT member, sum(spent_nano), sum(reserved_nano) FROM budget_window WHERE budget_id = %s GROUP BY 1",
            [budget.pk if budget else 0],
        )
        return {member: (int(spent), int(reserved)) for member, spent, reserved in cursor.fetchall()}


def usd(amount: str) -> int:
    """Nano-dollars."""
    return int(Decimal(amount) * NANO)


def at(text: str) -> datetime:
    """A moment."""
    return datetime.fromisoformat(text)
