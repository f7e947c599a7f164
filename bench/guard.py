"""How long an agent waits for the guard: one client alone, and very many of them on one hot budget.

python -m bench.guard URL CLIENTS    reads a key, asks until its input is closed, and prints one line of JSON. A process
of its own: it must not take turns with whatever else is measured. Each client checks, settles, and checks again.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

from bench.instance import ROOT

#: What one step may cost, and what it does; the hot budget holds far more than is ever spent.
_ESTIMATE, _SPENT = "0.02", "0.01"
SERVICE = "bench-guard"


def under_load(url: str, key: str, *, clients: int, load: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    """Checks a second and their percentiles in ms while ``load`` runs, and what ``load`` answered."""
    command = [sys.executable, "-m", "bench.guard", url, str(clients)]
    asking = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert asking.stdin is not None
    asking.stdin.write(key + "\n")
    asking.stdin.flush()
    time.sleep(1.0)
    loaded = load()
    out, _ = asking.communicate(input="", timeout=60)
    return json.loads(out), loaded


def make_budget(url: str, token: str) -> None:
    """The hot budget: all of the service's steps count in one window, and none is refused."""
    wanted = {"scope": {"service": SERVICE}, "period": "month", "limit_usd": "1000000", "action": "stop"}
    body = json.dumps({"name": "Hot", **wanted}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(urljoin(url, "/api/v1/budgets"), body, headers)  # noqa: S310  (our own server)
    urllib.request.urlopen(asked, timeout=30).read()  # noqa: S310


async def _client(host: str, port: int, key: str, over: Callable[[], bool], times: list[float]) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    refused = 0
    while not over():
        body = json.dumps(
            {
                "service": SERVICE,
                "run": uuid.uuid4().hex,
                "step": {"kind": "llm", "provider": "openai", "model": "gpt-4o"},
                "estimate": {"cost_usd": _ESTIMATE, "input_tokens": 900, "max_output_tokens": 300},
                "idempotency_key": uuid.uuid4().hex,
            }
        )
        began = time.perf_counter()
        answer = await _post(reader, writer, host, key, "check", body)
        times.append(time.perf_counter() - began)
        if answer.get("reservation") is None:
            refused += 1
            continue
        said = {"reservation": answer["reservation"], "cost_usd": _SPENT, "outcome": "ok"}
        await _post(reader, writer, host, key, "settle", json.dumps(said))
    writer.close()
    return refused


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, key: str, what: str, body: str
) -> dict[str, Any]:
    writer.write(
        f"POST /api/v1/guard/{what} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    found: dict[str, Any] = json.loads(await reader.readexactly(length))
    return found


async def _ask(url: str, key: str, clients: int, over: Callable[[], bool]) -> dict[str, Any]:
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    await _client(host, port, key, _after(0.3), [])
    times: list[float] = []
    began = time.perf_counter()
    refused = await asyncio.gather(*(_client(host, port, key, over, times) for _ in range(clients)))
    took = time.perf_counter() - began
    times.sort()
    return {
        "clients": clients,
        "checks": len(times),
        "checks_per_second": round(len(times) / took),
        "p50_ms": round(1_000 * times[len(times) // 2], 1),
        "p99_ms": round(1_000 * times[int(len(times) * 0.99)], 1),
        "refused": sum(refused),
    }


def _after(seconds: float) -> Callable[[], bool]:
    until = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= until


async def _main() -> None:
    url, clients = sys.argv[1], int(sys.argv[2])
    key = sys.stdin.readline().strip()
    closed = asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: closed.set())
    print(json.dumps(await _ask(url, key, clients, closed.is_set)))


if __name__ == "__main__":
    asyncio.run(_main())
