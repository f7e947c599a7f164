"""Transports of httpx that ask the guard before each model call, and tell it after.

They wrap another transport, and know model calls by their paths; everything else passes through untouched, and so do
the bytes of every reply. The same for httpx2 stand in ``agentops.client.httpx2``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Self

import httpx

from agentops.client.calls import Dialect, ModelCall, dialect_of, read_call
from agentops.client.errors import GuardStopped
from agentops.client.guard import Guard
from agentops.client.metering import Guarded, Meter, Report, claimed
from agentops.client.refusals import OnStop, is_made_by_sdk, refusal
from agentops.client.steps import Step


class _Both:
    """What the transports of threads and of coroutines share, whichever httpx they are made for."""

    _http: ClassVar[ModuleType]

    def __init__(self, guard: Guard, inner: Any, on_stop: OnStop) -> None:
        self._guard = guard
        self._inner = inner
        self._on_stop = on_stop

    def _dialect(self, request: Any) -> Dialect | None:
        """How a model call is spelled; ``None`` for every other request."""
        if not isinstance(request, self._http.Request):
            message = f"This transport is for {self._http.__name__}; the other one is in agentops.client.httpx2."
            raise TypeError(message)
        return dialect_of(request.method, request.url.path)

    def _step(self, call: ModelCall) -> Step:
        return self._guard.step(
            "llm",
            model=call.model,
            provider=call.provider,
            input_tokens=call.input_tokens,
            max_output_tokens=call.max_output_tokens,
        )

    def _stop(self, request: Any, call: ModelCall, stop: GuardStopped) -> Any:
        raises = self._on_stop == "raise"
        if raises and not is_made_by_sdk(request.headers):
            raise stop
        return refusal(stop, call.dialect, self._http.Response, raises=raises)

    def _meter(self, call: ModelCall, response: Any) -> Meter:
        content_type, encoding = (response.headers.get(name, "") for name in ("content-type", "content-encoding"))

        def decode(body: bytes) -> bytes:
            read = self._http.Response(200, headers={"content-encoding": encoding}, content=body)
            return bytes(read.content)

        if not response.is_closed:
            return Meter(call, content_type, None if encoding.strip().lower() in ("", "identity") else decode)
        # Made of bytes, as by a mock: nobody reads its stream any more.
        meter = Meter(call, content_type, None)
        meter.feed(response.content)
        meter.exhaust()
        return meter


class Guarding(_Both):
    """The transport of threads, but for its base class."""

    _stream: ClassVar[type[Any]]

    def handle_request(self, request: Any) -> Any:
        """Send a request; a model call only if the guard lets it."""
        dialect = self._dialect(request)
        if dialect is None:
            return self._inner.handle_request(request)
        request.read()
        call = read_call(dialect, request.url.host, request.url.path, request.content)
        guarded = claimed(self._guard, call)
        if guarded is None:
            try:
                step = self._step(call).ask()
            except GuardStopped as stop:
                return self._stop(request, call, stop)
            guarded = Guarded(call, step, is_own=True)
        return self._send(request, guarded)

    def _send(self, request: Any, guarded: Guarded) -> Any:
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            self._settle(guarded, guarded.failed(error))
            raise
        if response.status_code >= 400:
            self._settle(guarded, guarded.refused())
            return response
        meter = self._meter(guarded.call, response)
        if response.is_closed:
            self._settle(guarded, guarded.over(meter))
        else:
            response.stream = self._stream(response.stream, meter, lambda: self._settle(guarded, guarded.over(meter)))
        return response

    def _settle(self, guarded: Guarded, report: Report | None) -> None:
        if report is not None:
            guarded.step.settle(**report.settling())

    def close(self) -> None:
        """Close the transport within; the guard may serve others."""
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)


class AsyncGuarding(_Both):
    """The transport of coroutines, but for its base class."""

    _stream: ClassVar[type[Any]]

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; a model call only if the guard lets it."""
        dialect = self._dialect(request)
        if dialect is None:
            return await self._inner.handle_async_request(request)
        await request.aread()
        call = read_call(dialect, request.url.host, request.url.path, request.content)
        guarded = claimed(self._guard, call)
        if guarded is None:
            try:
                step = await self._step(call).aask()
            except GuardStopped as stop:
                return self._stop(request, call, stop)
            guarded = Guarded(call, step, is_own=True)
        return await self._send(request, guarded)

    async def _send(self, request: Any, guarded: Guarded) -> Any:
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            await self._settle(guarded, guarded.failed(error))
            raise
        if response.status_code >= 400:
            await self._settle(guarded, guarded.refused())
            return response
        meter = self._meter(guarded.call, response)
        if response.is_closed:
            await self._settle(guarded, guarded.over(meter))
        else:
            response.stream = self._stream(response.stream, meter, lambda: self._settle(guarded, guarded.over(meter)))
        return response

    async def _settle(self, guarded: Guarded, report: Report | None) -> None:
        if report is not None:
            await guarded.step.asettle(**report.settling())

    async def aclose(self) -> None:
        """Close the transport within; the guard may serve others."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)


class Watched:
    """A reply's bytes on their way, read on the side; but for its base class."""

    def __init__(self, inner: Any, meter: Meter, over: Any) -> None:
        self._inner = inner
        self._meter = meter
        self._over = over

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._meter.feed(chunk)
                yield chunk
        except Exception:
            self._meter.fail()
            raise
        self._meter.exhaust()
        self._over()

    def close(self) -> None:
        """Close it, and settle with what was seen."""
        try:
            self._inner.close()
        finally:
            self._over()


class AsyncWatched:
    """A reply's bytes on their way, read on the side; but for its base class."""

    def __init__(self, inner: Any, meter: Meter, over: Any) -> None:
        self._inner = inner
        self._meter = meter
        self._over = over

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                self._meter.feed(chunk)
                yield chunk
        except Exception:
            self._meter.fail()
            raise
        self._meter.exhaust()
        await self._over()

    async def aclose(self) -> None:
        """Close it, and settle with what was seen."""
        try:
            await self._inner.aclose()
        finally:
            await self._over()


class _Stream(Watched, httpx.SyncByteStream):
    pass


class _AsyncStream(AsyncWatched, httpx.AsyncByteStream):
    pass


class GuardTransport(Guarding, httpx.BaseTransport):
    """A transport for ``httpx.Client``. ``on_stop``: raise the stop, or answer as the provider would."""

    _http: ClassVar[ModuleType] = httpx
    _stream: ClassVar[type[Any]] = _Stream

    def __init__(self, guard: Guard, inner: httpx.BaseTransport | None = None, *, on_stop: OnStop = "raise") -> None:
        super().__init__(guard, inner or httpx.HTTPTransport(), on_stop)


class AsyncGuardTransport(AsyncGuarding, httpx.AsyncBaseTransport):
    """A transport for ``httpx.AsyncClient``. ``on_stop``: raise the stop, or answer as the provider would."""

    _http: ClassVar[ModuleType] = httpx
    _stream: ClassVar[type[Any]] = _AsyncStream

    def __init__(
        self, guard: Guard, inner: httpx.AsyncBaseTransport | None = None, *, on_stop: OnStop = "raise"
    ) -> None:
        super().__init__(guard, inner or httpx.AsyncHTTPTransport(), on_stop)
