"""A web process on the test database, as a browser sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


def _database_url() -> str:
    """The URL of the database that this test uses."""
    values = connection.settings_dict
    where = {key: values[name] for key, name in (("host", "HOST"), ("port", "PORT"), ("user", "USER")) if values[name]}
    password = f":{quote(values['PASSWORD'])}@" if values["PASSWORD"] else ""
    return f"postgresql://{password}/{values['NAME']}?{urlencode(where)}"


@pytest.fixture(scope="session")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Static files as they are served: collected, fingerprinted."""
    root = tmp_path_factory.mktemp("static")
    environment = os.environ | {"AGENTOPS_STATIC_ROOT": str(root)}
    command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity=0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return root


@pytest.fixture
def served(transactional_db: None, static_root: Path, free_port: int) -> Iterator[str]:
    """The address of a web process; what it says on stderr must be no traceback."""
    del transactional_db
    environment = os.environ | {
        "AGENTOPS_DATABASE_URL": _database_url(),
        "AGENTOPS_STATIC_ROOT": str(static_root),
        "AGENTOPS_SECRET_KEY": settings.SECRET_KEY,
    }
    command = [sys.executable, "-m", "uvicorn", "agentops.asgi:application", "--port", str(free_port)]
    command += [
        "--ws",
        "websockets-sansio",
        "--ws-max-size",
        "65536",
        "--no-access-log",
        "--timeout-graceful-shutdown=2",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{free_port}"
    try:
        _wait(address)
        yield address
    finally:
        process.terminate()
        said = process.communicate(timeout=20)[1]
    assert "Traceback" not in said, said


def _wait(address: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=2).close()
        except OSError:  # nobody there yet, or too busy with starting to answer
            time.sleep(0.1)
        else:
            return
    pytest.fail("the web process did not answer")
