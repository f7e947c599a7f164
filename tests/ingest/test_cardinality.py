"""A flood of made-up values is bounded, and no money is lost in it."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agentops.accounts.models import User
from agentops.columns import books_cursor
from agentops.costs import queries
from agentops.costs.sources import SpendFilters
from agentops.domain.spans import OTHER, Attributes, Kind, RawSpan, Resource, Span
from agentops.ingest.batch import Batch
from agentops.ingest.booking import book
from agentops.ingest.cardinality import Cardinality
from agentops.ingest.pipeline import Job, Pipeline, _give_receipts


def _span(service: str, user: str) -> Span:
    span = Span(b"t" * 16, b"s" * 8, b"", service, Kind.LLM, "chat", "scope", 10**18, 10**18 + 1)
    span.attribution["user"] = (user, 0)
    return span


def test_users_beyond_the_limit_become_other_and_known_ones_stay() -> None:
    bounded = Cardinality(limits={"user": 3})
    seen = []
    for n in range(10):
        span = _span("a", f"user-{n}")
        bounded.bound(span, own_service=True)
        seen.append(span.attribution["user"][0])
    assert seen == ["user-0", "user-1", "user-2", *[OTHER] * 7]
    assert span.warnings == ["more than 3 users of one service in a day: booked under __other__"]
    again = _span("a", "user-1")
    bounded.bound(again, own_service=True)
    assert again.attribution["user"][0] == "user-1"
    assert not again.warnings


def test_a_collector_cannot_make_up_services_without_end() -> None:
    bounded = Cardinality(max_services=2)
    services = []
    for n in range(4):
        span = _span(f"service-{n}", "u")
        bounded.bound(span, own_service=False)
        services.append(span.service)
    assert services == ["service-0", "service-1", OTHER, OTHER]


def test_what_one_process_remembers_of_all_services_is_bounded() -> None:
    bounded = Cardinality(limits={"user": 10}, max_values=25)
    for service in range(40):
        for user in range(12):
            bounded.bound(_span(f"service-{service}", f"user-{user}"), own_service=True)
            assert sum(map(len, bounded._seen.values())) <= 25


USERS, LIMIT = 1_000, 40
CALL: Attributes = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.output_tokens": 100,
}


@pytest.mark.django_db
def test_a_flood_of_users_keeps_its_money_bounds_its_rows_and_is_told_of(client: Client) -> None:
    now_ns = time.time_ns()
    spans = [
        RawSpan(
            n.to_bytes(16, "big"),
            n.to_bytes(8, "big"),
            b"",
            "chat",
            now_ns - 10**9,
            now_ns,
            0,
            "",
            {**CALL, "user.id": f"made-up-{n}"},
            [],
            "scope",
            Resource({}),
        )
        for n in range(1, USERS + 1)
    ]
    batch = Batch(spans=spans, service="bot")
    pipeline = Pipeline()
    pipeline._cardinality = Cardinality(limits=pipeline._cardinality.limits | {"user": LIMIT})
    entries, failures = pipeline.understand(batch)
    assert not failures
    with books_cursor() as cursor:
        outcome = book(cursor, entries, set())
    job = Job(batch, lambda _: None, None, entries=entries)  # type: ignore[arg-type]
    _give_receipts([job], outcome)

    assert job.receipt
    assert job.receipt.accepted == USERS
    assert job.receipt.warnings == [f"more than {LIMIT} users of one service in a day: booked under {OTHER}"]
    with connection.cursor() as books:
        for table in ("spend_hourly", "spend_daily"):
            books.execute(f"SELECT count(DISTINCT key) FROM {table} WHERE dimension = 1")
            assert books.fetchone() == (LIMIT + 1,)
    since, until = timezone.now() - timedelta(hours=1), timezone.now() + timedelta(hours=1)
    report = queries.spend("user", SpendFilters(), since, until, limit=1_000)
    price = entries[0].cost.nano
    assert price
    assert report.total.cost_nano == USERS * price
    (other,) = [item for item in report.items if item.key == OTHER]
    assert (other.totals.llm_calls, other.totals.cost_nano) == (USERS - LIMIT, (USERS - LIMIT) * price)
    (told,) = queries.booked_under_other(since, until)
    assert (told.service, told.dimension, told.totals) == ("bot", "user", other.totals)

    client.force_login(User.objects.create_user("maria"))
    operations = client.get(reverse("dashboard:operations")).content.decode()
    assert "Too many values" in operations
    assert f"{Decimal(told.totals.cost_nano) / 10**9:.2f}" in operations
    page = client.get(reverse("costs:spend"), {"by": "user"}).content.decode()
    assert "beyond the number of different users that are told apart in a day" in page
    assert "beyond the number" not in client.get(reverse("costs:spend"), {"by": "model"}).content.decode()
    metrics = client.get("/metrics").content.decode()
    assert f'agentops_other_steps{{dimension="user"}} {USERS - LIMIT}.0' in metrics
    assert 'agentops_other_steps{dimension="feature"} 0.0' in metrics
