"""OTLP in JSON: lowerCamelCase, hexadecimal ids, 64-bit numbers as strings or numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from agentops.domain.spans import Attributes, AttributeValue, Event, LogRecord, RawSpan, Resource
from agentops.ingest.otlp import (
    MAX_ATTRIBUTES,
    MAX_EVENTS,
    MAX_ITEMS,
    MAX_VALUE_CHARS,
    MAX_VALUE_DEPTH,
    TELLING,
    BadRequest,
    Decoded,
    Limits,
    TooLarge,
    accept,
    accept_record,
    tells_answers,
    too_many,
)

#: What may be built from a JSON body: each opening bracket counts for four commas, as it takes
#: about 300 bytes and what stands between two commas about 80.
MAX_WEIGHT = 600_000
OPENING_WEIGHT = 4
#: A larger body with broken characters is refused: mending takes several times its size.
MAX_MENDED_BYTES = 4 * 1024 * 1024
MAX_INT = (1 << 63) - 1
#: What a 64-bit number has, with its sign.
MAX_DIGITS = 20


def decode_json(body: bytes, bounds: Limits) -> Decoded:
    """An ``ExportTraceServiceRequest`` as OTLP spells it in JSON. Raises ``BadRequest`` or ``TooLarge``."""
    decoded = Decoded()
    for resource, scope, spans in _scoped(_load(body), ("resourceSpans", "scopeSpans", "spans"), bounds):
        for span in spans:
            _span(span, scope, resource, bounds, decoded)
    return decoded


def decode_logs_json(body: bytes, bounds: Limits) -> Decoded:
    """The records of an ``ExportLogsServiceRequest`` that tell what a model answered, in JSON.

    Raises ``BadRequest`` or ``TooLarge``.
    """
    decoded = Decoded()
    if not tells_answers(body):
        return decoded
    for resource, _, records in _scoped(_load(body), ("resourceLogs", "scopeLogs", "logRecords"), bounds):
        for record in records:
            _record(record, resource, decoded)
    return decoded


def _scoped(root: Any, names: tuple[str, str, str], bounds: Limits) -> Iterator[tuple[Resource, str, list[Any]]]:
    """The resource, scope and items of each group in a request, counted."""
    if not isinstance(root, dict):
        message = "The body is not a JSON export request: an object is expected."
        raise BadRequest(message)
    total = 0
    of_resources, of_scopes, of_items = names
    for group in _objects(root, of_resources):
        resource = Resource(_attributes(_object(group, "resource").get("attributes")))
        for scoped in _objects(group, of_scopes):
            items = scoped.get(of_items) or []
            if not isinstance(items, list):
                message = f"{of_items} must be an array."
                raise BadRequest(message)
            total += len(items)
            if total > bounds.spans:
                raise too_many(bounds, "spans" if of_items == "spans" else "log records")
            yield resource, _text(_object(scoped, "scope").get("name")), items


def _load(body: bytes) -> Any:
    openings = body.count(b"{") + body.count(b"[")
    commas = body.count(b",")
    if openings * OPENING_WEIGHT + commas > MAX_WEIGHT:
        # JSON inside of a string is text and builds nothing; there, quotes are escaped.
        openings -= body.count(b'{\\"') + body.count(b'[\\"')
        commas -= body.count(b',\\"')
        if openings * OPENING_WEIGHT + commas > MAX_WEIGHT:
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
    rb"(?<!\\)((?:\\\\){0,32})(?:"
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def _mended(body: bytes) -> bytes:
    """JSON whose broken characters are U+FFFD: they must not cost a batch."""
    if len(body) > MAX_MENDED_BYTES:
        return body
    return _LONE_SURROGATE.sub(rb"\1\\ufffd", body.decode(errors="replace").encode())


def _objects(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        message = f"{key} must be an array of objects."
        raise BadRequest(message)
    return value


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _span(span: Any, scope: str, resource: Resource, bounds: Limits, decoded: Decoded) -> None:
    if not isinstance(span, dict):
        decoded.reject("a span is not an object")
        return
    status = _object(span, "status")
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
            attributes=_attributes(span.get("attributes")),
            events=[
                Event(
                    _text(event.get("name")),
                    _unsigned(event.get("timeUnixNano")),
                    _attributes(event.get("attributes")),
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
    accept(raw, bounds, decoded)


def _record(record: Any, resource: Resource, decoded: Decoded) -> None:
    if not isinstance(record, dict):
        decoded.reject("a log record is not an object")
        return
    try:
        raw = LogRecord(
            trace_id=_hex(record.get("traceId")),
            span_id=_hex(record.get("spanId")),
            event=_text(record.get("eventName")),
            time_ns=_unsigned(record.get("timeUnixNano")) or _unsigned(record.get("observedTimeUnixNano")),
            attributes=_attributes(record.get("attributes")),
            body=_value(record.get("body"), 0),
            resource=resource,
        )
    except ValueError as error:
        decoded.reject(str(error))
        return
    accept_record(raw, decoded)


def _hex(value: Any) -> bytes:
    if value is None:
        return b""
    if value == "" or (isinstance(value, str) and value.isascii() and value.isalnum()):
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


def _attributes(pairs: Any) -> Attributes:
    found: Attributes = {}
    for pair in pairs if isinstance(pairs, list) else ():
        if not isinstance(pair, dict) or not isinstance(key := pair.get("key"), str):
            continue
        if len(found) < MAX_ATTRIBUTES or key in TELLING:
            found[key] = _value(pair.get("value"), 0)
    return found


def _value(value: Any, depth: int) -> AttributeValue:
    if isinstance(value, dict) and depth <= MAX_VALUE_DEPTH:
        for kind, inner in value.items():
            if (read := _KINDS.get(kind)) is not None:
                return read(inner, depth)
    return None


def _boolean(value: Any, _: int) -> bool | None:
    return value if isinstance(value, bool) else None


def _double(value: Any, _: int) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _values(holder: Any) -> list[Any]:
    values = holder.get("values") if isinstance(holder, dict) else None
    return values[:MAX_ITEMS] if isinstance(values, list) else []


def _array(value: Any, depth: int) -> list[AttributeValue]:
    return [_value(item, depth + 1) for item in _values(value)]


def _members(value: Any, depth: int) -> dict[str, AttributeValue]:
    pairs = [pair for pair in _values(value) if isinstance(pair, dict) and isinstance(pair.get("key"), str)]
    return {pair["key"]: _value(pair.get("value"), depth + 1) for pair in pairs}


def _integer(value: Any, _: int) -> int | float | str | None:
    """A 64-bit integer, as a number or a decimal string; what is neither is for the dialect to refuse."""
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit() and len(value) <= MAX_DIGITS:
        number = int(value)
        return number if -MAX_INT - 1 <= number <= MAX_INT else value
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None


#: How each kind of value is read, given what it holds and how deep it lies.
_KINDS: dict[str, Callable[[Any, int], AttributeValue]] = {
    "stringValue": lambda value, _: _text(value),
    "intValue": _integer,
    "boolValue": _boolean,
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _members,
    "bytesValue": lambda value, _: _text(value),
}
