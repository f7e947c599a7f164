"""The book keeps every version with who made it, and can be read as it was."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentops.accounts.models import User
from agentops.current import FRESH_SECONDS, Current
from agentops.domain.pricebook import (
    FOREVER,
    RATES,
    Alias,
    Entry,
    EntryKind,
    TokenPrices,
    UnsoundEntry,
    check_alias,
    check_entry,
)
from agentops.domain.spans import PriceSource, TokenUsage
from agentops.prices.actions import ChangedMeanwhile, end_alias, end_entry, save_alias, save_entry
from agentops.prices.models import BookRevision, ModelAlias, PriceEntry
from agentops.prices.store import alias_of, entry_of, fields_of, latest_revision, load_book, load_prices

pytestmark = pytest.mark.django_db

MINE = Entry(0, 0, EntryKind.MODEL, "gpt-4o", tokens=(TokenPrices(input=Decimal(2), output=Decimal(8)),))
NAMED = Alias(0, 0, "prod-chat", "openai", "gpt-4o", provider="azure")
DAY = 86_400 * 10**9


def test_a_change_is_a_new_version_and_the_old_one_stays_as_it_was(admin: User) -> None:
    first = save_entry(entry=MINE, by=admin, note="contract of 2026")
    second = save_entry(entry=replace(first, tokens=(TokenPrices(input=Decimal(1), output=Decimal(4)),)), by=None)
    assert (first.number, first.version, second.number, second.version) == (first.number, 1, first.number, 2)
    old, new = PriceEntry.objects.order_by("version")
    assert entry_of(old) == first
    assert entry_of(new) == second
    assert (old.revision.by, old.revision.note, new.revision.by) == (admin, "contract of 2026", None)


def test_the_book_of_any_revision_can_be_read_again() -> None:
    assert load_book(latest_revision()).entries == []
    first = save_entry(entry=MINE, by=None)
    was = latest_revision()
    second = save_entry(entry=replace(first, pattern="gpt-4*"), by=None)
    ended = save_entry(entry=second, by=None, is_withdrawn=True)
    alias = save_alias(alias=NAMED, by=None)
    assert load_book(was).entries == [first]
    assert load_book(was + 1).entries == [second]
    assert load_book(was + 2).entries == []
    assert load_book(was + 3).aliases == load_book(latest_revision()).aliases == [alias]
    again = save_entry(entry=ended, by=None)
    assert (again.number, again.version) == (first.number, 4)
    assert load_book(latest_revision()).entries == [again]


def test_numbers_are_never_used_again() -> None:
    first = save_entry(entry=MINE, by=None)
    save_entry(entry=first, by=None, is_withdrawn=True)
    assert save_entry(entry=MINE, by=None).number == first.number + 1
    assert save_alias(alias=NAMED, by=None).number == 1


def test_what_ends_holds_until_then() -> None:
    entry = end_entry(entry=save_entry(entry=MINE, by=None), until_ns=DAY, by=None)
    alias = end_alias(alias=save_alias(alias=NAMED, by=None), until_ns=DAY, by=None)
    assert (entry.version, entry.until_ns, alias.version, alias.until_ns) == (2, DAY, 2, DAY)


@pytest.mark.parametrize(("save", "row"), [(save_entry, MINE), (save_alias, NAMED)])
def test_who_looked_at_an_older_version_is_told(admin: User, save: object, row: Entry | Alias) -> None:
    name = "entry" if isinstance(row, Entry) else "alias"
    first = save(**{name: row}, by=None)  # type: ignore[operator]
    save(**{name: first}, by=admin)  # type: ignore[operator]
    with pytest.raises(ChangedMeanwhile, match="changed by ada meanwhile: look at version 2"):
        save(**{name: first}, by=None)  # type: ignore[operator]
    with pytest.raises((PriceEntry.DoesNotExist, ModelAlias.DoesNotExist)):
        save(**{name: replace(first, number=99)}, by=None)  # type: ignore[operator]
    assert BookRevision.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_changes_at_the_same_time_are_revisions_one_after_the_other() -> None:
    failures: list[BaseException] = []

    def change() -> None:
        try:
            for _ in range(5):
                save_entry(entry=MINE, by=None)
        except BaseException as error:  # noqa: BLE001  (a thread's failure must fail the test)
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(PriceEntry.objects.order_by("revision_id").values_list("number", flat=True)) == list(range(1, 16))


PRICES = st.none() | st.decimals(0, 10**6, places=9)
MOMENTS = st.integers(1, 10**12).map(lambda micros: micros * 1_000)
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=20).filter(
    lambda text: text == text.strip()
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    begin = draw(st.just(0) | MOMENTS)
    return Entry(
        number=0,
        version=0,
        kind=draw(st.sampled_from(EntryKind)),
        pattern=draw(TEXTS),
        provider=draw(st.just("") | TEXTS),
        service=draw(st.just("") | TEXTS),
        tier=draw(st.sampled_from(["standard", "any", "batch"])),
        from_ns=begin,
        until_ns=draw(st.just(FOREVER) | MOMENTS.map(lambda length: begin + length)),
        overrides=draw(st.booleans()),
        tokens=tuple(
            TokenPrices(above, *draw(st.tuples(*[PRICES] * len(RATES))))
            for above in sorted(draw(st.sets(st.integers(0, 10**6), max_size=3)))
        ),
        per_call=draw(PRICES),
        per_second=draw(PRICES),
        percent_off=draw(st.none() | st.decimals("0.0001", 100, places=4)),
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries())
def test_an_entry_is_stored_to_the_last_digit(entry: Entry) -> None:
    revision = BookRevision.objects.create()
    number = PriceEntry.objects.count() + 1
    row = PriceEntry.objects.create(revision=revision, number=number, version=3, **fields_of(entry))
    assert entry_of(PriceEntry.objects.get(pk=row.pk)) == replace(entry, number=number, version=3)


def test_an_alias_is_stored_as_it_is() -> None:
    alias = replace(NAMED, service="support", from_ns=DAY, until_ns=2 * DAY)
    row = ModelAlias.objects.create(revision=BookRevision.objects.create(), number=1, version=1, **fields_of(alias))
    assert alias_of(ModelAlias.objects.get(pk=row.pk)) == replace(alias, number=1, version=1)


TOKENS = MINE.tokens[0]
UNSOUND = [
    (replace(MINE, pattern=" "), "pattern"),
    (replace(MINE, pattern="g*t"), "pattern"),
    (replace(MINE, from_ns=DAY, until_ns=DAY), "until"),
    (replace(MINE, tokens=()), "tokens"),
    (replace(MINE, tokens=(replace(TOKENS, output=None),)), "tokens"),
    (replace(MINE, tokens=(replace(TOKENS, reasoning=Decimal(-1)),)), "tokens"),
    (replace(MINE, tokens=(replace(TOKENS, above=5),)), "tokens"),
    (replace(MINE, tokens=(TOKENS, TOKENS)), "tokens"),
    (replace(MINE, per_call=Decimal(-1)), "per_call"),
    (replace(MINE, percent_off=Decimal(5)), "percent_off"),
    (replace(MINE, kind=EntryKind.DISCOUNT), "percent_off"),
    (replace(MINE, kind=EntryKind.DISCOUNT, percent_off=Decimal(5)), "kind"),
    (replace(MINE, kind=EntryKind.DISCOUNT, tokens=(), percent_off=Decimal(101)), "percent_off"),
    (replace(MINE, kind=EntryKind.TOOL, tokens=()), "per_call"),
    (replace(MINE, kind=EntryKind.TOOL, per_call=Decimal(1)), "kind"),
]


@pytest.mark.parametrize(("entry", "field"), UNSOUND)
def test_an_entry_that_says_too_little_or_too_much_is_refused(entry: Entry, field: str) -> None:
    with pytest.raises(UnsoundEntry) as refused:
        save_entry(entry=entry, by=None)
    assert field in refused.value.problems
    assert not BookRevision.objects.exists()


@pytest.mark.parametrize(
    ("alias", "field"),
    [
        (replace(NAMED, pattern=""), "pattern"),
        (replace(NAMED, means_model=" "), "means_model"),
        (replace(NAMED, means_model="Prod-Chat"), "means_model"),
    ],
)
def test_an_alias_that_means_nothing_is_refused(alias: Alias, field: str) -> None:
    with pytest.raises(UnsoundEntry) as refused:
        save_alias(alias=alias, by=None)
    assert field in refused.value.problems


@pytest.mark.parametrize(
    "entry",
    [
        MINE,
        replace(MINE, tokens=(TOKENS, replace(TOKENS, above=5)), per_call=Decimal(1)),
        replace(MINE, tokens=(), per_second=Decimal(0)),
        replace(MINE, kind=EntryKind.DISCOUNT, tokens=(), percent_off=Decimal(100), pattern="*"),
        replace(MINE, kind=EntryKind.TOOL, tokens=(), per_second=Decimal(1)),
    ],
)
def test_a_sound_entry_is_none_of_these(entry: Entry) -> None:
    check_entry(entry)
    check_alias(NAMED)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_sees_a_change_of_the_book_within_seconds_and_asks_no_more_often(
    django_assert_num_queries: object,
) -> None:
    clock = Clock()
    prices = Current(latest_revision, load_prices, clock=clock)
    usage = TokenUsage(1_000, 1_000)

    def source() -> PriceSource | None:
        return prices.get().cost(usage, "openai", "gpt-4o", DAY).source

    assert source() is PriceSource.GENAI_PRICES
    save_entry(entry=MINE, by=None)
    clock.now = FRESH_SECONDS - 0.1
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert source() is PriceSource.GENAI_PRICES
    clock.now = FRESH_SECONDS
    assert source() is PriceSource.BOOK
    clock.now *= 2
    with django_assert_num_queries(1):  # type: ignore[operator]
        remembered = prices.get()
        assert source() is PriceSource.BOOK
    assert prices.get() is remembered
