"""A whole product of its own for tests that kill parts of it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The longest that the product may take to serve again; far below the 300 s after which
#: collectors give up.
RECOVERY_SECONDS = 60


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

    def manage(self, *arguments: str) -> str:
        """The last line that a command of ``manage.py`` prints."""
        command = [sys.executable, "manage.py", *arguments]
        environment = _environment(self.home, self.port)
        printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return printed.stdout.strip().splitlines()[-1]

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
def instance(
    tmp_path_factory: pytest.TempPathFactory, free_port: int, request: pytest.FixtureRequest
) -> Iterator[Instance]:
    """With as many web processes as the test's parameter says."""
    home = tmp_path_factory.mktemp("chaos") / "home"
    environment = _environment(home, free_port) | {"AGENTOPS_WEB_WORKERS": str(getattr(request, "param", ""))}
    # What is killed on purpose comes back.
    environment["AGENTOPS_MAX_RESTARTS"] = "200"
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
            running.key = running.manage("create_ingest_key", "--collector")
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
