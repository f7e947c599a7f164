"""The OTLP/HTTP receiver: an ASGI application in front of Django.

Django's own handler spools every body to a file before a view can say no. Here the key is checked
first, bytes are counted while they are read and while they are decompressed, and what is built is
counted before it is built. There is no way to a 500: senders drop what gets one.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings

from agentops.ingest import otlp
from agentops.ingest.answers import JSON, PROTOBUF, Answer, Refused, failure, success
from agentops.ingest.batch import Batch, Sink, Unavailable
from agentops.ingest.gate import Gate, Sender

log = logging.getLogger(__name__)

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TRACES, OTHERS = "traces", "other signals"
PATHS = {
    f"{prefix}/v1/{signal}": TRACES if signal == "traces" else OTHERS
    for prefix in ("", "/api/public/otel")
    for signal in ("traces", "logs", "metrics")
}
PREFIXES = ("/v1/", "/api/public/otel/")

DECODE_SLOTS = 4
SLOT_SECONDS = 2.0
BODY_SECONDS = 30.0
#: Bodies larger than this are decoded in a thread, so that the others' answers are not held up.
INLINE_BYTES = 64 * 1024
GUNZIP_STEP = 256 * 1024
#: Whole bodies of requests whose answer is being worked on, per process.
MAX_BYTES_UNDER_WAY = 128 * 1024 * 1024


def is_ingest(path: str) -> bool:
    """Whether a path is the receiver's to answer."""
    return path.startswith(PREFIXES)


@dataclass(slots=True)
class Receiver:
    """The ASGI application. ``sink`` books what was decoded."""

    sink: Sink
    gate: Gate = field(default_factory=Gate)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DECODE_SLOTS))
    _under_way: int = 0
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")
    )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        content_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
        answers_in = JSON if content_type == JSON else PROTOBUF
        try:
            answer = await self._answer(scope, headers, content_type, receive)
        except Refused as refused:
            answer = failure(answers_in, refused)
        except Disconnected:
            return
        except Exception:
            log.exception("a request to the receiver failed")
            answer = failure(answers_in, Refused(503, "The receiver failed; try again.", retry_after=2))
        await _send(send, answer)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], content_type: str, receive: Receive) -> Answer:
        signal = PATHS.get(scope["path"].rstrip("/"))
        if signal is None:
            raise Refused(404, "There is nothing here; traces go to /v1/traces.")
        if scope["method"] != "POST":
            raise Refused(405, "Only POST is possible here.", allow="POST")
        address = (scope.get("client") or ("", 0))[0]
        sender = await self.gate.admit(headers, address)
        if content_type not in {PROTOBUF, JSON}:
            raise Refused(415, f"The content type must be {PROTOBUF} or {JSON}.")
        encoding = headers.get(b"content-encoding", b"identity").strip().lower().decode("latin-1") or "identity"
        if encoding not in {"identity", "gzip"}:
            raise Refused(415, "The content encoding must be gzip or identity.")
        body = await self._read(headers, receive)
        self._under_way += len(body)
        try:
            if signal is TRACES:
                return await self._traces(body, content_type, encoding, sender)
            await self._in_slot(lambda: gunzip(body) if encoding == "gzip" else body, len(body))
            return success(content_type)
        finally:
            self._under_way -= len(body)

    async def _traces(self, body: bytes, content_type: str, encoding: str, sender: Sender) -> Answer:
        decoded = await self._in_slot(lambda: decode(body, content_type, encoding), len(body))
        batch = Batch(
            spans=decoded.spans,
            service=sender.service,
            rejected=decoded.rejected,
            reasons=decoded.reasons,
            body=body,
            content_type=content_type,
            encoding=encoding,
        )
        rejected, notes = batch.rejected, list(batch.reasons)
        if batch.spans or batch.rejected:
            try:
                receipt = await self.sink.submit(batch)
            except Unavailable as error:
                raise Refused(503, str(error), retry_after=error.retry_after) from error
            except Exception as error:
                # Our fault, and trying again would not help: keep it, digest it when it is mended.
                log.exception("a batch went to quarantine")
                await self.sink.quarantine(batch, error)
                notes.append("The request is kept aside and will be digested later.")
            else:
                rejected += receipt.rejected
                notes += receipt.warnings
        return success(content_type, rejected, "; ".join(notes))

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The body, counted as it comes. Raises ``Refused``, ``Disconnected``."""
        most = settings.INGEST_MAX_COMPRESSED_BYTES
        too_large = Refused(413, f"A request may have at most {most} bytes.")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > most:
            raise too_large
        if self._under_way > MAX_BYTES_UNDER_WAY:
            raise Refused(503, "Too many requests are under way; try again.", retry_after=2)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > most:
                        raise too_large
                    if chunk:
                        chunks.append(chunk)
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise Refused(408, f"The body did not arrive within {BODY_SECONDS:.0f} seconds.") from error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _in_slot(self, work: Callable[[], T], size: int) -> T:
        """Run decoding work in one of few slots, so that memory is bounded."""
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Refused(503, "The receiver is busy; try again.", retry_after=1) from error
        try:
            if size <= INLINE_BYTES // 4:  # compressed bytes become several times as many
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except otlp.BadRequest as error:
            raise Refused(400, str(error)) from error
        except otlp.TooLarge as error:
            raise Refused(413, str(error)) from error
        finally:
            self._slots.release()


class Disconnected(Exception):
    """The sender went away before its request was complete."""


def decode(body: bytes, content_type: str, encoding: str, now_ns: int | None = None) -> otlp.Decoded:
    """A request body as it came in to plain spans. Raises ``otlp.BadRequest``, ``otlp.TooLarge``."""
    bounds = otlp.limits(
        spans=settings.INGEST_MAX_SPANS,
        past_days=settings.CLOCK_PAST_DAYS,
        future_seconds=settings.CLOCK_FUTURE_SECONDS,
        now_ns=now_ns,
    )
    if encoding == "gzip":
        body = gunzip(body)
    return otlp.decode_json(body, bounds) if content_type == JSON else otlp.decode_protobuf(body, bounds)


def gunzip(body: bytes) -> bytes:
    """Decompress within the limit; a bomb is put down when it has grown past it.

    Several members, one after the other, are one body. Raises ``otlp.BadRequest``, ``otlp.TooLarge``.
    """
    most = settings.INGEST_MAX_BODY_BYTES
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest:
            member = zlib.decompressobj(wbits=31)
            while rest and not member.eof:
                part = member.decompress(rest, min(GUNZIP_STEP, most - size + 1))
                size += len(part)
                if size > most:
                    message = f"A request may have at most {most} bytes after decompression."
                    raise otlp.TooLarge(message)
                parts.append(part)
                rest = member.unconsumed_tail if not member.eof else member.unused_data
                if not part and not member.eof and not rest:
                    break
            if not member.eof:
                message = "The gzip body is truncated."
                raise otlp.BadRequest(message)
    except zlib.error as error:
        message = "The body is not valid gzip."
        raise otlp.BadRequest(message) from error
    if not parts and not body:
        message = "The gzip body is empty."
        raise otlp.BadRequest(message)
    return b"".join(parts)


async def _send(send: Send, answer: Answer) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.content_type.encode()),
                (b"content-length", str(len(answer.body)).encode()),
                *answer.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
