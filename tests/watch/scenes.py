"""Runs that do something to be found, as spans on their way into the books."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import orjson
import psycopg

from agentops.domain.pricing import PriceList, span_cost
from agentops.domain.spans import Kind, Span, TokenUsage
from agentops.ingest.booking import Entry, book
from agentops.ingest.connections import connect
from agentops.watch.look import look

PRICES = PriceList()
SECOND = 10**9


class Scene:
    """One run of one service; each step follows the one before by two seconds, the last one ends now."""

    def __init__(self, number: int = 1, *, service: str = "shop", session: str | None = None, ago: int = 600) -> None:
        self.trace_id = number.to_bytes(16, "big")
        self.service, self.session = service, session
        self.at = time.time_ns() - ago * SECOND
        self.number = 0
        self.entries: list[Entry] = []

    def add(self, kind: Kind, content: dict[str, Any], **facts: Any) -> bytes:
        """A further span; its id."""
        self.number += 1
        self.at += 2 * SECOND
        span_id = self.number.to_bytes(8, "big")
        facts.setdefault("attribution", {"session": (self.session, 0)} if self.session else {})
        facts = {"parent_span_id": b"p" * 8, "name": kind.name, "scope": "test", **facts}
        span = Span(
            self.trace_id, span_id, service=self.service, kind=kind, start_ns=self.at, end_ns=self.at + SECOND,
            content=content, **facts,
        )  # fmt: skip
        self.entries.append(Entry(span, span_cost(span, PRICES), orjson.dumps(content).decode() if content else None))
        return span_id

    def tool(self, name: str, arguments: Any, result: str | None, *, agent: str | None = "a", **facts: Any) -> bytes:
        """A tool call."""
        content = {"arguments": arguments} | ({} if result is None else {"result": result})
        return self.add(Kind.TOOL, content, tool_name=name, agent_name=agent, **facts)

    def says(self, text: str, *, agent: str | None = "a", tokens: int = 1_000, **content: Any) -> bytes:
        """A model call that answers with a text."""
        return self.add(
            Kind.LLM, {"output": text, **content}, agent_name=agent, provider="openai", request_model="gpt-4o",
            response_model="gpt-4o", usage=TokenUsage(input=tokens, output=100),
        )  # fmt: skip

    def end(self, *, failed: bool = False) -> None:
        """The root span."""
        self.add(Kind.WORKFLOW, {}, parent_span_id=b"", is_error=failed)


def booked(*scenes: Scene, batch: int = 1_000) -> None:
    """Book all spans of some scenes, in batches."""
    entries = [entry for scene in scenes for entry in scene.entries]
    with connect("test") as connection:
        for at in range(0, len(entries), batch):
            book_in(connection, entries[at : at + batch])


def book_in(connection: psycopg.Connection[Any], entries: Iterable[Entry]) -> None:
    """Book some spans in a transaction of their own."""
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        book(cursor, list(entries), set())


def watched() -> int:
    """Look until nothing waits; how many rows were done."""
    done = 0
    while more := look():
        done += more
    return done
