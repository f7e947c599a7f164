"""A client of the receiver in the same process, and sinks that need no database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agentops.ingest.answers import PROTOBUF
from agentops.ingest.batch import Batch, Receipt
from agentops.ingest.gate import Gate, Sender
from agentops.ingest.receiver import Receiver


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class KeepingSink:
    """Keeps what it is given; raises ``error`` instead when there is one."""

    error: BaseException | None = None
    batches: list[Batch] = field(default_factory=list)
    quarantined: list[Batch] = field(default_factory=list)

    async def submit(self, batch: Batch) -> Receipt:
        """Keep the batch."""
        if self.error is not None:
            raise self.error
        self.batches.append(batch)
        return Receipt(accepted=len(batch.spans))

    async def quarantine(self, batch: Batch, error: BaseException) -> None:
        """Keep the batch aside."""
        del error
        self.quarantined.append(batch)


class OpenGate(Gate):
    """Lets everybody in, as one service or as a collector."""

    async def admit(self, headers: dict[bytes, bytes], address: str) -> Sender:
        """The sender, whoever asks."""
        del address
        return Sender("test", headers.get(b"x-service", b"").decode())


def open_receiver(sink: KeepingSink) -> Receiver:
    """A receiver without keys."""
    return Receiver(sink, OpenGate())


async def call(
    application: Any,
    body: bytes | Sequence[bytes] = b"",
    *,
    path: str = "/v1/traces",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    address: str = "127.0.0.1",
) -> Answer:
    """Send one request through an ASGI application."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    given = {"content-type": PROTOBUF, **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
        "client": (address, 1),
    }
    sent: list[dict[str, Any]] = []
    waiting = iter(
        [{"type": "http.request", "body": c, "more_body": i < len(chunks) - 1} for i, c in enumerate(chunks)]
    )

    async def receive() -> dict[str, Any]:
        return next(waiting, None) or await asyncio.sleep(3600, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    start = sent[0]
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], names, b"".join(m.get("body", b"") for m in sent[1:]))
