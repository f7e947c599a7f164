"""Sends encoded requests over several connections, in a process of its own so that its CPU is not the server's.

python -m bench.sender REQUESTS URL SENDERS    with the key in BENCH_KEY; prints one JSON line
"""

from __future__ import annotations

import http.client
import json
import os
import pickle
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.payload import Request

_OK, _BUSY = 200, 503
_MAX_SECONDS = 120.0


def send(todo: list[Request], url: str, senders: int, key: str) -> dict[str, Any]:
    """Send everything; how long it took and what the receiver said."""
    waiting, statuses, latencies = deque(todo), Counter[int](), list[float]()
    ready = threading.Event()
    deadline = time.monotonic() + _MAX_SECONDS
    parts = urlsplit(url)
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "gzip",
    }

    def work() -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        connection.connect()
        ready.wait()
        while waiting and time.monotonic() < deadline:
            try:
                request = waiting.popleft()
            except IndexError:
                break
            begun = time.perf_counter()
            connection.request("POST", "/v1/traces", request.body, headers)
            response = connection.getresponse()
            answer = response.read()
            statuses[response.status] += 1
            if response.status == _OK:
                latencies.append(time.perf_counter() - begun)
                rejected.append(len(answer))
            else:
                waiting.append(request)
                time.sleep(0.1)
        connection.close()

    rejected: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(senders)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    begun = time.perf_counter()
    ready.set()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    latencies.sort()
    return {
        "seconds": round(seconds, 3),
        "spans": sum(request.spans for request in todo) - sum(request.spans for request in waiting),
        "statuses": dict(statuses),
        "partly_rejected": sum(size > 0 for size in rejected),
        "post_p50_ms": round(1_000 * latencies[len(latencies) // 2], 1),
        "post_p95_ms": round(1_000 * latencies[int(len(latencies) * 0.95)], 1),
    }


if __name__ == "__main__":
    file, address, count = sys.argv[1:]
    todo_ = pickle.loads(Path(file).read_bytes())  # noqa: S301  (written by the process that started this one)
    print(json.dumps(send(todo_, address, int(count), os.environ["BENCH_KEY"])))
