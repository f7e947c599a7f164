"""The guard's transports for httpx2, on which the SDKs of OpenAI and Anthropic stand since their versions 3 and 2."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

import httpx2

from agentops.client.guard import Guard
from agentops.client.refusals import OnStop
from agentops.client.transport import AsyncGuarding, AsyncWatched, Guarding, Watched


class _Stream(Watched, httpx2.SyncByteStream):
    pass


class _AsyncStream(AsyncWatched, httpx2.AsyncByteStream):
    pass


class GuardTransport(Guarding, httpx2.BaseTransport):
    """A transport for ``httpx2.Client``. ``on_stop``: raise the stop, or answer as the provider would."""

    _http: ClassVar[ModuleType] = httpx2
    _stream: ClassVar[type[Any]] = _Stream

    def __init__(self, guard: Guard, inner: httpx2.BaseTransport | None = None, *, on_stop: OnStop = "raise") -> None:
        super().__init__(guard, inner or httpx2.HTTPTransport(), on_stop)


class AsyncGuardTransport(AsyncGuarding, httpx2.AsyncBaseTransport):
    """A transport for ``httpx2.AsyncClient``. ``on_stop``: raise the stop, or answer as the provider would."""

    _http: ClassVar[ModuleType] = httpx2
    _stream: ClassVar[type[Any]] = _AsyncStream

    def __init__(
        self, guard: Guard, inner: httpx2.AsyncBaseTransport | None = None, *, on_stop: OnStop = "raise"
    ) -> None:
        super().__init__(guard, inner or httpx2.AsyncHTTPTransport(), on_stop)
