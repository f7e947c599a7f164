"""The home directory: where data, sockets, logs and secrets lie, and the lock that one supervisor holds on it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Longest directory in which ``.s.PGSQL.5432`` still fits into a socket's address (107 bytes).
LONGEST_SOCKET_DIRECTORY = 90
#: Everything that the product itself puts into its home; only these are ever handed to another user.
ENTRIES = frozenset(
    {
        "beat",
        "database_password",
        "database_url",
        "demo_password",
        "lock",
        "logs",
        "pg",
        "pg_password",
        "run",
        "secret_key",
        "static",
        "valkey",
        "valkey_url",
    }
)


class EmbeddedError(Exception):
    """The servers cannot run; the message is for the person who started them."""


class AlreadyRunningError(EmbeddedError):
    """Another supervisor holds this home."""


@dataclass(frozen=True)
class Home:
    """Names of what lies in the home directory."""

    path: Path

    @property
    def logs(self) -> Path:
        """Directory of one log file a process."""
        return self.path / "logs"

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory; it exists only when complete."""
        return self.path / "pg"

    @property
    def run(self) -> Path:
        """Directory of the sockets: in the home, or in the temporary directory when the home's name is too long."""
        inside = self.path / "run"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_DIRECTORY:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"agentops-{digest}"

    @property
    def valkey_socket(self) -> Path:
        """Valkey's socket."""
        return self.run / "valkey.sock"

    def make_directories(self) -> None:
        """Create what is missing, closed to everybody else.

        Raises EmbeddedError when somebody else owns the socket directory.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        (self.path / "beat").mkdir(mode=0o700, exist_ok=True)
        self.run.mkdir(mode=0o700, exist_ok=True)
        found = self.run.lstat()
        if found.st_uid != os.geteuid() or self.run.is_symlink():
            message = f"{self.run} belongs to somebody else; choose a shorter AGENTOPS_HOME"
            raise EmbeddedError(message)
        self.run.chmod(0o700)

    def write(self, name: str, text: str) -> None:
        """Write a small private file so that a reader sees the old text or the new one, never half of it."""
        scratch = self.path / f".{name}.{os.getpid()}"
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        scratch.write_text(text)
        scratch.rename(self.path / name)

    def secret(self, name: str) -> str:
        """The secret in the file ``name``, made at the first call."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_text().strip()
        self.write(name, secrets.token_hex(24))
        return (self.path / name).read_text().strip()

    @contextlib.contextmanager
    def lock(self) -> Iterator[IO[str]]:
        """Hold the home for as long as the context lives; the kernel lets go when the process dies.

        Raises AlreadyRunningError when another process holds it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                message = (
                    f"agentops is already running in {self.path} ({holder}). "
                    "Stop it first, or choose another AGENTOPS_HOME and AGENTOPS_PORT."
                )
                raise AlreadyRunningError(message) from None
            yield file
