"""The OTLP/HTTP receiver: an ASGI application in front of Django.

Django's own handler spools every body to a file before a view can say no. Here the key is checked
first, bytes are counted while they are read and while they are decompressed, and what is built is
counted before it is built. There is no way to a 500: senders drop what gets one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from django.conf import settings
from zlib_ng import zlib_ng

from agentops.ingest import otlp
from agentops.ingest.answers import JSON, PROTOBUF, Answer, Refused, failure, success
from agentops.ingest.batch import Batch, Sink, Unavailable
from agentops.ingest.exchange import Body, Disconnected, Receive, Scope, Send, respond
from agentops.ingest.gate import Gate, Sender
from agentops.ingest.otlp_json import decode_json, decode_logs_json

log = logging.getLogger(__name__)

T = TypeVar("T")

TRACES, LOGS, METRICS = "traces", "logs", "metrics"
PATHS = {f"{prefix}/v1/{signal}": signal for prefix in ("", "/api/public/otel") for signal in (TRACES, LOGS, METRICS)}
PREFIXES = ("/v1/", "/api/public/otel/")

DECODE_SLOTS = 4
SLOT_SECONDS = 2.0
BODY_SECONDS = 30.0
#: Bodies larger than this, decompressed, are decoded in a thread: the others' answers must not wait.
INLINE_BYTES = 64 * 1024
GUNZIP_STEP = 256 * 1024
#: Members of one gzip body: an empty one takes 20 bytes, and going on to the next takes time.
MAX_GZIP_MEMBERS = 64
#: Bodies, whole or in part, of requests whose answer is being worked on, per process.
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
        body = Body(receive)
        try:
            answer = await self._answer(scope, headers, content_type, body)
        except Refused as refused:
            answer = failure(answers_in, refused)
        except Disconnected:
            return
        except Exception:
            log.exception("a request to the receiver failed")
            answer = failure(answers_in, Refused(503, "The receiver failed; try again.", retry_after=2))
        finally:
            self._under_way -= body.size
        await respond(send, answer, body)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], content_type: str, body: Body) -> Answer:
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
        most = settings.INGEST_MAX_COMPRESSED_BYTES
        content = await body.read(headers, most=most, seconds=BODY_SECONDS, count=self._count)
        if signal is TRACES:
            return await self._traces(content, content_type, encoding, sender)
        if signal is LOGS:
            return await self._logs(content, content_type, encoding, sender)
        await self._in_slot(content, encoding, len)
        return success(content_type)

    async def _traces(self, body: bytes, content_type: str, encoding: str, sender: Sender) -> Answer:
        decoded = await self._in_slot(body, encoding, lambda plain: decode_plain(plain, content_type))
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

    async def _logs(self, body: bytes, content_type: str, encoding: str, sender: Sender) -> Answer:
        """Keep what log records tell of model calls; all others are thanked for."""
        decoded = await self._in_slot(body, encoding, lambda plain: decode_logs(plain, content_type))
        rejected, reasons = decoded.rejected, decoded.reasons
        if decoded.records:
            try:
                await self.sink.submit(Batch([], sender.service, records=decoded.records))
            except Unavailable as error:
                raise Refused(503, str(error), retry_after=error.retry_after) from error
            except Exception:
                # Our fault, and trying again would not help; the spans have what is counted.
                log.exception("log records could not be kept")
                rejected += len(decoded.records)
                reasons = [*reasons, "The log records could not be kept."]
        return success(content_type, rejected, "; ".join(reasons), what="rejectedLogRecords")

    def _count(self, arrived: int) -> None:
        self._under_way += arrived
        if self._under_way > MAX_BYTES_UNDER_WAY:
            raise Refused(503, "Too many requests are under way; try again.", retry_after=2)

    async def _in_slot(self, body: bytes, encoding: str, work: Callable[[bytes], T]) -> T:
        """Decompress and decode in one of few slots, so that memory is bounded."""
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Refused(503, "The receiver is busy; try again.", retry_after=1) from error
        try:
            small = decompress(body, encoding, INLINE_BYTES) if len(body) <= INLINE_BYTES else None
            if small is not None:
                return work(small)
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: work(decompress_all(body, encoding))
            )
        except otlp.BadRequest as error:
            raise Refused(400, str(error)) from error
        except otlp.TooLarge as error:
            raise Refused(413, str(error)) from error
        finally:
            self._slots.release()


def decode(body: bytes, content_type: str, encoding: str, now_ns: int | None = None) -> otlp.Decoded:
    """A request body as it came in to plain spans. Raises ``otlp.BadRequest``, ``otlp.TooLarge``."""
    return decode_plain(decompress_all(body, encoding), content_type, now_ns)


def decode_plain(body: bytes, content_type: str, now_ns: int | None = None) -> otlp.Decoded:
    """A decompressed request body to plain spans. Raises ``otlp.BadRequest``, ``otlp.TooLarge``."""
    bounds = _bounds(now_ns)
    return decode_json(body, bounds) if content_type == JSON else otlp.decode_protobuf(body, bounds)


def decode_logs(body: bytes, content_type: str) -> otlp.Decoded:
    """A decompressed request body to the log records that tell of model calls.

    Raises ``otlp.BadRequest``, ``otlp.TooLarge``.
    """
    return decode_logs_json(body, _bounds()) if content_type == JSON else otlp.decode_logs_protobuf(body, _bounds())


def _bounds(now_ns: int | None = None) -> otlp.Limits:
    return otlp.limits(
        spans=settings.INGEST_MAX_SPANS,
        past_days=settings.CLOCK_PAST_DAYS,
        future_seconds=settings.CLOCK_FUTURE_SECONDS,
        now_ns=now_ns,
    )


def decompress_all(body: bytes, encoding: str) -> bytes:
    """A body as it was before its encoding. Raises ``otlp.BadRequest``, ``otlp.TooLarge``."""
    most = settings.INGEST_MAX_BODY_BYTES
    plain = decompress(body, encoding, most)
    if plain is None:
        message = f"A request may have at most {most} bytes after decompression."
        raise otlp.TooLarge(message)
    return plain


def decompress(body: bytes, encoding: str, most: int) -> bytes | None:
    """A body as it was before its encoding; ``None`` when that is longer than ``most`` bytes.

    A bomb is put down when it has grown past that. Several gzip members, one after the other, are
    one body. Raises ``otlp.BadRequest``.
    """
    if encoding != "gzip":
        return body if len(body) <= most else None
    parts: list[bytes] = []
    rest, left = body, most
    try:
        for _ in range(MAX_GZIP_MEMBERS):
            member = zlib_ng.decompressobj(wbits=31)
            while not member.eof:
                part = member.decompress(rest, min(GUNZIP_STEP, left + 1))
                left -= len(part)
                if left < 0:
                    return None
                parts.append(part)
                rest = member.unused_data if member.eof else member.unconsumed_tail
                if not part and not rest and not member.eof:
                    message = "The gzip body is truncated."
                    raise otlp.BadRequest(message)
            if not rest:
                return b"".join(parts)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub makes an instance of the class
        message = "The body is not valid gzip."
        raise otlp.BadRequest(message) from error
    message = f"The gzip body has more than {MAX_GZIP_MEMBERS} members."
    raise otlp.BadRequest(message)
