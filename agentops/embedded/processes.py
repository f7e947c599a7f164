"""Child processes: started so that they die with their parent, recognised in /proc, stopped within a deadline."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
#: A log file larger than this is set aside when its process starts again, in bytes.
_LARGEST_LOG = 20 * 1024 * 1024
_PARENT_IS_GONE = 125


@dataclass(frozen=True)
class Command:
    """One program to run: its name in messages, its arguments, and what it inherits; without a log it may use ours."""

    name: str
    argv: tuple[str, ...]
    log: Path | None
    env: Mapping[str, str]
    death_signal: signal.Signals = signal.SIGKILL
    pass_fds: tuple[int, ...] = field(default=())


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Ask the kernel to send this process ``death_signal`` when ``parent`` dies, even by SIGKILL (Linux only).

    The kernel forgets the wish when the user changes, so call it after that.
    """
    if sys.platform != "linux":
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(_PARENT_IS_GONE)


def spawn(command: Command) -> subprocess.Popen[bytes]:
    """Start the program in its own session, its output appended to its log."""
    parent = os.getpid()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_open(command.log)) if command.log else None
        return subprocess.Popen(
            command.argv,
            env=dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops the rest in order
            pass_fds=command.pass_fds,
            # The supervisor has one thread, so nothing can hold a lock across the fork.
            preexec_fn=lambda: die_with_parent(command.death_signal, parent),  # noqa: PLW1509
        )


def run_to_end(command: Command, pause: Callable[[float], None]) -> int:
    """Run the program and return its exit code; killed when ``pause`` raises."""
    process = spawn(command)
    try:
        while process.poll() is None:
            pause(0.2)
    finally:
        kill_session(process)
    return process.returncode


def _open(log: Path) -> IO[bytes]:
    rotate(log)
    return log.open("ab")


def rotate(log: Path) -> None:
    """Set a large log aside; the one before it goes."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LARGEST_LOG:
            log.rename(log.with_name(log.name + ".1"))


def tail(log: Path, lines: int, start: int = 0) -> str:
    """The last lines of a log, as far as they stand behind the byte ``start``."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(min(start, end), end - 8192))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""


def is_program_in(pid: int, name: str, directory: Path) -> bool:
    """Whether the process runs a program called ``name`` with ``directory`` as its working directory.

    A process that is gone, a zombie, or somebody else's is not. Where there is no /proc, ``ps`` knows the name only.
    """
    if sys.platform != "linux":
        shown = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        return name in shown and str(directory) in shown
    try:
        program = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
        return program == name and Path(f"/proc/{pid}/cwd").readlink() == directory
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition became true in time; looked at every 20 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def signal_quietly(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and what it started, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
