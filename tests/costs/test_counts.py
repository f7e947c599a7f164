"""What unit costs divide by: every way of asking counts the runs and the users that the books say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agentops.accounts.models import Team
from agentops.catalog.models import Service
from agentops.costs.counts import run_counts
from agentops.costs.sources import SpendFilters
from agentops.costs.windows import close_days
from agentops.domain.periods import ceil_hour, floor_hour
from tests.costs.booking import START, book_runs
from tests.costs.test_queries import booked_spans
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

RANGES = [
    (START - timedelta(days=9), START + timedelta(days=9)),
    (START + timedelta(minutes=20), START + timedelta(hours=4, minutes=10)),
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"environment": "x"},
    {"environment": "production"},
    {"service": ("service-1",)},
    {"team": ("blue",)},
    {"user": ("x", "y")},
    {"user": ("",)},
    {"feature": ("x", "")},
    {"release": ("y",), "session": ("z",)},
    {"agent": ("planner",)},
    {"model": ("gpt-4o", "claude-sonnet-4-5"), "feature": ("y",)},
    {"tool": ("search",), "service": ("service-0",)},
]
#: Of each run: its start, whether it failed, and every value that its steps carry.
RUNS = """
SELECT r.started_at, r.root_error OR r.last_error, r.service, coalesce(r.environment, 'production'), r."user",
    r.feature, r.session, r.release, array_agg(s.own_agent), array_agg(s.response_model), array_agg(s.tool)
FROM runs r JOIN spans s USING (trace_id, service) GROUP BY r.trace_id, r.service
"""
NAMES = ("service", "environment", "user", "feature", "session", "release", "agent", "model", "tool")


@pytest.fixture(params=[False, True], ids=["days as booked", "days moved"])
def booked(request: pytest.FixtureRequest) -> None:
    blue = Team.objects.create(name="Blue", slug="blue")
    book_runs(range(30))
    Service.objects.filter(slug="service-0").update(team=blue)
    if request.param:
        close_days(now=START + timedelta(days=3))
        book_runs(range(30, 36))


def _matches(filters: dict[str, Any], keys: dict[str, Any]) -> bool:
    return all(
        bool({value or "" for value in (keys[name] if isinstance(keys[name], list) else [keys[name]])} & set(asked))
        if isinstance(asked, tuple)
        else keys[name] == asked
        for name, asked in filters.items()
    )


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_runs_and_users_are_those_of_the_books(booked: None, filters: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(RUNS)
        runs = [(row[0], row[1], dict(zip(NAMES, row[2:], strict=True))) for row in cursor.fetchall()]
    for _, _, keys in runs:
        keys["team"] = {"service-0": "blue"}.get(keys["service"])
    seen = 0
    for from_, until in RANGES:
        begin, end = floor_hour(from_), ceil_hour(until)
        mine = [failed for at, failed, keys in runs if begin <= at < end and _matches(filters, keys)]
        users = {
            keys["user"]
            for keys, hour, _ in booked_spans()
            if keys["user"] and begin <= hour < end and _matches(filters, keys)
        }
        counts = run_counts(SpendFilters(**filters), from_, until)
        assert counts is not None
        assert (counts.runs, counts.errors, counts.users) == (len(mine), sum(mine), len(users))
        assert counts.ok == counts.runs - counts.errors - counts.running
        seen += counts.runs
    assert seen


def test_a_run_under_way_is_neither_a_success_nor_a_failure() -> None:
    now = timezone.now()
    RunFactory()
    RunFactory(root_error=True)
    RunFactory(has_root=False, last_error=True, last_received_at=now)
    RunFactory(steps=0, absorbed_spans=2, agents=[])  # counted with the run that its calls belong to
    counts = run_counts(SpendFilters(), now - timedelta(hours=1), now)
    assert counts is not None
    assert (counts.runs, counts.ok, counts.errors, counts.running) == (3, 1, 1, 1)


@pytest.mark.parametrize("dimension", ["agent", "model", "tool"])
def test_which_runs_have_a_step_without_a_name_is_unknown(dimension: str) -> None:
    asked = SpendFilters(**{dimension: ("x", "")})
    assert run_counts(asked, START, START + timedelta(days=1)) is None
