"""The exporter keeps its connection, waits when it is told to, and does not insist on what is refused."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agentops.demo.exporter import Exporter, ExportError
from agentops.demo.history import Past, load
from agentops.demo.live import Traffic, run


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses given, then with 200; keeps what it acknowledged."""

    def __init__(self, statuses: tuple[int, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.acknowledged: list[bytes] = []
        self.clients: set[Any] = set()
        self.keys: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == 200 and self.path == "/v1/traces":
            self.server.acknowledged.append(gzip.decompress(body))
        self.server.clients.add(self.client_address)
        self.server.keys.add(self.headers["Authorization"])
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[Receiver, str]]:
    with Receiver(statuses) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def post(url: str, stop: threading.Event, count: int = 1) -> None:
    with closing(Exporter(url, "agk_test", stop)) as exporter:
        for number in range(count):
            exporter.post(gzip.compress(b"%d" % number), "application/x-protobuf")


def test_it_tries_again_until_the_receiver_has_room() -> None:
    with receiver(503, 429, 200) as (server, url):
        post(url, threading.Event())
        assert server.acknowledged == [b"0"]
        assert not server.statuses
        assert server.keys == {"Bearer agk_test"}


def test_it_keeps_one_connection() -> None:
    with receiver() as (server, url):
        post(url, threading.Event(), count=5)
        assert len(server.acknowledged) == 5
        assert len(server.clients) == 1


def test_a_refusal_is_final() -> None:
    with receiver(400) as (server, url), pytest.raises(ExportError, match="400"):
        post(url, threading.Event())
    assert not server.acknowledged


def test_waiting_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with receiver(503, 503) as (server, url), pytest.raises(ExportError, match="stopped"):
        post(url, stop)
    assert len(server.statuses) == 1


def test_nobody_to_send_to_is_waited_for_until_stopped() -> None:
    stop = threading.Event()
    with receiver() as (_, url):
        pass
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(ExportError, match="stopped"):
        post(url, stop)


def spans_in(server: Receiver) -> list[bytes]:
    """The span ids in the protobuf requests."""
    found = []
    for body in server.acknowledged:
        if body.startswith(b"{"):
            continue
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            found += [span.span_id for scope in resource.scope_spans for span in scope.spans]
    return found


def test_a_history_arrives_whole_although_the_receiver_is_busy() -> None:
    past = Past("load", date(2026, 11, 18), datetime(2026, 11, 18, 12, tzinfo=UTC), scale=0.2)
    days: list[int] = []
    with receiver(503, 503, 200, 503) as (server, url):
        stop = threading.Event()
        sent = load(past, 2, lambda: Exporter(url, "agk_test", stop), stop, lambda _, count: days.append(count))
        ids = spans_in(server)
    assert sent == sum(days) > 200
    assert len(ids) == len(set(ids)) > 150


def test_a_refused_history_says_so_and_ends() -> None:
    past = Past("load", date(2026, 11, 18), datetime(2026, 11, 18, 12, tzinfo=UTC), scale=0.2)
    stop = threading.Event()
    with receiver(*[401] * 500) as (_, url), pytest.raises(ExportError, match="401"):
        load(past, 10, lambda: Exporter(url, "agk_test", stop), stop, lambda *_: None)


def test_live_traffic_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    with receiver() as (server, url):
        traffic = Traffic("live", session_seconds=0.01)
        thread = threading.Thread(target=run, args=(traffic, Exporter(url, "agk_test", stop), stop))
        thread.start()
        deadline = threading.Event()
        while not server.acknowledged and not deadline.wait(0.05):
            pass
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
    assert server.acknowledged
