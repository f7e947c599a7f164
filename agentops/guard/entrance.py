"""The guard's entrance: an ASGI application in front of Django, because every step of every agent waits for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from agentops.guard.desk import AGAIN_SECONDS, Answer, Desk, Question, check_of, settlement_of
from agentops.ingest import answers
from agentops.ingest.answers import Refused
from agentops.ingest.exchange import Body, Disconnected, Receive, Scope, Send, respond
from agentops.ingest.gate import Gate
from agentops.live.broadcast import broadcast

log = logging.getLogger(__name__)

CHECK, SETTLE = "/api/v1/guard/check", "/api/v1/guard/settle"
MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0


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
        body = Body(receive)
        answer: Answer
        try:
            sender = await self.gate.admit(headers, (scope.get("client") or ("", 0))[0])
            content = await body.read(headers, most=MAX_BODY_BYTES, seconds=BODY_SECONDS)
            reads = check_of if scope["path"] == CHECK else settlement_of
            answer = await self._ask(Question(reads(content, sender.service), _nobody))
        except Refused as refused:
            answer = refused
        except Disconnected:
            return
        except Exception:
            log.exception("a request to the guard failed")
            answer = Refused(503, "The guard failed; try again.", retry_after=AGAIN_SECONDS)
        await respond(send, _written(answer), body)

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


def _written(answer: Answer) -> answers.Answer:
    """As HTTP has it: JSON, and of a refusal a problem (RFC 9457)."""
    if not isinstance(answer, Refused):
        return answers.Answer(200, orjson.dumps(answer), "application/json; charset=utf-8")
    status = answer.status
    body = orjson.dumps({"title": HTTPStatus(status).phrase, "status": status, "detail": answer.message})
    return answers.Answer(status, body, "application/problem+json", answers.headers_of(answer))
