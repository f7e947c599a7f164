"""OTLP, and nothing else: bytes of an export request to plain spans, bounded before they are built."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from agentops.domain.dialects.normalise import DIALECTS
from agentops.domain.spans import Attributes, AttributeValue, Event, RawSpan, Resource
from agentops.ingest import wire

MAX_SPAN_BYTES = 4 * 1024 * 1024
#: A span, resource or scope larger than this is walked before it is built.
WALKED_BYTES = 16 * 1024
MAX_FIELDS_PER_SPAN = 60_000
#: Fields of resources and scopes that a request may have for each span that it may carry.
FIELDS_AROUND_A_SPAN = 8
MAX_DEPTH = 64
#: Attributes, events and items of lists that one request may bring: each takes 60 to 140 bytes.
MAX_VALUES = 300_000
MAX_VALUE_DEPTH = 32
MAX_ATTRIBUTES = 1_024
MAX_EVENTS = 128
MAX_VALUE_CHARS = 1_048_576
MAX_ITEMS = 1_024
#: What may be built from a JSON body: each opening bracket counts for four commas, as it takes
#: about 300 bytes and what stands between two commas about 80.
MAX_JSON_WEIGHT = 700_000
JSON_OPENING_WEIGHT = 4
MAX_INT = (1 << 63) - 1
#: What a 64-bit number has, with its sign.
MAX_DIGITS = 20
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
NS = 10**9
MAX_REASONS = 10
#: A duration that no span has: such an end is as wrong as the start it goes with.
MAX_DURATION_NS = 40 * 86_400 * NS


#: The names that the dialects read: they are kept however many attributes come before them.
TELLING = frozenset(
    name for dialect in DIALECTS for name in (*dialect.readers, *(holder for holder, _ in dialect.expand))
)


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
    values: int = 0

    def spend(self, values: int) -> None:
        """Count values before they are built. Raises ``TooLarge`` when there are too many."""
        self.values += values
        if self.values > MAX_VALUES:
            message = f"A request may carry at most {MAX_VALUES} attributes, events and items of lists."
            raise TooLarge(message)

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
    spans_left, fields_left = bounds.spans, bounds.spans * FIELDS_AROUND_A_SPAN
    found: list[tuple[_Slice | None, _Scopes]] = []
    for number, start, end in wire.fields(data, 0, len(data)):
        fields_left -= 1
        resource: _Slice | None = None
        scopes: _Scopes = []
        for inner, inner_start, inner_end in wire.fields(data, start, end) if number == 1 else ():
            fields_left -= 1
            scope: _Slice | None = None
            spans: list[_Slice] = []
            if inner == 1:
                resource = (inner_start, inner_end)
            for leaf, leaf_start, leaf_end in wire.fields(data, inner_start, inner_end) if inner == 2 else ():
                fields_left -= 1
                if leaf == 2:
                    spans.append((leaf_start, leaf_end))
                    spans_left -= 1
                elif leaf == 1:
                    scope = (leaf_start, leaf_end)
                if spans_left < 0 or fields_left < 0:
                    raise _too_many_spans(bounds)
            if spans:
                scopes.append((scope, spans))
            if fields_left < 0:
                raise _too_many_spans(bounds)
        if scopes:
            found.append((resource, scopes))
        if fields_left < 0:
            raise _too_many_spans(bounds)
    return found


def _too_many_spans(bounds: Limits) -> TooLarge:
    return TooLarge(f"A request may carry at most {bounds.spans} spans.")


def _resource(data: memoryview, where: _Slice | None, decoded: Decoded) -> Attributes:
    if where is None:
        return {}
    try:
        return _attributes(ResourceMessage.FromString(_checked(data, *where, wire.RESOURCE)).attributes, decoded)
    except (wire.Malformed, wire.TooManyFields, wire.TooDeep, TooManyBytes, DecodeError):
        decoded.notes["a resource could not be decoded: its attributes are not known"] += 1
        return {}


def _scope(data: memoryview, where: _Slice | None) -> str:
    if where is None:
        return ""
    try:
        return str(InstrumentationScope.FromString(_checked(data, *where, wire.SCOPE)).name)
    except (wire.Malformed, wire.TooManyFields, wire.TooDeep, TooManyBytes, DecodeError):
        return ""


class TooManyBytes(ValueError):
    """One span, resource or scope is too long."""


def _checked(data: memoryview, start: int, end: int, schema: wire.Schema) -> bytes:
    """The bytes of a message that is safe to build."""
    if end - start > WALKED_BYTES:
        if end - start > MAX_SPAN_BYTES:
            raise TooManyBytes
        wire.check(data, start, end, schema, MAX_FIELDS_PER_SPAN, MAX_DEPTH)
    return bytes(data[start:end])


def _span(
    data: memoryview, start: int, end: int, scope: str, resource: Resource, decoded: Decoded
) -> RawSpan | None:
    try:
        message = SpanMessage.FromString(_checked(data, start, end, wire.SPAN))
    except (wire.Malformed, DecodeError):
        decoded.reject("a span could not be decoded (invalid UTF-8, or not a protobuf message)")
        return None
    except (wire.TooManyFields, wire.TooDeep):
        decoded.reject("a span holds too many or too deeply nested values")
        return None
    except TooManyBytes:
        decoded.reject(f"a span is larger than {MAX_SPAN_BYTES} bytes")
        return None
    events = message.events
    decoded.spend(len(events))
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
        _attributes(message.attributes, decoded),
        [
            Event(event.name, event.time_unix_nano, _attributes(event.attributes, decoded))
            for event in events[:MAX_EVENTS]
        ]
        if events
        else [],
        scope,
        resource,
    )


def _attributes(pairs: Sequence[KeyValue], decoded: Decoded) -> Attributes:
    decoded.spend(len(pairs))
    found: Attributes = {}
    for pair in pairs if len(pairs) <= MAX_ATTRIBUTES else _most_telling(pairs):
        value = pair.value
        # By far the most frequent kinds first; reading an unset string is cheap.
        text = value.string_value
        if text:
            found[pair.key] = text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS]
        else:
            found[pair.key] = _value(value, 0, decoded)
    return found


def _most_telling(pairs: Sequence[KeyValue]) -> Iterable[KeyValue]:
    """The first attributes, and of the others those that a dialect reads: none hides the tokens."""
    yield from pairs[:MAX_ATTRIBUTES]
    for pair in pairs[MAX_ATTRIBUTES:]:
        if pair.key in TELLING:
            yield pair


def _value(value: AnyValue, depth: int, decoded: Decoded) -> AttributeValue:
    kind = value.WhichOneof("value")
    if kind is None or depth > MAX_VALUE_DEPTH:
        return None
    if kind == "array_value":
        items = value.array_value.values
        decoded.spend(len(items))
        return [_value(item, depth + 1, decoded) for item in items[:MAX_ITEMS]]
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        decoded.spend(len(pairs))
        return {pair.key: _value(pair.value, depth + 1, decoded) for pair in pairs[:MAX_ITEMS]}
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
    root = _load_json(body)
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
            if total > bounds.spans:
                raise _too_many_spans(bounds)
            for span in spans:
                _json_span(span, name if isinstance(name, str) else "", resource, bounds, decoded)
    return decoded


def _load_json(body: bytes) -> Any:
    openings = body.count(b"{") + body.count(b"[")
    commas = body.count(b",")
    if openings * JSON_OPENING_WEIGHT + commas > MAX_JSON_WEIGHT:
        # JSON inside of a string is text and builds nothing; there, quotes are escaped.
        openings -= body.count(b'{\\"') + body.count(b'[\\"')
        commas -= body.count(b',\\"')
        if openings * JSON_OPENING_WEIGHT + commas > MAX_JSON_WEIGHT:
            message = "The body holds too many JSON values."
            raise TooLarge(message)
    try:
        return orjson.loads(body)
    except ValueError as error:
        try:
            return orjson.loads(_mended(body))
        except ValueError:
            message = f"The body is not JSON: {str(error)[:200]}."
            raise BadRequest(message) from error


#: Half of a surrogate pair, escaped: what is left when a sender cuts a text within an emoji. An
#: even number of backslashes before it is text and stays.
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*)(?:"
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def _mended(body: bytes) -> bytes:
    """JSON whose broken characters are U+FFFD: they must not cost a batch."""
    return _LONE_SURROGATE.sub(rb"\1\\ufffd", body.decode(errors="replace").encode())


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
            parent_span_id=_parent(span.get("parentSpanId")),
            name=_text(span.get("name")),
            start_ns=_unsigned(span.get("startTimeUnixNano")),
            end_ns=_unsigned(span.get("endTimeUnixNano")),
            status_code=status["code"] if type(status.get("code")) is int else 0,
            status_message=_text(status.get("message")),
            attributes=_json_attributes(span.get("attributes")),
            events=[
                Event(
                    _text(event.get("name")),
                    _unsigned(event.get("timeUnixNano")),
                    _json_attributes(event.get("attributes")),
                )
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


def _parent(value: Any) -> bytes:
    """A parent that cannot be one is none; the span counts all the same."""
    try:
        return _hex(value)
    except ValueError:
        return b""


def _text(value: Any) -> str:
    return value[:MAX_VALUE_CHARS] if isinstance(value, str) else ""


def _unsigned(value: Any) -> int:
    """A 64-bit number as a string or a number; 0, which is no time, when it is neither."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return int(value)
    return value if type(value) is int and value >= 0 else 0


def _json_attributes(pairs: Any) -> Attributes:
    found: Attributes = {}
    for pair in pairs if isinstance(pairs, list) else ():
        if not isinstance(pair, dict) or not isinstance(key := pair.get("key"), str):
            continue
        if len(found) < MAX_ATTRIBUTES or key in TELLING:
            found[key] = _json_value(pair.get("value"), 0)
    return found


def _json_value(value: Any, depth: int) -> AttributeValue:  # noqa: PLR0911  (one answer a kind)
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
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit() and len(value) <= MAX_DIGITS:
        number = int(value)
        return number if -MAX_INT - 1 <= number <= MAX_INT else value
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
