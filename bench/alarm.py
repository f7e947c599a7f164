"""How long it takes from a commit to the alert in a browser, while other senders keep the receiver busy.

One socket listens as a browser does. Runs that loop are sent one after the other in a request each; the clock starts
when the request is answered, which is after its commit, and ends when the socket says that the alert is there.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

NS = 1_000_000_000
#: Calls of a run that loops, what they are sent apart, and over how many services they spread: many of one are a storm.
_CALLS, _APART_SECONDS, _SERVICES = 6, 0.1, 60
_PATIENCE_SECONDS = 20.0


def measure(url: str, *, key: str, user: str, password: str, load: Callable[[], Any]) -> dict[str, Any]:
    """Percentiles of the way to the browser, in ms, while ``load`` runs; and what ``load`` answered."""
    told: dict[str, float] = {}
    socket = _listen(url, user, password)
    listener = threading.Thread(target=_hear, args=(socket, told), daemon=True)
    listener.start()
    result: list[Any] = []
    loader = threading.Thread(target=lambda: result.append(load()))
    loader.start()
    time.sleep(1.0)
    committed: dict[str, float] = {}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    while loader.is_alive():
        trace_id = uuid.uuid4().hex
        body = json.dumps(_looping(trace_id, f"looper-{len(committed) % _SERVICES}"))
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/traces", body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == http.client.OK:
            committed[trace_id] = time.perf_counter()
        time.sleep(_APART_SECONDS)
    until = time.perf_counter() + _PATIENCE_SECONDS
    while told.keys() < committed.keys() and time.perf_counter() < until:
        time.sleep(0.1)
    socket.close()
    times = sorted(1_000 * (told[run] - begun) for run, begun in committed.items() if run in told)
    return {
        "alerts": len(times),
        "missing": len(committed) - len(times),
        "p50_ms": round(times[len(times) // 2]),
        "p95_ms": round(times[int(len(times) * 0.95)]),
        "p99_ms": round(times[int(len(times) * 0.99)]),
        "max_ms": round(times[-1]),
        "load": result[0],
    }


def _listen(url: str, user: str, password: str) -> ClientConnection:
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    login = urllib.parse.urljoin(url, "/login/")
    page = browser.open(login, timeout=30).read().decode()
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[:1]
    form = urllib.parse.urlencode({"username": user, "password": password, "csrfmiddlewaretoken": token})
    browser.open(urllib.request.Request(login, form.encode(), {"Referer": login}), timeout=30)  # noqa: S310
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
    address = urllib.parse.urljoin(url, "/live/").replace("http", "ws", 1)
    socket = connect(address, additional_headers={"Cookie": cookies}, origin=url.rstrip("/"), max_size=None)  # type: ignore[arg-type]
    socket.send(json.dumps({"subscribe": ["alerts"]}))
    return socket


def _hear(socket: ClientConnection, told: dict[str, float]) -> None:
    try:
        for text in socket:
            now = time.perf_counter()
            for alert in json.loads(text).get("alerts", ()):
                if alert.get("run"):
                    told.setdefault(alert["run"], now)
    except ConnectionClosed:
        return


def _looping(trace_id: str, service: str) -> dict[str, Any]:
    now = time.time_ns() - 2 * _CALLS * NS
    spans = [
        {
            "traceId": trace_id,
            "spanId": f"{number + 1:016x}",
            "name": "execute_tool grep",
            "kind": 1,
            "startTimeUnixNano": str(now + 2 * number * NS),
            "endTimeUnixNano": str(now + (2 * number + 1) * NS),
            "attributes": [
                {"key": name, "value": {"stringValue": value}}
                for name, value in (
                    ("gen_ai.operation.name", "execute_tool"),
                    ("gen_ai.tool.name", "grep"),
                    ("gen_ai.agent.name", "coder"),
                    ("gen_ai.tool.call.arguments", '{"pattern": "total", "path": "billing"}'),
                    ("gen_ai.tool.call.result", "billing/invoice.py:12: total = sum(lines)"),
                )
            ],
        }
        for number in range(_CALLS)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "bench"}, "spans": spans}]}]}
