"""Pricing booked calls again: counted first, then applied as adjustments, with books that agree at every moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentops.accounts.models import User
from agentops.costs import books
from agentops.domain.pricebook import Alias, Entry, EntryKind, TokenPrices
from agentops.domain.pricing import PriceList, span_cost
from agentops.domain.spans import Cost, CostBasis, Kind, PriceSource, Terms, TokenUsage
from agentops.ingest.booking import Entry as Booked
from agentops.jobs import JobState
from agentops.live.models import LiveEvent
from agentops.prices import repricing
from agentops.prices.actions import (
    EmptyPeriod,
    NotApplicable,
    apply_dry_run,
    cancel_repricing,
    save_alias,
    save_entry,
    start_dry_run,
)
from agentops.prices.models import BookRevision, CostAdjustment, Repricing, RepricingLine, RepricingRun
from agentops.prices.tasks import take_up
from agentops.runs.models import Run
from tests.costs.booking import START, book_entries, book_runs
from tests.ingest.simulation import clear_books, read_books, run_entries

pytestmark = pytest.mark.django_db

GPT = Entry(0, 0, EntryKind.MODEL, "gpt-4o", tokens=(TokenPrices(input=Decimal(2), output=Decimal(8)),))
SEARCH = Entry(0, 0, EntryKind.TOOL, "search", per_call=Decimal("0.005"))
EVERYTHING = (START - timedelta(days=1), START + timedelta(days=10))


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few runs take many pages, some of them inside a run; and a change of the book is known at once."""
    monkeypatch.setattr(repricing, "RUNS_AT_ONCE", 3)
    monkeypatch.setattr(repricing, "SPANS_AT_ONCE", 5)
    monkeypatch.setattr(repricing, "KNOWN_EVERYWHERE", timedelta(0))


def dry_run(**more: Any) -> Repricing:
    from_at, until_at = more.pop("period", EVERYTHING)
    job = start_dry_run(from_at=from_at, until_at=until_at, by=None, **more)
    repricing.work(job.pk)
    job.refresh_from_db()
    return job


def apply(found: Repricing) -> Repricing:
    job = apply_dry_run(dry_run=found, by=None)
    repricing.work(job.pk)
    job.refresh_from_db()
    return job


def spans() -> dict[bytes, tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT span_id, cost_nano, price_source, price_id, merged_into FROM spans")
        return {bytes(row[0]): row[1:] for row in cursor.fetchall()}


def total() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(cost_nano), sum(unpriced_calls) FROM runs")
        cost, unpriced = cursor.fetchone()
    return int(cost), int(unpriced)


def disagreements() -> list[books.Finding]:
    return books.check_books(now=timezone.now())


def change(job: Repricing) -> tuple[int, int]:
    lines = list(job.lines.all())
    return (
        int(sum(line.new_nano - line.old_nano for line in lines)),
        sum(line.new_unpriced - line.old_unpriced for line in lines),
    )


def test_a_dry_run_says_what_would_change_and_changes_nothing() -> None:
    book_runs(range(10))
    before, sums = spans(), total()
    save_entry(entry=GPT, by=None)
    save_entry(entry=SEARCH, by=None)
    found = dry_run()
    assert (found.state, found.done, found.total, found.percent) == (JobState.DONE, 10, 10, 100)
    assert (spans(), total()) == (before, sums)
    assert not CostAdjustment.objects.exists()
    assert change(found) != (0, 0)
    tools = [line for line in found.lines.all() if line.is_tool]
    assert [(line.service, line.month.isoformat(), line.name) for line in tools] == [
        ("service-0", "2025-11-01", "search"), ("service-1", "2025-11-01", "search"),
    ]  # fmt: skip
    assert all(line.new_nano == line.calls * 5_000_000 and line.old_nano == 0 for line in tools)
    assert not disagreements()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seeds=st.sets(st.integers(0, 10**6), min_size=1, max_size=5),
    rates=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
    tool=st.integers(0, 10**9),
)
def test_what_is_applied_is_what_the_dry_run_said_and_the_books_agree_to_the_nano_dollar(
    seeds: set[int], rates: tuple[int, int], tool: int
) -> None:
    with connection.cursor() as cursor:
        clear_books(cursor)  # type: ignore[arg-type]
    book_runs(seeds)
    token_prices = TokenPrices(input=Decimal(rates[0]) / 10**6, output=Decimal(rates[1]) / 10**6)
    save_entry(entry=replace(GPT, pattern="*", tokens=(token_prices,)), by=None)
    save_entry(entry=replace(SEARCH, per_call=Decimal(tool) / 10**9), by=None)
    before, sums = spans(), total()
    found = dry_run()
    if not found.lines.exists():
        return
    applied = apply(found)
    assert applied.state == JobState.DONE
    assert list(applied.lines.values_list("service", "name", "calls", "old_nano", "new_nano")) == list(
        found.lines.values_list("service", "name", "calls", "old_nano", "new_nano")
    )
    cost, unpriced = change(found)
    assert total() == (sums[0] + cost, sums[1] + unpriced)
    assert not disagreements()
    after = spans()
    adjustments = {bytes(each.span_id): each for each in applied.adjustments.all()}
    assert adjustments.keys() == {key for key, row in after.items() if row[:2] != before[key][:2]}
    for key, each in adjustments.items():
        assert (each.old_nano, each.old_source, each.old_price_id) == before[key][:3]
        assert (each.new_nano, each.new_source, each.new_price_id) == after[key][:3]
        assert each.is_counted == (after[key][3] is None)
    counted = [each for each in adjustments.values() if each.is_counted]
    assert sum((each.new_nano or 0) - (each.old_nano or 0) for each in counted) == cost
    again = dry_run()
    assert (again.state, again.lines.count()) == (JobState.DONE, 0)


def test_adjustments_say_who_decided_and_when_the_call_was(admin: User) -> None:
    book_runs([1])
    save_entry(entry=replace(GPT, pattern="*"), by=admin)
    applied = apply_dry_run(dry_run=dry_run(), by=admin)
    repricing.work(applied.pk)
    each = CostAdjustment.objects.select_related("repricing__requested_by").first()
    assert each is not None
    assert each.repricing.requested_by == admin
    assert START <= each.started_at < START + timedelta(days=2)
    assert abs(each.at - timezone.now()) < timedelta(minutes=5)


def test_spans_that_were_merged_get_their_own_price_and_move_no_sum() -> None:
    book_runs(range(30))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    applied = apply(dry_run())
    merged = applied.adjustments.filter(is_counted=False)
    assert merged.exists()
    assert all(spans()[bytes(each.span_id)][0] == each.new_nano for each in merged)
    assert not disagreements()


def test_a_price_that_only_comes_in_a_new_version_changes_nothing() -> None:
    book_runs([1])
    first = save_entry(entry=replace(GPT, pattern="*"), by=None)
    apply(dry_run())
    save_entry(entry=first, by=None, note="only a remark")
    assert not dry_run().lines.exists()


def booked(**more: Any) -> Booked:
    """One model call, priced as it would be with an empty book."""
    (entry,) = run_entries(77, size=1)
    span = replace(entry.span, kind=Kind.LLM, provider="azure", response_model="our-own", usage=TokenUsage(1_000, 100))
    span = replace(span, is_error=False, response_id=None, attribution={}, **more)
    return Booked(span, span_cost(span, PriceList()), None)


def reprice_one(entry: Booked, *rows: Entry | Alias) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        clear_books(cursor)  # type: ignore[arg-type]
    book_entries([entry])
    for row in rows:
        save_entry(entry=row, by=None) if isinstance(row, Entry) else save_alias(alias=row, by=None)
    found = dry_run()
    if found.lines.exists():
        apply(found)
    assert not disagreements()
    with connection.cursor() as cursor:
        cursor.execute("SELECT cost_nano, price_source, price_id, is_estimate FROM spans")
        return tuple(cursor.fetchone())


OURS = replace(GPT, pattern="our-own")


def test_an_unpriced_call_gets_the_price_of_its_entry() -> None:
    assert reprice_one(booked()) == (None, None, None, False)
    assert reprice_one(booked(), OURS) == (2_800_000, 2, "book 1 v1", False)


def test_an_unpriced_call_gets_the_price_of_what_its_name_stands_for() -> None:
    cost, source, price, _ = reprice_one(booked(), Alias(0, 0, "our-own", "openai", "gpt-4o", provider="azure"))
    assert (cost, source) == (3_500_000, PriceSource.GENAI_PRICES)
    assert price.endswith("openai/gpt-4o")


@pytest.mark.parametrize(
    "more",
    [
        {"response_model": "gpt-4o", "terms": Terms(tier="batch")},
        {"response_model": "gpt-realtime", "provider": "openai", "terms": Terms(audio_input=10)},
        {"response_model": "gpt-4o", "is_error": True, "usage": TokenUsage(), "terms": Terms(estimated_input=400)},
        {"response_model": "gpt-4o", "is_error": True, "usage": TokenUsage(10)},
        {"reported_cost_nano": 77},
        {"response_model": "gpt-4o", "reported_cost_nano": 77, "reported_cost_basis": CostBasis.SAME_LIST},
        {"reported_cost_nano": 77, "reported_cost_basis": CostBasis.OTHER_LIST},
        {"response_model": "gpt-4o", "provider": "openai", "usage": TokenUsage(100, 7, 50, 20, 3)},
    ],
    ids=["tier", "audio", "broken off", "failed", "billed", "read off the same list", "estimated", "caches"],
)
def test_what_is_priced_again_by_the_same_prices_stays_as_it_is(more: dict[str, Any]) -> None:
    error = more.pop("is_error", False)
    entry = booked(**more)
    entry.span.is_error = error
    entry = Booked(entry.span, span_cost(entry.span, PriceList()), None)
    assert entry.cost.nano is not None
    assert reprice_one(entry)[0] == entry.cost.nano
    assert not RepricingLine.objects.exists()


def test_a_bill_stays_unless_an_entry_says_otherwise_and_comes_back_when_it_ends() -> None:
    billed = booked(reported_cost_nano=77)
    assert reprice_one(billed, OURS)[:2] == (77, PriceSource.PROVIDER)
    assert reprice_one(billed, replace(OURS, overrides=True))[:2] == (2_800_000, PriceSource.BOOK)
    save_entry(entry=replace(OURS, number=2, version=1, overrides=True), by=None, is_withdrawn=True)
    apply(dry_run())
    assert next(iter(spans().values()))[:2] == (77, PriceSource.PROVIDER)
    assert not disagreements()


@pytest.mark.parametrize(
    ("filters", "changes"),
    [
        ({}, True),
        ({"service": "service-1"}, True),
        ({"service": "service-0"}, False),
        ({"name": "our-own"}, True),
        ({"name": "gpt-4o"}, False),
        ({"provider": "azure"}, True),
        ({"provider": "openai"}, False),
        ({"period": (START, START + timedelta(hours=30))}, True),
        ({"period": (START - timedelta(hours=30), START)}, False),
        ({"period": (START + timedelta(hours=30), START + timedelta(days=9))}, False),
    ],
)
def test_a_dry_run_looks_at_what_was_asked_for(filters: dict[str, Any], changes: bool) -> None:
    book_entries([booked()])
    save_entry(entry=OURS, by=None)
    assert dry_run(**filters).lines.exists() == changes


def step_by_step(pk: int, between: Callable[[], None]) -> int:
    """Do a job one page at a time; how many it took."""
    steps = 0
    while repricing.work(pk, slice_seconds=0):
        steps += 1
        between()
    return steps


def test_at_every_moment_of_an_application_the_books_agree_and_what_comes_meanwhile_stays_right() -> None:
    book_runs(range(8))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    found = dry_run()
    applied = apply_dry_run(dry_run=found, by=None)
    prices = repricing.load_prices(found.revision_id or 0)
    late = iter(range(8, 40))

    def meanwhile() -> None:
        assert not disagreements()
        fresh = run_entries(next(late))
        book_entries([Booked(entry.span, span_cost(entry.span, prices), None) for entry in fresh])

    assert step_by_step(applied.pk, meanwhile) > 8
    assert not disagreements()
    assert not dry_run().lines.exists()


@pytest.mark.parametrize("cut_off", [OperationalError, SoftTimeLimitExceeded])
def test_a_job_that_was_cut_off_goes_on_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch, cut_off: type[Exception]
) -> None:
    book_runs(range(8))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    found = dry_run()
    sums = total()
    applied = apply_dry_run(dry_run=found, by=None)
    for _ in range(4):
        assert repricing.work(applied.pk, slice_seconds=0)
    move, calls = repricing.costs.move_spend, Counter[str]()

    def fail(*args: Any) -> None:
        calls["moved"] += 1
        move(*args)
        if calls["moved"] % 2:
            raise cut_off

    monkeypatch.setattr(repricing.costs, "move_spend", fail)
    while repricing.work(applied.pk, slice_seconds=0):
        assert not disagreements()
    assert calls["moved"] > 3
    cost, unpriced = change(found)
    assert total() == (sums[0] + cost, sums[1] + unpriced)
    assert change(applied) == (cost, unpriced)


def test_a_job_whose_worker_died_is_taken_up_and_its_list_of_runs_forgotten() -> None:
    book_runs(range(4))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    job = start_dry_run(from_at=EVERYTHING[0], until_at=EVERYTHING[1], by=None)
    repricing.work(job.pk, slice_seconds=0)
    assert RepricingRun.objects.count() == 4
    Repricing.objects.filter(pk=job.pk).update(
        state=JobState.RUNNING, reported_at=timezone.now() - timedelta(minutes=5)
    )
    take_up()
    job.refresh_from_db()
    assert job.state == JobState.DONE
    take_up()
    assert not RepricingRun.objects.exists()


def test_what_somebody_else_does_is_left_to_them() -> None:
    job = start_dry_run(from_at=EVERYTHING[0], until_at=EVERYTHING[1], by=None)
    assert Repricing.claim(job.pk, now=timezone.now()) is not None
    assert not repricing.work(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING


def test_a_cancelled_application_keeps_what_is_done_and_the_rest_can_be_applied_later() -> None:
    book_runs(range(8))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    found = dry_run()
    applied = apply_dry_run(dry_run=found, by=None)
    for _ in range(5):
        repricing.work(applied.pk, slice_seconds=0)
    assert cancel_repricing(job=applied)
    assert not repricing.work(applied.pk)
    applied.refresh_from_db()
    assert applied.state == JobState.CANCELLED
    assert applied.adjustments.count() > 0
    assert not disagreements()
    assert not cancel_repricing(job=applied)
    rest = apply(found)
    assert rest.state == JobState.DONE
    assert not disagreements()
    assert not dry_run().lines.exists()


def test_a_running_job_is_cancelled_before_its_next_page() -> None:
    book_runs(range(8))
    job = start_dry_run(from_at=EVERYTHING[0], until_at=EVERYTHING[1], by=None)
    repricing.work(job.pk, slice_seconds=0)
    Repricing.objects.filter(pk=job.pk).update(state=JobState.RUNNING)
    assert cancel_repricing(job=job)
    Repricing.objects.filter(pk=job.pk).update(state=JobState.PENDING)
    assert not repricing.work(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done) == (JobState.CANCELLED, 0)


def test_an_application_stops_when_the_book_or_the_public_prices_change(monkeypatch: pytest.MonkeyPatch) -> None:
    book_runs(range(8))
    entry = save_entry(entry=replace(GPT, pattern="*"), by=None)
    applied = apply_dry_run(dry_run=dry_run(), by=None)
    repricing.work(applied.pk, slice_seconds=0)
    save_entry(entry=entry, by=None)
    repricing.work(applied.pk)
    applied.refresh_from_db()
    assert (applied.state, applied.message) == (JobState.FAILED, repricing.STALE_BOOK)
    found = dry_run()
    applied = apply_dry_run(dry_run=found, by=None)
    monkeypatch.setattr(repricing, "SOURCE_VERSION", "genai-prices 99")
    repricing.work(applied.pk)
    applied.refresh_from_db()
    assert (applied.state, applied.message) == (JobState.FAILED, repricing.STALE_LIST)
    assert not disagreements()


def test_an_application_waits_until_every_receiver_knows_the_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    book_runs(range(4))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    monkeypatch.setattr(repricing, "KNOWN_EVERYWHERE", timedelta(seconds=15))
    applied = apply_dry_run(dry_run=dry_run(), by=None)
    assert repricing.work(applied.pk)
    applied.refresh_from_db()
    assert (applied.state, applied.is_collected) == (JobState.PENDING, False)
    BookRevision.objects.update(at=timezone.now() - timedelta(seconds=16))
    assert not repricing.work(applied.pk)
    applied.refresh_from_db()
    assert applied.state == JobState.DONE


def test_what_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    book_runs([1])
    job = start_dry_run(from_at=EVERYTHING[0], until_at=EVERYTHING[1], by=None)

    def fail(*_: Any) -> Cost:
        message = "a price went wrong"
        raise RuntimeError(message)

    monkeypatch.setattr(repricing.PricedSpan, "cost", fail)
    assert not repricing.work(job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (JobState.FAILED, "RuntimeError: a price went wrong")


def test_only_a_dry_run_that_is_done_and_still_true_is_applied_and_only_once() -> None:
    book_runs(range(4))
    with pytest.raises(EmptyPeriod):
        start_dry_run(from_at=START, until_at=START, by=None)
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    waiting = start_dry_run(from_at=EVERYTHING[0], until_at=EVERYTHING[1], by=None)
    with pytest.raises(NotApplicable, match="done"):
        apply_dry_run(dry_run=waiting, by=None)
    found = dry_run()
    nothing = dry_run(period=(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)))
    with pytest.raises(NotApplicable, match="Nothing"):
        apply_dry_run(dry_run=nothing, by=None)
    applied = apply(found)
    for again, why in ((found, "already"), (applied, "application")):
        with pytest.raises(NotApplicable, match=why):
            apply_dry_run(dry_run=again, by=None)
    save_entry(entry=SEARCH, by=None)
    with pytest.raises(NotApplicable, match="changed"):
        apply_dry_run(dry_run=waiting_done(waiting), by=None)


def waiting_done(job: Repricing) -> Repricing:
    repricing.work(job.pk)
    job.refresh_from_db()
    return job


def test_pages_that_show_spend_hear_of_what_is_applied_and_not_of_a_dry_run() -> None:
    book_runs(range(4))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    LiveEvent.objects.all().delete()
    found = dry_run()
    assert {topic for event in LiveEvent.objects.all() for topic in event.topics} == {"prices"}
    apply(found)
    topics = {topic for event in LiveEvent.objects.all() for topic in event.topics}
    assert {"prices", "spend", "runs"} < topics
    assert any(topic.startswith("run:") for topic in topics)


def test_all_but_costs_is_left_as_it_was() -> None:
    book_runs(range(6))
    rest = [field.name for field in Run._meta.concrete_fields if field.name not in ("cost_nano", "unpriced_calls")]

    def read() -> tuple[Any, Any]:
        with connection.cursor() as cursor:
            books = read_books(cursor)  # type: ignore[arg-type]
        return list(Run.objects.order_by("pk").values(*rest)), (books["ledger"], [row[:5] for row in books["spans"]])

    before = read()
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    assert apply(dry_run()).adjustments.exists()
    assert read() == before


def test_a_call_that_counts_what_another_one_tells_has_both_prices_put_right() -> None:
    teller, outer = booked(scope="com.anthropic.sdk.python"), booked(scope="openinference")
    for n, (entry, usage) in enumerate(((outer, TokenUsage(1_000)), (teller, TokenUsage(1_000, 100)))):
        entry.span.trace_id, entry.span.response_id, entry.span.usage = bytes([n]) * 16, "resp_the_same", usage
        entry.span.parent_span_id = b""
    book_entries([Booked(entry.span, span_cost(entry.span, PriceList()), None) for entry in (outer, teller)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT own_figures FROM spans WHERE merged_into IS NULL")
        (figures,) = cursor.fetchone()
    assert json.loads(figures)[:6] == [1_000, None, None, None, None, None]
    save_entry(entry=replace(OURS, tokens=(TokenPrices(input=Decimal(2), output=Decimal(8)),)), by=None)
    apply(dry_run())
    assert not disagreements()
    with connection.cursor() as cursor:
        cursor.execute("SELECT cost_nano, own_figures FROM spans WHERE merged_into IS NULL")
        cost, figures = cursor.fetchone()
    assert (cost, json.loads(figures)[:6]) == (2_800_000, [1_000, None, None, None, None, None])
    save_entry(entry=replace(OURS, number=1, version=1, tokens=(), per_call=Decimal("0.5")), by=None)
    apply(dry_run())
    with connection.cursor() as cursor:
        cursor.execute("SELECT cost_nano, own_figures FROM spans WHERE merged_into IS NULL")
        cost, figures = cursor.fetchone()
    assert (cost, json.loads(figures)[5:9]) == (500_000_000, [500_000_000, 2, "book 1 v2", False])
    assert not disagreements()
