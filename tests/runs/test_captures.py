"""What real agents sent, booked as it comes in, reads the same on the pages and over the API."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.accounts.actions import create_token
from agentops.accounts.models import User
from agentops.ingest.batch import Batch
from agentops.ingest.booking import book
from agentops.ingest.pipeline import Pipeline
from agentops.ingest.receiver import decode
from agentops.runs import queries
from agentops.runs.queries import RunFilters
from tests.captures import captures

pytestmark = pytest.mark.django_db
SUMS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "reasoning_output_tokens")


@pytest.fixture
def booked() -> Iterator[None]:
    """Every capture in the books."""
    pipeline = Pipeline()
    connection.ensure_connection()
    with Cursor(connection.connection) as cursor:
        cursor.format = Format.BINARY
        columns.register(cursor)
        for capture in captures():
            for body, content_type, encoding in capture.requests():
                decoded = decode(body, content_type, encoding)
                entries, failures = pipeline.understand(Batch(spans=decoded.spans, service=""))
                assert not failures
                book(cursor, entries, set())
    yield
    pipeline.close()


@pytest.mark.usefixtures("booked")
def test_the_steps_of_every_captured_run_add_up_to_the_run() -> None:
    user = User.objects.create_user("maria")
    program, person = Client(headers={"Authorization": f"Bearer {create_token(user=user)}"}), Client()
    person.force_login(user)
    runs = queries.list_runs(RunFilters(), limit=1_000).runs
    assert len(runs) > 30
    assert any(run.priced_nano for run in runs)
    for run in runs:
        body: dict[str, Any] = program.get(f"/api/v1/runs/{run.hex_id}", {"service": run.service}).json()
        counted = [step for step in body["steps"] if step["kind"] in {"llm", "embedding"} and not step["merged_into"]]
        assert sum(Decimal(step["cost_usd"] or 0) for step in counted) == Decimal(body["cost_usd"] or 0)
        for name in SUMS:
            assert sum(step[name] or 0 for step in counted) == body[name]
        assert len(counted) == body["llm_calls"]
        by_id = {step["span_id"]: step for step in body["steps"]}
        for step in body["steps"]:
            if step["requested_tools"] and step["merged_into"] in by_id:
                assert by_id[step["merged_into"]]["requested_tools"] == step["requested_tools"]
        page = person.get(reverse("runs:detail", args=[run.hex_id]), {"service": run.service})
        assert page.status_code == 200
        assert len(page.context["rows"]) == run.spans


@pytest.mark.usefixtures("booked")
def test_an_agent_that_was_only_made_is_no_run() -> None:
    runs = queries.list_runs(RunFilters(), limit=1_000).runs
    assert not [run.name for run in runs if str(run.name).startswith("create_agent")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs WHERE name LIKE 'create\\_agent %'")
        assert cursor.fetchone()[0] > 1
