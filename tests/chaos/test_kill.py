"""Whatever is killed, at whatever moment: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import os
import random
import threading
import time

import psutil
import psycopg
import pytest

from agentops.costs.models import Dimension
from tests.chaos.conftest import RECOVERY_SECONDS, Instance
from tests.chaos.load import CALLS_OF_A_LOOP, SPANS_PER_REQUEST, Acknowledged, Sender

pytestmark = pytest.mark.slow

TRIALS = int(os.environ.get("AGENTOPS_CHAOS_TRIALS", "20"))
SENDERS = 3

TOTALS = """
SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM span_ledger),
    (SELECT sum(input_tokens) FROM spans WHERE merged_into IS NULL), (SELECT sum(input_tokens) FROM runs),
    (SELECT sum(output_tokens) FROM runs), (SELECT sum(cost_nano) FROM spans), (SELECT sum(cost_nano) FROM runs)
"""
ROLLUPS = """
SELECT sum(cost_nano), sum(input_tokens), sum(llm_calls) FROM spend_hourly WHERE dimension <> %(tool)s
    GROUP BY dimension
UNION SELECT sum(cost_nano), sum(input_tokens), sum(llm_calls) FROM spend_days WHERE dimension <> %(tool)s
    GROUP BY dimension
"""
WAITING = "SELECT count(*) FROM watch_queue"
#: What was found, and how many runs alerts and storms speak of.
WATCHED = """
SELECT (SELECT count(*) FROM run_findings), (SELECT count(DISTINCT key) FROM run_findings),
    (SELECT count(*) FROM run_findings WHERE count = %(calls)s AND kind = 'loop.repeat'),
    (SELECT count(DISTINCT run) FROM (
        SELECT run FROM alerts_alert WHERE run IS NOT NULL UNION SELECT run FROM alerts_stormmember) AS told)
"""


def test_killing_anything_under_load_loses_and_doubles_nothing(instance: Instance) -> None:
    seed = os.environ.get("AGENTOPS_CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")  # noqa: T201  (so that a failure can be had again)
    rng = random.Random(seed)
    acknowledged, stop = Acknowledged(), threading.Event()
    senders = [Sender(instance.port, instance.key, f"{seed}-{n}", acknowledged, stop) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    for _ in range(TRIALS):
        time.sleep(rng.uniform(0.1, 0.8))
        target = rng.choice(["web", "web", "postmaster", "backend", "valkey", "watch", "watch"])
        candidates = instance.victims()[target]
        if candidates:
            try:
                rng.choice(candidates).kill()
            except psutil.NoSuchProcess:
                continue
        instance.wait()
    stop.set()
    for sender in senders:
        sender.join(timeout=RECOVERY_SECONDS)
        assert not sender.is_alive()
    assert acknowledged.requests > TRIALS
    assert "500" not in acknowledged.statuses, acknowledged.statuses
    with psycopg.connect(instance.database_url) as database:
        row = database.execute(TOTALS).fetchone()
        rollups = database.execute(ROLLUPS, {"tool": int(Dimension.TOOL)}).fetchall()
    assert row is not None
    spans, ledger, span_input, run_input, run_output, span_cost, run_cost = row
    sent = acknowledged.requests * SPANS_PER_REQUEST + acknowledged.loops * CALLS_OF_A_LOOP
    assert spans == ledger == sent
    assert span_input == run_input == acknowledged.input_tokens
    assert run_output == acknowledged.output_tokens
    assert span_cost == run_cost
    calls = acknowledged.requests * (SPANS_PER_REQUEST - 1)
    assert rollups == [(run_cost, acknowledged.input_tokens, calls)]
    _all_was_watched_once(instance, acknowledged)


def _all_was_watched_once(instance: Instance, acknowledged: Acknowledged) -> None:
    """No finding is lost and none is there twice, with and without the broker's hints."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    with psycopg.connect(instance.database_url, autocommit=True) as database:
        while database.execute(WAITING).fetchone() != (0,):
            assert time.monotonic() < deadline, "what was committed is not looked at"
            time.sleep(0.2)
        found = database.execute(WATCHED, {"calls": CALLS_OF_A_LOOP}).fetchone()
    assert acknowledged.loops
    assert found == (acknowledged.loops,) * 4
