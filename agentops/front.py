"""Which application answers a connection: receiver, websockets or Django."""

from __future__ import annotations

import asyncio
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


async def _lifespan(pipeline: Pipeline, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Finish what is being written before the process ends."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await asyncio.get_running_loop().run_in_executor(None, pipeline.close)
            await send({"type": "lifespan.shutdown.complete"})
            return
