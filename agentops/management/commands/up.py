"""Starts all of the product on this machine: servers unless others are named, web, worker and beat."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agentops.demo.story import Story
from agentops.embedded.home import AlreadyRunningError, Home

if TYPE_CHECKING:
    from argparse import ArgumentParser

_BACKLOG = 2048
_UVICORN = (
    "-m uvicorn agentops.asgi:application --fd {fd} --loop uvloop --http httptools --ws websockets-sansio"
    " --no-access-log --no-server-header --log-level warning --ws-max-size 65536 --backlog {backlog}"
    " --timeout-keep-alive 65 --timeout-graceful-shutdown 2"
)


class Command(BaseCommand):
    """See the module."""

    help = "Start agentops on this machine until Ctrl-C or SIGTERM."
    requires_migrations_checks = False
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--demo", action="store_true", help="fill in a history and send simulated live traffic")
        parser.add_argument(
            "--story", choices=list(Story), default=Story.USUAL, help="with --demo: what goes wrong, and when"
        )

    def handle(self, *_args: Any, demo: bool, story: str, **_options: Any) -> None:
        """Take the port, then become the supervisor, which needs no Django and none of its memory."""
        listener = _listen(Home(settings.HOME))
        listener.set_inheritable(True)
        os.chdir(settings.BASE_DIR)
        arguments = _supervisor_arguments(listener, demo=demo, story=story)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "agentops.embedded", *arguments])  # noqa: S606  (no shell)


def _listen(home: Home) -> socket.socket:
    """The listening socket; connections wait in it until a web process is there.

    Raises CommandError when another supervisor holds the home or another program the port.
    """
    host = os.environ.get("AGENTOPS_BIND") or "127.0.0.1"
    port = os.environ.get("AGENTOPS_PORT") or "8000"
    if not port.isdecimal():
        message = f"AGENTOPS_PORT must be a number, not {port!r}"
        raise CommandError(message)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with home.lock():
            listener = socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except AlreadyRunningError as error:
        raise CommandError(str(error)) from None
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"cannot listen on {host} port {port}: {reason}. Choose another AGENTOPS_PORT or AGENTOPS_BIND."
        raise CommandError(message) from None
    # A web process takes it for a socket of another family, and sets nothing: without this the second of two packets of
    # an answer waits 40 ms for the first to be acknowledged. What is accepted inherits it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _supervisor_arguments(listener: socket.socket, *, demo: bool, story: str) -> list[str]:
    python = shlex.quote(sys.executable)
    url = _url(listener)
    web = _UVICORN.format(fd=listener.fileno(), backlog=_BACKLOG)
    arguments = [f"--home={settings.HOME}", f"--url={url}", f"--pass-fd={listener.fileno()}"]
    arguments += [f"--max-restarts={os.environ.get('AGENTOPS_MAX_RESTARTS') or 5}"]
    if os.environ.get("AGENTOPS_DATABASE_URL"):
        arguments.append("--no-postgres")
    if os.environ.get("AGENTOPS_VALKEY_URL"):
        arguments.append("--no-valkey")
    arguments.append(f"--prepare={python} manage.py prepare --url {url}" + (" --demo" if demo else ""))
    # Half of the processors are PostgreSQL's. Requests that share a process share transactions: fewer cost less.
    workers = int(os.environ.get("AGENTOPS_WEB_WORKERS") or max(1, (os.cpu_count() or 1) // 2))
    arguments += [f"--run=web-{number}={python} {web}" for number in range(1, workers + 1)]
    arguments += [f"--run={role}={python} -m agentops.celery {role} WARNING" for role in ("worker", "watch", "beat")]
    if demo:
        arguments.append(f"--later=demo={python} manage.py demo --send-to {url} --story {story}")
    return arguments


def _url(listener: socket.socket) -> str:
    """The address to open in a browser on this machine."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}/"
