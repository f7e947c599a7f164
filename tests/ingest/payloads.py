"""OTLP requests for tests, from the byte up: whole ones, hostile ones, and captures turned into JSON."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agentops.ingest.answers import JSON, PROTOBUF

NOW = 1_795_000_000 * 10**9
MIB = 1 << 20
BOMB = 15 * MIB


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def span(n: int, rest: bytes = b"") -> bytes:
    """The wire bytes of a valid span, and whatever else it is to hold."""
    times = b"\x39" + NOW.to_bytes(8, "little") + b"\x41" + NOW.to_bytes(8, "little")
    return field(1, b"t" * 16) + field(2, (n + 1).to_bytes(8, "big")) + times + rest


def attribute(key: str, value: bytes) -> bytes:
    """A span's attribute; ``value`` is the wire form of an AnyValue."""
    return field(9, field(1, key.encode()) + field(2, value))


def request(spans: Iterable[bytes], resource: bytes = b"") -> bytes:
    """The wire bytes of a request with one resource and one scope."""
    return field(1, field(1, resource) + field(2, b"".join(field(2, span) for span in spans)))


def as_json(body: bytes) -> bytes:
    """A protobuf request in OTLP's JSON, where ids are hexadecimal and enums are numbers."""
    message = ExportTraceServiceRequest.FromString(body)
    plain = MessageToDict(message, use_integers_for_enums=True)
    for (_, target), source in zip(_spans(plain), _messages(message), strict=True):
        target["traceId"], target["spanId"] = source.trace_id.hex(), source.span_id.hex()
        target["parentSpanId"] = source.parent_span_id.hex()
        target.pop("links", None)
    return orjson.dumps(plain)


def as_protobuf(body: bytes) -> bytes:
    """A request in OTLP's JSON, in protobuf."""
    plain = orjson.loads(body)
    for _, span in _spans(plain):
        for name in ("traceId", "spanId", "parentSpanId"):
            span[name] = base64.b64encode(bytes.fromhex(span.get(name, ""))).decode()
        span.pop("links", None)
    return ParseDict(plain, ExportTraceServiceRequest()).SerializeToString()


def _spans(plain: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    groups = [s for r in plain.get("resourceSpans", []) for s in r.get("scopeSpans", [])]
    yield from enumerate(span for scoped in groups for span in scoped.get("spans", []))


def _messages(message: ExportTraceServiceRequest) -> Iterator[Any]:
    for group in message.resource_spans:
        for scoped in group.scope_spans:
            yield from scoped.spans


def _fill(piece: Callable[[int], bytes], room: int = BOMB) -> list[bytes]:
    """Valid spans, each with a piece of its own, as many as have room."""
    spans = []
    while room > 0:
        spans.append(span(len(spans), piece(len(spans))))
        room -= len(spans[-1]) + 4
    return spans


def _distinct_attributes(_: int) -> bytes:
    return b"".join(field(9, field(1, b"%x" % n)) for n in range(1_024))


def _nested_lists(_: int) -> bytes:
    return attribute("k", field(5, b"\x0a\x02\x2a\x00" * 1_000))


def _json_spans(attributes: int, most: int) -> bytes:
    times = {"startTimeUnixNano": str(NOW), "endTimeUnixNano": str(NOW)}
    pairs = [{"key": f"{n:x}", "value": {"intValue": 1}} for n in range(attributes)]
    spans = [{"traceId": "ab" * 16, "spanId": f"{n + 1:016x}", **times, "attributes": pairs} for n in range(most)]
    return orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})


#: Bodies that ask for far more memory or time than they have bytes: name -> how to make it.
BOMBS: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "empty spans": (PROTOBUF, "identity", lambda: field(1, field(2, b"\x12\x00" * (BOMB // 2)))),
    "empty spans, packed": (PROTOBUF, "gzip", lambda: gzip.compress(field(1, field(2, b"\x12\x00" * (BOMB // 2))))),
    "empty scopes": (PROTOBUF, "identity", lambda: field(1, b"\x12\x00" * (BOMB // 2))),
    "empty resources": (PROTOBUF, "identity", lambda: b"\x0a\x00" * (BOMB // 2)),
    "unknown fields": (PROTOBUF, "identity", lambda: b"\x78\x01" * (BOMB // 2)),
    "unknown fields in a scope": (PROTOBUF, "identity", lambda: field(1, field(2, b"\x78\x01" * (BOMB // 2)))),
    "empty attributes of one span": (PROTOBUF, "identity", lambda: request([span(0, b"\x4a\x00" * (BOMB // 2))])),
    "empty attributes, up to the limit": (PROTOBUF, "identity", lambda: request([span(0, b"\x4a\x00" * 59_000)] * 40)),
    "empty attributes of small spans": (PROTOBUF, "identity", lambda: request(_fill(lambda _: b"\x4a\x00" * 8_000))),
    "distinct attributes": (PROTOBUF, "identity", lambda: request(_fill(_distinct_attributes))),
    "empty events": (PROTOBUF, "identity", lambda: request(_fill(lambda _: b"\x5a\x00" * 128)[:19_000])),
    "empty links": (PROTOBUF, "identity", lambda: request(_fill(lambda _: b"\x6a\x00" * 8_000))),
    "lists of empty lists": (PROTOBUF, "identity", lambda: request(_fill(_nested_lists))),
    "a resource of empty attributes": (PROTOBUF, "identity", lambda: request([span(0)], b"\x0a\x00" * (BOMB // 2))),
    "a resource of empty entities": (PROTOBUF, "identity", lambda: request([span(0)], b"\x1a\x00" * (BOMB // 2))),
    "many resources of entities": (
        PROTOBUF,
        "identity",
        lambda: b"".join(request([span(n)], b"\x1a\x00" * 8_000) for n in range(900)),
    ),
    "empty objects": (JSON, "identity", lambda: b'{"resourceSpans":[' + b"{}," * (BOMB // 3) + b"{}]}"),
    "empty arrays": (JSON, "identity", lambda: b'{"x":[' + b"[]," * (BOMB // 3) + b"[]]}"),
    "short texts": (JSON, "identity", lambda: b'{"x":[' + b",".join(b'"%x"' % n for n in range(590_000)) + b"]}"),
    "small objects": (JSON, "identity", lambda: b'{"x":[' + b",".join(b'{"%x":1}' % n for n in range(119_000)) + b"]}"),
    "members": (JSON, "identity", lambda: b'{"x":{' + b",".join(b'"%x":{}' % n for n in range(119_000)) + b"}}"),
    "attributes in JSON": (JSON, "identity", lambda: _json_spans(60, 870)),
    "zeros": (PROTOBUF, "gzip", lambda: gzip.compress(bytes(512 * MIB), 9)),
    "many gzip members": (PROTOBUF, "gzip", lambda: gzip.compress(b"") * (BOMB // 20)),
    "broken text": (JSON, "identity", lambda: b'{"x":"' + b"\xff" * (4 * MIB - 20) + b'"}'),
    "backslashes": (JSON, "identity", lambda: b'{"x":"' + b"\\" * (4 * MIB - 20) + b'\\ud83d"}'),
}
