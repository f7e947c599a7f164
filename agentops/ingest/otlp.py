"""OTLP, and nothing else: bytes of an export request to plain spans, bounded before they are built."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from agentops.domain.spans import Attributes, AttributeValue, Event, RawSpan, Resource
from agentops.ingest import wire

MAX_SPAN_BYTES = 4 * 1024 * 1024
#: A span larger than this is counted before it is built.
COUNTED_SPAN_BYTES = 16 * 1024
MAX_MESSAGES_PER_SPAN = 20_000
MAX_DEPTH = 64
MAX_VALUE_DEPTH = 32
MAX_ATTRIBUTES = 1_024
MAX_EVENTS = 128
MAX_VALUE_CHARS = 1_048_576
MAX_ITEMS = 1_024
#: Opening brackets and commas in a JSON body: each may become an object.
MAX_JSON_STRUCTURE = 1_200_000
MAX_JSON_OBJECTS = 400_000
MAX_INT = (1 << 63) - 1
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
NS = 10**9
MAX_REASONS = 10
#: A duration that no span has: such an end is as wrong as the start it goes with.
MAX_DURATION_NS = 40 * 86_400 * NS


class BadRequest(ValueError):
    """The body is not an export request. The message is fit for the sender."""


class TooLarge(ValueError):
    """The body asks for more than may be built. The message is fit for the sender."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring, and between which times its spans may lie (ns)."""

    spans: int
    now_ns: int
    past_ns: int
    future_ns: int


@dataclass(slots=True)
class Decoded:
    """The good spans, how many were refused, and why (a sentence each, with counts)."""

    spans: list[RawSpan] = field(default_factory=list)
    rejected: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def reject(self, reason: str) -> None:
        """Refuse one span."""
        self.rejected += 1
        self.notes[reason] += 1

    @property
    def reasons(self) -> list[str]:
        """What happened, most frequent first."""
        return [f"{reason} ({n})" if n > 1 else reason for reason, n in self.notes.most_common(MAX_REASONS)]


def limits(*, spans: int, past_days: int, future_seconds: int, now_ns: int | None = None) -> Limits:
    """The limits of a request that arrives now."""
    now = time.time_ns() if now_ns is None else now_ns
    return Limits(spans, now, now - past_days * 86_400 * NS, now + future_seconds * NS)


def decode_protobuf(body: bytes, bounds: Limits) -> Decoded:
    """An ``ExportTraceServiceRequest``. Raises ``BadRequest`` or ``TooLarge``."""
    data = memoryview(body)
    decoded = Decoded()
    try:
        slices = _slices(data, bounds)
    except wire.Malformed as error:
        message = f"The body is not a protobuf ExportTraceServiceRequest: {error}."
        raise BadRequest(message) from error
    for resource_at, scopes in slices:
        resource = Resource(_resource(data, resource_at, decoded))
        for scope_at, spans in scopes:
            scope = _scope(data, scope_at)
            for start, end in spans:
                span = _span(data, start, end, scope, resource, decoded)
                if span is not None:
                    _accept(span, bounds, decoded)
    return decoded


_Slice = tuple[int, int]
_Scopes = list[tuple[_Slice | None, list[_Slice]]]


def _slices(data: memoryview, bounds: Limits) -> list[tuple[_Slice | None, _Scopes]]:
    """Where resources, scopes and spans lie; counts them, builds nothing else."""
    total = 0
    found: list[tuple[_Slice | None, _Scopes]] = []
    for number, start, end in wire.fields(data, 0, len(data)):
        if number != 1:
            continue
        resource: _Slice | None = None
        scopes: _Scopes = []
        for inner, inner_start, inner_end in wire.fields(data, start, end):
            if inner == 1:
                resource = (inner_start, inner_end)
            elif inner == 2:
                scope: _Slice | None = None
                spans: list[_Slice] = []
                for leaf, leaf_start, leaf_end in wire.fields(data, inner_start, inner_end):
                    if leaf == 2:
                        spans.append((leaf_start, leaf_end))
                        total += 1
                    elif leaf == 1:
                        scope = (leaf_start, leaf_end)
                    _check_count(total, bounds)
                scopes.append((scope, spans))
                total += not spans
                _check_count(total, bounds)
        found.append((resource, scopes))
        total += not scopes
        _check_count(total, bounds)
    return found


def _check_count(total: int, bounds: Limits) -> None:
    if total > bounds.spans:
        message = f"A request may carry at most {bounds.spans} spans."
        raise TooLarge(message)


def _resource(data: memoryview, where: _Slice | None, decoded: Decoded) -> Attributes:
    if where is None:
        return {}
    start, end = where
    try:
        wire.count(data, start, end, wire.RESOURCE, MAX_MESSAGES_PER_SPAN, MAX_DEPTH)
        return _attributes(ResourceMessage.FromString(bytes(data[start:end])).attributes)
    except (ValueError, DecodeError):
        decoded.notes["a resource could not be decoded: its attributes are not known"] += 1
        return {}


def _scope(data: memoryview, where: _Slice | None) -> str:
    if where is None:
        return ""
    start, end = where
    try:
        wire.count(data, start, end, wire.SCOPE, MAX_MESSAGES_PER_SPAN, MAX_DEPTH)
        return str(InstrumentationScope.FromString(bytes(data[start:end])).name)
    except (ValueError, DecodeError):
        return ""


def _span(data: memoryview, start: int, end: int, scope: str, resource: Resource, decoded: Decoded) -> RawSpan | None:
    if end - start > COUNTED_SPAN_BYTES:
        if end - start > MAX_SPAN_BYTES:
            decoded.reject(f"a span is larger than {MAX_SPAN_BYTES} bytes")
            return None
        try:
            wire.count(data, start, end, wire.SPAN, MAX_MESSAGES_PER_SPAN, MAX_DEPTH)
        except wire.Malformed:
            decoded.reject("a span is not a protobuf message")
            return None
        except (wire.TooManyMessages, wire.TooDeep):
            decoded.reject("a span holds too many or too deeply nested values")
            return None
    try:
        message = SpanMessage.FromString(bytes(data[start:end]))
    except DecodeError:
        decoded.reject("a span could not be decoded (invalid UTF-8, or not a protobuf message)")
        return None
    status = message.status
    return RawSpan(
        message.trace_id,
        message.span_id,
        message.parent_span_id,
        message.name,
        message.start_time_unix_nano,
        message.end_time_unix_nano,
        status.code,
        status.message,
        _attributes(message.attributes),
        [
            Event(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in message.events[:MAX_EVENTS]
        ]
        if message.events
        else [],
        scope,
        resource,
    )


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    found: Attributes = {}
    for pair in pairs:
        value = pair.value
        # By far the most frequent kinds first; reading an unset string is cheap.
        text = value.string_value
        if text:
            found[pair.key] = text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS]
        else:
            found[pair.key] = _value(value, 0)
        if len(found) >= MAX_ATTRIBUTES:
            break
    return found


def _value(value: AnyValue, depth: int) -> AttributeValue:
    kind = value.WhichOneof("value")
    if kind is None or depth > MAX_VALUE_DEPTH:
        return None
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values[:MAX_ITEMS]]
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values[:MAX_ITEMS]}
    found: AttributeValue = getattr(value, kind)
    return found


def _accept(span: RawSpan, bounds: Limits, decoded: Decoded) -> None:
    """Keep a span whose ids are valid; put one whose clock is wrong at its time of receipt."""
    if len(span.trace_id) != TRACE_ID_BYTES or not any(span.trace_id):
        decoded.reject("a trace id is not 16 bytes, or all zero")
        return
    if len(span.span_id) != SPAN_ID_BYTES or not any(span.span_id):
        decoded.reject("a span id is not 8 bytes, or all zero")
        return
    if span.parent_span_id and (len(span.parent_span_id) != SPAN_ID_BYTES or not any(span.parent_span_id)):
        span.parent_span_id = b""
    if not bounds.past_ns <= span.start_ns <= bounds.future_ns:
        duration = span.end_ns - span.start_ns
        span.start_ns = bounds.now_ns - (duration if 0 <= duration <= MAX_DURATION_NS else 0)
        span.end_ns = bounds.now_ns
        decoded.notes["a span's clock is wrong: it is booked at its time of receipt"] += 1
    elif span.end_ns - span.start_ns > MAX_DURATION_NS or span.end_ns < span.start_ns:
        span.end_ns = span.start_ns
        decoded.notes["a span's end is impossible: its duration counts as zero"] += 1
    decoded.spans.append(span)


# --- JSON ----------------------------------------------------------------------------------------


def decode_json(body: bytes, bounds: Limits) -> Decoded:
    """An ``ExportTraceServiceRequest`` as OTLP spells it in JSON. Raises ``BadRequest`` or ``TooLarge``."""
    objects = body.count(b"{") + body.count(b"[")
    if objects > MAX_JSON_OBJECTS or objects + body.count(b",") > MAX_JSON_STRUCTURE:
        message = "The body holds too many JSON values."
        raise TooLarge(message)
    try:
        root = orjson.loads(body)
    except ValueError as error:
        message = f"The body is not JSON: {str(error)[:200]}."
        raise BadRequest(message) from error
    if not isinstance(root, dict):
        message = "The body is not a JSON ExportTraceServiceRequest: an object is expected."
        raise BadRequest(message)
    decoded = Decoded()
    total = 0
    for group in _objects(root, "resourceSpans"):
        described = group.get("resource")
        resource = Resource(_json_attributes(described.get("attributes")) if isinstance(described, dict) else {})
        for scoped in _objects(group, "scopeSpans"):
            scope = scoped.get("scope")
            name = scope.get("name") if isinstance(scope, dict) else ""
            spans = scoped.get("spans")
            if spans is None:
                continue
            if not isinstance(spans, list):
                message = "spans must be an array."
                raise BadRequest(message)
            total += len(spans)
            _check_count(total, bounds)
            for span in spans:
                _json_span(span, name if isinstance(name, str) else "", resource, bounds, decoded)
    return decoded


def _objects(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        message = f"{key} must be an array of objects."
        raise BadRequest(message)
    return value


def _json_span(span: Any, scope: str, resource: Resource, bounds: Limits, decoded: Decoded) -> None:
    if not isinstance(span, dict):
        decoded.reject("a span is not an object")
        return
    status = span.get("status")
    status = status if isinstance(status, dict) else {}
    events = span.get("events")
    try:
        raw = RawSpan(
            trace_id=_hex(span.get("traceId")),
            span_id=_hex(span.get("spanId")),
            parent_span_id=_hex(span.get("parentSpanId") or ""),
            name=_text(span.get("name")),
            start_ns=_unsigned(span.get("startTimeUnixNano")),
            end_ns=_unsigned(span.get("endTimeUnixNano")),
            status_code=status["code"] if type(status.get("code")) is int else 0,
            status_message=_text(status.get("message")),
            attributes=_json_attributes(span.get("attributes")),
            events=[
                Event(_text(event.get("name")), 0, _json_attributes(event.get("attributes")))
                for event in (events if isinstance(events, list) else ())[:MAX_EVENTS]
                if isinstance(event, dict)
            ],
            scope=scope,
            resource=resource,
        )
    except ValueError as error:
        decoded.reject(str(error))
        return
    _accept(raw, bounds, decoded)


def _hex(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str) and value.isascii() and value.isalnum() | (not value):
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    message = "an id is not hexadecimal"
    raise ValueError(message)


def _text(value: Any) -> str:
    return value[:MAX_VALUE_CHARS] if isinstance(value, str) else ""


def _unsigned(value: Any) -> int:
    """A 64-bit number as a string or a number; 0 when absent."""
    if value is None:
        return 0
    if type(value) is int:
        number = value
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        number = int(value)
    else:
        message = "a time is not an unsigned 64-bit number"
        raise ValueError(message)
    return max(number, 0)


def _json_attributes(pairs: Any) -> Attributes:
    found: Attributes = {}
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, dict) and isinstance(key := pair.get("key"), str):
            found[key] = _json_value(pair.get("value"), 0)
            if len(found) >= MAX_ATTRIBUTES:
                break
    return found


def _json_value(value: Any, depth: int) -> AttributeValue:
    if not isinstance(value, dict) or depth > MAX_VALUE_DEPTH:
        return None
    for kind, inner in value.items():
        if kind == "stringValue":
            return _text(inner)
        if kind == "intValue":
            return _integer(inner)
        if kind == "boolValue":
            return inner if isinstance(inner, bool) else None
        if kind == "doubleValue":
            return float(inner) if isinstance(inner, (int, float)) and not isinstance(inner, bool) else None
        if kind == "arrayValue":
            items = inner.get("values") if isinstance(inner, dict) else None
            return [_json_value(v, depth + 1) for v in (items if isinstance(items, list) else ())[:MAX_ITEMS]]
        if kind == "kvlistValue":
            pairs = inner.get("values") if isinstance(inner, dict) else None
            return {
                pair["key"]: _json_value(pair.get("value"), depth + 1)
                for pair in (pairs if isinstance(pairs, list) else ())[:MAX_ITEMS]
                if isinstance(pair, dict) and isinstance(pair.get("key"), str)
            }
        if kind == "bytesValue":
            return _text(inner)
    return None


def _integer(value: Any) -> int | float | str | None:
    """A 64-bit integer, as a number or a decimal string; what is neither is for the dialect to refuse."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 20:
        try:
            number = int(value)
        except ValueError:
            return value
        return number if -MAX_INT - 1 <= number <= MAX_INT else value
    return value if isinstance(value, float) else None
