"""Whatever is killed, at whatever moment: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from agentops.costs.models import Dimension
from tests.chaos.load import CALLS_OF_A_LOOP, SPANS_PER_REQUEST, Acknowledged, Sender

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TRIALS = int(os.environ.get("AGENTOPS_CHAOS_TRIALS", "20"))
SENDERS = 3
#: The longest that the product may take to serve again; far below the 300 s after which
#: collectors give up.
RECOVERY_SECONDS = 60

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


@dataclass
class Instance:
    """A whole product of its own: its supervisor, its port, its home and an ingest key."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path
    key: str

    def ready(self) -> bool:
        """Whether it serves: database, broker and all."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status != http.client.OK:
                return False
            with psycopg.connect(self.database_url, connect_timeout=3) as database:
                database.execute("SELECT 1")
        except (OSError, http.client.HTTPException, psycopg.Error):
            return False
        finally:
            connection.close()
        return True

    @property
    def database_url(self) -> str:
        """Where its books are."""
        return (self.home / "database_url").read_text().strip()

    def wait(self) -> None:
        """Return once it serves. Raises ``TimeoutError``."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                message = f"the supervisor ended with {self.process.returncode}"
                raise TimeoutError(message)
            if self.ready():
                return
            time.sleep(0.1)
        message = "not serving again in time"
        raise TimeoutError(message)

    def victims(self) -> dict[str, list[psutil.Process]]:
        """What there is to kill, by kind."""
        kinds = ("web", "postmaster", "backend", "valkey", "watch")
        found: dict[str, list[psutil.Process]] = {kind: [] for kind in kinds}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                name, parent = child.name(), child.parent()
                line = " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            if name == "postgres":
                is_backend = parent is not None and parent.name() == "postgres"
                found["backend" if is_backend else "postmaster"].append(child)
            elif name == "valkey-server":
                found["valkey"].append(child)
            elif "uvicorn" in line:
                found["web"].append(child)
            elif "agentops.celery watch" in line:
                found["watch"].append(child)
        return found


def _environment(home: Path, port: int) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AGENTOPS_") and k != "DJANGO_SETTINGS_MODULE"}
    return {**kept, "AGENTOPS_HOME": str(home), "AGENTOPS_PORT": str(port), "AGENTOPS_ADMIN_PASSWORD": "chaos-password"}


@pytest.fixture
def instance(tmp_path_factory: pytest.TempPathFactory, free_port: int) -> Iterator[Instance]:
    home = tmp_path_factory.mktemp("chaos") / "home"
    environment = _environment(home, free_port)
    with (tmp_path_factory.getbasetemp() / "chaos.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        running = Instance(process, free_port, home, "")
        try:
            deadline = time.monotonic() + 2 * RECOVERY_SECONDS
            while not (home / "database_url").exists() or not running.ready():
                assert process.poll() is None, "the product did not start"
                assert time.monotonic() < deadline, "the product did not start in time"
                time.sleep(0.2)
            printed = subprocess.run(
                [sys.executable, "manage.py", "create_ingest_key", "--collector"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            running.key = printed.stdout.strip().splitlines()[-1]
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


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
