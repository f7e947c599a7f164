"""Reconciliation: right books pass, and every kind of wrong one is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agentops.costs import books
from agentops.costs.fold import fold
from agentops.costs.models import Reconciliation
from agentops.costs.tasks import reconcile, reconcile_all
from agentops.costs.windows import close_days
from agentops.domain.periods import DAY, floor_hour
from tests.costs.booking import START, book_runs

ONE_SPAN = "(trace_id, span_id) = (SELECT trace_id, span_id FROM spans WHERE kind = 3 AND merged_into IS NULL LIMIT 1)"
#: What is broken, and the comparison that must notice.
WRONGS = {
    "UPDATE spend_hourly SET cost_nano = cost_nano + 1 WHERE dimension = 6 AND key = 'gpt-4o'": "spend by hour",
    "UPDATE spend_hourly SET key = 'mallory' WHERE dimension = 1 AND key = 'x'": "spend by hour",
    "DELETE FROM spend_hourly WHERE dimension = 7 AND key = 'search'": "spend by hour",
    "UPDATE spend_hourly SET environment = 'staging' WHERE dimension = 0 AND environment = 'x'": "spend by hour",
    "UPDATE spend_daily SET input_tokens = input_tokens - 1 WHERE dimension = 5 AND key = 'planner'": "spend by day",
    "UPDATE spend_past SET steps = steps + 1 WHERE dimension = 1 AND key = 'x'": "spend by day",
    "DELETE FROM spend_past WHERE dimension = 3 AND key = 'x'": "spend by day",
    "UPDATE spend_window SET cost_nano = cost_nano + 1 WHERE days = 30": "spend of windows",
    "DELETE FROM spend_window WHERE environment = '' AND key = 'y'": "spend of windows",
    "UPDATE spend_window_keys SET keys = keys + 1 WHERE days = 7": "keys of windows",
    "UPDATE runs SET cost_nano = cost_nano + 1 WHERE llm_calls > 0": "runs against spans",
    "UPDATE runs SET errors = errors + 1": "spend by day against all runs",
    f"UPDATE spans SET cost_nano = coalesce(cost_nano, 0) + 1 WHERE {ONE_SPAN}": "runs against spans",
    f"UPDATE spans SET merged_into = '\\x0102030405060708' WHERE {ONE_SPAN}": "spend by all keys against spans",
    f"DELETE FROM spans WHERE {ONE_SPAN}": "spans against the ledger",
    "INSERT INTO spans SELECT * FROM spans WHERE kind = 0 LIMIT 1": "runs against spans",
    """UPDATE runs SET "user" = 'mallory' WHERE "user" = 'x'""": "spend by all keys against spans",
    "UPDATE spend_journal SET cost_nano = cost_nano + 1": "spend by all keys against spans",
    "UPDATE spend_journal SET agent = 'mallory' WHERE agent = 'planner'": "spend by all keys against spans",
    "UPDATE spend_details SET session = 'mallory' WHERE session = 'x'": "spend by hour against all keys",
    "DELETE FROM spend_details WHERE model = 'gpt-4o'": "spend by two keys against all keys",
    "UPDATE spend_pairs SET errors = errors + 1 WHERE days = 1 AND pair = 25": "spend by two keys against all keys",
    "UPDATE spend_pairs SET key = other_key, other_key = key WHERE days = 1 AND pair = 56 AND key <> other_key": (
        "spend by two keys against all keys"
    ),
    "UPDATE spend_pairs SET cost_nano = cost_nano + 1 WHERE days = 8 AND pair = 22": "spend of blocks against days",
    "UPDATE spend_pairs SET other_key = other_key || '!' WHERE days = 32 AND pair = 26": "spend of blocks against days",
}


@pytest.fixture
def booked(db: None) -> None:
    book_runs(range(8))
    close_days(now=START + 2 * DAY)
    fold(now=START + 40 * DAY)
    book_runs(range(8, 16))


def test_books_that_agree_have_no_findings(booked: None) -> None:
    now = timezone.now()
    assert books.check_books(now=now) == []
    assert books.check_books(now=now, since=START - DAY) == []


def test_empty_books_agree(db: None) -> None:
    assert books.check_books(now=timezone.now()) == []


@pytest.mark.parametrize(("wrong", "check"), WRONGS.items(), ids=[w[:60] for w in WRONGS])
def test_every_kind_of_difference_is_found(booked: None, wrong: str, check: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(wrong)
        assert cursor.rowcount
    findings = books.check_books(now=timezone.now())
    assert any(finding.check.startswith(check) for finding in findings), findings
    assert all(finding.expected != finding.found for finding in findings)


def test_a_finding_says_what_differs_where_and_by_how_much(booked: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE spend_daily SET cost_nano = cost_nano + 7 WHERE dimension = 2 AND key = 'y'")
    words = [finding.words() for finding in books.check_books(now=timezone.now())]
    assert any("spend by day against hours (all), feature 2025-11-2" in sentence for sentence in words)
    assert all("cost_nano" in sentence for sentence in words)


def test_a_finding_names_both_dimensions_of_a_pair(booked: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE spend_pairs SET steps = steps + 1 WHERE days = 1 AND pair = 56")
    words = [finding.words() for finding in books.check_books(now=timezone.now())]
    assert any("agent and model 2025-11-2" in sentence for sentence in words)


def test_the_minutes_check_says_since_when_it_looked(booked: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs SET llm_calls = llm_calls + 1")
    since = floor_hour(timezone.now() - timedelta(hours=3))
    findings = books.check_books(now=timezone.now(), since=since)
    assert findings
    assert all(f"(since {since:%Y-%m-%d %H:%M})" in finding.check for finding in findings)


def test_spans_that_retention_dropped_are_no_difference(booked: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM spans")
        cursor.execute("DELETE FROM span_ledger")
    assert books.check_books(now=timezone.now())
    assert books.check_books(now=timezone.now() + timedelta(days=120)) == []


@pytest.mark.parametrize("task", [reconcile, reconcile_all])
def test_the_task_records_each_outcome_and_keeps_a_week(transactional_db: None, task: Callable[[], None]) -> None:
    book_runs(range(4))
    old = Reconciliation.objects.create(duration_ms=1, spans=0, cost_nano=0, discrepancy_nano=0)
    Reconciliation.objects.filter(pk=old.pk).update(checked_at=timezone.now() - timedelta(days=8))
    task()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs SET cost_nano = cost_nano + 3 WHERE cost_nano > 0")
        wrong = 3 * cursor.rowcount
    task()
    second, first = Reconciliation.objects.all()
    assert (first.discrepancy_nano, first.findings) == (0, [])
    assert first.spans == 48
    assert second.discrepancy_nano >= wrong
    assert second.findings
