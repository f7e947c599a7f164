"""The receiver's bounds: on bodies that come slowly, endlessly or all at once, and on decoding."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from agentops.accounts.models import IngestKey
from agentops.ingest import receiver as receivers
from agentops.ingest.answers import JSON
from agentops.ingest.batch import Batch, Receipt, Unavailable
from agentops.ingest.gate import MAX_FAILURES_PER_MINUTE, TRUSTED_SECONDS, Gate, Refused, Sender, key_of
from agentops.ingest.receiver import Receiver, decompress, is_ingest
from tests.ingest.asgi import KeepingSink, OpenGate, call, open_receiver
from tests.ingest.payloads import MIB, request, span

pytestmark = pytest.mark.anyio

ONE = request([span(0)])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Connection:
    """A request whose body comes as the test says, and what was answered to it."""

    def __init__(self, *, path: str = "/v1/traces", headers: dict[str, str] | None = None) -> None:
        given = {"content-type": "application/x-protobuf", **(headers or {})}
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
        }
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.read = 0
        self.sent: list[dict[str, Any]] = []

    def put(self, chunk: bytes, *, more: bool) -> None:
        """A piece of the body arrives."""
        self.incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    async def receive(self) -> dict[str, Any]:
        """What the receiver reads next."""
        self.read += 1
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        """What the receiver writes."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The status answered."""
        return int(self.sent[0]["status"])

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer."""
        return (b"connection", b"close") in self.sent[0]["headers"]


async def test_a_body_that_does_not_end_is_refused_and_its_connection_closed() -> None:
    connection = Connection()
    for _ in range(100):
        connection.put(bytes(MIB), more=True)
    await open_receiver(KeepingSink())(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.closes) == (413, True)
    assert connection.read == 17


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    connection = Connection(headers={"content-length": str(17 * MIB)})
    await open_receiver(KeepingSink())(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.closes, connection.read) == (413, True, 0)


async def test_a_body_that_lies_about_its_length_is_counted(sink: KeepingSink) -> None:
    connection = Connection(headers={"content-length": "3"})
    connection.put(ONE, more=False)
    await open_receiver(sink)(connection.scope, connection.receive, connection.send)
    assert (connection.status, len(sink.batches)) == (200, 1)


@pytest.fixture
def sink() -> KeepingSink:
    return KeepingSink()


async def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "BODY_SECONDS", 0.05)
    connection = Connection()
    connection.put(b"\x0a", more=True)
    await open_receiver(KeepingSink())(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.closes) == (408, True)
    assert Status.FromString(connection.sent[1]["body"]).message


async def test_a_sender_that_goes_away_is_not_answered(sink: KeepingSink) -> None:
    connection = Connection()
    connection.put(ONE, more=True)
    connection.incoming.put_nowait({"type": "http.disconnect"})
    receiver = open_receiver(sink)
    await receiver(connection.scope, connection.receive, connection.send)
    assert (connection.sent, sink.batches) == ([], [])
    assert (await call(receiver, ONE)).status == 200


async def test_a_body_is_not_read_before_its_key_was_checked() -> None:
    connection = Connection()
    await Receiver(KeepingSink(), Gate())(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.closes, connection.read) == (401, True, 0)


async def test_an_answer_to_a_whole_request_keeps_the_connection(sink: KeepingSink) -> None:
    for body in (ONE, b"\x0a\xff"):
        assert "connection" not in (await call(open_receiver(sink), body)).headers


async def test_bodies_under_way_are_bounded_all_together(monkeypatch: pytest.MonkeyPatch, sink: KeepingSink) -> None:
    monkeypatch.setattr(receivers, "MAX_BYTES_UNDER_WAY", 100_000)
    receiver = open_receiver(sink)
    slow = [Connection() for _ in range(3)]
    for connection in slow:
        connection.put(bytes(40_000), more=True)
    under_way = [asyncio.create_task(receiver(c.scope, c.receive, c.send)) for c in slow]
    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    refused = [connection for connection in slow if connection.sent]
    assert [(connection.status, connection.closes) for connection in refused] == [(503, True)]
    assert dict(refused[0].sent[0]["headers"])[b"retry-after"] == b"2"
    for connection in slow:
        connection.incoming.put_nowait({"type": "http.disconnect"})
    await asyncio.gather(*under_way)
    assert (await call(receiver, ONE)).status == 200


async def test_when_all_slots_decode_the_next_is_asked_to_come_back(
    monkeypatch: pytest.MonkeyPatch, sink: KeepingSink
) -> None:
    monkeypatch.setattr(receivers, "SLOT_SECONDS", 0.05)
    held = threading.Event()
    decode_plain = receivers.decode_plain

    def decode_when_let(body: bytes, content_type: str) -> Any:
        held.wait(20)
        return decode_plain(body, content_type)

    monkeypatch.setattr(receivers, "decode_plain", decode_when_let)
    receiver = open_receiver(sink)
    large = request([span(n) for n in range(2_000)])
    under_way = [asyncio.create_task(call(receiver, large)) for _ in range(receivers.DECODE_SLOTS)]
    await asyncio.sleep(0)
    answer = await call(receiver, large)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    held.set()
    assert [done.status for done in await asyncio.gather(*under_way)] == [200] * receivers.DECODE_SLOTS


async def test_what_is_small_when_packed_and_large_when_not_is_decoded_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, sink: KeepingSink
) -> None:
    threads: list[str] = []
    decode_plain = receivers.decode_plain

    def noting(body: bytes, content_type: str) -> Any:
        threads.append(threading.current_thread().name)
        return decode_plain(body, content_type)

    monkeypatch.setattr(receivers, "decode_plain", noting)
    packed = gzip.compress(request([span(0)] * 3_000))
    assert len(packed) < receivers.INLINE_BYTES
    for body in (packed, gzip.compress(ONE)):
        assert (await call(open_receiver(sink), body, headers={"content-encoding": "gzip"})).status == 200
    assert [name.split("_")[0] for name in threads] == ["decode", threading.current_thread().name]


@pytest.mark.parametrize(
    ("body", "most", "expected"),
    [
        (gzip.compress(b"abc"), 3, b"abc"),
        (gzip.compress(b"abc"), 2, None),
        (gzip.compress(b"ab") + gzip.compress(b"c"), 3, b"abc"),
        (gzip.compress(b"ab") + gzip.compress(b"c"), 2, None),
        (gzip.compress(b""), 0, b""),
        (gzip.compress(bytes(3 * MIB)), 3 * MIB, bytes(3 * MIB)),
    ],
)
def test_gzip_is_opened_up_to_a_bound_over_all_members(body: bytes, most: int, expected: bytes | None) -> None:
    assert decompress(body, "gzip", most) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        gzip.compress(b"abc")[:-1],
        gzip.compress(b"abc") + b"rest",
        gzip.compress(b"") * 65,
        b"\x1f\x8b\x08\xff" * 9,
    ],
)
async def test_gzip_that_is_none_is_bad_data(sink: KeepingSink, body: bytes) -> None:
    assert (await call(open_receiver(sink), body, headers={"content-encoding": "gzip"})).status == 400


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br", "zstd", "x"])
async def test_other_encodings_are_named_as_such(sink: KeepingSink, encoding: str) -> None:
    assert (await call(open_receiver(sink), ONE, headers={"content-encoding": encoding})).status == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-protobuf", "text/html"])
async def test_every_refusal_is_a_status_in_the_encoding_of_the_request(
    sink: KeepingSink, method: str, content_type: str
) -> None:
    for path, status, code in (("/v1/traces", 405, 12), ("/v1/else", 404, 5)):
        answer = await call(open_receiver(sink), method=method, path=path, headers={"content-type": content_type})
        assert answer.status == status
        if content_type == JSON:
            assert json.loads(answer.body)["code"] == code
        else:
            assert Status.FromString(answer.body).code == code


async def test_a_receipt_with_warnings_is_a_success_that_says_so() -> None:
    class Hesitant(KeepingSink):
        async def submit(self, batch: Batch) -> Receipt:
            return Receipt(accepted=len(batch.spans) - 1, rejected=1, warnings=["one came too late"])

    answer = await call(open_receiver(Hesitant()), request([span(0), span(1)]))
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, partial.rejected_spans, partial.error_message) == (200, 1, "one came too late")


async def test_when_even_the_quarantine_fails_the_sender_may_try_again(caplog: pytest.LogCaptureFixture) -> None:
    class Full(KeepingSink):
        async def quarantine(self, batch: Batch, error: BaseException) -> None:
            raise OSError(batch.service) from error

    with caplog.at_level(logging.CRITICAL):
        answer = await call(open_receiver(Full(ZeroDivisionError())), ONE)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_unavailable_says_when_to_come_back_in_whole_seconds() -> None:
    answer = await call(open_receiver(KeepingSink(Unavailable(retry_after=0.2))), ONE)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/v1/traces", True),
        ("/v1/x", True),
        ("/api/public/otel/v1/traces", True),
        ("/api/v1/runs", False),
        ("/", False),
    ],
)
def test_the_receiver_answers_for_its_own_paths_only(path: str, ours: bool) -> None:
    assert is_ingest(path) is ours


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer k"}, "k"),
        ({b"authorization": b"bearer  k "}, "k"),
        ({b"authorization": b"Basic cGs6aw=="}, "k"),
        ({b"authorization": b"Basic ???"}, ""),
        ({b"authorization": b"Basic cGs="}, ""),
        ({b"authorization": b"Bearer"}, ""),
        ({b"x-api-key": b" k"}, "k"),
        ({b"authorization": b"\xff\xfe", b"x-api-key": b"\xff"}, "\xff"),
        ({}, ""),
    ],
)
def test_the_key_is_found_where_clients_put_it(headers: dict[bytes, bytes], key: str) -> None:
    assert key_of(headers) == key


class CountingGate(Gate):
    """Knows one key, and counts how often it was asked."""

    asked = 0

    def _look_up(self, text: str) -> Sender | None:
        type(self).asked += 1
        return Sender("id", "bot") if text == "good" else None


async def test_a_good_key_is_looked_up_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingGate, "asked", 0)
    now = 0.0
    gate = CountingGate(clock=lambda: now)
    for _ in range(50):
        await gate.admit({b"x-api-key": b"good"}, "a")
    assert CountingGate.asked == 1
    now = TRUSTED_SECONDS + 0.1
    await gate.admit({b"x-api-key": b"good"}, "a")
    assert CountingGate.asked == 2


async def test_who_guesses_does_not_lock_out_a_good_key_from_the_same_address() -> None:
    now = 0.0
    gate = CountingGate(clock=lambda: now)
    await gate.admit({b"x-api-key": b"good"}, "a")
    for _ in range(MAX_FAILURES_PER_MINUTE):
        with pytest.raises(Refused, match="not known"):
            await gate.admit({b"x-api-key": b"bad"}, "a")
    now = TRUSTED_SECONDS + 0.1
    with pytest.raises(Refused) as refused:
        await gate.admit({b"x-api-key": b"bad"}, "a")
    assert refused.value.status == 429
    assert 0 < (refused.value.retry_after or 0) <= 60
    assert (await gate.admit({b"x-api-key": b"good"}, "a")).service == "bot"
    now = 61.0
    with pytest.raises(Refused, match="not known"):
        await gate.admit({b"x-api-key": b"bad"}, "a")


async def test_when_keys_cannot_be_checked_the_sender_may_try_again(caplog: pytest.LogCaptureFixture) -> None:
    class Dead(Gate):
        def _look_up(self, text: str) -> Sender | None:
            raise ConnectionError(text)

    receiver = Receiver(KeepingSink(), Dead())
    answer = await call(receiver, ONE, headers={"x-api-key": "a secret"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "a secret" not in caplog.text


def test_the_open_gate_of_the_tests_is_not_the_real_one() -> None:
    assert type(Receiver(KeepingSink()).gate) is Gate
    assert issubclass(OpenGate, Gate)
    assert IngestKey._meta.get_field("digest").max_length == 32
