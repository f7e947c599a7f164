"""Who may send: ingest keys, looked up rarely, and senders who guess too often."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import close_old_connections

from agentops.accounts import actions
from agentops.ingest.answers import Refused

log = logging.getLogger(__name__)

#: A key that was found good is not looked up again for this long: revoking takes seconds.
TRUSTED_SECONDS = 3.0
NOTE_USE_SECONDS = 60.0
MAX_FAILURES_PER_MINUTE = 20
MAX_REMEMBERED = 10_000
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Sender:
    """An authenticated sender; ``service`` is empty for a collector."""

    key_id: str
    service: str


@dataclass(slots=True)
class Gate:
    """Checks keys for one process. ``clock`` gives seconds and never goes back."""

    clock: Callable[[], float] = time.monotonic
    _trusted: dict[str, tuple[float, Sender]] = field(default_factory=dict)
    _used: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, list[float]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="keys")
    )

    async def admit(self, headers: dict[bytes, bytes], address: str) -> Sender:
        """The sender that the headers authenticate. Raises ``Refused`` with 401, 429 or 503."""
        text = key_of(headers)
        if not text:
            raise Refused(401, "An ingest key is required: Authorization: Bearer <key>.")
        known = self._trusted.get(text)
        if known is not None and known[0] > self.clock():
            return known[1]
        # A key that was good a moment ago is no guess: who guesses must not lock out others who
        # share an address, behind a proxy or in a cluster.
        if known is None:
            self._check_failures(address)
        loop = asyncio.get_running_loop()
        try:
            sender = await loop.run_in_executor(self._threads, self._look_up, text)
        except Exception as error:  # whatever keeps us from looking is our fault, and passes
            log.warning("keys cannot be checked: %s", type(error).__name__)
            raise Refused(503, "Keys cannot be checked just now; try again.", retry_after=1) from error
        if sender is None:
            self._trusted.pop(text, None)
            self._fail(address)
            raise Refused(401, "The ingest key is not known, has expired or was revoked.")
        if len(self._trusted) >= MAX_REMEMBERED:
            self._trusted.clear()
        self._trusted[text] = (self.clock() + TRUSTED_SECONDS, sender)
        return sender

    def _look_up(self, text: str) -> Sender | None:
        close_old_connections()
        try:
            key = actions.authenticate_ingest_key(text)
            if key is None:
                return None
            now = self.clock()
            if now - self._used.get(key.key_id, -NOTE_USE_SECONDS) >= NOTE_USE_SECONDS or key.last_used_at is None:
                self._used[key.key_id] = now
                actions.note_use(key_id=key.key_id)
            return Sender(key.key_id, key.service)
        finally:
            close_old_connections()

    def _check_failures(self, address: str) -> None:
        failures = self._failures.get(address)
        if failures is None:
            return
        since = self.clock() - MINUTE
        failures[:] = [at for at in failures if at > since]
        if not failures:
            del self._failures[address]
        elif len(failures) >= MAX_FAILURES_PER_MINUTE:
            wait = failures[0] - since
            raise Refused(429, "Too many attempts with wrong keys; try again later.", retry_after=wait)

    def _fail(self, address: str) -> None:
        if len(self._failures) >= MAX_REMEMBERED:
            self._failures.clear()
        self._failures.setdefault(address, []).append(self.clock())


def key_of(headers: dict[bytes, bytes]) -> str:
    """The key in ``Authorization`` (Bearer, or Basic with the key as password) or ``x-api-key``."""
    value = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()
