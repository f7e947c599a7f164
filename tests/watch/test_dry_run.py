"""What proposed rules would have found: judged again, beside what is in force, and nothing else is touched."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from agentops.accounts.models import Role, User
from agentops.alerts.models import Alert
from agentops.domain.spans import Kind
from agentops.jobs import STALE, JobState
from agentops.settings import CELERY_BEAT_SCHEDULE, CELERY_TASK_ROUTES
from agentops.watch import dry_run, rules
from agentops.watch.dry_run import TooManyDryRuns, total_of
from agentops.watch.models import DryRun, Stream
from agentops.watch.rules import Decided
from agentops.watch.tasks import take_up_dry_runs
from tests.watch.scenes import Scene, booked, watched

pytestmark = pytest.mark.django_db(transaction=True)
DEAF = Decided({"warn": 20, "page": 20, "same_result_warn": 20, "same_result_page": 20})


def looping(number: int = 1, times: int = 6, **more: Any) -> Scene:
    scene = Scene(number, **more)
    for _ in range(times):
        scene.says("", requested_tools=[{"tool": "grep", "arguments": {"q": "total"}}])
        scene.tool("grep", {"q": "total"}, "invoice.py:12 total = 0")
    return scene


def working(number: int, **more: Any) -> Scene:
    scene = Scene(number, **more)
    for at, word in enumerate(("mail", "tax", "stock")):
        scene.says("", requested_tools=[{"tool": "read", "arguments": {"file": word}}])
        scene.tool("read", {"file": word}, f"{word} has {at} lines of {word * (at + 2)}")
    scene.end()
    return scene


def asked(decided: Decided, service: str = "shop") -> DryRun:
    return dry_run.start(service=service, decided=decided, seen=0, by=None, now=timezone.now())


def done(job: DryRun) -> DryRun:
    while dry_run.work(job.pk):
        pass
    job.refresh_from_db()
    return job


def rows_of(*tables: str) -> list[Any]:
    found = []
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
            found.append(cursor.fetchall())
    return found


def test_what_deaf_rules_miss_is_listed_with_its_run_and_its_cost() -> None:
    scene = looping()
    booked(scene, working(2))
    job = done(asked(DEAF))
    assert (job.state, job.total, job.done, job.is_cut) == (JobState.DONE, 2, 2, False)
    assert job.counts == {"loop.repeat": [0, 1, 0, 0]}
    (found,) = job.findings.all()
    assert (bytes(found.trace_id), found.kind, found.severity_now, found.severity_proposed) == (
        scene.trace_id, "loop.repeat", "page", "",
    )  # fmt: skip
    assert "grep is called the same way 6 times" in found.title
    assert found.cost_nano > 0
    assert found.detected_at < timezone.now()


def test_keen_rules_find_more_and_rules_as_they_are_differ_in_nothing() -> None:
    booked(looping(times=2))
    keen = done(asked(Decided({"warn": 0.5})))
    assert total_of(keen.counts) == [0, 0, 1, 0]
    assert [(f.severity_now, f.severity_proposed) for f in keen.findings.all()] == [("", "warn")]
    same = done(asked(Decided()))
    assert (total_of(same.counts), same.findings.count()) == ([0] * 4, 0)


def test_it_finds_what_the_watch_found() -> None:
    booked(looping(1), working(2), looping(3, session="s"), looping(4, service="else"))
    watched()
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, severity, count(*) FROM run_findings WHERE service = 'shop' GROUP BY 1, 2")
        stored = cursor.fetchall()
    job = done(asked(Decided()))
    assert stored == [("loop.repeat", "page", 2)]
    assert job.counts == {"loop.repeat": [0, 2, 0, 2]}


def test_it_touches_no_stream_finding_alert_or_habit() -> None:
    booked(looping(1), working(2), looping(3, session="s"))
    watched()
    tables = ("watch_stream", "run_findings", "alerts_alert", "watch_habit", "watch_moment", "watch_queue")
    before = rows_of(*tables)
    done(asked(DEAF))
    done(asked(Decided({"warn": 0.3})))
    assert rows_of(*tables) == before
    assert (Stream.objects.count(), Alert.objects.count()) == (3, 2)


def test_an_ignored_tool_and_a_kind_that_is_off_are_found_no_more() -> None:
    booked(looping())
    assert total_of(done(asked(Decided(tools={"grep": "ignored"}))).counts) == [0, 1, 0, 0]
    off = Decided(switches={"loop.repeat": False, "loop.no_progress": False, "loop.near_duplicate": False})
    assert total_of(done(asked(off)).counts) == [0, 1, 0, 0]


def test_what_is_in_force_is_what_is_compared_with() -> None:
    booked(looping())
    rules.decide(service="shop", tool="", settings=DEAF.chosen, reason="", by=None, now=timezone.now())
    job = done(asked(Decided()))
    assert total_of(job.counts) == [0, 0, 0, 1]
    assert [(f.severity_now, f.severity_proposed) for f in job.findings.all()] == [("", "page")]


@pytest.mark.parametrize(("runs", "spans"), [(1, 2_000), (200, 1), (200, 3), (2, 7)])
def test_in_pages_of_any_size_the_outcome_is_the_same(monkeypatch: pytest.MonkeyPatch, runs: int, spans: int) -> None:
    hops = []
    for number in range(10, 18):  # two agents of a session that pass it to each other, a run each
        hop = Scene(number, session="talk", ago=900 - number * 10)
        hop.says("Could you say that again more clearly please?", agent="ab"[number % 2])
        hops.append(hop)
    booked(looping(1), working(2), looping(3, session="s", times=9), working(4), *hops)
    whole = done(asked(Decided({"warn": 0.6})))
    monkeypatch.setattr(dry_run, "RUNS_AT_ONCE", runs)
    monkeypatch.setattr(dry_run, "SPANS_AT_ONCE", spans)
    paged = done(asked(Decided({"warn": 0.6})))
    assert (paged.counts, paged.spans, paged.done) == (whole.counts, whole.spans, 12)
    assert any(kind != "loop.repeat" or sum(counts[:2]) > 2 for kind, counts in whole.counts.items())
    facts = ("trace_id", "kind", "title", "severity_now", "severity_proposed", "detected_at", "cost_nano")
    assert list(paged.findings.values_list(*facts)) == list(whole.findings.values_list(*facts))


def test_only_the_newest_runs_and_spans_are_looked_at_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    booked(*(working(number, ago=3_600 - number * 100) for number in range(1, 6)))
    monkeypatch.setattr(dry_run, "COLLECT", dry_run.COLLECT.replace("LIMIT 5000", "LIMIT 3"))
    job = done(asked(Decided()))
    assert (job.total, job.done, job.is_cut) == (3, 3, True)
    monkeypatch.setattr(dry_run, "MAX_SPANS", 7)
    monkeypatch.setattr(dry_run, "SPANS_AT_ONCE", 7)
    job = done(asked(Decided()))
    assert (job.state, job.spans, job.is_cut) == (JobState.DONE, 7, True)


def test_runs_of_other_services_and_of_long_ago_are_left_out() -> None:
    booked(looping(1), looping(2, service="else"), looping(3, ago=9 * 86_400))
    assert done(asked(Decided())).total == 1
    assert done(asked(Decided(), service="")).total == 2


def test_it_stops_when_it_is_cancelled_and_goes_on_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    booked(looping(1), looping(2))
    monkeypatch.setattr(dry_run, "SPANS_AT_ONCE", 3)
    job = asked(DEAF)
    assert dry_run.work(job.pk, slice_seconds=0)
    assert dry_run.work(job.pk, slice_seconds=0)
    DryRun.objects.filter(pk=job.pk).update(state=JobState.RUNNING, reported_at=timezone.now())
    assert not dry_run.work(job.pk)  # somebody is at it
    DryRun.objects.filter(pk=job.pk).update(reported_at=timezone.now() - STALE * 2)
    assert total_of(done(job).counts) == [0, 2, 0, 0]
    other = asked(DEAF)
    assert dry_run.work(other.pk, slice_seconds=0)
    assert dry_run.cancel(job=other, now=timezone.now())
    assert done(other).state == JobState.CANCELLED
    assert not dry_run.cancel(job=other, now=timezone.now())


def test_a_failure_is_told_and_a_busy_database_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    booked(looping())
    job = asked(DEAF)

    def broken(error: Exception) -> None:
        def read(*_args: Any, **_kwargs: Any) -> None:
            raise error

        monkeypatch.setattr(dry_run, "read_on", read)

    broken(OperationalError("lock"))
    assert dry_run.work(job.pk)
    broken(ValueError("no such thing"))
    assert not dry_run.work(job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (JobState.FAILED, "ValueError: no such thing")


def test_the_budget_of_the_service_is_told_by_its_habits() -> None:
    booked(*(working(number) for number in range(1, 8)))
    watched()
    job = asked(Decided({"least_budget": 5, "budget_times": 2}))
    assert (job.budget_now, job.budget_proposed) == (50, 13)
    assert asked(Decided(), service="").budget_now is None


def test_beat_takes_it_up_on_the_queue_of_long_work_and_forgets_it_after_days() -> None:
    assert CELERY_TASK_ROUTES["agentops.watch.tasks.take_up_dry_runs"] == {"queue": "celery"}
    assert CELERY_BEAT_SCHEDULE["dry-runs"]["task"] == take_up_dry_runs.name
    booked(looping())
    job = asked(DEAF)
    take_up_dry_runs()
    job.refresh_from_db()
    assert job.state == JobState.DONE
    take_up_dry_runs()
    assert rows_of("watch_dryrunrun") == [[]]
    DryRun.objects.update(ended_at=timezone.now() - dry_run.KEPT - timedelta(minutes=1))
    take_up_dry_runs()
    assert not DryRun.objects.exists()


def test_only_so_many_may_wait() -> None:
    by = User.objects.create_user("ada", role=Role.OWNER)
    for _ in range(dry_run.MAX_WAITING):
        dry_run.start(service="", decided=Decided(), seen=0, by=by, now=timezone.now())
    with pytest.raises(TooManyDryRuns):
        asked(Decided())


def test_what_is_no_step_is_not_read() -> None:
    scene = looping()
    scene.add(Kind.OTHER, {})
    booked(scene)
    assert done(asked(Decided())).spans == 12
