"""Sends spans to a receiver as an SDK's exporter does: OTLP over HTTP, kept alive, compressed, tried again."""

from __future__ import annotations

import gzip
import http.client
import logging
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from agentops.demo.writers import WireSpan, encode

logger = logging.getLogger(__name__)

_RETRYABLE = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_TIMEOUT_SECONDS = 30.0


class ExportError(Exception):
    """The receiver refused a request for good, or nobody wants it sent any longer."""


class Exporter:
    """One connection to one receiver. Not for several threads at once.

    ``url`` is where the product answers, without ``/v1/traces``. ``stop`` ends waiting and trying again.
    """

    def __init__(self, url: str, key: str, stop: threading.Event) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"not an address to send to: {url!r}"
            raise ValueError(message)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
        self._path = f"{parts.path.rstrip('/')}/v1/traces"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Encoding": "gzip", "User-Agent": "agentops-demo/1"}
        self._stop = stop

    def send(self, spans: Sequence[WireSpan], content_type: str = "application/x-protobuf") -> None:
        """Send one request and return when it is acknowledged. Raises ``ExportError``."""
        self.post(gzip.compress(encode(spans, content_type), 1), content_type)

    def post(self, body: bytes, content_type: str) -> None:
        """Send a compressed request; try again, ever more slowly, while the receiver asks for it or is away."""
        headers = self._headers | {"Content-Type": content_type}
        pause = _FIRST_PAUSE
        while True:
            status, reason, retry_after = self._attempt(body, headers)
            if status == http.client.OK:
                return
            if status and status not in _RETRYABLE:
                message = f"the receiver refused a request: {status} {reason}"
                raise ExportError(message)
            logger.debug("the receiver is busy: %s %s", status, reason)
            if self._stop.wait(retry_after or pause):
                message = "stopped before the receiver acknowledged a request"
                raise ExportError(message)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _attempt(self, body: bytes, headers: dict[str, str]) -> tuple[int, str, float]:
        """Status (0: no answer), reason and the seconds to wait that the receiver asks for."""
        try:
            self._connection.request("POST", self._path, body, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, str(error), 0.0
        asked = response.getheader("Retry-After") or ""
        wait = min(float(asked), _LONGEST_PAUSE) if asked.isdecimal() else 0.0
        return response.status, text[:200].decode(errors="replace"), wait
