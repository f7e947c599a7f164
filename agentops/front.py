"""Which application answers a connection: receiver, guard, websockets or Django."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from django.core.asgi import get_asgi_application

from agentops.domain.invoices import MAX_BYTES
from agentops.guard.entrance import Entrance, is_guard
from agentops.ingest.pipeline import Pipeline
from agentops.ingest.receiver import Receiver, is_ingest

Scope = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]
#: The largest thing that anybody sends to a page or the API is a file, and the form around it.
MAX_PAGE_BODY_BYTES = MAX_BYTES + 64 * 1024


def build(websockets: Application | None = None) -> Application:
    """The whole application of one web process."""
    guard = Entrance()
    pipeline = Pipeline(guard.is_busy)  # an agent stands still until it is answered; an exporter does not
    receiver = Receiver(pipeline, guard.gate)
    pages: Application = get_asgi_application()

    async def application(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        kind = scope["type"]
        if kind == "http":
            if is_ingest(scope["path"]):
                await receiver(scope, receive, send)
            elif is_guard(scope):
                await guard(scope, receive, send)
            elif status := refusal(scope):
                await _refuse(status, send)
            else:
                await pages(scope, receive, send)
        elif kind == "websocket":
            if websockets is None:
                await send({"type": "websocket.close", "code": 4404})
            else:
                await websockets(scope, receive, send)
        elif kind == "lifespan":
            await _lifespan((pipeline.close, guard.close), receive, send)

    return application


def refusal(scope: Scope) -> int:
    """The status that refuses a request whose body Django must not see, else 0: it keeps any body before it asks who.

    A body says its length, which the server holds it to.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length")
    if length is None:
        return 411 if b"transfer-encoding" in headers else 0
    return 413 if int(length) > MAX_PAGE_BODY_BYTES else 0


async def _refuse(status: int, send: Callable[..., Any]) -> None:
    words = b"Say how long the body is.\n" if status == 411 else b"The body is too large.\n"
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(words)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words})


#: Objects made since the last collection that start the next one; and how many of these collections
#: go by before an older generation is looked at.
_COLLECT_AFTER = (50_000, 20, 50)


#: How long a thread may keep the interpreter from others that want it. Agents wait for the guard's, which waits several
#: times for each answer, while the writer's understands spans without a pause.
_SWITCH_SECONDS = 0.001


def _calm() -> None:
    """Keep the garbage collector from walking the whole program for every batch of spans, and threads from each other.

    A batch makes ten thousands of objects that reference counting frees by itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_SECONDS)


async def _lifespan(ends: Sequence[Callable[[], None]], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Finish what is being written before the process ends."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _calm()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            for end in ends:
                await asyncio.get_running_loop().run_in_executor(None, end)
            await send({"type": "lifespan.shutdown.complete"})
            return
