"""Requests to send: generated agent runs in the GenAI conventions, encoded before any clock starts.

About 28 spans a run, 14.6 attributes and 1 KB of text a span: what an agent with message capture on exports.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from agentops.demo.plan import NS
from agentops.demo.writers.wire import SPAN_CLIENT, SPAN_INTERNAL, STATUS_ERROR, Attributes, WireSpan, encode
from agentops.domain.spans import Kind

#: (asked for, answered by, provider)
_MODELS = (
    ("gpt-4o", "gpt-4o-2024-08-06", "openai"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai"),
    ("gpt-4.1", "gpt-4.1-2025-04-14", "openai"),
    ("gpt-5-mini", "gpt-5-mini-2025-08-07", "openai"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic"),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001", "anthropic"),
    ("gemini-2.5-pro", "gemini-2.5-pro", "gcp.gemini"),
    ("mistral-large-latest", "mistral-large-2411", "mistral_ai"),
)
_MORE_MODELS = (
    *((name, name, "openai") for name in ("gpt-4.1-mini", "gpt-4.1-nano", "gpt-4-turbo", "gpt-4o-2024-05-13")),
    *((name, name, "openai") for name in ("gpt-5", "gpt-5-nano", "gpt-5.1", "gpt-5.2", "gpt-3.5-turbo")),
    *((name, name, "anthropic") for name in ("claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-4-0")),
    *((name, name, "anthropic") for name in ("claude-3-7-sonnet-latest", "claude-3-5-haiku-latest")),
    *((name, name, "gcp.gemini") for name in ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.0-flash")),
    *((name, name, "mistral_ai") for name in ("mistral-small-latest", "ministral-8b-latest", "codestral-2508")),
    *((name, name, "x_ai") for name in ("grok-3", "grok-3-mini")),
)
_SERVICES = tuple(f"bench-{name}" for name in ("chat", "research", "review", "sales", "search", "data", "ops", "guide"))
_AGENTS = ("planner", "researcher", "writer", "critic", "coder", "analyst", "router", "validator")
_TOOLS = (
    "web_search",
    "read_file",
    "run_sql",
    "http_get",
    "vector_lookup",
    "send_email",
    "create_ticket",
    "list_orders",
)
_SCOPE = ("opentelemetry.instrumentation.bench", "1.0")
_TEXT_BYTES = 1_024
_FAILING = 0.02
_RELEASED_EVERY = 7 * 86_400 * NS
_SYLLABLES = "ta re mo li ku na ve so pi da ren tor mal sin ker vos ple ark und est ing ion per con".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class World:
    """Whom and what runs are about: so many users and features, and these models."""

    users: int
    features: int
    models: tuple[tuple[str, str, str], ...]


SMALL = World(200, 20, _MODELS)
#: What the pages are measured with: of these users some 20,000 come in a million spans.
LARGE = World(34_000, 200, (*_MODELS, *_MORE_MODELS))


@dataclass(frozen=True, slots=True)
class Request:
    """One encoded request and how many spans it holds."""

    body: bytes
    spans: int


class Generator:
    """Runs by number; the same seed and number always give the same run, apart from its time."""

    def __init__(self, seed: str, world: World = SMALL) -> None:
        self._seed, self._world = seed, world
        rng = random.Random(f"words:{seed}")
        words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(3_000)]
        self._text = " ".join(rng.choices(words, k=120_000))

    def run(self, number: int, start_ns: int, steps: int = 0) -> list[WireSpan]:
        """The spans of one run, in the order in which they end; ``steps`` model and tool calls (0: 8 to 40)."""
        run = _Run(random.Random(f"{self._seed}:{number}"), self._text, start_ns, self._world)
        return run.act(steps or run.rng.randint(8, 40))

    def spans(self, count: int, until_ns: int, seconds: float, first: int = 0) -> list[WireSpan]:
        """Whole runs, at least ``count`` spans, begun evenly over the seconds before ``until_ns``; by end time."""
        spans: list[WireSpan] = []
        expected = max(1, count // 28)
        number = 0
        while len(spans) < count:
            at = until_ns - int(seconds * NS * (1 - min(number, expected) / expected))
            spans += self.run(first + number, at)
            number += 1
        return sorted(spans, key=lambda span: span.end_ns)


def requests(spans: list[WireSpan], batch: int) -> Iterator[Request]:
    """The spans cut into compressed protobuf requests."""
    for start in range(0, len(spans), batch):
        part = spans[start : start + batch]
        yield Request(gzip.compress(encode(part), 6, mtime=0), len(part))


class _Run:
    def __init__(self, rng: random.Random, text: str, start_ns: int, world: World) -> None:
        self.rng, self.text, self.now, self.world = rng, text, start_ns, world
        self.trace_id = rng.getrandbits(128).to_bytes(16, "big")
        service = _SERVICES[int(len(_SERVICES) * rng.random() ** 1.5)]
        user = f"user-{int(world.users * rng.random() ** 2):05d}"
        self.identity: Attributes = [
            ("user.id", user),
            ("session.id", f"sess-{user}-{rng.getrandbits(20):05x}"),
            ("app.feature", f"feature-{int(world.features * rng.random() ** 1.5):03d}"),
            ("gen_ai.conversation.id", f"conv-{rng.getrandbits(32):08x}"),
        ]
        self.resource = (
            ("service.name", service),
            ("service.version", f"1.{start_ns // _RELEASED_EVERY}.0"),
            ("deployment.environment.name", "staging" if rng.random() < 0.1 else "production"),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.version", "1.45.2"),
            ("host.name", f"{service}-0"),
        )
        self.spans: list[WireSpan] = []

    def act(self, steps: int) -> list[WireSpan]:
        rng = self.rng
        first, *others = rng.sample(_AGENTS, rng.randint(3, 5))
        models = {name: rng.choice(self.world.models) for name in (first, *others)}
        root, began = self._id(), self.now
        self._step(first, models[first], root, is_call=True)
        for position, agent in enumerate(others):
            span_id, start = self._id(), self.now
            for number in range(max(1, (steps - 1 - position) // len(others))):
                self._step(agent, models[agent], span_id, is_call=number == 0)
            self._agent(agent, models[agent][2], root, span_id, start)
        self._agent(first, models[first][2], b"", root, began)
        return self.spans

    def _step(self, agent: str, model: tuple[str, str, str], parent: bytes, *, is_call: bool) -> None:
        if is_call or self.rng.random() < 0.6:
            self._call(agent, model, parent)
        else:
            self._tool(agent, parent)

    def _call(self, agent: str, model: tuple[str, str, str], parent: bytes) -> None:
        rng = self.rng
        asked, answered, provider = model
        tokens = min(60_000, int(rng.lognormvariate(7.0, 0.9)) + 20)
        output = min(8_000, int(rng.lognormvariate(5.2, 0.8)) + 1)
        attributes: Attributes = [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.system", provider),
            ("gen_ai.provider.name", provider),
            ("gen_ai.request.model", asked),
            ("gen_ai.response.model", answered),
            ("gen_ai.response.id", f"resp-{rng.getrandbits(64):016x}"),
            ("gen_ai.response.finish_reasons", ["stop"]),
            ("gen_ai.request.temperature", 0.2),
            ("gen_ai.usage.input_tokens", tokens),
            ("gen_ai.usage.output_tokens", output),
            ("gen_ai.agent.name", agent),
            ("gen_ai.input.messages", self._message("user", _TEXT_BYTES * 7 // 10)),
            ("gen_ai.output.messages", self._message("assistant", _TEXT_BYTES * 3 // 10)),
        ]
        if rng.random() < 0.3:
            attributes.append(("gen_ai.usage.cache_read.input_tokens", int(tokens * rng.random() * 0.9)))
        self._span(f"chat {asked}", Kind.LLM, parent, attributes, seconds=0.25 + output * 0.008)

    def _tool(self, agent: str, parent: bytes) -> None:
        name = self.rng.choice(_TOOLS)
        attributes: Attributes = [
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", name),
            ("gen_ai.tool.type", "function"),
            ("gen_ai.tool.call.id", f"call_{self.rng.getrandbits(64):016x}"),
            ("gen_ai.agent.name", agent),
            ("gen_ai.tool.call.arguments", json.dumps({"query": self._words(_TEXT_BYTES // 5), "limit": 10})),
            ("gen_ai.tool.call.result", json.dumps({"text": self._words(_TEXT_BYTES * 3 // 4)})),
        ]
        self._span(f"execute_tool {name}", Kind.TOOL, parent, attributes, seconds=0.01 + self.rng.expovariate(2.5))

    def _agent(self, name: str, provider: str, parent: bytes, span_id: bytes, start_ns: int) -> None:
        attributes: Attributes = [
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.agent.name", name),
            ("gen_ai.agent.id", f"agent-{name}"),
            ("gen_ai.system", provider),
            ("gen_ai.provider.name", provider),
            ("gen_ai.input.messages", self._message("user", _TEXT_BYTES // 2)),
            ("gen_ai.output.messages", self._message("assistant", _TEXT_BYTES // 2)),
        ]
        self._record(f"invoke_agent {name}", Kind.AGENT, parent, attributes, span_id, start_ns)
        self.now += 2_000_000

    def _span(self, name: str, kind: Kind, parent: bytes, attributes: Attributes, *, seconds: float) -> None:
        start, self.now = self.now, self.now + int(seconds * NS)
        self._record(name, kind, parent, attributes, self._id(), start)
        self.now += self.rng.randrange(5_000_000)

    def _record(
        self, name: str, kind: Kind, parent: bytes, attributes: Attributes, span_id: bytes, start_ns: int
    ) -> None:
        failed = kind is Kind.TOOL and self.rng.random() < _FAILING
        self.spans.append(
            WireSpan(
                trace_id=self.trace_id,
                span_id=span_id,
                parent_span_id=parent,
                name=name,
                span_kind=SPAN_CLIENT if kind is Kind.LLM else SPAN_INTERNAL,
                start_ns=start_ns,
                end_ns=self.now,
                attributes=attributes + self.identity,
                status=STATUS_ERROR if failed else 0,
                message="the tool gave up" if failed else "",
                resource=self.resource,
                scope=_SCOPE,
                kind=kind,
                step=None,
            )
        )

    def _id(self) -> bytes:
        return (self.rng.getrandbits(64) | 1).to_bytes(8, "big")

    def _words(self, size: int) -> str:
        start = self.rng.randrange(len(self.text) - size)
        return self.text[start : start + size]

    def _message(self, role: str, size: int) -> str:
        part = {"type": "text", "content": self._words(size - 60)}
        return json.dumps([{"role": role, "parts": [part]}], separators=(",", ":"))
