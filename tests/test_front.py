"""Which application answers, and what none of them is given to read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentops.front import MAX_PAGE_BODY_BYTES, build, refusal


def _scope(headers: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/invoices/",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 0),
        ({"content-length": "0"}, 0),
        ({"content-length": str(MAX_PAGE_BODY_BYTES)}, 0),
        ({"content-length": str(MAX_PAGE_BODY_BYTES + 1)}, 413),
        ({"transfer-encoding": "chunked"}, 411),
    ],
)
def test_a_page_is_given_no_body_that_is_too_large_or_does_not_say_how_large_it_is(
    headers: dict[str, str], status: int
) -> None:
    assert refusal(_scope(headers)) == status


def test_a_refusal_is_answered_before_anything_is_read() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(build()(_scope({"content-length": str(MAX_PAGE_BODY_BYTES + 1)}), receive, send))
    assert [message.get("status", message.get("body")) for message in sent] == [413, b"The body is too large.\n"]
