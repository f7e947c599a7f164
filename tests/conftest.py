"""What every test stands on: embedded servers, Django on them, and a browser.

The servers start when this file is loaded, before anything reads the settings. With ``AGENTOPS_DATABASE_URL`` and
``AGENTOPS_VALKEY_URL`` set, the tests use those instead. Under xdist the first process starts them for all; each
worker has its own database in the one cluster.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_started: list[subprocess.Popen[str]] = []
_homes: list[Path] = []


def _start_servers() -> None:
    """Start PostgreSQL and Valkey in a temporary home unless the environment names some."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
    if os.environ.get("AGENTOPS_DATABASE_URL") and os.environ.get("AGENTOPS_VALKEY_URL"):
        return
    home = Path(tempfile.mkdtemp(prefix="agentops-test-"))
    _homes.append(home)
    command = [sys.executable, "-m", "agentops.embedded", "--home", str(home), "--with-parent", "--create-databases"]
    # The machine does not lose power under a test, and nobody keeps the books of one.
    command += ["--set", "fsync=off", "--set", "full_page_writes=off", "--set", "synchronous_commit=off"]
    command += ["--set", "max_connections=100"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _started.append(process)
    assert process.stderr is not None
    said = process.stderr.readline()
    if "servers are ready" not in said:
        pytest.exit(f"the embedded servers did not start: {said}{process.communicate(timeout=20)[1]}", 3)
    os.environ["AGENTOPS_HOME"] = str(home)
    for variable, file in (("AGENTOPS_DATABASE_URL", "database_url"), ("AGENTOPS_VALKEY_URL", "valkey_url")):
        os.environ[variable] = os.environ.get(variable) or (home / file).read_text().strip()


_start_servers()

import django  # noqa: E402  (reads the settings, which read the environment)
from django.conf import settings  # noqa: E402

# Manifest names need collectstatic, and a slow hash buys nothing here.
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Without collectstatic there is none, and WhiteNoise warns.
settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
# A pool keeps connections open, and a database with open connections cannot be dropped.
settings.DATABASES["default"]["OPTIONS"].pop("pool")
django.setup()

from agentops.ingest.connections import connect  # noqa: E402  (Django must be set up first)
from tests.ingest.simulation import clear_books  # noqa: E402


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: gzip writes the time into them, and two workers must agree on every test's name."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_unconfigure() -> None:
    """Stop what this process started."""
    for process in _started:
        process.terminate()
        process.communicate(timeout=20)
    for home in _homes:
        shutil.rmtree(home, ignore_errors=True)
    _started.clear()


@pytest.fixture(autouse=True)
def _emptied_books(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no books behind a test that committed: Django empties its own tables, and does not know these."""
    yield
    mark = request.node.get_closest_marker("django_db")
    if (mark and mark.kwargs.get("transaction")) or "transactional_db" in request.fixturenames:
        with connect("test") as connection, connection.cursor() as cursor:
            clear_books(cursor)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium; without one the test is skipped, or fails where ``CI=true``."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    reason = "NO BROWSER: install Debian's chromium to run the browser tests"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
