"""Which application answers a connection: receiver, websockets or Django."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.asgi import get_asgi_application

from agentops.ingest.pipeline import Pipeline
from agentops.ingest.receiver import Receiver, is_ingest

Scope = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]


def build(websockets: Application | None = None) -> Application:
    """The whole application of one web process."""
    pipeline = Pipeline()
    receiver = Receiver(pipeline)
    pages: Application = get_asgi_application()

    async def application(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        kind = scope["type"]
        if kind == "http":
            await (receiver if is_ingest(scope["path"]) else pages)(scope, receive, send)
        elif kind == "websocket":
            if websockets is None:
                await send({"type": "websocket.close", "code": 4404})
            else:
                await websockets(scope, receive, send)
        elif kind == "lifespan":
            await _lifespan(pipeline, receive, send)

    return application


#: Objects made since the last collection that start the next one; and how many of these collections
#: go by before an older generation is looked at.
_COLLECT_AFTER = (50_000, 20, 50)


def _calm_collector() -> None:
    """Keep the garbage collector from walking the whole program for every batch of spans.

    A batch makes ten thousands of objects that reference counting frees by itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def _lifespan(pipeline: Pipeline, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Finish what is being written before the process ends."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _calm_collector()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await asyncio.get_running_loop().run_in_executor(None, pipeline.close)
            await send({"type": "lifespan.shutdown.complete"})
            return
