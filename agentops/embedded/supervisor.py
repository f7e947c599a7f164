"""Starts the servers and the product's processes in order, keeps them running, stops them in order."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol
from urllib.parse import urlsplit

from agentops.embedded.home import EmbeddedError, Home
from agentops.embedded.processes import Command, kill_session, run_to_end, signal_quietly, spawn, tail, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Restarts of one process within so many seconds before the supervisor gives up.
_WINDOW_SECONDS = 300
_KILLED_BACK_OFF, _LONGEST_BACK_OFF = 0.2, 10.0
#: The first start of the web processes may take so long before a word is said about it, in seconds.
_PATIENCE_SECONDS = 30.0
#: Seconds that each kind gets to stop by itself; together well below ten.
_STOP_PROGRAMS, _STOP_VALKEY, _STOP_POSTGRES = 3.0, 1.5, 4.5


class StopRequestedError(Exception):
    """Somebody sent SIGTERM or pressed Ctrl-C."""


class Child(Protocol):
    """Something that runs as one process."""

    process: subprocess.Popen[bytes] | None

    @property
    def name(self) -> str:
        """Its name in messages and of its log."""

    def start(self, pause: Callable[[float], None]) -> None:
        """Start the process; return when it is ready."""

    def stop(self, seconds: float) -> None:
        """Stop the process within the time given."""


@dataclass(eq=False)
class Program:
    """A process of the product itself: ready when started, asked with SIGTERM to stop."""

    command: Command
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The command's name."""
        return self.command.name

    def start(self, _pause: Callable[[float], None]) -> None:
        """Start the process."""
        self.process = spawn(self.command)

    def stop(self, seconds: float) -> None:
        """Wait for a process that was asked already, then kill it and what it started."""
        process, self.process = self.process, None
        if process is None:
            return
        wait_until(lambda: process.poll() is not None, seconds)
        kill_session(process)


@dataclass(eq=False)
class _Record:
    """What is known of a child's deaths."""

    deaths: deque[float] = field(default_factory=deque)
    restart_at: float | None = None


@dataclass(frozen=True)
class Plan:
    """What to run: servers first, then ``prepare`` to its end, programs, and ``later`` once ``url`` answers."""

    servers: Sequence[Child]
    prepare: Command | None
    programs: Sequence[Program]
    later: Sequence[Program]
    url: str
    max_restarts: int


class Supervisor:
    """Runs a plan in a home until it is told to stop or a process dies too often."""

    def __init__(self, home: Home, plan: Plan) -> None:
        self.home = home
        self.plan = plan
        self.started: list[Child] = []
        self.records: dict[str, _Record] = {}
        self._wakeup, self._wakeup_write = os.pipe()

    def run(self) -> int:
        """Run to the end; the exit code. Raises EmbeddedError when something cannot be started."""
        self._listen_for_signals()
        with self.home.lock() as lock:
            lock.truncate(0)
            lock.write(f"process {os.getpid()}" + (f", {self.plan.url}" if self.plan.url else "") + "\n")
            lock.flush()
            self.home.make_directories()
            try:
                self._start_everything()
                self._watch()
            except StopRequestedError:
                say("agentops stops …")
                return 0
            finally:
                self._stop_everything()

    def pause(self, seconds: float) -> None:
        """Wait, less when a child died. Raises StopRequestedError when told to stop."""
        readable, _, _ = select.select([self._wakeup], [], [], seconds)
        if readable and any(number in _STOP_SIGNALS for number in os.read(self._wakeup, 4096)):
            raise StopRequestedError

    def _listen_for_signals(self) -> None:
        for end in (self._wakeup, self._wakeup_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # the wake-up pipe carries its number

    def _start_everything(self) -> None:
        for server in self.plan.servers:
            self._start(server)
        if self.plan.prepare:
            self._prepare(self.plan.prepare)
        for program in self.plan.programs:
            self._start(program)
        if self.plan.url:
            self._wait_for_url()
            say(f"agentops is up: {self.plan.url}  (logs in {self.home.logs}; Ctrl-C stops it)")
        else:
            say("agentops: servers are ready")
        for program in self.plan.later:
            self._start(program)

    def _start(self, child: Child) -> None:
        if child not in self.started:
            self.started.append(child)
        child.start(self.pause)

    def _prepare(self, command: Command) -> None:
        code = run_to_end(command, self.pause)
        if code != 0:
            message = f"{command.name} failed with exit code {code}"
            raise EmbeddedError(message)

    def _wait_for_url(self) -> None:
        """Wait until the web processes answer, and say so when that takes long."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while not self._web_answers():
            if time.monotonic() > patience:
                say(f"the web processes do not answer yet; see {self.home.logs}")
                patience = math.inf
            self._restart_the_dead()
            self.pause(0.1)

    def _web_answers(self) -> bool:
        """Whether a request gets an answer that is no server error.

        By hand: ``urllib`` and ``http.client`` load TLS, which would stay in memory for as long as we run.
        """
        parts = urlsplit(self.plan.url)
        request = f"GET {parts.path}healthz HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
        with contextlib.suppress(OSError), socket.create_connection((parts.hostname, parts.port), 2) as connection:
            connection.sendall(request.encode())
            protocol, _, status = connection.recv(12).partition(b" ")
            return protocol.startswith(b"HTTP/1.") and b"100" <= status < b"500"
        return False

    def _watch(self) -> NoReturn:
        while True:
            self.pause(self._restart_the_dead())

    def _restart_the_dead(self) -> float:
        """Note who died, start again whose back-off is over; seconds until the next look."""
        now = time.monotonic()
        for child in self.started:
            record = self.records.setdefault(child.name, _Record())
            if record.restart_at is None and child.process is not None and child.process.poll() is not None:
                self._note_death(child, record, now)
            if record.restart_at is not None and now >= record.restart_at:
                record.restart_at = None
                child.start(self.pause)
                say(f"{child.name} is running again")
        waiting = [record.restart_at for record in self.records.values() if record.restart_at is not None]
        return max(0.02, min([restart_at - now for restart_at in waiting], default=1.0))

    def _note_death(self, child: Child, record: _Record, now: float) -> None:
        """Plan the restart. Who was killed from outside did nothing wrong: only those count that end by themselves.

        Raises EmbeddedError when one does so too often.
        """
        code = child.process.returncode if child.process else 0
        log = self.home.logs / f"{child.name}.log"
        back_off = _KILLED_BACK_OFF
        if code != -signal.SIGKILL:
            record.deaths.append(now)
            while record.deaths[0] < now - _WINDOW_SECONDS:
                record.deaths.popleft()
            count = len(record.deaths)
            if count > self.plan.max_restarts:
                message = f"{child.name} died {count} times in {_WINDOW_SECONDS} s; {log} ends with:\n{tail(log, 8)}"
                raise EmbeddedError(message)
            back_off = min(0.1 * 3 ** (count - 1), _LONGEST_BACK_OFF)
        record.restart_at = now + back_off
        say(f"{child.name} ended with code {code}; it starts again in {back_off:.1f} s ({log})")

    def _stop_everything(self) -> None:
        """Programs together, then Valkey, then PostgreSQL."""
        programs = [child for child in self.started if isinstance(child, Program)]
        for program in programs:
            if program.process and program.process.poll() is None:
                signal_quietly(program.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_PROGRAMS
        for program in programs:
            program.stop(max(0.0, deadline - time.monotonic()))
        servers = [child for child in self.started if not isinstance(child, Program)]
        for server in reversed(servers):
            server.stop(_STOP_VALKEY if server.name == "valkey" else _STOP_POSTGRES)


def say(text: str) -> None:
    """Tell the person at the terminal, who may have gone."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201
