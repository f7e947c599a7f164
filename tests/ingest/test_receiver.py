"""The receiver answers to the letter of OTLP/HTTP."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from agentops.accounts.actions import create_ingest_key, revoke_ingest_key
from agentops.accounts.models import IngestKey
from agentops.ingest import gate as gates
from agentops.ingest import otlp
from agentops.ingest.answers import JSON, PROTOBUF
from agentops.ingest.batch import Unavailable
from agentops.ingest.gate import Gate
from agentops.ingest.receiver import Receiver
from tests.ingest.asgi import KeepingSink, call, open_receiver

pytestmark = pytest.mark.anyio

NOW = 1_795_000_000 * 10**9


def request(*, spans: int = 1, start: int = NOW, **changes: Any) -> ExportTraceServiceRequest:
    """A request with some model calls in it."""
    message = ExportTraceServiceRequest()
    scoped = message.resource_spans.add().scope_spans.add()
    for n in range(spans):
        span = scoped.spans.add()
        span.trace_id, span.span_id, span.name = b"t" * 16, n.to_bytes(8, "big", signed=False) or b"", "chat"
        span.span_id = (n + 1).to_bytes(8, "big")
        span.start_time_unix_nano, span.end_time_unix_nano = start, start + 1_000
        attribute = span.attributes.add()
        attribute.key, attribute.value.string_value = "gen_ai.operation.name", "chat"
        for name, value in changes.items():
            setattr(span, name, value)
    return message


@pytest.fixture(autouse=True)
def _at_a_known_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp.time, "time_ns", lambda: NOW)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def sink() -> KeepingSink:
    return KeepingSink()


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/traces/", "/api/public/otel/v1/traces"])
async def test_traces_are_taken_and_the_answer_is_plain(sink: KeepingSink, path: str) -> None:
    answer = await call(open_receiver(sink), request(spans=3).SerializeToString(), path=path)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", PROTOBUF)
    assert len(sink.batches[0].spans) == 3


async def test_an_empty_request_succeeds(sink: KeepingSink) -> None:
    assert (await call(open_receiver(sink), b"")).status == 200
    answer = await call(open_receiver(sink), b"{}", headers={"content-type": JSON})
    assert (answer.status, json.loads(answer.body)) == (200, {})


async def test_gzip_is_taken_also_in_several_members(sink: KeepingSink) -> None:
    body = request(spans=2).SerializeToString()
    packed = gzip.compress(body[:40]) + gzip.compress(body[40:])
    answer = await call(open_receiver(sink), packed, headers={"content-encoding": "gzip"})
    assert answer.status == 200
    assert len(sink.batches[0].spans) == 2


async def test_json_ids_are_hexadecimal_in_any_case_and_unknown_fields_are_ignored(sink: KeepingSink) -> None:
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(NOW),
        "endTimeUnixNano": NOW + 5,
        "surprise": {"a": 1},
        "attributes": [
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "42"}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 7}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
        ],
        "status": {"code": 2, "message": "broken"},
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span], "schema_url": "x"}]}]}).encode()
    answer = await call(open_receiver(sink), body, headers={"content-type": "application/json; charset=utf-8"})
    assert (answer.status, json.loads(answer.body)) == (200, {})
    (raw,) = sink.batches[0].spans
    assert raw.trace_id == bytes.fromhex("5b8efff798038103d269b633813fc60c")
    assert (raw.start_ns, raw.end_ns, raw.status_code) == (NOW, NOW + 5, 2)
    assert raw.attributes["gen_ai.usage.input_tokens"] == 42
    assert raw.attributes["gen_ai.usage.output_tokens"] == 7
    assert raw.attributes["list"] == ["x"]


async def test_one_invalid_utf8_string_rejects_its_span_alone(sink: KeepingSink) -> None:
    body = request(spans=5).SerializeToString().replace(b"chat", b"ch\xff\xfe", 1)
    answer = await call(open_receiver(sink), body)
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert answer.status == 200
    assert partial.rejected_spans == 1
    assert "UTF-8" in partial.error_message
    assert len(sink.batches[0].spans) == 4


@pytest.mark.parametrize(
    ("changes", "rejected"),
    [
        ({"trace_id": b""}, 1),
        ({"trace_id": bytes(16)}, 1),
        ({"trace_id": b"x" * 1000}, 1),
        ({"span_id": bytes(8)}, 1),
        ({"span_id": b"short"}, 1),
        ({"parent_span_id": b"odd"}, 0),
    ],
)
async def test_invalid_ids_reject_their_span(sink: KeepingSink, changes: dict[str, bytes], rejected: int) -> None:
    answer = await call(open_receiver(sink), request(**changes).SerializeToString())
    assert answer.status == 200
    assert ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans == rejected


@pytest.mark.parametrize(
    ("start", "end", "booked"),
    [
        (0, 0, (NOW, NOW)),
        (0, 5, (NOW - 5, NOW)),
        (2**64 - 1, 2**64 - 1, (NOW, NOW)),
        (1, NOW, (NOW, NOW)),
        (NOW + 3_600 * 10**9, NOW + 3_601 * 10**9, (NOW - 10**9, NOW)),
        (NOW, NOW - 5, (NOW, NOW)),
        (NOW, 2**64 - 1, (NOW, NOW)),
    ],
)
async def test_impossible_times_are_put_right(sink: KeepingSink, start: int, end: int, booked: tuple[int, int]) -> None:
    body = request(start_time_unix_nano=start, end_time_unix_nano=end).SerializeToString()
    answer = await call(open_receiver(sink), body)
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    (span,) = sink.batches[0].spans
    assert (span.start_ns, span.end_ns) == booked
    assert partial.rejected_spans == 0
    assert partial.error_message


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\x0a\xff", {}, 400),
        (b"not json", {"content-type": JSON}, 400),
        (b"[]", {"content-type": JSON}, 400),
        (b'{"resourceSpans": {}}', {"content-type": JSON}, 400),
        (b"[" * 100_000, {"content-type": JSON}, 400),
        (b"hello", {"content-type": "text/plain"}, 415),
        (b"hello", {"content-encoding": "br"}, 415),
        (b"hello", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"x" * 100)[:-9], {"content-encoding": "gzip"}, 400),
        (gzip.compress(gzip.compress(b"x" * 10_000)), {"content-encoding": "gzip"}, 400),
        (gzip.compress(bytes(64 * 1024 * 1024)), {"content-encoding": "gzip"}, 413),
        (b"", {"content-length": str(10**12)}, 413),
        ([b"x" * (1 << 20)] * 18, {}, 413),
        (b"\x0a\x00" * 200_000, {}, 413),
        (b"{" * 10 + b'"a":[' + b"{}," * 500_000, {"content-type": JSON}, 413),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_a_status(
    sink: KeepingSink, body: Any, headers: dict[str, str], status: int
) -> None:
    answer = await call(open_receiver(sink), body, headers=headers)
    assert answer.status == status
    if headers.get("content-type") == JSON:
        assert answer.headers["content-type"] == JSON
        assert json.loads(answer.body)["message"]
    else:
        assert Status.FromString(answer.body).message
    assert not sink.batches


async def test_other_paths_and_methods_are_named(sink: KeepingSink) -> None:
    assert (await call(open_receiver(sink), path="/v1/nothing")).status == 404
    answer = await call(open_receiver(sink), method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("signal", ["logs", "metrics"])
async def test_logs_and_metrics_are_thanked_for(sink: KeepingSink, signal: str) -> None:
    answer = await call(open_receiver(sink), b"\x0a\x00", path=f"/v1/{signal}")
    assert (answer.status, answer.body) == (200, b"")
    answer = await call(open_receiver(sink), b"{}", path=f"/v1/{signal}", headers={"content-type": JSON})
    assert json.loads(answer.body) == {}
    assert not sink.batches


async def test_when_the_books_cannot_be_written_the_sender_may_try_again() -> None:
    answer = await call(open_receiver(KeepingSink(Unavailable(retry_after=7))), request().SerializeToString())
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")


async def test_our_own_fault_keeps_the_body_aside_and_is_no_error() -> None:
    sink = KeepingSink(ZeroDivisionError("a bug"))
    answer = await call(open_receiver(sink), request().SerializeToString())
    assert answer.status == 200
    assert ExportTraceServiceResponse.FromString(answer.body).partial_success.error_message
    assert len(sink.quarantined) == 1


@pytest.mark.django_db(transaction=True)
async def test_keys_open_the_door_in_every_spelling_and_nothing_else_does(sink: KeepingSink) -> None:
    text = await _in_thread(lambda: create_ingest_key(name="test", service="bot"))
    receiver = Receiver(sink, Gate())
    body = request().SerializeToString()
    basic = base64.b64encode(f"anything:{text}".encode()).decode()
    for headers in ({"authorization": f"Bearer {text}"}, {"x-api-key": text}, {"authorization": f"Basic {basic}"}):
        assert (await call(receiver, body, headers=headers)).status == 200
    assert {batch.service for batch in sink.batches} == {"bot"}
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"x-api-key": text[:-1] + "~"}):
        answer = await call(receiver, body, headers=headers, address="10.0.0.1")
        assert answer.status == 401
        assert Status.FromString(answer.body).code == 16


@pytest.mark.django_db(transaction=True)
async def test_a_revoked_key_is_refused_once_its_trust_has_run_out(sink: KeepingSink) -> None:
    text = await _in_thread(lambda: create_ingest_key(name="test"))
    now = 0.0
    receiver = Receiver(sink, Gate(clock=lambda: now))
    headers = {"authorization": f"Bearer {text}"}
    assert (await call(receiver, headers=headers)).status == 200
    await _in_thread(lambda: revoke_ingest_key(key=IngestKey.objects.get()))
    now = gates.TRUSTED_SECONDS + 0.1
    assert (await call(receiver, headers=headers)).status == 401


@pytest.mark.django_db(transaction=True)
async def test_guessing_keys_is_slowed_down(sink: KeepingSink) -> None:
    receiver = Receiver(sink, Gate())
    wrong = {"x-api-key": "agk_" + "0" * 12 + "_" + "A" * 43}
    statuses = [(await call(receiver, headers=wrong)).status for _ in range(gates.MAX_FAILURES_PER_MINUTE + 1)]
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {401}
    assert (await call(receiver, headers=wrong, address="10.0.0.2")).status == 401


async def _in_thread(work: Any) -> Any:
    def and_close() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return await sync_to_async(and_close)()
