"""What a model's reply tells of its tokens: plain JSON, or events as they stream by.

Counts of both are read into OpenTelemetry's: a provider's cache tokens are part of the input, its reasoning is part of
the output. A reply that is broken off, and one that tells no counts, is counted by its texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from agentops.client.calls import Dialect, size_of, tokens_of
from agentops.client.questions import Usage
from agentops.client.usages import object_of, usage_of_anthropic, usage_of_gemini, usage_of_openai

#: A line of a stream, and a plain reply, that is longer is not read.
MAX_BYTES = 32 * 1024 * 1024
#: Texts in replies that no model wrote.
_NO_TEXT = frozenset(
    {
        "type",
        "role",
        "id",
        "call_id",
        "status",
        "object",
        "data",
        "b64_json",
        "signature",
        "thoughtSignature",
        "encrypted_content",
        "annotations",
        "logprobs",
        "caller",
    }
)


class Reading:
    """What has been read of one reply so far."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.model: str | None = None
        self.response_id: str | None = None
        self.is_complete = False
        self.is_failed = False
        #: The provider works on, and tells the counts elsewhere.
        self.is_deferred = False
        self._told = Usage()
        self._is_final = False
        self._text_bytes = 0

    def take(self, reply: Any) -> None:
        """Read a plain reply, or one event of a stream."""
        if isinstance(reply, list):
            for each in reply:
                self.take(each)
            return
        if not isinstance(reply, dict):
            return
        if reply.get("error"):
            self.is_failed = True
        match self._dialect:
            case Dialect.MESSAGES:
                self._take_message(reply)
            case Dialect.RESPONSES:
                self._take_response(reply)
            case Dialect.GEMINI:
                self._take_gemini(reply)
            case _:
                self._take_chat(reply)

    def usage(self, input_tokens: int | None, *, needs_output: bool) -> tuple[Usage, bool]:
        """The tokens of the reply as far as it went, and whether any of them are estimated.

        ``input_tokens`` is what the request was estimated at.
        """
        told = self._told
        if self._is_final or (told.output_tokens is not None and self.is_complete):
            return told, False
        if told.input_tokens is not None and not needs_output:
            return told, False
        seen = max(told.output_tokens or 0, tokens_of(self._text_bytes))
        given = told.input_tokens if told.input_tokens is not None else input_tokens
        return replace(told, input_tokens=given, output_tokens=seen if needs_output else None), True

    def _take_chat(self, reply: Mapping[str, Any]) -> None:
        self._name(reply.get("model"), reply.get("id"))
        usage = object_of(reply.get("usage")) or object_of(object_of(reply.get("x_groq")).get("usage"))
        if usage:
            # In a stream it comes once, after the last choice.
            self._count(usage_of_openai(usage), is_final=not reply.get("choices"))
        for choice in _objects(reply.get("choices")):
            self._read_text(choice.get("delta") or choice.get("message") or choice.get("text"))

    def _take_response(self, reply: Mapping[str, Any]) -> None:
        kind = str(reply.get("type") or "")
        whole = object_of(reply.get("response")) or (reply if reply.get("object") == "response" else {})
        if whole:
            self._name(whole.get("model"), whole.get("id"))
            usage = object_of(whole.get("usage"))
            if usage:
                self._count(usage_of_openai(usage), is_final=True)
            self.is_deferred = whole.get("status") in ("queued", "in_progress") and "type" not in reply
            self.is_complete |= kind in ("response.completed", "response.incomplete", "response.failed")
            self.is_failed |= whole.get("status") == "failed"
        if kind.endswith(".delta") and isinstance(reply.get("delta"), str):
            self._text_bytes += size_of(reply["delta"])
        elif kind == "error":
            self.is_failed = True
        elif not kind:
            self._read_text(whole.get("output"))

    def _take_message(self, reply: Mapping[str, Any]) -> None:
        kind = reply.get("type")
        if kind in ("message_start", "message"):
            whole = object_of(reply.get("message")) or reply
            self._name(whole.get("model"), whole.get("id"))
            self._count(usage_of_anthropic(object_of(whole.get("usage")), self._told), is_final=kind == "message")
            self._read_text(whole.get("content"))
        elif kind == "message_delta":
            self._count(usage_of_anthropic(object_of(reply.get("usage")), self._told), is_final=True)
        elif kind in ("content_block_start", "content_block_delta"):
            self._read_text(reply.get("content_block") or reply.get("delta"))
        self.is_complete |= kind == "message_stop"
        self.is_failed |= kind == "error"

    def _take_gemini(self, reply: Mapping[str, Any]) -> None:
        self._name(reply.get("modelVersion"), reply.get("responseId"))
        usage = object_of(reply.get("usageMetadata"))
        if usage:
            self._count(usage_of_gemini(usage))
        for candidate in _objects(reply.get("candidates")):
            self._read_text(candidate.get("content"))
            self.is_complete |= bool(candidate.get("finishReason"))

    def _name(self, model: Any, response_id: Any) -> None:
        self.model = model if isinstance(model, str) and model else self.model
        self.response_id = response_id if isinstance(response_id, str) and response_id else self.response_id

    def _count(self, usage: Usage, *, is_final: bool = False) -> None:
        if usage:
            self._told = usage
            self._is_final |= is_final

    def _read_text(self, value: Any) -> None:
        if isinstance(value, str):
            self._text_bytes += size_of(value)
        elif isinstance(value, list):
            for each in value:
                self._read_text(each)
        elif isinstance(value, dict):
            for name, each in value.items():
                if name not in _NO_TEXT:
                    self._read_text(each)


class Events:
    """Server-sent events, taken apart as their bytes come; incomplete ones wait for the rest."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._is_skipping = False
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """The JSON of the events that a chunk completes."""
        self._rest += chunk
        if b"\n" not in chunk:
            if len(self._rest) > MAX_BYTES:
                self._rest, self._is_skipping = b"", True
            return
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines[self._is_skipping :]:
            yield from self._line(line.rstrip(b"\r"))
        self._is_skipping = False

    def end(self) -> Iterator[Any]:
        """What the stream ends with, without an empty line after it."""
        yield from self._line(self._rest.rstrip(b"\r"))
        yield from self._line(b"")
        self._rest = b""

    def _line(self, line: bytes) -> Iterator[Any]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].strip())
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            if data == b"[DONE]":
                self.is_done = True
                return
            try:
                yield json.loads(data)
            except (ValueError, RecursionError):
                return


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
