"""Which requests share a transaction."""

from __future__ import annotations

import threading
import time
from unittest.mock import Mock

import pytest

from agentops.domain.spans import RawSpan, Resource
from agentops.ingest import pipeline
from agentops.ingest.batch import Batch, Receipt
from agentops.ingest.booking import Entry
from agentops.ingest.pipeline import Job, Result, Writer

LARGE = pipeline.MAX_SPANS_PER_TRANSACTION
SPAN = RawSpan(b"t" * 16, b"s" * 8, b"", "", 1, 2, 0, "", {}, [], "", Resource({}))


def job(spans: int, service: str = "bot") -> Job:
    return Job(Batch(spans=[SPAN] * spans, service=service), Mock(), Mock())


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    """A writer that wrote just now, whose thread does not run; it would wait for a minute."""
    monkeypatch.setattr(pipeline, "LINGER_SECONDS", 60.0)
    monkeypatch.setattr(pipeline, "BUSY_SECONDS", 60.0)
    writer = Writer(lambda _: ([], []))
    writer._wrote_at, writer._took = time.monotonic(), 1_000.0
    return writer


def test_what_waits_already_goes_together(writer: Writer) -> None:
    jobs = [job(10) for _ in range(4)]
    for waiting in jobs[1:]:
        writer._queue.put(waiting)
    assert writer._gather(jobs[0]) == jobs


def test_who_was_answered_together_is_waited_for(writer: Writer) -> None:
    writer._company = 3
    jobs = [job(10) for _ in range(3)]
    late = threading.Timer(0.05, lambda: [writer._queue.put(waiting) for waiting in jobs[1:]])
    late.start()
    assert writer._gather(jobs[0]) == jobs
    late.join()


def test_who_comes_alone_waits_for_nobody(writer: Writer) -> None:
    alone = job(10)
    assert writer._gather(alone) == [alone]


def test_a_transaction_that_is_large_enough_waits_for_nobody(writer: Writer) -> None:
    writer._company = 3
    large = job(pipeline.LINGER_SPANS)
    assert writer._gather(large) == [large]


def test_what_does_not_fit_is_the_first_of_the_next(writer: Writer) -> None:
    first, second = job(pipeline.MAX_SPANS_PER_TRANSACTION - 1), job(2)
    writer._queue.put(second)
    assert writer._gather(first) == [first]
    assert list(writer._held) == [second]


def test_what_cannot_be_understood_at_all_fails_alone(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = ZeroDivisionError("a bug")

    def understand(batch: Batch) -> tuple[list[Entry], list[str]]:
        if batch.service == "bad":
            raise bug
        return [], []

    writer._understand = understand
    monkeypatch.setattr(writer, "_commit", lambda _: Result())
    good, bad = job(1), job(1, "bad")
    writer._write([good, bad])
    good.done.assert_called_once_with(Receipt(0))
    bad.done.assert_called_once_with(bug)


@pytest.mark.parametrize(("is_asked", "rests"), [(False, []), (True, [0.25, pipeline.REST_SECONDS])])
def test_who_must_not_wait_is_given_way_for_as_long_as_was_written(
    monkeypatch: pytest.MonkeyPatch, is_asked: bool, rests: list[float]
) -> None:
    writer, rested = Writer(lambda _: ([], []), lambda: is_asked), list[float]()
    clock = iter([0.0, 1.0, 1.25, 2.0, 3.0, 9.0])  # gathered, begun, written; and once more, for longer than it rests
    monkeypatch.setattr(pipeline, "time", Mock(monotonic=lambda: next(clock), sleep=rested.append))
    monkeypatch.setattr(writer, "_write", lambda _: None)
    writer._held.extend([job(LARGE), job(LARGE), None])
    writer._run()
    assert rested == rests
