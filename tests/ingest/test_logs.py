"""What logs tell of model calls stands with their spans, whichever came first."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.urls import reverse
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns
from agentops.accounts.actions import create_token
from agentops.accounts.models import User
from agentops.domain.spans import LogRecord
from agentops.ingest.answers import JSON
from agentops.ingest.batch import Batch, Unavailable
from agentops.ingest.booking import book
from agentops.ingest.connections import connect
from agentops.ingest.otlp import BadRequest, Limits, TooLarge, decode_logs_protobuf
from agentops.ingest.otlp_json import decode_logs_json
from agentops.ingest.pipeline import Pipeline, understand_records
from agentops.ingest.receiver import Receiver, decode
from agentops.runs import messages
from tests.captures import Capture, captures
from tests.ingest.asgi import KeepingSink, OpenGate, call, open_receiver
from tests.understanding import START

BOUNDS = Limits(spans=1_000, now_ns=START, past_ns=0, future_ns=1 << 62)
LOGGED = [capture for capture in captures() if any(capture.logs())]


def request(*changes: dict[str, Any]) -> ExportLogsServiceRequest:
    """A request with a choice that asks for a tool, once for each set of changes."""
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for change in changes:
        record = records.add(trace_id=b"t" * 16, span_id=b"s" * 8, event_name="gen_ai.choice", time_unix_nano=START)
        record.body.string_value = json.dumps(
            {"message": {"content": "I look.", "tool_calls": [{"function": {"name": "t", "arguments": "{}"}}]}}
        )
        for name, value in change.items():
            setattr(record, name, value)
    return message


def as_json(body: bytes) -> bytes:
    """The same request as OTLP spells it in JSON."""
    found = MessageToDict(ExportLogsServiceRequest.FromString(body), use_integers_for_enums=True)
    for group in found.get("resourceLogs", ()):
        for scoped in group.get("scopeLogs", ()):
            for record in scoped.get("logRecords", ()):
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64decode(record[name]).hex()
    return orjson.dumps(found)


def records_of(capture: Capture) -> Iterator[LogRecord]:
    for body, _, encoding in capture.logs():
        plain = gzip.decompress(body) if encoding == "gzip" else body
        decoded = decode_logs_protobuf(plain, BOUNDS)
        assert decoded.rejected == 0
        in_json = decode_logs_json(as_json(plain), BOUNDS)
        assert [record.body for record in in_json.records] == [record.body for record in decoded.records]
        assert [record.attributes for record in in_json.records] == [record.attributes for record in decoded.records]
        assert [record.span_id for record in in_json.records] == [record.span_id for record in decoded.records]
        yield from decoded.records


@pytest.mark.parametrize("capture", LOGGED, ids=lambda capture: capture.name)
def test_captured_logs_tell_which_tools_the_model_asked_for(capture: Capture) -> None:
    told = understand_records(Batch([], "", records=list(records_of(capture))))
    asked = [call for message in told for call in orjson.loads(message.content).get("requested_tools", ())]
    lacking = capture.expected["not_carried"].get("tool_calls_requested")
    true = lacking["truth"] if lacking else capture.expected["tool_calls_requested"]
    assert [call["tool"] for call in asked] == [call["name"] for call in true]
    if lacking:
        assert {call["arguments"] for call in asked} <= {None}
    else:
        assert [call["arguments"] for call in asked] == [call["arguments"] for call in true]


def understood(record: dict[str, Any]) -> dict[str, Any]:
    (message,) = understand_records(Batch([], "bot", records=decode_logs_protobuf(encoded(record), BOUNDS).records))
    found: dict[str, Any] = orjson.loads(message.content)
    return found


def encoded(record: dict[str, Any]) -> bytes:
    return request(record).SerializeToString()


def test_the_body_may_be_text_that_says_it_and_the_name_an_attribute() -> None:
    message = request({"event_name": ""})
    attribute = message.resource_logs[0].scope_logs[0].log_records[0].attributes.add(key="event.name")
    attribute.value.string_value = "gen_ai.choice"
    decoded = decode_logs_protobuf(message.SerializeToString(), BOUNDS)
    (told,) = understand_records(Batch([], "bot", records=decoded.records))
    assert orjson.loads(told.content) == {"requested_tools": [{"tool": "t", "arguments": {}}], "output": "I look."}


@pytest.mark.parametrize(
    "change",
    [
        {"event_name": "gen_ai.user.message"},
        {"event_name": "gen_ai.evaluation.result"},
        {"span_id": b""},
        {"span_id": bytes(8)},
        {"trace_id": b"short"},
        {"event_name": ""},
    ],
)
def test_what_tells_no_answer_of_a_span_is_thanked_for(change: dict[str, Any]) -> None:
    body = encoded(change)
    for decoded in (decode_logs_protobuf(body, BOUNDS), decode_logs_json(as_json(body), BOUNDS)):
        assert (decoded.records, decoded.rejected) == ([], 0)


def test_one_bad_record_does_not_spoil_the_rest() -> None:
    body = request({}, {"severity_text": "spoil"}, {}).SerializeToString()
    decoded = decode_logs_protobuf(body.replace(b"gen_ai.choice", b"gen_ai.choic\xff", 1), BOUNDS)
    assert len(decoded.records) == 2
    message = request({}, {})
    deep = message.resource_logs[0].scope_logs[0].log_records[0].body
    for _ in range(90):
        deep = deep.array_value.values.add()
    deep.string_value = "x" * 20_000
    decoded = decode_logs_protobuf(message.SerializeToString(), BOUNDS)
    assert (len(decoded.records), decoded.rejected) == (1, 1)
    odd = orjson.dumps(
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [5, {"traceId": "zz", "eventName": "gen_ai.choice"}]}]}]}
    )
    assert decode_logs_json(odd, BOUNDS).rejected == 2


@pytest.mark.parametrize(
    "decoder", [decode_logs_protobuf, lambda body, bounds: decode_logs_json(as_json(body), bounds)]
)
def test_too_many_records_are_too_large(decoder: Any) -> None:
    with pytest.raises(TooLarge):
        decoder(request(*[{}] * 1_001).SerializeToString(), BOUNDS)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutants_are_refused_or_understood(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([request({}, {}).SerializeToString(), as_json(encoded({}))]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        piece = data.draw(st.binary(max_size=6) | st.sampled_from([b'"', b"{", b"[", b"null", b"\xff", b"\x0a\x05"]))
        body = body[:at] + piece + body[at + data.draw(st.integers(0, 4)) :]
    for decoder in (decode_logs_protobuf, decode_logs_json):
        try:
            records = decoder(body, BOUNDS).records
        except (BadRequest, TooLarge):
            continue
        for message in understand_records(Batch([], "", records=records)):
            assert orjson.loads(message.content)
            assert 0 <= message.told_ns < 1 << 63


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message", "content", "parts", "tool_calls", "function", "name", "arguments", "toolUse"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from(["gen_ai.choice", "gen_ai.client.inference.operation.details"]))
def test_no_body_makes_it_raise(body: Any, event: str) -> None:
    record = decode_logs_protobuf(encoded({}), BOUNDS).records[0]
    record.body, record.event, record.attributes = body, event, {"gen_ai.output.messages": body}
    for message in understand_records(Batch([], "", records=[record])):
        assert orjson.loads(message.content)
        assert "\x00" not in message.content


def test_without_content_nothing_is_kept(settings: LazySettings) -> None:
    settings.INGEST_KEEP_CONTENT = False
    records = decode_logs_protobuf(encoded({}), BOUNDS).records
    assert understand_records(Batch([], "", records=records)) == []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_receiver_hands_on_what_tells_of_calls() -> None:
    sink = KeepingSink()
    for body, content_type in ((encoded({}), "application/x-protobuf"), (as_json(encoded({})), JSON)):
        answer = await call(open_receiver(sink), body, path="/v1/logs", headers={"content-type": content_type})
        assert (answer.status, answer.body) == (200, b"" if content_type != JSON else b"{}")
    assert [len(batch.records) for batch in sink.batches] == [1, 1]


@pytest.mark.anyio
async def test_a_bad_record_is_told_of_and_no_answer_is_a_500() -> None:
    bad = request({}, {}).SerializeToString().replace(b"gen_ai.choice", b"gen_ai.choic\xff", 1)
    answer = await call(open_receiver(KeepingSink()), bad.replace(b"\xff", b"\xff"), path="/v1/logs")
    assert answer.status == 200
    busy = await call(open_receiver(KeepingSink(Unavailable(retry_after=3))), encoded({}), path="/v1/logs")
    assert (busy.status, busy.headers["retry-after"]) == (503, "3")
    broken = await call(open_receiver(KeepingSink(ZeroDivisionError("a bug"))), encoded({}), path="/v1/logs")
    assert broken.status == 200
    partial = ExportLogsServiceResponse.FromString(broken.body).partial_success
    assert (partial.rejected_log_records, bool(partial.error_message)) == (1, True)
    told = await call(
        open_receiver(KeepingSink(ZeroDivisionError("a bug"))),
        as_json(encoded({})),
        path="/v1/logs",
        headers={"content-type": JSON},
    )
    assert json.loads(told.body)["partialSuccess"]["rejectedLogRecords"] == "1"
    assert (await call(open_receiver(KeepingSink()), b"\x0agen_ai.choice", path="/v1/logs")).status == 400


def arrivals() -> list[str]:
    """Every order in which spans and logs may come, each of them once or twice."""
    return sorted({"".join(order) for word in ("SL", "SLL", "SSL") for order in itertools.permutations(word)})


@pytest.mark.django_db
@pytest.mark.parametrize("order", arrivals())
@pytest.mark.parametrize("name", ["otel-openai-v2/tools__bare", "otel-openai-v2/tools"])
def test_whatever_comes_first_the_tools_asked_for_stand_on_their_spans(name: str, order: str) -> None:
    capture = next(capture for capture in captures() if capture.name == name)
    pipeline = Pipeline()
    connection.ensure_connection()
    with Cursor(connection.connection) as cursor:
        cursor.format = Format.BINARY
        columns.register(cursor)
        for signal in order:
            if signal == "S":
                for body, content_type, encoding in capture.requests():
                    entries, _ = pipeline.understand(Batch(decode(body, content_type, encoding).spans, ""))
                    book(cursor, entries, set())
            else:
                messages.add(cursor, understand_records(Batch([], "", records=list(records_of(capture)))))
    pipeline.close()
    user = User.objects.create_user("maria")
    client, person = Client(headers={"Authorization": f"Bearer {create_token(user=user)}"}), Client()
    person.force_login(user)
    asked = []
    for run in client.get("/api/v1/runs").json()["items"]:
        for step in client.get(f"/api/v1/runs/{run['trace_id']}").json()["steps"]:
            asked += [(step["started_at"], call) for call in step["requested_tools"]]
            page = person.get(reverse("runs:step", args=[run["trace_id"], step["span_id"]])).content.decode()
            assert ("Tools asked for" in page) == bool(step["requested_tools"])
    true = capture.expected["not_carried"]["tool_calls_requested"]["truth"]
    assert [call for _, call in sorted(asked, key=lambda pair: pair[0])] == [
        {"tool": call["name"], "arguments": None} for call in true
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.anyio
async def test_logs_go_through_the_writer_into_the_books() -> None:
    pipeline = Pipeline()
    receiver = Receiver(pipeline, OpenGate())
    for _ in range(2):
        answer = await call(receiver, encoded({}), path="/v1/logs", headers={"x-service": "bot"})
        assert (answer.status, answer.body) == (200, b"")
    pipeline.close()
    with connect("test") as books:
        rows = books.execute("SELECT service, content FROM span_messages").fetchall()
        events = books.execute("SELECT topics FROM live_liveevent").fetchall()
    assert [service for service, _ in rows] == ["bot"]
    assert events == [([f"run:{(b't' * 16).hex()}"],)]


@pytest.mark.django_db
def test_messages_go_when_the_text_of_their_spans_does() -> None:
    connection.ensure_connection()
    with Cursor(connection.connection) as cursor:
        cursor.format = Format.BINARY
        columns.register(cursor)
        messages.add(
            cursor, understand_records(Batch([], "bot", records=decode_logs_protobuf(encoded({}), BOUNDS).records))
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_DATE")
        today = cursor.fetchone()[0]
    of_run = {"trace_id": b"t" * 16, "service": "bot", "first": today, "last": today}
    messages.forget(today)
    assert messages.complete(of_run, {b"s" * 8: None})
    messages.forget(today.replace(year=today.year + 1))
    assert messages.complete(of_run, {b"s" * 8: None}) == {}
