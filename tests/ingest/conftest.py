"""What tests of the books share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from psycopg import Cursor
from psycopg.pq import Format

from agentops import columns


@pytest.fixture
def cursor() -> Iterator[Cursor[Any]]:
    """A binary psycopg cursor inside the test's own transaction."""
    connection.ensure_connection()
    with Cursor(connection.connection) as raw:
        raw.format = Format.BINARY
        columns.register(raw)
        yield raw
