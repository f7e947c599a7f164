"""OTLP in protobuf, and what both encodings share: bytes to spans and log records, bounded before they are built."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue

from agentops.domain.dialects.messages import ANSWERS
from agentops.domain.dialects.normalise import DIALECTS
from agentops.domain.spans import Attributes, AttributeValue, Event, LogRecord, RawSpan, Resource
from agentops.ingest import messages, wire

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
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
NS = 10**9
MAX_REASONS = 10
MAX_TIME_NS = (1 << 63) - 1
#: What a log record that tells of an answer has in it, so that all others need not be parsed.
_ANSWER_MARKS = tuple(event.encode() for event in sorted(ANSWERS))
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
    """The good spans or log records, how many were refused, and why (a sentence each, with counts)."""

    spans: list[RawSpan] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
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
        """Refuse one span or record."""
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
    for resource_at, scopes in _groups(data, bounds, "Trace"):
        resource = Resource(_resource(data, resource_at, decoded))
        for scope_at, spans in scopes:
            scope = _scope(data, scope_at)
            for start, end in spans:
                span = _span(data, start, end, scope, resource, decoded)
                if span is not None:
                    accept(span, bounds, decoded)
    return decoded


def decode_logs_protobuf(body: bytes, bounds: Limits) -> Decoded:
    """The records of an ``ExportLogsServiceRequest`` that tell what a model answered.

    Raises ``BadRequest`` or ``TooLarge``.
    """
    data = memoryview(body)
    decoded = Decoded()
    if not tells_answers(body):
        return decoded
    for resource_at, scopes in _groups(data, bounds, "Logs"):
        resource: Resource | None = None
        for _, records in scopes:
            for start, end in records:
                if tells_answers(data[start:end].tobytes()):
                    resource = resource or Resource(_resource(data, resource_at, decoded))
                    _record(data, start, end, resource, decoded)
    return decoded


def tells_answers(body: bytes) -> bool:
    """Whether these bytes can hold a log record that tells of an answer."""
    return any(mark in body for mark in _ANSWER_MARKS)


def _groups(data: memoryview, bounds: Limits, signal: str) -> list[_Grouped]:
    try:
        # Spans and log records lie at the same places of their requests.
        return _Walk(data, bounds.spans, bounds.spans * FIELDS_AROUND_A_SPAN).groups()
    except wire.Malformed as error:
        message = f"The body is not a protobuf Export{signal}ServiceRequest: {error}."
        raise BadRequest(message) from error
    except wire.TooManyFields as error:
        raise too_many(bounds, "spans" if signal == "Trace" else "log records") from error


def too_many(bounds: Limits, what: str = "spans") -> TooLarge:
    """What to raise for a request with more spans than it may carry, or with as much around them."""
    return TooLarge(f"A request may carry at most {bounds.spans} {what}.")


_Slice = tuple[int, int]
_At = tuple[int, int, int]
#: A scope and its spans; a resource and its scopes.
_Scoped = tuple[_Slice | None, list[_Slice]]
_Grouped = tuple[_Slice | None, list[_Scoped]]


@dataclass(slots=True)
class _Walk:
    """The way through a request down to its spans, within bounds."""

    data: memoryview
    spans: int
    fields: int

    def groups(self) -> list[_Grouped]:
        """Where resources, scopes and spans lie; counts them, builds nothing else.

        Raises ``wire.TooManyFields``, ``wire.Malformed``.
        """
        groups = (self._group(start, end) for number, start, end in self._fields(0, len(self.data)) if number == 1)
        return [group for group in groups if group[1]]

    def _group(self, start: int, end: int) -> _Grouped:
        resource: _Slice | None = None
        scopes: list[_Scoped] = []
        for number, inner, inner_end in self._fields(start, end):
            if number == 1:
                resource = (inner, inner_end)
            elif number == 2 and (scoped := self._scoped(inner, inner_end))[1]:
                scopes.append(scoped)
        return resource, scopes

    def _scoped(self, start: int, end: int) -> _Scoped:
        scope: _Slice | None = None
        spans: list[_Slice] = []
        for number, inner, inner_end in self._fields(start, end):
            if number == 1:
                scope = (inner, inner_end)
            elif number == 2:
                spans.append((inner, inner_end))
                if len(spans) > self.spans:
                    raise wire.TooManyFields
        self.spans -= len(spans)
        return scope, spans

    def _fields(self, start: int, end: int) -> Iterator[_At]:
        for at in wire.fields(self.data, start, end):
            self.fields -= 1
            if self.fields < 0:
                raise wire.TooManyFields
            yield at


def _resource(data: memoryview, where: _Slice | None, decoded: Decoded) -> Attributes:
    if where is None:
        return {}
    try:
        return _attributes(messages.parse_resource(_checked(data, *where, wire.RESOURCE)).attributes, decoded)
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


def _span(data: memoryview, start: int, end: int, scope: str, resource: Resource, decoded: Decoded) -> RawSpan | None:
    try:
        message = messages.parse_span(_checked(data, start, end, wire.SPAN))
        events, status = message.events, message.status
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
            _events(events, decoded) if events else [],
            scope,
            resource,
        )
    except (wire.Malformed, DecodeError):
        decoded.reject("a span could not be decoded (invalid UTF-8, or not a protobuf message)")
    except (wire.TooManyFields, wire.TooDeep):
        decoded.reject("a span holds too many or too deeply nested values")
    except TooManyBytes:
        decoded.reject(f"a span is larger than {MAX_SPAN_BYTES} bytes")
    return None


def _record(data: memoryview, start: int, end: int, resource: Resource, decoded: Decoded) -> None:
    try:
        message = messages.parse_record(_checked(data, start, end, wire.LOG_RECORD))
        attributes = _attributes(message.attributes, decoded)
        body = _value(AnyValue.FromString(message.body), 0, decoded)
        at_ns = message.time_unix_nano or message.observed_time_unix_nano
        accept_record(
            LogRecord(message.trace_id, message.span_id, message.event_name, at_ns, attributes, body, resource),
            decoded,
        )
    except (wire.Malformed, DecodeError):
        decoded.reject("a log record could not be decoded (invalid UTF-8, or not a protobuf message)")
    except (wire.TooManyFields, wire.TooDeep):
        decoded.reject("a log record holds too many or too deeply nested values")
    except TooManyBytes:
        decoded.reject(f"a log record is larger than {MAX_SPAN_BYTES} bytes")


def accept_record(record: LogRecord, decoded: Decoded) -> None:
    """Keep a record that tells what a model answered, in a span that can be found."""
    if not record.event and isinstance(named := record.attributes.get("event.name"), str):
        record.event = named
    if record.event in ANSWERS and _is_id(record.trace_id, TRACE_ID_BYTES) and _is_id(record.span_id, SPAN_ID_BYTES):
        record.time_ns = min(record.time_ns, MAX_TIME_NS)
        decoded.records.append(record)


def _is_id(value: bytes, size: int) -> bool:
    return len(value) == size and any(value)


def _events(parts: Sequence[bytes], decoded: Decoded) -> list[Event]:
    decoded.spend(len(parts))
    events = [messages.parse_event(part) for part in parts[:MAX_EVENTS]]
    return [Event(event.name, event.time_unix_nano, _attributes(event.attributes, decoded)) for event in events]


#: Short attributes by their bytes: most of a span's came with others before.
_seen: dict[bytes, tuple[str, AttributeValue]] = {}
_MAX_SEEN, _MAX_SEEN_BYTES = 16_384, 96


def _attributes(parts: Sequence[bytes], decoded: Decoded) -> Attributes:
    """Attributes by name. Raises ``DecodeError``."""
    pairs = list(parts)
    decoded.spend(len(pairs))
    found: Attributes = {}
    for pair in pairs if len(pairs) <= MAX_ATTRIBUTES else _most_telling(pairs):
        if len(pair) > _MAX_SEEN_BYTES:
            key, value = _attribute(pair, decoded)
        elif (seen := _seen.get(pair)) is not None:
            key, value = seen
        else:
            key, value = _attribute(pair, decoded)
            if not isinstance(value, (list, dict)):
                if len(_seen) >= _MAX_SEEN:
                    _seen.clear()
                _seen[pair] = sys.intern(key), value
        found[key] = value
    return found


def _attribute(pair: bytes, decoded: Decoded) -> tuple[str, AttributeValue]:
    message = KeyValue.FromString(pair)
    value = message.value
    # By far the most frequent kinds first; reading what is not set is cheap.
    text = value.string_value
    if text:
        return message.key, text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS]
    return message.key, value.int_value or _value(value, 0, decoded)


def _most_telling(pairs: Sequence[bytes]) -> Iterable[bytes]:
    """The first attributes, and of the others those that a dialect reads: none hides the tokens."""
    yield from pairs[:MAX_ATTRIBUTES]
    for pair in pairs[MAX_ATTRIBUTES:]:
        if KeyValue.FromString(pair).key in TELLING:
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


def accept(span: RawSpan, bounds: Limits, decoded: Decoded) -> None:
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
