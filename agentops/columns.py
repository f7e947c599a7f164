"""Columns of values as PostgreSQL arrays, encoded quickly for ``unnest``.

psycopg inspects each element of a list to find the type of its array. The hot path knows its
types: these dumpers write the binary format of a one-dimensional array at about a tenth of the
cost. ``None`` is NULL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg import Cursor
from psycopg.abc import AdaptContext
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

_HEADER = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)


class Column:
    """Values of one column; a subclass names the type."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


class Byteas(Column):
    """``bytea[]``."""

    __slots__ = ()


class Texts(Column):
    """``text[]``."""

    __slots__ = ()


class Integers(Column):
    """``bigint[]``."""

    __slots__ = ()


class Booleans(Column):
    """``boolean[]``."""

    __slots__ = ()


def _array(element_oid: int, count: int, *, nulls: bool, body: bytes) -> bytes:
    return _HEADER.pack(1, 1 if nulls else 0, element_oid, count, 1) + body


class _ColumnDumper(Dumper):
    format = Format.BINARY


class ByteasDumper(_ColumnDumper):
    """Encodes ``Byteas``."""

    oid = 1001

    def dump(self, obj: Byteas) -> Buffer:
        """The array's binary format."""
        length, parts, nulls = _LENGTH.pack, [], False
        for value in obj.values:
            if value is None:
                nulls = True
                parts.append(_NULL)
            else:
                parts.append(length(len(value)) + value)
        return _array(17, len(parts), nulls=nulls, body=b"".join(parts))


class TextsDumper(_ColumnDumper):
    """Encodes ``Texts`` as UTF-8."""

    oid = 1009

    def dump(self, obj: Texts) -> Buffer:
        """The array's binary format."""
        length, parts, nulls = _LENGTH.pack, [], False
        for value in obj.values:
            if value is None:
                nulls = True
                parts.append(_NULL)
            else:
                encoded = value.encode()
                parts.append(length(len(encoded)) + encoded)
        return _array(25, len(parts), nulls=nulls, body=b"".join(parts))


class IntegersDumper(_ColumnDumper):
    """Encodes ``Integers``."""

    oid = 1016
    _element = struct.Struct(">iq")

    def dump(self, obj: Integers) -> Buffer:
        """The array's binary format."""
        pack = self._element.pack
        parts = [_NULL if value is None else pack(8, value) for value in obj.values]
        return _array(20, len(parts), nulls=None in obj.values, body=b"".join(parts))


class BooleansDumper(_ColumnDumper):
    """Encodes ``Booleans``."""

    oid = 1000
    _true, _false = b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x01\x00"

    def dump(self, obj: Booleans) -> Buffer:
        """The array's binary format."""
        parts = [self._true if value else self._false for value in obj.values]
        return _array(16, len(parts), nulls=False, body=b"".join(parts))


def register(context: AdaptContext) -> None:
    """Teach a connection or cursor these types."""
    adapters = context.adapters
    assert adapters is not None
    adapters.register_dumper(Byteas, ByteasDumper)
    adapters.register_dumper(Texts, TextsDumper)
    adapters.register_dumper(Integers, IntegersDumper)
    adapters.register_dumper(Booleans, BooleansDumper)


@contextmanager
def books_cursor() -> Iterator[Cursor[Any]]:
    """A cursor for the books' statements on Django's connection, so that one transaction holds both."""
    connection.ensure_connection()
    with Cursor(connection.connection) as cursor:
        cursor.format = Format.BINARY
        register(cursor)
        yield cursor


def beside(cursor: Cursor[Any]) -> Cursor[Any]:
    """Another cursor of the same connection and transaction: in a pipeline several statements are under way at once."""
    other = type(cursor)(cursor.connection)
    other.format = cursor.format
    register(other)
    return other


def transpose(types: Sequence[type[Column]], rows: Sequence[Sequence[Any]]) -> list[Column]:
    """Rows as the parameters of an ``unnest`` with these column types."""
    return [kind(values) for kind, values in zip(types, zip(*rows, strict=True), strict=True)]
