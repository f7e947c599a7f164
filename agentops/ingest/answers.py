"""What is answered in front of Django: the receiver does so in the content type of the request."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_MESSAGE_CHARS = 1_000

#: google.rpc.Code of each HTTP status that the receiver answers with.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 413: 8, 415: 3, 429: 8, 503: 14}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Refused(Exception):
    """The request cannot be taken: the HTTP status and what to tell the sender."""

    def __init__(self, status: int, message: str, *, retry_after: float | None = None, allow: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after, self.allow = status, message, retry_after, allow


def success(content_type: str, rejected: int = 0, message: str = "", *, what: str = "rejectedSpans") -> Answer:
    """200: ``partialSuccess`` unset, or set with rejected spans or a warning; ``what`` JSON calls them."""
    message = message[:MAX_MESSAGE_CHARS]
    if content_type == JSON:
        partial = {what: str(rejected), "errorMessage": message}
        return Answer(200, orjson.dumps({"partialSuccess": partial} if rejected or message else {}), JSON)
    response = ExportTraceServiceResponse()  # on the wire, that of logs is the same
    if rejected or message:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    return Answer(200, response.SerializeToString(), PROTOBUF)


def failure(content_type: str, refused: Refused) -> Answer:
    """4xx and 503: a ``google.rpc.Status``."""
    code, message, headers = _CODES.get(refused.status, 2), refused.message[:MAX_MESSAGE_CHARS], headers_of(refused)
    if content_type == JSON:
        return Answer(refused.status, orjson.dumps({"code": code, "message": message}), JSON, headers)
    status = Status(code=code, message=message)
    return Answer(refused.status, status.SerializeToString(), PROTOBUF, headers)


def headers_of(refused: Refused) -> tuple[tuple[bytes, bytes], ...]:
    """What the headers say of a refusal, whatever its body is."""
    headers: list[tuple[bytes, bytes]] = []
    if refused.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(refused.retry_after))).encode()))
    if refused.allow:
        headers.append((b"allow", refused.allow.encode()))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return tuple(headers)
