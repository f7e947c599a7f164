"""The product as a person meets it: a web process of its own on a database of its own, and a browser in front."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.e2e.traffic import Sender, example_runs, hostile_ceilings, hostile_run, refused_step

ROOT = Path(__file__).resolve().parent.parent.parent
ADMIN, VIEWER, PASSWORD = "admin", "onlooker", "correct horse battery"
PATIENCE = 90.0
PATIENCE_MS = 30_000
LAUNCH = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
MAKE_VIEWER = f"from agentops.accounts.models import User; User.objects.create_user({VIEWER!r}, password={PASSWORD!r})"


@dataclass(frozen=True)
class Site:
    """A running web process: its address without a slash at the end, who may send to it, its ``manage.py``."""

    url: str
    sender: Sender
    manage: Callable[..., str]
    run: str
    step: str
    hostile_run: str
    hostile_step: str
    budget: str


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The product, served, with some runs in it."""
    given, name = os.environ["AGENTOPS_DATABASE_URL"], f"agentops_e2e_{os.getpid()}"
    home = tmp_path_factory.mktemp("e2e")
    environment = {
        **os.environ,
        "AGENTOPS_HOME": str(home),
        "AGENTOPS_DATABASE_URL": urlsplit(given)._replace(path=f"/{name}").geturl(),
        "AGENTOPS_ADMIN_PASSWORD": PASSWORD,
    }
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            key = re.findall(r"agk_[\w-]+", _manage(environment, "prepare"))[0]
            _manage(environment, "shell", "--verbosity", "0", "--command", MAKE_VIEWER)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                process = _serve(environment, listener, home / "web.log")
            try:
                _wait_for(f"{url}/healthz", process, home / "web.log")
                sender = Sender(url, key)
                manage = partial(_manage, environment)
                runs = (*example_runs(sender), *hostile_run(sender))
                budget = manage("shell", "--verbosity", "0", "--command", hostile_ceilings()).split()[-1]
                refused_step(sender)
                yield Site(url, sender, manage, *runs, budget)
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                process.kill()
                process.wait()
            assert not re.search(r"\b(ERROR|CRITICAL)\b", said := (home / "web.log").read_text()), said
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _serve(environment: dict[str, str], listener: socket.socket, log: Path) -> subprocess.Popen[bytes]:
    options = "--loop uvloop --http httptools --ws websockets-sansio --log-level warning --timeout-graceful-shutdown 2"
    command = [sys.executable, "-m", "uvicorn", "agentops.asgi:application", "--fd", str(listener.fileno())]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, *options.split()], cwd=ROOT, env=environment, pass_fds=[listener.fileno()],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium. It ends with the module: while it runs, this thread has an event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*LAUNCH])
        yield browser
        browser.close()


NewContext = Callable[..., BrowserContext]


@pytest.fixture(scope="session")
def signed_in_states() -> dict[str, Any]:
    """The cookies of those who have signed in, by name: hashing a password is slow on purpose."""
    return {}


@pytest.fixture(scope="module")
def new_context(browser: Browser, site: Site, signed_in_states: dict[str, Any]) -> Iterator[NewContext]:
    """Makes a browser profile; ``new_context(user=ADMIN)`` is signed in as that person."""
    opened: list[BrowserContext] = []

    def make(user: str | None = None, **options: Any) -> BrowserContext:
        if user and user not in signed_in_states:
            signed_in_states[user] = _sign_in(make(), user)
        context = browser.new_context(base_url=site.url, storage_state=signed_in_states.get(user or ""), **options)
        context.set_default_timeout(PATIENCE_MS)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()


def _sign_in(context: BrowserContext, user: str) -> Any:
    page = context.new_page()
    page.goto("/login/?next=/setup/")
    page.get_by_label("Name").fill(user)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/setup/")
    return context.storage_state()
