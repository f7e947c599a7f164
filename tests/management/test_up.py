"""``manage.py up`` as one process that a person starts: it serves, keeps, and stops."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher

from tests.embedded.running import kill_all, processes_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.embedded.running import Homes, Running

UP = ("manage.py", "up")
UP_LINE = "agentops is up: "
DEBIAN_POSTGRES = Path("/usr/lib/postgresql/15/bin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(homes: Homes, home: Path | None = None, **env: str) -> Running:
    environment = {"AGENTOPS_PORT": str(free_port()), "AGENTOPS_WEB_WORKERS": "1", **env}
    return homes.start(home or homes.new(), command=UP, env=environment)


def url_of(running: Running) -> str:
    running.wait_for(UP_LINE)
    return re.findall(UP_LINE + r"(\S+)", running.said)[-1]


def key_of(running: Running) -> str:
    return re.findall(r"agk_[\w-]+", running.said)[0]


def send_a_span(url: str, key: str) -> int:
    """Send one model call; the status of the answer."""
    now = time.time_ns()
    span = {
        "name": "chat gpt-4o",
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 10**9),
        "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "probe"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}v1/traces", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def count_runs(running: Running) -> int:
    ((count,),) = running.query("SELECT count(*) FROM runs")
    assert isinstance(count, int)
    return count


def test_everything_that_a_person_was_told_at_the_first_start_still_holds_after_kill_9(homes: Homes) -> None:
    first = start(homes)
    url, key = url_of(first), key_of(first)
    assert re.search(r"First login: +admin / \S+ +\(shown this once\)", first.said)
    assert send_a_span(url, key) == 200
    kill_all(first)
    second = start(homes, first.home)
    assert send_a_span(url_of(second), key) == 200
    assert "First login" not in second.said
    assert "agk_" not in second.said
    assert count_runs(second) == 2
    assert second.stop() == 0
    assert processes_of(second.home) == []


def test_the_printed_curl_works_a_second_start_is_refused_and_a_killed_web_process_comes_back(homes: Homes) -> None:
    running = start(homes)
    url = url_of(running)
    command = re.search(r"^ +curl .*?\}'$", running.said, re.MULTILINE | re.DOTALL)
    assert command is not None, running.said
    sent = subprocess.run(["sh", "-c", f"{command[0]} --fail"], capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr
    second = start(homes, running.home)
    assert second.wait() == 1
    assert f"already running in {running.home}" in second.said
    assert url in second.said
    (web,) = [child for child in running.descendants() if "uvicorn" in child.cmdline()]
    web.kill()
    assert send_a_span(url, key_of(running)) == 200
    assert "web-1 is running again" in running.said
    assert count_runs(running) == 2


def test_everything_together_stays_small(homes: Homes) -> None:
    running = start(homes, AGENTOPS_WEB_WORKERS="2")
    url = url_of(running)
    assert send_a_span(url, key_of(running)) == 200
    wait_until(lambda: running.query("SELECT count(*) FROM ingest_heartbeat") == [(2,)], "worker and beat")
    sizes = []
    for one in (psutil.Process(running.process.pid), *running.descendants()):
        with contextlib.suppress(psutil.NoSuchProcess):  # an idle connection may just have been given back
            sizes.append((one.memory_full_info().pss, " ".join(one.cmdline())[:120]))
    # What several processes share counts once: how many connections PostgreSQL holds just now moves the plain sum
    # by a tenth. 487 MB when this was written.
    assert sum(size for size, _ in sizes) < 560e6, sizes
    (beat,) = [size for size, name in sizes if "agentops.celery beat" in name]
    assert beat < 60e6, "beat has loaded Django"


def test_two_instances_run_side_by_side_each_with_the_password_given(homes: Homes) -> None:
    first, second = (start(homes, AGENTOPS_ADMIN_PASSWORD=password) for password in ("first secret", "second secret"))
    assert send_a_span(url_of(first), key_of(first)) == 200
    url_of(second)
    assert (count_runs(first), count_runs(second)) == (1, 0)
    for running, password in ((first, "first secret"), (second, "second secret")):
        assert "secret" not in running.said
        ((stored,),) = running.query("SELECT password FROM accounts_user WHERE username = 'admin'")
        assert Argon2PasswordHasher().verify(password, str(stored))


def test_a_port_in_use_is_named(homes: Homes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        running = start(homes, AGENTOPS_PORT=port)
        assert running.wait() == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in running.said
    assert processes_of(running.home) == []


def _as_nobody() -> dict[str, object]:
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture
def own_postgres(homes: Homes) -> Iterator[str]:
    """The URL of a private cluster of Debian's PostgreSQL 15."""
    if not (DEBIAN_POSTGRES / "postgres").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("postgresql-15 is not installed")
        pytest.skip("postgresql-15 is not installed")
    directory, port = homes.new(), free_port()
    if os.geteuid() == 0:
        os.chown(directory, 65534, 65534)
    options = {"cwd": directory, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **_as_nobody()}
    make = [DEBIAN_POSTGRES / "initdb", "-D", "data", "-U", "agentops", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run([*make, "--locale=C.UTF-8"], check=True, **options)  # type: ignore[call-overload]
    serve = [DEBIAN_POSTGRES / "postgres", "-D", "data", "-p", str(port), "-k", str(directory), "-c", "fsync=off"]
    with subprocess.Popen(serve, **options) as server:  # type: ignore[call-overload]
        create = [DEBIAN_POSTGRES / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "agentops", "agentops"]
        _until_it_succeeds(create)
        yield f"postgresql://agentops@127.0.0.1:{port}/agentops"
        server.send_signal(2)


@pytest.fixture
def own_redis(homes: Homes) -> Iterator[str]:
    """The URL of a private Redis 7."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    port = str(free_port())
    serve = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(homes.new())]
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as server:
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


def _until_it_succeeds(command: list[str | Path]) -> None:
    for _ in range(200):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.05)
    pytest.fail(f"never succeeded: {command}")


def test_ones_own_postgresql_15_and_redis_7_are_used_instead(homes: Homes, own_postgres: str, own_redis: str) -> None:
    running = start(homes, AGENTOPS_DATABASE_URL=own_postgres, AGENTOPS_VALKEY_URL=own_redis)
    url = url_of(running)
    names = {psutil.Process(child.pid).name() for child in running.descendants()}
    assert names.isdisjoint({"postgres", "valkey-server"})
    assert not (running.home / "pg").exists()
    assert send_a_span(url, key_of(running)) == 200
    (running.home / "database_url").write_text(own_postgres)
    assert count_runs(running) == 1
    assert running.query("SHOW server_version_num")[0][0][:2] == "15"  # type: ignore[index]
    assert running.stop() == 0
