"""Seeded mutations of request bodies: bytes that are nearly right."""

from __future__ import annotations

import copy
import gzip
import random
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agentops.ingest.answers import JSON, PROTOBUF
from tests.captures import captures
from tests.ingest.payloads import as_json, as_protobuf, request

#: A body longer than this is not mutated: many small mutants find more than few large ones.
LONGEST = 24_000
WIRE_PIECES = [
    *(b"\x00", b"\xff", b"\x80" * 10, b"\xff" * 9 + b"\x01", b"\x4a\x00", b"\x0b", b"\x0c", b"\x12\x00" * 40),
    *(b"\xc3\x28", b"\xed\xa0\x80", b"\x39" + b"\xff" * 8, b"\x41" + bytes(8), b"\x21" + bytes(6) + b"\xf8\x7f"),
]
JSON_PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"NaN", b"1e999", b"-1", b"0.5", b"{}", b"[]"),
    *(
        b"18446744073709551616",
        b"1" * 400,
        b'"\\ud800"',
        b'"\\u0000"',
        b"\x00",
        b"\xff",
        b"[" * 60,
        b'{"arrayValue":{}}',
    ),
    *(b'{"stringValue":', b'{"intValue":"x"}', b'"gen_ai.usage.input_tokens"'),
]
ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 2**63, 2**64 - 1, 0.5, 1e300, "", "x", "\x00", "12", "1e9", "9" * 400, "=1+1", [], {}, [[]]),
    *({"intValue": "NaN"}, {"doubleValue": -1}, {"stringValue": "\x00\ufffd"}, {"arrayValue": {"values": [{}]}}),
    *("x" * 70_000, '{"a":', '[{"role":"user","parts":[{"type":"tool_call","arguments":{"a":1}}]}]', "<script>"),
]


def seeds() -> list[tuple[str, bytes]]:
    """The captures' bodies in both encodings: content type and body."""
    found = []
    for body, content_type in (sent for capture in captures() for sent in capture.bodies()):
        found.append((content_type, body))
        found.append((PROTOBUF, as_protobuf(body)) if content_type == JSON else (JSON, as_json(body)))
    return [(content_type, body) for content_type, body in found if len(body) <= LONGEST]


def mutants(seed: int, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Content type, encoding and body of ``count`` mutants, the same for the same seed."""
    source = random.Random(seed)
    bodies = seeds()
    for _ in range(count):
        content_type, body = source.choice(bodies)
        times = source.choice([1, 1, 1, 2, 3, 8])
        if source.random() < 0.5:
            body = _within_json(source, body, times) if content_type == JSON else _within_spans(source, body, times)
        else:
            pieces = JSON_PIECES if content_type == JSON else WIRE_PIECES
            for _ in range(times):
                body = _mutate(source, body, pieces)
        if source.random() < 0.2:
            packed = gzip.compress(body, 1, mtime=0)
            yield content_type, "gzip", _mutate(source, packed, WIRE_PIECES) if source.random() < 0.3 else packed
        elif source.random() < 0.02:
            yield content_type, "gzip", zlib.compress(body)
        else:
            yield content_type, "identity", body


def _within_spans(source: random.Random, body: bytes, times: int) -> bytes:
    """A request that is sound around spans of which some are not."""
    whole = ExportTraceServiceRequest.FromString(body)
    spans = [s.SerializeToString() for r in whole.resource_spans for scoped in r.scope_spans for s in scoped.spans]
    for _ in range(times):
        at = source.randrange(len(spans))
        spans[at] = _mutate(source, spans[at], WIRE_PIECES)
    return request(spans, whole.resource_spans[0].resource.SerializeToString())


def _within_json(source: random.Random, body: bytes, times: int) -> bytes:
    """Sound JSON with odd values in it."""
    root = orjson.loads(body)
    for _ in range(times):
        node = root
        while True:
            key = source.choice(list(node) if isinstance(node, dict) else range(len(node)))
            below = node[key]
            if not isinstance(below, (dict, list)) or not below or source.random() < 0.05:
                node[key] = copy.deepcopy(source.choice(ODD_VALUES))
                break
            node = below
        if not root or not isinstance(root, dict):
            break
    return orjson.dumps(root)


def _mutate(source: random.Random, body: bytes, pieces: list[bytes]) -> bytes:
    at = source.randint(0, len(body))
    to = source.randint(at, len(body))
    near = min(len(body), at + source.randint(1, 40))
    flipped = bytes([body[at] ^ 1 << source.randrange(8)]) if at < len(body) else b""
    return source.choice(
        [
            body[:at] + flipped + body[at + 1 :],
            body[:at] + source.choice(pieces) + body[at:],  # something that means something
            body[:at] + source.choice(pieces) + body[near:],
            body[:at] + body[near:],
            body[:near] + body[at:],
            body[:to],
            body[:at] + source.randbytes(near - at) + body[near:],
            body[:at] + body[to : to + 200] + body[at:],  # something from elsewhere
        ]
    )
