"""Sends hostile bodies through the receiver, each in a process of its own, and says what memory that took.

Run as ``python -m tests.ingest.bombs``: one line of JSON for each body.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
django.setup()

from tests.ingest.asgi import KeepingSink, call, open_receiver  # noqa: E402  (Django must be set up first)
from tests.ingest.payloads import BOMBS, request, span  # noqa: E402


def memory(kind: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (at most so far) of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def send(content_type: str, encoding: str, file: Path) -> dict[str, int]:
    """Post one body, having posted a small one before; the status, and by how much memory grew."""
    headers = {"content-type": content_type, "content-encoding": encoding}

    body = file.read_bytes()

    async def both() -> dict[str, int]:
        receiver = open_receiver(KeepingSink())
        await call(receiver, request([span(0)]))
        before = memory("VmRSS")
        answer = await call(receiver, body, headers=headers)
        return {"status": answer.status, "grown": memory("VmHWM") - before}

    return asyncio.run(both())


def in_a_fork(work: Callable[[], None]) -> bool:
    """Do something in a process of its own, which leaves nothing behind here; whether it went well."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main() -> None:
    """Make each body in one fork and send it from another, so that memory freed by making it does not count."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body"
        for name, (content_type, encoding, make) in BOMBS.items():

            def report(name: str = name, content_type: str = content_type, encoding: str = encoding) -> None:
                sys.stdout.write(json.dumps({"name": name, **send(content_type, encoding, file)}) + "\n")

            if not in_a_fork(partial(write, file, make)) or not in_a_fork(report):
                sys.stdout.write(json.dumps({"name": name, "status": 0, "grown": 0}) + "\n")


def write(file: Path, make: Callable[[], bytes]) -> None:
    """Make a body."""
    file.write_bytes(make())


if __name__ == "__main__":
    main()
