"""What passes between the receiver, which knows OTLP and HTTP, and the pipeline, which knows the books."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from agentops.domain.spans import LogRecord, RawSpan


@dataclass(frozen=True, slots=True)
class Batch:
    """One decoded request.

    ``service`` is the service of the key, or ``""`` for a collector key: then each span's
    service is its resource's ``service.name``, ``unknown_service`` when it has none.
    ``rejected`` counts spans that the decoder refused and ``reasons`` says why, one short
    sentence each; warnings about spans that were kept are in ``reasons`` too. ``body`` is the
    request as it came in, still in ``encoding`` (``identity`` or ``gzip``), of ``content_type``
    (``application/x-protobuf`` or ``application/json``), so that it can be digested again.
    A request of the other signal brings ``records`` instead, and no body.
    """

    spans: list[RawSpan]
    service: str
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    body: bytes = b""
    content_type: str = "application/x-protobuf"
    encoding: str = "identity"
    records: list[LogRecord] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How much the writer has to do for it."""
        return len(self.spans) + len(self.records)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch, after its commit.

    ``rejected`` are spans that the pipeline refused, beyond those that the decoder did.
    """

    accepted: int
    duplicates: int = 0
    rejected: int = 0
    warnings: list[str] = field(default_factory=list)


class Unavailable(Exception):
    """The books cannot be written just now; nothing was booked and the sender should try again.

    ``retry_after`` is in seconds.
    """

    def __init__(self, reason: str = "The service is busy; try again.", *, retry_after: float = 2.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Sink(Protocol):
    """What the receiver needs of a pipeline."""

    async def submit(self, batch: Batch) -> Receipt:
        """Book a batch and return after the commit.

        Raises ``Unavailable`` when nothing was booked and a retry may help; anything else that
        it raises is our own fault.
        """
        ...

    async def quarantine(self, batch: Batch, error: BaseException) -> None:
        """Keep a batch that could not be digested, in a transaction of its own."""
        ...
