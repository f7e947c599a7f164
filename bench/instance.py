"""An instance of the product in a temporary home, and what its processes have used."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS, _STOP_SECONDS = 90.0, 20.0
_PROGRAMS = ("web", "worker", "watch", "beat", "valkey", "postgres")
#: The admin's, on the loopback interface and for some minutes.
PASSWORD = secrets.token_urlsafe(16)


@dataclass(frozen=True)
class Instance:
    """One running ``manage.py up``."""

    home: Path
    url: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    def manage(self, *arguments: str) -> str:
        """The last line that a management command prints."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip().splitlines()[-1]

    @property
    def database_url(self) -> str:
        """Where its PostgreSQL is."""
        return (self.home / "database_url").read_text().strip()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Its processes by program: web, worker, watch, beat, valkey, postgres and the supervisor itself."""
        supervisor = psutil.Process(self.process.pid)
        found: dict[str, list[psutil.Process]] = {"supervisor": [supervisor]}
        for child in supervisor.children():
            found.setdefault(_program(child), []).append(child)
        return found

    def cpu_seconds(self, program: str) -> float:
        """User and system time of a program's processes, those that have ended included."""
        return sum(_cpu_of_tree(process) for process in self.processes()[program])

    def memory(self) -> dict[str, tuple[int, int, int]]:
        """By program: how many processes, and the sums of their resident and proportional sets, in bytes."""
        sizes = {}
        for program, roots in self.processes().items():
            tree = (
                list(roots)
                if program == "supervisor"
                else [p for root in roots for p in (root, *root.children(recursive=True))]
            )
            infos = [process.memory_full_info() for process in tree]
            sizes[program] = (len(tree), sum(i.rss for i in infos), sum(i.pss for i in infos))
        return sizes


@contextlib.contextmanager
def running(port: int) -> Iterator[Instance]:
    """Start an instance, and stop and remove it at the end. Raises RuntimeError when it does not come up."""
    parent = Path(tempfile.mkdtemp(prefix="agentops-bench-"))
    parent.chmod(0o755)  # started by root, the instance runs as somebody else
    home = parent / "home"
    environment = os.environ | {"AGENTOPS_HOME": str(home), "AGENTOPS_PORT": str(port), "AGENTOPS_BIND": "127.0.0.1"}
    environment["AGENTOPS_ADMIN_PASSWORD"] = PASSWORD
    for name in ("AGENTOPS_DATABASE_URL", "AGENTOPS_VALKEY_URL"):
        environment.pop(name, None)
    with (parent / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    instance = Instance(home, f"http://127.0.0.1:{port}", process, environment)
    try:
        _wait_until_ready(instance, parent / "up.log")
        yield instance
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(parent, ignore_errors=True)


def _wait_until_ready(instance: Instance, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and instance.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{instance.url}/readyz", timeout=2):  # noqa: S310
            return
        time.sleep(0.3)
    message = f"agentops did not come up:\n{log.read_text(errors='replace')[-2_000:]}"
    raise RuntimeError(message)


def _program(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for program, sign in (("web", "uvicorn"), ("worker", " worker "), ("watch", " watch "), ("beat", " beat ")):
        if sign in words:
            return program
    return next((program for program in _PROGRAMS if program in words), "other")


def _cpu_of_tree(root: psutil.Process) -> float:
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
