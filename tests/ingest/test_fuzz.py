"""Whatever comes in, the answer is 2xx or 4xx, and what is booked was understood."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from agentops.ingest.batch import Batch, Receipt
from agentops.ingest.connections import connect
from agentops.ingest.models import Quarantine
from agentops.ingest.pipeline import Pipeline
from agentops.ingest.receiver import Receiver
from tests.ingest.asgi import KeepingSink, OpenGate, call, open_receiver
from tests.ingest.mutants import mutants
from tests.ingest.payloads import MIB

pytestmark = pytest.mark.anyio

SEED = 20_261_124


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class UnderstandingSink(KeepingSink):
    """Understands and prices what it is given, as the pipeline does, and books nothing."""

    pipeline: Pipeline = field(default_factory=Pipeline)
    failures: list[str] = field(default_factory=list)
    spans: int = 0

    async def submit(self, batch: Batch) -> Receipt:
        """Note what could not be understood; in a thread, as the writer does, since it asks for prices."""
        entries, failures = await asyncio.to_thread(self.pipeline.understand, batch)
        self.failures += failures
        self.spans += len(entries)
        return Receipt(accepted=len(entries))


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
async def test_5000_mutants_are_answered_and_understood_within_bounded_memory() -> None:
    sink = UnderstandingSink()
    receiver = open_receiver(sink)
    statuses: Counter[int] = Counter()
    before = 0
    for n, (content_type, encoding, body) in enumerate(mutants(SEED, 5_000)):
        if n == 500:  # by then everything has been loaded that will be
            before = psutil.Process(os.getpid()).memory_info().rss
        answer = await call(receiver, body, headers={"content-type": content_type, "content-encoding": encoding})
        statuses[answer.status] += 1
    grown = psutil.Process(os.getpid()).memory_info().rss - before
    sink.pipeline.close()
    assert set(statuses) <= {200, 400, 413}
    assert min(statuses[200], statuses[400]) > 1_000, "the mutants are all alike: they test little"
    assert sink.spans > 1_000
    assert (sink.failures, sink.quarantined) == ([], [])
    assert grown < 64 * MIB


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    started = Pipeline()
    yield started
    started.close()


@pytest.mark.django_db(transaction=True)
async def test_mutants_go_into_the_real_books_or_are_refused(pipeline: Pipeline) -> None:
    receiver = Receiver(pipeline, OpenGate())
    statuses: Counter[int] = Counter()
    for content_type, encoding, body in mutants(SEED + 1, 400):
        answer = await call(receiver, body, headers={"content-type": content_type, "content-encoding": encoding})
        statuses[answer.status] += 1
    assert set(statuses) <= {200, 400, 413}
    with connect("test") as connection:
        (spans,) = connection.execute("SELECT count(*) FROM span_ledger").fetchone() or (0,)
        kept = connection.execute(f"SELECT error FROM {Quarantine._meta.db_table}").fetchall()
    assert spans > 100
    assert kept == []
