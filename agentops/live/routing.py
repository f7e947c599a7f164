"""Which websocket answers where, and from which pages one may be opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path, re_path

from agentops.live.consumers import LiveConsumer


async def _refuse(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Awaitable[None]]) -> None:
    """Close what asks for anything else, before it is open."""
    del scope, receive
    await send({"type": "websocket.close", "code": 4404})


_routes = [path("live/", LiveConsumer.as_asgi()), re_path("", _refuse)]  # type: ignore[arg-type]  # no view: ASGI

websockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(_routes)))
