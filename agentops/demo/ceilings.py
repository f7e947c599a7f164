"""The ceilings that the demo's admin has set, over a past that is counted as if it had been told when it happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from agentops.accounts.models import User
from agentops.budgets.actions import create
from agentops.budgets.definitions import Definition
from agentops.budgets.models import Budget
from agentops.domain.budgets import NANO, Action, Each, Period

#: How far back the demo's ceilings count.
_BACK = timedelta(days=33)
#: What came so long after it happened is history, and counts when it happened.
_LATE = "10 minutes"

# Who loads a month within a minute would find all of it in the windows of that minute.
BACKDATE = f"""
UPDATE spans SET counted_at = to_timestamp(end_ns / 1e9)
WHERE counted_at - to_timestamp(end_ns / 1e9) > interval '{_LATE}'
"""
BACKDATE_RUNS = f"""
UPDATE runs SET first_received_at = LEAST(first_received_at, started_at),
    last_received_at = LEAST(last_received_at, latest_at)
WHERE last_received_at - latest_at > interval '{_LATE}'
"""
TYPICAL = """
SELECT coalesce(max(cost), 0)::bigint FROM (
    SELECT sum(cost_nano) AS cost FROM runs WHERE service = ANY(%s) AND started_at > now() - interval '28 days'
    GROUP BY date_trunc(%s, started_at)) AS periods
"""


def make_ceilings(*, by: User | None) -> None:
    """Set some ceilings of every kind, unless somebody has set one already."""
    if Budget.objects.filter(is_default=False).exists():
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BACKDATE)
        cursor.execute(BACKDATE_RUNS)
    since = timezone.now() - _BACK
    for wanted in _wanted():
        create(wanted=replace(wanted, effective_from=since, count_past=True), by=by)


def _wanted() -> list[Definition]:
    care, growth = ("support-triage", "help-center-chat", "voice-concierge"), ("lead-scout", "email-writer")
    return [
        Definition(
            Period.MONTH,
            Action.STOP,
            name="Research, a month",
            team="research",
            environment="production",
            timezone="America/New_York",
            limit_nano=_typical(("research-assistant",), "month", 1.1),
            note="Agreed with finance in the quarterly review.",
        ),
        Definition(
            Period.DAY,
            Action.WARN,
            name="Customer care, a day",
            services=care,
            timezone="Europe/Berlin",
            limit_nano=_typical(care, "day", 0.9),
            note="Tell us before the bill does.",
        ),
        Definition(
            Period.WEEK,
            Action.STOP,
            name="Growth's shared week",
            services=growth,
            timezone="America/Los_Angeles",
            limit_nano=_typical(growth, "week", 1.3),
            kept_nano=NANO // 2,
        ),
        Definition(
            Period.DAY,
            Action.STOP,
            name="Each customer of the help center",
            services=("help-center-chat",),
            each=Each.USER,
            timezone="Europe/Berlin",
            limit_nano=NANO // 100,
            thresholds=(0.8, 1.0),
            note="Nobody asks the help center for a cent a day by hand.",
        ),
        Definition(
            Period.SESSION,
            Action.STOP,
            name="A ticket",
            services=("support-triage",),
            limit_nano=6 * NANO // 100,
            kept_nano=NANO // 100,
            thresholds=(0.8, 1.0),
            note="A ticket that costs more goes to a person; a cent is kept for telling the customer so.",
        ),
        Definition(
            Period.RUN,
            Action.STOP,
            name="A review",
            services=("code-reviewer",),
            limit_nano=3 * NANO,
            limit_steps=60,
            thresholds=(0.8, 1.0),
        ),
    ]


def _typical(services: tuple[str, ...], period: str, times: float) -> int:
    """So many times the most that services spent in a period, in round cents; a dollar at least."""
    with connection.cursor() as cursor:
        cursor.execute(TYPICAL, [list(services), period])
        (most,) = cursor.fetchone()
    cent = NANO // 100
    return max(int(most * times) // cent * cent, NANO)
