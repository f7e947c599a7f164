"""OTLP's span, log record, resource and event for protobuf's parser, with their attributes left as bytes.

The same few attributes come with every span: as bytes each is found in one look-up, and only what has not been seen
is parsed. On the wire a nested message and bytes are the same, so these read what OTLP's own messages write; fields
that nobody here reads are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_BYTES, _STRING = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_STRING
_FIXED64, _INT32 = FieldDescriptorProto.TYPE_FIXED64, FieldDescriptorProto.TYPE_INT32
_MESSAGE = FieldDescriptorProto.TYPE_MESSAGE
_PACKAGE = "agentops.otlp"
#: Message -> field -> (number in OTLP, type); a plural is repeated.
_FIELDS = {
    "Status": {"message": (2, _STRING), "code": (3, _INT32)},
    "Event": {"time_unix_nano": (1, _FIXED64), "name": (2, _STRING), "attributes": (3, _BYTES)},
    "LogRecord": {
        "time_unix_nano": (1, _FIXED64),
        "body": (5, _BYTES),
        "attributes": (6, _BYTES),
        "trace_id": (9, _BYTES),
        "span_id": (10, _BYTES),
        "observed_time_unix_nano": (11, _FIXED64),
        "event_name": (12, _STRING),
    },
    "Resource": {"attributes": (1, _BYTES)},
    "Span": {
        "trace_id": (1, _BYTES),
        "span_id": (2, _BYTES),
        "parent_span_id": (4, _BYTES),
        "name": (5, _STRING),
        "start_time_unix_nano": (7, _FIXED64),
        "end_time_unix_nano": (8, _FIXED64),
        "attributes": (9, _BYTES),
        "events": (11, _BYTES),
        "status": (15, _MESSAGE),
    },
}
_REPEATED = frozenset({"attributes", "events"})


class Status(Protocol):
    """How a span ended: OTLP's code and what was said."""

    code: int
    message: str


class Attributed(Protocol):
    """What has attributes, each the bytes of a ``KeyValue``: a resource is nothing else."""

    attributes: Sequence[bytes]


class Event(Attributed, Protocol):
    """Something that happened during a span."""

    time_unix_nano: int
    name: str


class LogRecord(Attributed, Protocol):
    """A record of a log; its body is the bytes of an ``AnyValue``."""

    trace_id: bytes
    span_id: bytes
    event_name: str
    time_unix_nano: int
    observed_time_unix_nano: int
    body: bytes


class Span(Attributed, Protocol):
    """A span; its events are the bytes of an ``Event`` each."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    start_time_unix_nano: int
    end_time_unix_nano: int
    events: Sequence[bytes]
    status: Status


def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="agentops/otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = FieldDescriptorProto.LABEL_REPEATED if field in _REPEATED else FieldDescriptorProto.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if kind == _MESSAGE:
                added.type_name = f".{_PACKAGE}.{field.capitalize()}"
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()
_parse_span, _parse_record, _parse_event, _parse_resource = (
    GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")).FromString
    for name in ("Span", "LogRecord", "Event", "Resource")
)


def parse_span(data: bytes) -> Span:
    """The span that these bytes are. Raises ``DecodeError``."""
    return cast("Span", _parse_span(data))


def parse_record(data: bytes) -> LogRecord:
    """The log record that these bytes are. Raises ``DecodeError``."""
    return cast("LogRecord", _parse_record(data))


def parse_event(data: bytes) -> Event:
    """The event that these bytes are. Raises ``DecodeError``."""
    return cast("Event", _parse_event(data))


def parse_resource(data: bytes) -> Attributed:
    """The resource that these bytes are. Raises ``DecodeError``."""
    return cast("Attributed", _parse_resource(data))
