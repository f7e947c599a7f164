"""The guard's entrance: an ASGI application in front of Django, because every step of every agent waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from agentops.guard.desk import Answer, Desk, Question, check_of, settlement_of
from agentops.guard.round import Refused
from agentops.ingest.answers import Refused as NotAdmitted
from agentops.ingest.gate import Gate
from agentops.live.broadcast import broadcast

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHECK, SETTLE = "/api/v1/guard/check", "/api/v1/guard/settle"
MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0


class _Gone(Exception):
    """Whoever asked has gone away."""


def is_guard(scope: Scope) -> bool:
    """Whether a request is the guard's to answer."""
    return scope["method"] == "POST" and scope["path"] in (CHECK, SETTLE)


@dataclass(slots=True)
class Entrance:
    """The ASGI application."""

    gate: Gate = field(default_factory=Gate)
    _desk: Desk | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        retry_after: float | None = None
        try:
            sender = await self.gate.admit(headers, (scope.get("client") or ("", 0))[0])
            body = await _read(receive)
            reads = check_of if scope["path"] == CHECK else settlement_of
            answer: Answer = await self._ask(Question(reads(body, sender.service), _nobody))
        except NotAdmitted as refused:
            answer, retry_after = Refused(refused.status, refused.message), refused.retry_after
        except Refused as refused:
            answer = refused
        except _Gone:
            return
        except Exception:
            log.exception("a request to the guard failed")
            answer = Refused(503, "The guard failed; try again.")
        await _send(send, answer, retry_after)

    async def _ask(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        if self._desk is None:
            self._desk = Desk(lambda event_id: broadcast(loop, event_id))
        future: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        def done(answer: Answer) -> None:
            try:
                loop.call_soon_threadsafe(settle, answer)
            except RuntimeError:  # the loop is gone: nobody waits any more
                log.warning("a question was answered after its server had ended")

        question.done = done
        self._desk.put(question)
        return await future

    def is_busy(self) -> bool:
        """Whether more than a few wait for an answer."""
        return self._desk is not None and self._desk.is_busy

    def close(self) -> None:
        """Answer what waits, then end."""
        if self._desk is not None:
            self._desk.close()


def _nobody(answer: Answer) -> None:
    del answer


async def _read(receive: Receive) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                part = message.get("body", b"")
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise Refused(413, f"A question has at most {MAX_BODY_BYTES} bytes.")
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise Refused(408, f"The question did not arrive within {BODY_SECONDS:.0f} seconds.") from error


async def _send(send: Send, answer: Answer, retry_after: float | None) -> None:
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(answer, Refused):
        status = answer.status
        title = HTTPStatus(status).phrase
        body = orjson.dumps({"title": title, "status": status, "detail": str(answer)})
        content_type = b"application/problem+json"
        if status in (429, 503):
            headers.append((b"retry-after", str(max(1, round(retry_after or 1))).encode()))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status in (408, 413):
            headers.append((b"connection", b"close"))
    else:
        status, body, content_type = 200, orjson.dumps(answer), b"application/json; charset=utf-8"
    headers += [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
