"""The books come out the same whatever the order, the batching and the repetition of spans."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Cursor

from agentops.domain.spans import CostBasis, Kind, Terms
from agentops.ingest import trees
from agentops.ingest.booking import Entry, book
from agentops.ingest.connections import connect
from tests.budgets.making import make_budget
from tests.ingest.simulation import call_tree, clear_books, read_books, run_entries, with_strays

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _budgets(db: None) -> None:
    """Budgets that count some of it, by everything that a run may say of itself late."""
    make_budget("1", period="day", each="user")
    make_budget("1", period="session", services=["service-0", "caller"])
    make_budget("1", feature="x", environment="y")
    make_budget("1", each="feature", user="z", period="month", timezone="Asia/Kathmandu")


#: Whatever a batch holds; some of these statements are only needed by some batches.
MOST_STATEMENTS = 21


def _book_in(cursor: Cursor[Any], entries: list[Entry], sizes: list[int]) -> None:
    known: set[str] = set()
    start = 0
    for size in sizes:
        book(cursor, entries[start : start + size], known)
        start += size
    book(cursor, entries[start:], known)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    order=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 20), max_size=12),
    again=st.lists(st.integers(0, 47), max_size=10),
)
def test_any_order_batching_and_repetition_gives_the_same_books(
    cursor: Cursor[Any], seed: int, order: random.Random, sizes: list[int], again: list[int]
) -> None:
    entries = [entry for n in range(4) for entry in run_entries(seed + n)]
    clear_books(cursor)
    book(cursor, entries, set())
    expected = read_books(cursor)
    clear_books(cursor)
    shuffled = [*entries, *(entries[i] for i in again)]
    order.shuffle(shuffled)
    _book_in(cursor, shuffled, sizes)
    assert read_books(cursor) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    order=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 20), max_size=12),
    large=st.sampled_from([0, 3, 500]),
)
def test_a_large_run_and_calls_told_in_other_traces_give_the_same_books_in_any_order(
    cursor: Cursor[Any], seed: int, order: random.Random, sizes: list[int], large: int
) -> None:
    entries = with_strays([*call_tree(seed), *call_tree(seed + 1, 10)], seed)
    clear_books(cursor)
    book(cursor, entries, set())
    expected = read_books(cursor)
    clear_books(cursor)
    order.shuffle(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "LARGE", large)
        _book_in(cursor, entries, sizes)
    assert read_books(cursor) == expected


def _book_again_after_deadlocks(own: psycopg.Connection[Any], entries: list[Entry]) -> None:
    """As the writer does: two that join calls of each other's traces may have to wait for each other."""
    for _ in range(20):
        try:
            with own.transaction(), own.cursor(binary=True) as raw:
                book(raw, entries, set())
        except psycopg.errors.DeadlockDetected:
            continue
        return
    raise AssertionError


@pytest.mark.django_db(transaction=True)
def test_concurrent_writers_leave_the_same_books() -> None:
    entries = with_strays([entry for n in range(12) for entry in (*run_entries(n, size=20), *call_tree(n, 12))], 1)
    with connect("test") as one, one.cursor(binary=True) as raw:
        book(raw, entries, set())
        expected = read_books(raw)
        clear_books(raw)
    failures: list[BaseException] = []

    def send(seed: int) -> None:
        rng = random.Random(seed)
        mine = rng.sample(entries, len(entries) * 2 // 3) + entries[seed::4]
        rng.shuffle(mine)
        try:
            with connect("test") as own:
                # A loaded machine may keep a lock for longer than a request would wait.
                own.execute("SET lock_timeout = 0")
                own.execute("SET statement_timeout = 0")
                own.commit()
                for start in range(0, len(mine), 9):
                    _book_again_after_deadlocks(own, mine[start : start + 9])
        except BaseException as error:  # noqa: BLE001  (a thread's failure must fail the test)
            failures.append(error)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert not failures
    with connect("test") as one, one.cursor(binary=True) as raw:
        assert read_books(raw) == expected


def test_the_same_ids_of_another_service_are_another_span(cursor: Cursor[Any]) -> None:
    mine = run_entries(1)
    book(cursor, mine, set())
    before = read_books(cursor)["runs"]
    theirs = []
    for entry in run_entries(1):
        entry.span.service = "stranger"
        entry.span.attribution = {"user": ("mallory", 0)}
        theirs.append(Entry(entry.span, entry.cost, None))
    book(cursor, theirs, set())
    after = read_books(cursor)["runs"]
    assert [run for run in after if run[1] != "stranger"] == before
    assert len(after) == 2 * len(before)


def test_another_span_under_a_known_id_is_a_conflict_and_the_first_counts(cursor: Cursor[Any]) -> None:
    entries = run_entries(3)
    book(cursor, entries, set())
    expected = read_books(cursor)
    changed = run_entries(3)
    for entry in changed:
        entry.span.usage.input = 999_999
    outcome = book(cursor, changed, set())
    assert not outcome.accepted
    assert outcome.conflicts == {entry.key for entry in changed}
    assert read_books(cursor) == expected


def test_one_answer_told_twice_counts_once_however_it_is_batched(cursor: Cursor[Any]) -> None:
    books = []
    for together in (True, False):
        clear_books(cursor)
        twins = [entry for entry in run_entries(1, size=40) if entry.span.kind is Kind.LLM][:2]
        for entry in twins:
            entry.span.parent_span_id, entry.span.agent_name, entry.span.scope = b"", "planner", "scope.a"
            entry.span.response_id = "resp-twin"
        for batch in [twins] if together else [[twins[1]], [twins[0]]]:
            book(cursor, batch, set())
        books.append(read_books(cursor))
    assert books[0] == books[1]
    (run,) = books[0]["runs"]
    assert run[24] == 1  # llm_calls


def test_a_run_that_goes_on_for_days_is_one_run(cursor: Cursor[Any]) -> None:
    entries = [entry for n in range(20) for entry in run_entries(n, services=1)]
    book(cursor, entries, set())
    expected = read_books(cursor)
    clear_books(cursor)
    book(cursor, entries[::2], set())
    cursor.execute("UPDATE spans SET received_on = received_on - 1")
    cursor.execute("UPDATE runs SET first_received_at = first_received_at - interval '1 day'")
    book(cursor, entries[1::2], set())
    assert read_books(cursor) == expected


def test_what_a_price_depends_on_is_stored_with_its_span(cursor: Cursor[Any]) -> None:
    plain, particular = [entry for entry in run_entries(1, size=40) if entry.span.kind is Kind.LLM][:2]
    particular.span.terms = Terms(tier="batch", audio_input=3)
    particular.span.reported_cost_nano, particular.span.reported_cost_basis = 5, CostBasis.SAME_LIST
    particular.cost = particular.cost._replace(is_estimate=True)
    book(cursor, [plain, particular], set())
    cursor.execute("SELECT span_id, terms::text, is_estimate FROM spans")
    stored = {span_id: (terms and json.loads(terms), estimate) for span_id, terms, estimate in cursor.fetchall()}
    terms = {"tier": "batch", "audio_input": 3, "reported_nano": 5, "reported_basis": 2}
    assert stored == {plain.span.span_id: (None, False), particular.span.span_id: (terms, True)}


class _Counting:
    """A cursor that counts what it is asked to run."""

    def __init__(self, cursor: Cursor[Any]) -> None:
        self._cursor, self.statements = cursor, 0

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        self.statements += 1
        return self._cursor.execute(*args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        self.statements += 1
        return self._cursor.copy(*args, **kwargs)

    def fetchall(self) -> Any:
        return self._cursor.fetchall()


def test_no_batch_takes_more_statements_than_a_constant(cursor: Cursor[Any]) -> None:
    counts = []
    for seeds in (range(2_000, 2_085), range(1_000, 1_250)):
        entries = [entry for n in seeds for entry in run_entries(n, services=1)]
        half = [entry for i, entry in enumerate(entries) if i % 2]
        book(cursor, half, {"service-0"})  # so that the tree, the moves and the repeats all happen
        counting = _Counting(cursor)
        book(counting, entries, {"service-0"})  # type: ignore[arg-type]
        counts.append(counting.statements)
    assert max(counts) <= MOST_STATEMENTS


def test_a_batch_of_10_plain_spans_takes_no_more(cursor: Cursor[Any]) -> None:
    counting = _Counting(cursor)
    book(counting, run_entries(1, size=10), set())  # type: ignore[arg-type]
    assert counting.statements <= MOST_STATEMENTS
