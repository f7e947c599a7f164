"""Supervisors as real processes, in homes of their own, for the tests to kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[2]
SUPERVISOR = ("-m", "agentops.embedded")
#: Nothing takes this long unless it hangs.
PATIENCE = 60


class Running:
    """A supervisor in a home, what it said so far, and what it started."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        command: tuple[str, ...] = SUPERVISOR,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        user: int | None = None,
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AGENTOPS_")}
        # Killing processes loses nothing that the kernel has, and a first start is twice as fast so.
        own = () if "--set=fsync=on" in arguments else ("--set=fsync=off",)
        options = (f"--home={home}", *own, *arguments) if command == SUPERVISOR else arguments
        self.home = home
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [python, *command, *options],
            cwd=ROOT,
            env={**clean, "AGENTOPS_HOME": str(home), "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, times: int = 1) -> Running:
        """Wait until it has said something; fails with all it said when it ends or hangs without."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: self.said.count(text) >= times or not self._reader.is_alive(), timeout=PATIENCE
            )
        assert found, f"hangs, having said:\n{self.said}"
        assert self.said.count(text) >= times, f"ended, having said:\n{self.said}"
        return self

    def ready(self) -> Running:
        return self.wait_for("agentops: servers are ready")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        """The one direct child whose program has this name."""
        children = psutil.Process(self.process.pid).children()
        (found,) = [child for child in children if child.name() == name]
        return found

    def wait(self) -> int:
        """The exit code, once it ended and all it said is read."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in the product's database, as the product."""
        with psycopg.connect((self.home / "database_url").read_text().strip(), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


class Homes:
    """Makes homes and supervisors, and leaves neither behind."""

    def __init__(self) -> None:
        self.homes: list[Path] = []
        self.running: list[Running] = []

    def new(self) -> Path:
        # Short, so that the sockets lie in it.
        home = Path(tempfile.mkdtemp(prefix="ao-"))
        self.homes.append(home)
        return home

    def start(self, home: Path, *arguments: str, **options: object) -> Running:
        running = Running(home, *arguments, **options)  # type: ignore[arg-type]
        self.running.append(running)
        return running

    def clean(self) -> None:
        for running in self.running:
            if running.process.poll() is None:
                running.stop()
        for home in self.homes:
            for process in processes_of(home):
                process.kill()
            shutil.rmtree(home, ignore_errors=True)


def processes_of(home: Path) -> list[psutil.Process]:
    """Everything that runs with the home in its arguments or its environment."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        if process.pid == os.getpid() or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        arguments = " ".join(process.info["cmdline"] or ())
        if str(home) in arguments or (process.info["environ"] or {}).get("AGENTOPS_HOME") == str(home):
            found.append(process)
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that other processes do."""
    pause = threading.Event()
    for _ in range(PATIENCE * 50):
        if condition():
            return
        pause.wait(0.02)
    message = f"never happened: {what}"
    raise AssertionError(message)


def kill_all(running: Running) -> None:
    """SIGKILL the supervisor and everything below it, the supervisor last or first as the kernel likes."""
    victims = [psutil.Process(running.process.pid), *running.descendants()]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):  # it died with another
            victim.kill()
    running.wait()
