"""The entrypoint's roles as plain processes against separate servers: they start, work, and end when told."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
ENTRYPOINT = (sys.executable, str(ROOT / "docker" / "entrypoint"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
PATIENCE = 60.0

Environment = dict[str, str]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """What a container would see: an empty database, the secret in a file, a home where beat alone writes."""
    given, name = os.environ["AGENTOPS_DATABASE_URL"], f"agentops_roles_{os.getpid()}"
    directory = tmp_path_factory.mktemp("container")
    (directory / "secret_key").write_text("a secret for this test\n")
    home = directory / "home"
    for name_in_image in ("static", "beat"):
        home.joinpath(name_in_image).mkdir(parents=True)
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield {
            "PATH": os.environ["PATH"],
            "AGENTOPS_DATABASE_URL": urlsplit(given)._replace(path=f"/{name}").geturl(),
            "AGENTOPS_VALKEY_URL": os.environ["AGENTOPS_VALKEY_URL"],
            "AGENTOPS_SECRET_KEY_FILE": str(directory / "secret_key"),
            "AGENTOPS_HOME": str(home),
            "AGENTOPS_BIND": "127.0.0.1",
            "AGENTOPS_PORT": str(free_port()),
            "AGENTOPS_ADMIN_PASSWORD": "correct horse battery",
            "AGENTOPS_WAIT_SECONDS": "30",
            "PYTHONWARNINGS": "error::DeprecationWarning:agentops",
        }
        written = {path.relative_to(home).parts[0] for path in home.rglob("*") if path.is_file()}
        assert written <= {"beat"}, "the rest of a container's files is read-only"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRYPOINT, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.fixture(scope="module")
def migrated(environment: Environment) -> Environment:
    done = run(environment, "migrate")
    assert done.returncode == 0, done.stderr
    return environment


def refused(environment: Environment, *arguments: str) -> tuple[int, str]:
    done = run(environment, *arguments)
    return done.returncode, done.stderr.strip()


@contextmanager
def role(name: str, environment: Environment, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a role; at the end it must have stopped by itself after SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen([*ENTRYPOINT, name], env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in {0, -signal.SIGTERM}, log.read_text()
    finally:
        process.kill()
        process.wait()


def eventually(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def health_check(service: str) -> list[str]:
    kind, *test = COMPOSE["services"][service]["healthcheck"]["test"]
    command = [word.replace("$$", "$") for word in test]
    return ["sh", "-c", *command] if kind == "CMD-SHELL" else command


def is_healthy(service: str, environment: Environment) -> bool:
    command = [word.replace(":8000", f":{environment['AGENTOPS_PORT']}") for word in health_check(service)]
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    seen = {**environment, "HOSTNAME": socket.gethostname(), "PATH": path}
    return subprocess.run(command, env=seen, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_migrate_makes_the_tables_and_the_first_admin_and_may_run_again(migrated: Environment) -> None:
    again = run(migrated, "migrate")
    assert again.returncode == 0, again.stderr
    assert "agk_" not in again.stdout
    with psycopg.connect(migrated["AGENTOPS_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT username, role FROM accounts_user").fetchall() == [("admin", "admin")]
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (0,)


def test_manage_runs_a_command_with_the_secrets_of_the_role(migrated: Environment) -> None:
    done = run(migrated, "manage", "create_ingest_key", "--collector")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("agk_")


def test_web_answers_its_health_check_and_ends_on_sigterm(migrated: Environment, tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with role("web", migrated, log) as process:
        eventually(lambda: is_healthy("web", migrated), process, log)
        address = f"http://127.0.0.1:{migrated['AGENTOPS_PORT']}/healthz"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200
    assert "Traceback" not in log.read_text()


def test_worker_and_beat_beat_together_and_end_on_sigterm(migrated: Environment, tmp_path: Path) -> None:
    def has_beaten() -> bool:
        with psycopg.connect(migrated["AGENTOPS_DATABASE_URL"]) as connection:
            return connection.execute("SELECT count(*) FROM ingest_heartbeat").fetchone() != (0,)

    worker_log, beat_log = tmp_path / "worker.log", tmp_path / "beat.log"
    with role("worker", migrated, worker_log) as worker, role("beat", migrated, beat_log):
        eventually(lambda: is_healthy("worker", migrated), worker, worker_log)
        eventually(has_beaten, worker, worker_log)
    for log in (worker_log, beat_log):
        assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("AGENTOPS_SECRET_KEY_FILE", "set AGENTOPS_SECRET_KEY"),
        ("AGENTOPS_DATABASE_URL", "set AGENTOPS_DATABASE_URL"),
        ("AGENTOPS_VALKEY_URL", "set AGENTOPS_VALKEY_URL"),
    ],
)
def test_a_role_without_what_it_needs_says_what_is_missing(environment: Environment, missing: str, said: str) -> None:
    code, message = refused({name: value for name, value in environment.items() if name != missing}, "web")
    assert code == 78
    assert said in message
    assert len(message.splitlines()) == 1


def test_a_secret_file_that_cannot_be_read_is_named(environment: Environment) -> None:
    code, message = refused({**environment, "AGENTOPS_SECRET_KEY_FILE": "/nowhere/secret"}, "web")
    assert code == 78
    assert "/nowhere/secret" in message
    assert "Traceback" not in message


def test_a_database_that_does_not_come_is_waited_for_and_then_named(environment: Environment) -> None:
    url = f"postgresql://agentops:hidden-word@127.0.0.1:{free_port()}/agentops"
    code, message = refused({**environment, "AGENTOPS_DATABASE_URL": url, "AGENTOPS_WAIT_SECONDS": "1"}, "worker")
    assert code == 69
    assert "waiting for the database" in message
    assert "did not answer within 1 s" in message
    assert "hidden-word" not in message


def test_waiting_for_the_database_ends_on_sigterm(environment: Environment, tmp_path: Path) -> None:
    waiting = {**environment, "AGENTOPS_DATABASE_URL": f"postgresql://a@127.0.0.1:{free_port()}/a"}
    log = tmp_path / "beat.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*ENTRYPOINT, "beat"], env=waiting, stderr=output)
    eventually(lambda: "waiting for the database" in log.read_text(), process, log)
    process.terminate()
    assert process.wait(timeout=20) == 143


@pytest.mark.parametrize("arguments", [(), ("shell",), ("web", "--reload")])
def test_anything_but_a_role_gets_the_usage(environment: Environment, arguments: tuple[str, ...]) -> None:
    code, message = refused(environment, *arguments)
    assert code == 64
    assert re.search(r"usage: entrypoint web \| worker \| beat \| migrate", message)


def test_the_password_of_a_file_reaches_the_url(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "password").write_text("p/@:? %\n")
    code = "from agentops import settings as s; print(s.DATABASE_URL, s.DATABASES['default']['PASSWORD'], sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **environment,
            "AGENTOPS_DATABASE_URL": "postgresql://agentops@db:5432/books?sslmode=require",
            "AGENTOPS_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
        },
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    url, password = done.stdout.splitlines()
    assert url == "postgresql://agentops:p%2F%40%3A%3F%20%25@db:5432/books?sslmode=require"
    assert password == "p/@:? %"
