"""What the product says of itself: to people, to probes, to Prometheus."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from agentops.accounts.models import Role, User
from agentops.costs.models import Reconciliation
from agentops.dashboard import health, insight
from agentops.ingest.actions import MAX_ATTEMPTS
from agentops.ingest.models import Heartbeat, IngestMinute, Quarantine
from agentops.runs import findings, pending
from agentops.watch.models import Stream

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada", role=Role.VIEWER))
    return client


@pytest.fixture
def long_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process did not start a moment ago."""
    monkeypatch.setattr(health, "_started", time.monotonic() - 3600)


def minute(ago: timedelta, service: str, **counters: int) -> None:
    start = (timezone.now() - ago).replace(second=0, microsecond=0)
    IngestMinute.objects.create(minute=start, service=service, **counters)


def beat(age: float) -> None:
    Heartbeat.objects.update_or_create(name="beat", defaults={"at": timezone.now() - timedelta(seconds=age)})


def test_counters_of_the_last_hour_are_summed_by_service() -> None:
    minute(timedelta(minutes=1), "a", accepted_spans=5, requests=1)
    minute(timedelta(minutes=2), "a", accepted_spans=7, rejected_spans=1)
    minute(timedelta(minutes=1), "b", duplicate_spans=3, conflicting_spans=2)
    minute(timedelta(hours=3), "a", accepted_spans=100)
    minute(timedelta(minutes=1), "", requests=4, bytes_received=1000)
    since = timezone.now() - timedelta(hours=1)
    total = insight.sum_ingest(since=since)
    assert (total.accepted, total.rejected, total.duplicate, total.conflicting) == (12, 1, 3, 2)
    assert (total.requests, total.bytes) == (5, 1000)
    assert [(one.service, one.accepted) for one in insight.list_ingest(since=since)] == [("a", 12), ("b", 0)]


def test_the_rate_has_a_value_for_each_minute_and_the_current_one_last() -> None:
    minute(timedelta(0), "a", accepted_spans=5)
    minute(timedelta(0), "b", accepted_spans=1)
    minute(timedelta(minutes=59), "a", accepted_spans=7)
    minute(timedelta(minutes=60), "a", accepted_spans=100)
    rate = insight.accepted_by_minute(now=timezone.now())
    assert (len(rate), rate[-1], rate[0], sum(rate)) == (60, 6, 7, 13)


def quarantined(age: timedelta, **fields: Any) -> None:
    kept = Quarantine.objects.create(content_type="application/json", body=b"{}", error="boom", **fields)
    Quarantine.objects.filter(pk=kept.pk).update(received_at=timezone.now() - age)


def test_quarantine_tells_what_waits_from_what_was_given_up_or_digested() -> None:
    quarantined(timedelta(minutes=1))
    quarantined(timedelta(minutes=10), attempts=2)
    quarantined(timedelta(days=3), attempts=MAX_ATTEMPTS)
    quarantined(timedelta(days=9), digested_at=timezone.now())
    state = insight.quarantine(now=timezone.now())
    assert (state.waiting, state.given_up) == (2, 1)
    assert 600 <= state.oldest_seconds < 660


@pytest.mark.usefixtures("long_running")
def test_the_page_says_what_is_wrong(viewer: Client) -> None:
    minute(timedelta(minutes=1), "triage", accepted_spans=1234, rejected_spans=7)
    quarantined(timedelta(minutes=10))
    beat(300)
    Reconciliation.objects.create(
        duration_ms=12, spans=10, cost_nano=5, discrepancy_nano=2_000_000_000, findings=["runs, triage: off by $2"]
    )
    page = viewer.get("/operations/").content.decode()
    for words in ("1,234", "triage", "boom", "silent", "$2.00", "off by $2", "check the worker and beat"):
        assert words in page


def test_an_empty_page_says_what_will_come(viewer: Client) -> None:
    page = viewer.get("/operations/").content.decode()
    assert "Nothing came in during the last hour" in page
    assert "not checked yet" in page


def test_htmx_gets_the_numbers_alone(viewer: Client) -> None:
    page = viewer.get("/operations/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in page
    assert "Readiness" in page


def test_the_page_takes_as_many_statements_for_many_services_as_for_one(
    viewer: Client, django_assert_max_num_queries: Any
) -> None:
    for n in range(30):
        minute(timedelta(minutes=1), f"service-{n}", accepted_spans=1)
    viewer.get("/readyz")  # asks once for migrations
    with django_assert_max_num_queries(22):
        viewer.get("/operations/")


def test_alive_needs_no_database(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.usefixtures("long_running")
def test_ready_when_every_part_works(client: Client) -> None:
    beat(5)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert {name for name, part in answer.json()["parts"].items() if part["ok"]} == {
        "database", "broker", "migrations", "beat",
    }  # fmt: skip


@pytest.mark.usefixtures("long_running")
@pytest.mark.parametrize("age", [None, 300.0])
def test_not_ready_without_a_heartbeat(client: Client, age: float | None) -> None:
    if age:
        beat(age)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert not answer.json()["parts"]["beat"]["ok"]


def test_a_process_that_has_just_started_waits_a_minute_for_the_first_heartbeat(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_started", time.monotonic())
    beat_part = client.get("/readyz").json()["parts"]["beat"]
    assert beat_part == {"ok": True, "detail": "no heartbeat yet; just started"}


def test_not_ready_without_a_broker(client: Client, settings: Any) -> None:
    beat(5)
    settings.VALKEY_URL = "redis://127.0.0.1:1/0"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert [name for name, part in answer.json()["parts"].items() if not part["ok"]] == ["broker"]


def test_not_ready_without_a_database_and_the_answer_still_comes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        message = "the server closed the connection"
        raise OperationalError(message)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", refuse)
        answer = client.get("/readyz")
        metrics = client.get("/metrics")
    assert answer.status_code == 503
    assert answer.json()["parts"]["database"] == {"ok": False, "detail": "the server closed the connection"}
    assert b"agentops_database_up 0.0" in metrics.content


def test_not_ready_while_migrations_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    beat(5)
    health._all_applied.cache_clear()
    monkeypatch.setattr(health.MigrationExecutor, "migration_plan", lambda *_args: [object(), object()])
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "2 not applied" in answer.json()["parts"]["migrations"]["detail"]


def waiting(age: float, *, attempts: int = 0, failure: str | None = None, number: int = 1) -> None:
    queued_at = timezone.now() - timedelta(seconds=age)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO watch_queue (trace_id, service, received_on, spans, queued_at, attempts, failure)"
            " VALUES (%s, 'shop', CURRENT_DATE, '', %s, %s, %s)",
            [number.to_bytes(16, "big"), queued_at, attempts, failure],
        )


@pytest.mark.usefixtures("long_running")
def test_a_late_watch_is_told_and_makes_nothing_unready(client: Client) -> None:
    beat(5)
    waiting(30)
    assert "watch" not in client.get("/readyz").json()["parts"]
    waiting(95)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["parts"]["watch"] == {
        "ok": True,
        "detail": "late: 2 runs wait, the oldest for 95 s; check the watch process",
    }


def test_the_page_says_how_far_the_watch_is_and_what_it_set_aside(viewer: Client) -> None:
    assert "Set aside by the watch" not in viewer.get("/operations/").content.decode()
    waiting(95)
    waiting(4_000, attempts=3, failure="ValueError: no such step", number=2)
    page = viewer.get("/operations/").content.decode().replace("\N{NO-BREAK SPACE}", " ")
    for words in ("The watch is late", "1 min 35 s", "ValueError: no such step", "0000…002"):
        assert words in page
    assert "Try again" not in page


def test_admins_let_the_watch_try_again_what_it_set_aside(viewer: Client) -> None:
    waiting(4_000, attempts=3, failure="ValueError: no such step")
    assert viewer.post("/operations/watch-again").status_code == 403
    admin = Client()
    admin.force_login(User.objects.create_user("otto", role=Role.ADMIN))
    assert "Try again" in admin.get("/operations/").content.decode()
    page = admin.post("/operations/watch-again", follow=True).content.decode()
    assert "1 set aside before are tried again now" in page
    lag = pending.lag()
    assert (lag.pending, lag.set_aside) == (1, 0)


def test_metrics_tell_of_the_watch_from_its_tables(client: Client) -> None:
    waiting(95)
    waiting(10, attempts=3, failure="boom", number=2)
    now = timezone.now()
    Stream.objects.create(service="shop", scope=0, key="a", state="{}", touched_at=now)
    Stream.objects.create(service="shop", scope=0, key="b", state="{}", touched_at=now - timedelta(hours=2))
    place = findings.Place("shop", findings.Scope.RUN, "a")
    findings.save(
        findings.StoredFinding(
            place, "loops", number, b"r" * 16, "loop.repeat", "generic_repeat", severity, "x", now, now, now,
            is_open=is_open, count=3, period=1, cost_nano=None, per_hour_nano=None, detail={},
        )
        for number, (severity, is_open) in enumerate((("warn", True), ("page", True), ("page", False)))
    )  # fmt: skip
    lines = [line.rpartition(" ") for line in client.get("/metrics").content.decode().splitlines()]
    found = {name: float(value) for name, _, value in lines if name.startswith("agentops_watch_")}
    assert found["agentops_watch_pending"] == found["agentops_watch_set_aside"] == 1
    assert 95 <= found["agentops_watch_oldest_pending_seconds"] < 120
    assert found["agentops_watch_judged"] == 1
    assert found['agentops_watch_findings{severity="page"}'] == 2
    assert found['agentops_watch_findings_open{severity="page"}'] == 1


def test_metrics_are_the_same_from_every_process(client: Client) -> None:
    minute(timedelta(0), "a", accepted_spans=5, requests=1)
    minute(timedelta(0), "b", accepted_spans=2, rejected_spans=1)
    quarantined(timedelta(minutes=10))
    beat(5)
    answer = client.get("/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }
    assert samples["agentops_ingest_spans_total", "accepted"] == 7
    assert samples["agentops_ingest_spans_total", "rejected"] == 1
    assert samples["agentops_quarantine_requests",] == 1
    assert samples["agentops_heartbeat_timestamp_seconds", "beat"] > 0
    assert samples["agentops_database_up",] == 1


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 403), ("", 403)])
def test_metrics_are_for_monitors_of_named_networks(client: Client, address: str, status: int) -> None:
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == status


def test_metrics_are_for_signed_in_people_from_anywhere(viewer: Client, settings: Any) -> None:
    assert viewer.get("/metrics", REMOTE_ADDR="10.1.2.3").status_code == 200
    settings.METRICS_NETWORKS = ["10.0.0.0/8"]
    assert Client().get("/metrics", REMOTE_ADDR="10.1.2.3").status_code == 200
