"""The protobuf wire format, walked without building anything: slices and counts.

A few bytes can ask a parser for a hundred times as many (an empty message costs two bytes on the
wire and about a hundred in memory), so messages are counted before they are built; and one bad
byte must not spoil its neighbours, so each span is parsed from its own slice.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10
_NUMERIC = (0, 0, 0)

#: Schemas of nested messages, as far as they nest: field number -> schema of the message there.
Schema = dict[int, "Schema"]
ANY_VALUE: Schema = {}
KEY_VALUE: Schema = {2: ANY_VALUE}
ANY_VALUE[5] = {1: ANY_VALUE}  # ArrayValue.values
ANY_VALUE[6] = {1: KEY_VALUE}  # KeyValueList.values
SPAN: Schema = {9: KEY_VALUE, 11: {3: KEY_VALUE}, 13: {4: KEY_VALUE}, 15: {}}
LOG_RECORD: Schema = {5: ANY_VALUE, 6: KEY_VALUE}
RESOURCE: Schema = {1: KEY_VALUE, 3: {3: {}, 4: {}}}  # attributes; entity_refs and their lists of keys
SCOPE: Schema = {3: KEY_VALUE}


class Malformed(ValueError):
    """The bytes are not a protobuf message."""


class TooManyFields(ValueError):
    """There are more fields in the bytes than may be walked, or built."""


class TooDeep(ValueError):
    """Messages nest deeper than is allowed."""


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for position in range(at, min(end, at + _MAX_VARINT)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    message = "a number does not end"
    raise Malformed(message)


def fields(  # noqa: C901, PLR0912  (one loop on the hot path)
    data: memoryview, start: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """The length-delimited fields of a message: (field number, start, end).

    Any other field is (0, 0, 0), so that whoever counts fields counts it too. Raises ``Malformed``.
    """
    at = start
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == BYTES:
            if at < end and data[at] < 0x80:
                size, at = data[at], at + 1
            else:
                size, at = _varint(data, at, end)
            if at + size > end:
                message = "a field is longer than the message it is in"
                raise Malformed(message)
            yield tag >> 3, at, at + size
            at += size
        elif wire == VARINT:
            if at < end and data[at] < 0x80:
                at += 1
            else:
                _, at = _varint(data, at, end)
            yield _NUMERIC
        elif wire == FIXED64:
            at += 8
            yield _NUMERIC
        elif wire == FIXED32:
            at += 4
            yield _NUMERIC
        else:
            message = "a field has a wire type that does not exist"
            raise Malformed(message)
    if at != end:
        message = "a field is longer than the message it is in"
        raise Malformed(message)


def check(data: memoryview, start: int, end: int, schema: Schema, most: int, depth: int) -> None:
    """Walk a message and the messages in it, and build nothing.

    Every field counts, whether the schema knows it or not: each costs time, and most cost memory.
    Raises ``TooManyFields`` beyond ``most`` fields, ``TooDeep`` beyond ``depth`` levels, ``Malformed``.
    """
    total = 0
    waiting = [(start, end, schema, 0)]
    while waiting:
        start, end, schema, level = waiting.pop()
        for number, inner, inner_end in fields(data, start, end):
            total += 1
            if total > most:
                raise TooManyFields
            nested = schema.get(number)
            if not nested or inner == inner_end:
                continue
            if level >= depth:
                raise TooDeep
            waiting.append((inner, inner_end, nested, level + 1))
