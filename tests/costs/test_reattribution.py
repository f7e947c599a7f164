"""Attributing booked runs by rules ends where it would have ended, had the rules been there when the spans came."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentops.accounts.models import User
from agentops.columns import books_cursor
from agentops.costs import reattribution
from agentops.costs.actions import EmptyPeriod, NotApplicable, apply_preview, cancel_reattribution, start_preview
from agentops.costs.books import check_books
from agentops.costs.models import AttributionChange, AttributionRule, Reattribution
from agentops.costs.reattribution import work
from agentops.costs.rules import RuleChangedMeanwhile, load_rules, rule_of, save_rule
from agentops.domain.attribution import RULED, Condition, Rule, Rules, attribute
from agentops.domain.spans import RANK_EXPLICIT, RANK_FALLBACK
from agentops.ingest.booking import Entry
from agentops.jobs import JobState
from agentops.runs.models import Run
from tests.costs.booking import START, book_entries
from tests.ingest.simulation import clear_books, read_books, run_entries

pytestmark = pytest.mark.django_db

FROM, UNTIL = START - timedelta(days=2), START + timedelta(days=3)
TAGS = ("blue", "red", "green")


@pytest.fixture(autouse=True)
def known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reattribution, "KNOWN_EVERYWHERE", timedelta(0))


def spans(seed: int, rules: Rules, *, runs: int = 5, fallbacks: bool = True) -> list[Entry]:
    """Some runs, as they come in under some rules: with tags, attributes, and what may contradict them."""
    rng = random.Random(seed)
    entries = []
    for n in range(runs):
        environment = rng.choice(["staging", "production"])
        for entry in run_entries(seed + n, size=8):
            span = entry.span
            ranks = (RANK_EXPLICIT, RANK_FALLBACK if fallbacks else RANK_EXPLICIT)
            chosen = {d: (value, ranks[rank]) for d, (value, rank) in span.attribution.items() if rng.random() < 0.6}
            if not fallbacks:
                chosen = {d: best for d, best in chosen.items() if d not in RULED}
            span.attribution = chosen | {"environment": (environment, RANK_EXPLICIT)}
            if rng.random() < 0.5:
                span.content["tags"] = rng.sample(TAGS, 2)
            if rng.random() < 0.5:
                span.content["attributes"] = {"tier": rng.choice(["gold", "silver"]), "seats": rng.randrange(3)}
            attribute(span, rules.of(span.service))
            content = orjson.dumps(span.content).decode() if span.content else None
            entries.append(Entry(span, entry.cost, content))
    return entries


def books() -> dict[str, list[Any]]:
    with books_cursor() as cursor:
        return read_books(cursor)


@pytest.fixture
def forget() -> Callable[[], None]:
    """Empties the books and the rules between two ways of getting somewhere."""

    def clear() -> None:
        with books_cursor() as cursor:
            clear_books(cursor)
        AttributionChange.objects.all().delete()
        Reattribution.objects.filter(preview__isnull=False).delete()
        Reattribution.objects.all().delete()
        AttributionRule.objects.all().delete()

    return clear


def save(*rules: Rule) -> Rules:
    """Write rules, and read them back."""
    rows = [save_rule(rule=rule, by=None) for rule in rules]
    return load_rules(rows[-1].pk)


def run_job(**period: Any) -> Reattribution:
    """Preview, apply, and do all of it; the application."""
    preview = start_preview(**{"from_at": FROM, "until_at": UNTIL, **period}, by=None)
    assert not work(preview.pk)
    preview.refresh_from_db()
    assert preview.state == JobState.DONE
    if not preview.changed:
        return preview
    job = apply_preview(preview=preview, by=None)
    assert not work(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.DONE, job.message
    assert lines(job) == lines(preview)
    return job


def lines(job: Reattribution) -> list[tuple[Any, ...]]:
    return list(job.lines.values_list("month", "service", "dimension", "old_value", "new_value", "runs", "cost_nano"))


CONDITIONS = st.one_of(
    st.builds(Condition, st.just("tag"), st.sampled_from([*TAGS, "gr*"])),
    st.builds(Condition, st.just("attribute"), st.sampled_from(["gold", "silver", "*"]), st.just("tier")),
    st.builds(Condition, st.just("attribute"), st.sampled_from(["0", "1"]), st.just("seats")),
    st.builds(Condition, st.just("agent"), st.sampled_from(["planner", "writer"])),
    st.builds(Condition, st.just("tool"), st.just("search")),
    st.builds(Condition, st.just("model"), st.sampled_from(["gpt-4o", "claude*"])),
    st.builds(Condition, st.just("span"), st.sampled_from(["span 1", "span 4"])),
    st.builds(Condition, st.just("run"), st.just("span 0")),
    st.builds(Condition, st.just("environment"), st.just("staging")),
)
RULES = st.lists(
    st.builds(
        Rule,
        number=st.just(0),
        version=st.just(0),
        service=st.sampled_from(["service-0", "service-1"]),
        conditions=st.lists(CONDITIONS, max_size=2).map(tuple),
        dimension=st.sampled_from(RULED),
        value=st.sampled_from(["checkout", "search", "x"]),
        from_ns=st.sampled_from([0, int(START.timestamp() + 3_600 * 9) * 10**9]),
    ),
    min_size=1,
    max_size=4,
)
SLOW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOW
@given(seed=st.integers(0, 10**6), asked=RULES)
def test_a_rule_applied_backwards_leaves_the_books_that_it_leaves_at_ingest(
    forget: Any, seed: int, asked: list[Rule]
) -> None:
    forget()
    rules = save(*asked)
    book_entries(spans(seed, rules))
    expected = books()
    forget()
    book_entries(spans(seed, Rules()))
    save(*asked)
    run_job()
    assert books() == expected
    assert check_books(now=timezone.now()) == []
    run_job()
    assert books() == expected


@SLOW
@given(seed=st.integers(0, 10**6), before=RULES, asked=RULES)
def test_changed_rules_applied_backwards_leave_the_books_that_they_leave_at_ingest(
    forget: Any, seed: int, before: list[Rule], asked: list[Rule]
) -> None:
    forget()
    rules = save(*asked)
    book_entries(spans(seed, rules, fallbacks=False))
    expected = books()
    forget()
    book_entries(spans(seed, save(*before), fallbacks=False))
    for row in AttributionRule.objects.all():
        save_rule(rule=rule_of(row), by=None, is_enabled=False)
    for rule in asked:
        save_rule(rule=rule, by=None)
    run_job()
    assert books() == expected
    assert check_books(now=timezone.now()) == []


@SLOW
@given(seed=st.integers(0, 10**6), asked=RULES)
def test_rules_that_are_switched_off_give_back_what_they_took_when_they_were_applied_backwards(
    forget: Any, seed: int, asked: list[Rule]
) -> None:
    forget()
    book_entries(spans(seed, Rules()))
    expected = books()
    save(*asked)
    run_job()
    for row in AttributionRule.objects.all():
        save_rule(rule=rule_of(row), by=None, is_enabled=False)
    run_job()
    assert books() == expected


def everything(**more: Any) -> Rule:
    """A rule about all spans of a service."""
    given = {"service": "service-0", "conditions": (), "dimension": "feature", "value": "checkout", "from_ns": 0}
    return Rule(number=0, version=0, **{**given, **more})


def test_a_preview_says_what_moves_and_moves_nothing() -> None:
    book_entries(spans(3, Rules(), runs=8))
    save(everything())
    before = books()
    preview = start_preview(from_at=FROM, until_at=UNTIL, by=None)
    assert not work(preview.pk)
    assert books() == before
    preview.refresh_from_db()
    assert (preview.done, preview.total) == (8, 8)
    of_service = Run.objects.filter(service="service-0")
    moved = of_service.filter(Q(feature_order=None) | Q(feature_order__gte=RANK_FALLBACK << 53))
    assert 0 < moved.count() < of_service.count()
    assert sum(line[5] for line in lines(preview)) == moved.count()
    assert sum(line[6] for line in lines(preview)) == sum(run.cost_nano for run in moved)
    assert {line[4] for line in lines(preview)} == {"checkout"}


def test_each_run_that_moved_is_on_record() -> None:
    book_entries(spans(3, Rules(), runs=8))
    save(everything())
    job = run_job()
    changes = list(AttributionChange.objects.filter(reattribution=job))
    assert len(changes) == sum(line[5] for line in lines(job))
    assert {change.new_value for change in changes} == {"checkout"}
    assert AttributionChange.objects.exclude(reattribution=job).count() == 0


def test_a_job_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    book_entries(spans(5, Rules(), runs=9))
    rules = save(everything(), everything(service="service-1", dimension="user", value="robot"))
    monkeypatch.setattr(reattribution, "AT_ONCE", 2)
    preview = start_preview(from_at=FROM, until_at=UNTIL, by=None)
    steps = 0
    while work(preview.pk, slice_seconds=0):
        steps += 1
    preview.refresh_from_db()
    job = apply_preview(preview=preview, by=None)
    while work(job.pk, slice_seconds=0):
        steps += 1
    assert steps == 10
    job.refresh_from_db()
    assert job.done == job.total == 9
    whole = books()
    with books_cursor() as cursor:
        clear_books(cursor)
    book_entries(spans(5, rules, runs=9))
    assert books() == whole


def test_a_job_can_be_stopped_and_what_is_done_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    book_entries(spans(5, Rules(), runs=9))
    save(everything())
    preview = start_preview(from_at=FROM, until_at=UNTIL, by=None)
    work(preview.pk)
    monkeypatch.setattr(reattribution, "AT_ONCE", 3)
    job = apply_preview(preview=preview, by=None)
    assert work(job.pk, slice_seconds=0)
    job.refresh_from_db()
    assert cancel_reattribution(job=job)
    assert not work(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done) == (JobState.CANCELLED, 3)
    assert check_books(now=timezone.now()) == []
    assert run_job().state == JobState.DONE


def test_rules_that_changed_meanwhile_end_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    book_entries(spans(5, Rules(), runs=9))
    save(everything())
    preview = start_preview(from_at=FROM, until_at=UNTIL, by=None)
    work(preview.pk)
    monkeypatch.setattr(reattribution, "AT_ONCE", 3)
    job = apply_preview(preview=preview, by=None)
    assert work(job.pk, slice_seconds=0)
    save(everything(value="another"))
    assert not work(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "rules were changed" in job.message
    preview.refresh_from_db()
    with pytest.raises(NotApplicable, match="changed since"):
        apply_preview(preview=preview, by=None)


def test_an_application_begins_when_every_receiver_knows_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    book_entries(spans(5, Rules()))
    save(everything())
    preview = start_preview(from_at=FROM, until_at=UNTIL, by=None)
    work(preview.pk)
    preview.refresh_from_db()
    monkeypatch.setattr(reattribution, "KNOWN_EVERYWHERE", timedelta(minutes=5))
    job = apply_preview(preview=preview, by=None)
    assert work(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done) == (JobState.PENDING, 0)


def test_what_was_applied_is_not_applied_twice_and_nothing_cannot_be_applied() -> None:
    book_entries(spans(5, Rules()))
    save(everything())
    job = run_job()
    for preview in (job.preview, job):
        assert preview is not None
        with pytest.raises(NotApplicable):
            apply_preview(preview=preview, by=None)
    again = run_job()
    with pytest.raises(NotApplicable, match="Nothing would move"):
        apply_preview(preview=again, by=None)
    with pytest.raises(EmptyPeriod):
        start_preview(from_at=UNTIL, until_at=FROM, by=None)


def test_runs_of_which_spans_are_gone_are_left_alone(settings: Any) -> None:
    book_entries(spans(5, Rules()))
    save(everything())
    settings.SPAN_RETENTION_DAYS = -1  # as if what came today had been dropped already
    before = books()
    assert run_job().total == 0
    assert books() == before


def test_a_version_is_written_beside_the_others_and_only_over_the_last() -> None:
    ada = User.objects.create_user("ada")
    first = save_rule(rule=everything(), by=ada, note="why")
    changed = rule_of(first)
    second = save_rule(rule=changed, by=ada, is_enabled=False)
    assert (second.number, second.version) == (first.number, 2)
    assert AttributionRule.objects.count() == 2
    with pytest.raises(RuleChangedMeanwhile, match="by ada"):
        save_rule(rule=changed, by=None)
    with pytest.raises(AttributionRule.DoesNotExist):
        save_rule(rule=Rule(99, 1, "svc", (), "feature", "x", 0), by=None)
    assert load_rules(first.pk).of("service-0")
    assert load_rules(second.pk).of("service-0") == ()
