"""How services that telemetry names first are written: registered, unowned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Cursor

from agentops.columns import Texts

REGISTER = """
INSERT INTO catalog_service (slug, name, description, created_at)
SELECT slug, '', '', now() FROM unnest(%b::text[]) AS s (slug) ORDER BY slug
ON CONFLICT (slug) DO NOTHING
"""


def register(cursor: Cursor[Any], slugs: Sequence[str]) -> None:
    """Make sure that these services exist."""
    cursor.execute(REGISTER, [Texts(slugs)])
