"""What the decoder makes of good, odd and broken spans, in both encodings."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agentops.ingest import otlp
from agentops.ingest.answers import JSON
from agentops.ingest.otlp import BadRequest, Decoded, TooLarge, decode_protobuf
from agentops.ingest.otlp_json import decode_json
from tests.captures import Capture, captures
from tests.ingest.payloads import NOW, as_json, as_protobuf, attribute, field, request, span, varint

BOUNDS = otlp.limits(spans=20_000, past_days=400, future_seconds=600, now_ns=NOW)
TEXT = field(1, b"text")


def one(rest: bytes = b"", resource: bytes = b"") -> Decoded:
    """What becomes of one span on the wire."""
    return decode_protobuf(request([span(0, rest)], resource), BOUNDS)


def one_of_json(**members: Any) -> Decoded:
    """What becomes of one span in JSON."""
    whole = {"traceId": "ab" * 16, "spanId": "cd" * 8, "startTimeUnixNano": str(NOW), "endTimeUnixNano": str(NOW)}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{**whole, **members}]}]}]}
    return decode_json(json.dumps(body).encode(), BOUNDS)


def value_of_json(value: Any) -> Any:
    """What becomes of an attribute's value in JSON."""
    (found,) = one_of_json(attributes=[{"key": "k", "value": value}]).spans
    return found.attributes["k"]


@pytest.mark.parametrize("capture", captures(), ids=lambda capture: capture.name)
def test_a_capture_says_the_same_in_both_encodings(capture: Capture) -> None:
    for body, content_type in capture.bodies():
        binary, text = (as_protobuf(body), body) if content_type == JSON else (body, as_json(body))
        wire, plain = decode_protobuf(binary, BOUNDS), decode_json(text, BOUNDS)
        assert wire.spans
        assert (wire.rejected, plain.rejected) == (0, 0)
        assert plain.spans == wire.spans


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TEXT, "text"),
        (field(1, b""), ""),
        (b"\x10\x01", True),
        (b"\x18\x2a", 42),
        (b"\x18" + varint(2**64 - 1), -1),
        (b"\x21" + struct.pack("<d", 0.5), 0.5),
        (field(5, field(1, TEXT) * 2), ["text", "text"]),
        (field(6, field(1, field(1, b"a") + field(2, TEXT))), {"a": "text"}),
        (field(7, b"\xff\x00"), b"\xff\x00"),
        (b"", None),
        (b"\x10\x01" + TEXT, "text"),
    ],
)
def test_every_kind_of_value_is_read_from_the_wire(value: bytes, expected: object) -> None:
    assert one(attribute("k", value)).spans[0].attributes == {"k": expected}


def test_an_attribute_that_comes_again_is_the_same_and_no_list_of_it_is_shared() -> None:
    pairs = b"".join(
        attribute(key, value) for key, value in (("t", TEXT), ("n", b"\x18\x2a"), ("l", field(5, field(1, TEXT))))
    )
    first, second = (one(pairs).spans[0].attributes for _ in range(2))
    assert first == second == {"t": "text", "n": 42, "l": ["text"]}
    assert first["l"] is not second["l"]


def test_what_is_remembered_of_attributes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_seen", {})
    for n in range(3 * otlp._MAX_SEEN):
        otlp._attributes([field(1, b"k") + field(2, field(1, b"%d" % n))], Decoded())
        assert len(otlp._seen) <= otlp._MAX_SEEN
    otlp._attributes([field(1, b"k") + field(2, field(1, b"x" * otlp._MAX_SEEN_BYTES))], Decoded())
    assert max(map(len, otlp._seen)) <= otlp._MAX_SEEN_BYTES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"stringValue": "text"}, "text"),
        ({"boolValue": True}, True),
        ({"intValue": "42"}, 42),
        ({"intValue": 42}, 42),
        ({"intValue": "-9223372036854775808"}, -(2**63)),
        ({"intValue": "9223372036854775808"}, "9223372036854775808"),
        ({"intValue": "1_000"}, "1_000"),
        ({"intValue": " 1"}, " 1"),
        ({"intValue": "9" * 5_000}, "9" * 5_000),
        ({"intValue": True}, None),
        ({"intValue": None}, None),
        ({"doubleValue": 0.5}, 0.5),
        ({"doubleValue": 7}, 7.0),
        ({"doubleValue": "NaN"}, None),
        ({"arrayValue": {"values": [{"intValue": 1}, {}, 7]}}, [1, None, None]),
        ({"arrayValue": []}, []),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}, {"key": 2}, 3]}}, {"a": 1}),
        ({"string_value": "snake"}, None),
        ({"surprise": 1, "stringValue": "text"}, "text"),
        ("bare", None),
        (None, None),
    ],
)
def test_every_kind_of_value_is_read_from_json(value: Any, expected: object) -> None:
    found = value_of_json(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("times", [0, "0", -5, 1.5, "x", None, True, [], "1" * 30, 2**64])
def test_a_time_that_is_none_is_the_time_of_receipt_and_the_span_counts(times: Any) -> None:
    decoded = one_of_json(startTimeUnixNano=times, endTimeUnixNano=times)
    assert [(found.start_ns, found.end_ns) for found in decoded.spans] == [(NOW, NOW)]
    assert decoded.rejected == 0
    assert decoded.reasons


@pytest.mark.parametrize("day", [-401, -20_000, 1, 36_500])
def test_a_clock_that_is_far_out_keeps_the_duration(day: int) -> None:
    start = NOW + day * 86_400 * 10**9
    (found,) = one_of_json(startTimeUnixNano=str(start), endTimeUnixNano=str(start + 250)).spans
    assert (found.start_ns, found.end_ns) == (NOW - 250, NOW)


@pytest.mark.parametrize(
    ("ids", "rejected"),
    [
        ({"traceId": "AB" * 16, "spanId": "Cd" * 8}, 0),
        ({"parentSpanId": "not hexadecimal"}, 0),
        ({"parentSpanId": 7}, 0),
        ({"parentSpanId": "ab"}, 0),
        ({"traceId": "q6urq6urq6urq6urq6urqw=="}, 1),
        ({"traceId": "ab ab"}, 1),
        ({"traceId": "0" * 32}, 1),
        ({"traceId": "é" * 16}, 1),
        ({"traceId": None}, 1),
        ({"spanId": 12}, 1),
        ({"spanId": "cd" * 9}, 1),
        ({"spanId": ""}, 1),
    ],
)
def test_ids_in_json_are_hexadecimal_and_a_wrong_one_rejects_its_span(ids: dict[str, Any], rejected: int) -> None:
    decoded = one_of_json(**ids)
    assert (decoded.rejected, len(decoded.spans)) == (rejected, 1 - rejected)


def test_text_cut_within_a_character_does_not_cost_the_batch() -> None:
    broken = [b"\\ud83d", b"\\ude00", b"\\ud83d\\ud83d\\ude00", b"\xff", b"\xed\xa0\xbd"]
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}'
    one_span = b'{"traceId":"%s","spanId":"%016x","startTimeUnixNano":%d,"endTimeUnixNano":%d,"name":"<%s>"}'
    spans = [one_span % (b"ab" * 16, n + 1, NOW, NOW, text) for n, text in enumerate([*broken, b"\\\\ud83d", b"x"])]
    names = [found.name for found in decode_json(body % b",".join(spans), BOUNDS).spans]
    assert names == ["<�>", "<�>", "<�😀>", "<�>", "<���>", "<\\ud83d>", "<x>"]


def test_what_is_broken_is_broken_alone() -> None:
    spans = [
        span(0, attribute("k", TEXT)),
        span(1, attribute("k", field(1, b"\xff"))),
        span(2, b"\x4a\x7f"),
        span(3, b"\x0f"),
        span(4, field(5, b"\xc3\x28")),
        span(5, attribute("k", TEXT)),
    ]
    decoded = decode_protobuf(request(spans), BOUNDS)
    assert [found.span_id[-1] for found in decoded.spans] == [1, 6]
    assert decoded.rejected == 4


def test_a_broken_resource_leaves_its_spans() -> None:
    decoded = one(resource=field(1, field(1, b"service.name") + field(2, field(1, b"\xff"))))
    assert decoded.spans[0].resource.attributes == {}
    assert decoded.rejected == 0
    assert "resource" in decoded.reasons[0]


@pytest.mark.parametrize("size", [otlp.WALKED_BYTES * 2, otlp.MAX_SPAN_BYTES - 200])
def test_a_large_prompt_is_kept_up_to_a_bound(size: int) -> None:
    decoded = one(attribute("gen_ai.input.messages", field(1, b"x" * size)))
    assert decoded.spans[0].attributes == {"gen_ai.input.messages": "x" * min(size, otlp.MAX_VALUE_CHARS)}


def test_a_span_that_is_too_large_is_rejected_alone() -> None:
    spans = [span(0, attribute("k", field(1, b"x" * otlp.MAX_SPAN_BYTES))), span(1)]
    decoded = decode_protobuf(request(spans), BOUNDS)
    assert [found.span_id[-1] for found in decoded.spans] == [2]
    assert decoded.rejected == 1


def test_tokens_are_read_however_many_attributes_come_before_them() -> None:
    many = [f"noise.{n}" for n in range(9_000)]
    tokens = "gen_ai.usage.input_tokens"
    wire = one(b"".join(attribute(key, b"\x18\x01") for key in [*many, tokens]))
    pairs = [{"key": key, "value": {"intValue": 1}} for key in [*many, tokens]]
    for decoded in (wire, one_of_json(attributes=pairs)):
        assert decoded.spans[0].attributes[tokens] == 1
        assert len(decoded.spans[0].attributes) == otlp.MAX_ATTRIBUTES + 1


def test_events_are_kept_up_to_a_bound() -> None:
    event = field(11, b"\x09" + NOW.to_bytes(8, "little") + field(2, b"e") + field(3, field(1, b"k") + field(2, TEXT)))
    (found,) = one(event * 500).spans
    assert len(found.events) == otlp.MAX_EVENTS
    assert (found.events[0].name, found.events[0].time_ns, found.events[0].attributes) == ("e", NOW, {"k": "text"})
    plain = {"name": "e", "timeUnixNano": str(NOW), "attributes": [{"key": "k", "value": {"stringValue": "text"}}]}
    assert one_of_json(events=[plain] * 500 + [7]).spans[0].events == found.events


@pytest.mark.parametrize("depth", [1, 31, 40, 100, 1_000])
def test_deep_values_end_somewhere_and_nothing_falls_over(depth: int) -> None:
    value, plain = TEXT, {"stringValue": "text"}
    for _ in range(depth):
        value, plain = field(5, field(1, value)), {"arrayValue": {"values": [plain]}}
    for decoded in (one(attribute("k", value)), _in_json(plain)):
        if decoded is None or decoded.rejected:
            assert depth >= 40
            continue
        found = decoded.spans[0].attributes["k"]
        for _ in range(min(depth, otlp.MAX_VALUE_DEPTH + 1)):
            assert isinstance(found, list)
            (found,) = found
        assert found == ("text" if depth <= otlp.MAX_VALUE_DEPTH else None)


def _in_json(value: Any) -> Decoded | None:
    try:
        return one_of_json(attributes=[{"key": "k", "value": value}])
    except (BadRequest, RecursionError):  # the latter is the test's own encoder
        return None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "01", "--1", "0x1"])
def test_numbers_that_json_does_not_have_are_refused(number: str) -> None:
    body = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":{"doubleValue":%s}}]}]}]}]}'
    with pytest.raises(BadRequest):
        decode_json((body % number).encode(), BOUNDS)


@pytest.mark.parametrize(
    "body",
    [
        {"resourceSpans": [7]},
        {"resourceSpans": {"scopeSpans": []}},
        {"resourceSpans": [{"scopeSpans": "x"}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": {"a": 1}}]}]},
        [],
        "text",
        None,
    ],
)
def test_json_of_another_shape_is_refused(body: Any) -> None:
    with pytest.raises(BadRequest):
        decode_json(json.dumps(body).encode(), BOUNDS)


@pytest.mark.parametrize(
    "odd",
    [
        {"attributes": {"a": 1}},
        {"attributes": [None, 7, {"key": 1}, {"value": {"intValue": 1}}]},
        {"events": {"a": 1}},
        {"events": [None, {"name": 5, "timeUnixNano": "x", "attributes": 3}]},
        {"status": [2]},
        {"status": {"code": "STATUS_CODE_ERROR", "message": 7}},
        {"name": None},
        {"trace_id": "00", "unknown": {"deep": [1, 2, 3]}},
    ],
)
def test_odd_members_of_a_span_do_not_cost_it(odd: dict[str, Any]) -> None:
    decoded = one_of_json(**odd)
    assert (decoded.rejected, len(decoded.spans), decoded.spans[0].status_code) == (0, 1, 0)


def test_more_spans_than_allowed_are_refused_before_they_are_built() -> None:
    few = otlp.limits(spans=3, past_days=400, future_seconds=600, now_ns=NOW)
    body = request([span(n) for n in range(4)])
    for decode, content in ((decode_protobuf, body), (decode_json, as_json(body))):
        assert len(decode(content, BOUNDS).spans) == 4
        with pytest.raises(TooLarge, match="3 spans"):
            decode(content, few)


def test_json_within_text_does_not_count_as_json() -> None:
    schema = json.dumps({"properties": {f"p{n}": {"type": "string"} for n in range(120)}})
    prompts = [{"key": f"k{n}", "value": {"stringValue": schema}} for n in range(1_000)]
    assert len(one_of_json(attributes=prompts).spans[0].attributes) == 1_000


def test_what_protobuf_reads_back_is_what_was_written() -> None:
    message = ExportTraceServiceRequest.FromString(request([span(0, attribute("k", TEXT))]))
    (found,) = message.resource_spans[0].scope_spans[0].spans
    assert (found.start_time_unix_nano, found.attributes[0].value.string_value) == (NOW, "text")
