"""OTLP as bytes: the spans of one export request, as protobuf or as JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from agentops.demo.plan import Step
from agentops.domain.spans import Kind

Value = str | int | float | bool | list[str]
Attributes = list[tuple[str, Value]]
#: What a resource or scope is told apart by.
Names = tuple[tuple[str, str], ...]

STATUS_UNSET, STATUS_OK, STATUS_ERROR = 0, 1, 2
SPAN_INTERNAL, SPAN_CLIENT = 1, 3


@dataclass(slots=True)
class WireSpan:
    """One span as it goes out. ``kind`` and ``step`` are not sent: they are what it must be understood as."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    span_kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    status: int
    message: str
    resource: Names
    scope: tuple[str, str]
    kind: Kind
    step: Step | None
    events: list[tuple[str, Attributes]] = field(default_factory=list)


def encode(spans: Iterable[WireSpan], content_type: str = "application/x-protobuf") -> bytes:
    """One export request with the spans grouped by resource and scope, as protobuf or ``application/json``."""
    groups: dict[Names, dict[tuple[str, str], list[Span]]] = {}
    for span in spans:
        groups.setdefault(span.resource, {}).setdefault(span.scope, []).append(_span(span))
    request = ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=[_pair(key, value) for key, value in resource]),
                scope_spans=[
                    ScopeSpans(scope=InstrumentationScope(name=name, version=version), spans=members)
                    for (name, version), members in scopes.items()
                ],
            )
            for resource, scopes in groups.items()
        ]
    )
    return _json(request) if content_type == "application/json" else request.SerializeToString()


def _span(span: WireSpan) -> Span:
    return Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        kind=span.span_kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=[_pair(key, value) for key, value in span.attributes],
        status=Status(code=span.status, message=span.message) if span.status else None,  # type: ignore[arg-type]
        events=[
            Span.Event(name=name, time_unix_nano=span.end_ns, attributes=[_pair(k, v) for k, v in attributes])
            for name, attributes in span.events
        ],
    )


def _pair(key: str, value: Value) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    items = ArrayValue(values=[AnyValue(string_value=item) for item in value])
    return KeyValue(key=key, value=AnyValue(array_value=items))


def _json(request: ExportTraceServiceRequest) -> bytes:
    """OTLP's JSON, which has hexadecimal ids where protobuf's own mapping has base64."""
    body = MessageToDict(request, use_integers_for_enums=True)
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return orjson.dumps(body)
