"""Connections to PostgreSQL outside Django's pool, for the writer thread and its like."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connection as django_connection

from agentops import columns

#: Of Django's parameters, those that are Django's own.
_NOT_LIBPQ = frozenset({"context", "cursor_factory", "prepare_threshold", "pool", "row_factory"})

#: Each statement is planned once: its rows are an array, and how many there are changes nothing.
_OPTIONS = "-c timezone=UTC -c plan_cache_mode=force_generic_plan"


def connect(role: str) -> psycopg.Connection[Any]:
    """A connection to the database that Django uses, with its settings, in UTC.

    Raises ``psycopg.OperationalError`` when there is none to be had.
    """
    parameters = {
        name: value for name, value in django_connection.get_connection_params().items() if name not in _NOT_LIBPQ
    }
    parameters["application_name"] = f"agentops-{role}"
    parameters["options"] = f"{parameters.get('options', '')} {_OPTIONS}"
    connection = psycopg.connect(**parameters)
    columns.register(connection)
    return connection
