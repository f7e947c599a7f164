"""HTTP to the guard: a bounded number of short tries, and what each status means."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Mapping
from typing import Any

import httpx

from agentops.client.errors import GuardMisconfigured, GuardUnreachable

log = logging.getLogger("agentops.client")
PREFIX = "/api/v1/guard/"
#: Less than what servers keep idle connections for, so that a try is not lost to one that is being closed.
_LIMITS = httpx.Limits(keepalive_expiry=3.0)
#: 4xx answers that may pass by themselves: as good as no answer, and of no use to ask again at once.
_PASSING = frozenset({408, 425, 429})


class Wire:
    """Connections to one guard, for any number of threads, event loops and forked processes."""

    def __init__(self, url: str, key: str, *, timeout: float, verify: ssl.SSLContext | bool) -> None:
        self._url = _checked(url)
        if not (key.isascii() and key.isprintable()):
            message = "The ingest key has characters that no key has."
            raise GuardMisconfigured(message)
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._timeout = httpx.Timeout(timeout)
        self._verify = verify
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._process = os.getpid()
        # A connection belongs to the event loop that opened it; other loops than asyncio's share the one under None.
        self._by_loop: dict[asyncio.AbstractEventLoop | None, httpx.AsyncClient] = {}

    def post(self, call: str, body: Mapping[str, Any], *, tries: int) -> dict[str, Any]:
        """Ask, ``tries`` times at most. Raises ``GuardMisconfigured`` at once, ``GuardUnreachable`` after the last."""
        failures: list[Exception] = []
        for _ in range(tries):
            try:
                return _read(self._sync().post(self._url + call, json=body))
            except (httpx.HTTPError, RuntimeError, _NoAnswer) as error:  # RuntimeError: others closed it meanwhile
                failures.append(error)
        raise GuardUnreachable(_told(failures))

    async def apost(self, call: str, body: Mapping[str, Any], *, tries: int) -> dict[str, Any]:
        """``post`` for coroutines."""
        failures: list[Exception] = []
        for _ in range(tries):
            try:
                return _read(await self._async().post(self._url + call, json=body))
            except (httpx.HTTPError, RuntimeError, _NoAnswer) as error:  # RuntimeError: others closed it meanwhile
                failures.append(error)
        raise GuardUnreachable(_told(failures))

    def close(self) -> None:
        """Close the connections of threads."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those of threads."""
        self.close()
        with self._lock:
            client = self._by_loop.pop(_loop(), None)
        if client is not None:
            await client.aclose()

    def _sync(self) -> httpx.Client:
        with self._lock:
            self._notice_fork()
            if self._client is None:
                self._client = httpx.Client(**self._settings())
            return self._client

    def _async(self) -> httpx.AsyncClient:
        loop = _loop()
        with self._lock:
            self._notice_fork()
            if loop not in self._by_loop:
                # What a closed loop leaves open cannot be closed any more; kept, it would keep the loop as well.
                for over in [each for each in self._by_loop if each is not None and each.is_closed()]:
                    del self._by_loop[over]
                self._by_loop[loop] = httpx.AsyncClient(**self._settings())
            return self._by_loop[loop]

    def _notice_fork(self) -> None:
        # The parent goes on using its sockets: a child that wrote to them too would read the parent's answers.
        if self._process != os.getpid():
            self._process, self._client, self._by_loop = os.getpid(), None, {}

    def _settings(self) -> dict[str, Any]:
        return {"headers": self._headers, "timeout": self._timeout, "limits": _LIMITS, "verify": self._context()}

    def _context(self) -> ssl.SSLContext | bool:
        # To read all authorities takes tens of milliseconds: once for all clients, and not at all without TLS.
        if self._verify is True:
            self._verify = httpx.create_ssl_context() if self._url.startswith("https:") else False
        return self._verify


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        message = f"The guard's URL {url!r} is none: {error}"
        raise GuardMisconfigured(message) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        message = f"The guard's URL {url!r} needs http:// or https:// and a host."
        raise GuardMisconfigured(message)
    return url.rstrip("/") + PREFIX


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _NoAnswer(Exception):
    """The guard said something that is no answer; asked again it may give one."""


def _read(response: httpx.Response) -> dict[str, Any]:
    """The answer. Raises ``_NoAnswer``, and a ``GuardError`` where asking again is of no use."""
    status = response.status_code
    if status in _PASSING:
        message = f"The guard has no time for this program (HTTP {status})."
        raise GuardUnreachable(message)
    if status >= 500:
        message = f"HTTP {status}"
        raise _NoAnswer(message)
    if status >= 300:
        message = f"The guard refused with HTTP {status}: {_detail(response)}"
        raise GuardMisconfigured(message, status=status)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        message = f"HTTP {status} without a JSON object"
        raise _NoAnswer(message)
    return answer


def _detail(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"it is elsewhere, at {response.headers.get('location')}"
    try:
        problem = response.json()
        return str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        return response.text[:200]


def _told(failures: list[Exception]) -> str:
    whys = (str(error) if isinstance(error, _NoAnswer) else f"{type(error).__name__}: {error}" for error in failures)
    return f"The guard could not be asked ({'; '.join(whys)})."
