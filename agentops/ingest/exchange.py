"""One HTTP exchange in front of Django: a body that is counted while it comes, and the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from agentops.ingest.answers import Answer, Refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Disconnected(Exception):
    """The sender went away before its request was complete."""


@dataclass(slots=True)
class Body:
    """A request's body as far as it has come."""

    _receive: Receive
    size: int = 0
    complete: bool = False
    _chunks: list[bytes] = field(default_factory=list)

    async def read(
        self,
        headers: Mapping[bytes, bytes],
        *,
        most: int,
        seconds: float,
        count: Callable[[int], None] = lambda size: None,  # noqa: ARG005  (nobody counts)
    ) -> bytes:
        """All of it, in one piece, which is then no longer kept here; ``count`` is told of every piece.

        Raises ``Refused`` with 413 and 408, or what ``count`` raises, and ``Disconnected``.
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(seconds):
                while not self.complete:
                    count(await self._next())
                    if self.size > most:
                        raise _too_large(most)
        except TimeoutError as error:
            raise Refused(408, f"The body did not arrive within {seconds:.0f} seconds.") from error
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> int:
        """Wait for the next piece and return its size."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        self.complete = not message.get("more_body", False)
        self.size += len(chunk)
        if chunk:
            self._chunks.append(chunk)
        return len(chunk)


async def respond(send: Send, answer: Answer, body: Body) -> None:
    """Send the answer. A body that was not read now will not be read, and the connection ends with it.

    Without that the server would go on and throw it away, for as long as somebody sends it.
    """
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    if not body.complete:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _too_large(most: int) -> Refused:
    return Refused(413, f"A request may have at most {most} bytes.")
