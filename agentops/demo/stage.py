"""Acts out one run: the clock, the dice, the tokens, and what goes wrong and is tried again."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agentops.demo import texts
from agentops.demo.fleet import MODELS, Agent, Service
from agentops.demo.plan import NS, Dialect, Failure, Model, Step
from agentops.domain.spans import Kind, TokenUsage

_ATTEMPTS = 3
#: Share of calls for which an agent with two models takes its first.
_FIRST_MODEL = 0.7
#: Providers keep a prompt's prefix from this many tokens on, in blocks.
_CACHE_FROM, _CACHE_BLOCK = 1_024, 128
#: (weight, error type by provider's client, message, seconds that it takes to fail)
_MODEL_FAILURES = (
    (5, "RateLimitError", "Error code: 429 - Rate limit reached for {model}. Please try again in 2s.", 0.3),
    (3, "InternalServerError", "Error code: 500 - The server had an error while processing your request.", 1.1),
    (2, "APITimeoutError", "Request timed out.", 20.0),
)
_TOOL_FAILURES = (
    ("ToolExecutionError", "upstream answered 502 Bad Gateway"),
    ("TimeoutError", "no answer within 5 s"),
    ("ValueError", "malformed input: field 'id' is required"),
)


class GaveUpError(Exception):
    """A model call failed as often as it may; the agents above it fail with it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Stage:
    """One run while it is acted out. ``now`` is its clock in ns; ``carried`` the tokens of earlier turns."""

    def __init__(self, service: Service, feature: str, start_ns: int, carried: int, rng: random.Random) -> None:
        self.service = service
        self.feature = feature
        self.rng = rng
        self.now = start_ns
        self.carried = carried
        self.question = texts.question(rng, feature)
        self.answer = texts.answer(rng, feature)
        self._open: list[Step] = []
        self._prompted: dict[str, int] = {}  # tokens of each agent's last prompt: what a provider may have kept

    @contextmanager
    def scope(self, kind: Kind, name: str, *, prompt: str = "", answer: str = "") -> Iterator[Step]:
        """An agent or workflow with what happens inside it."""
        agent = name if kind is Kind.AGENT else self.agent
        step = self._begin(Step(kind, name, agent, self.now, prompt=prompt, answer=answer))
        with self._inside(step):
            yield step

    @property
    def agent(self) -> str:
        """Whose turn it is."""
        return self._open[-1].agent if self._open else ""

    def pause(self, shortest: float, longest: float) -> None:
        """Let so many seconds pass."""
        self.now += int(self.rng.uniform(shortest, longest) * NS)

    def call(
        self, agent: Agent, context: int, tools: Sequence[str] = (), *, prompt: str = "", answer: str = ""
    ) -> Step:
        """A model call that asks for some tools or answers, tried again when it fails; raises ``GaveUpError``."""
        model = MODELS[
            agent.models[0] if len(agent.models) == 1 or self.rng.random() < _FIRST_MODEL else agent.models[1]
        ]
        failure = Failure("", "")
        for attempt in range(_ATTEMPTS):
            step = Step(Kind.LLM, agent.name, self.agent, self.now, model=model, prompt=prompt or self.question)
            step.system = f"You are {agent.name.replace('_', ' ')} of {self.service.slug}. {self.service.description}"
            self._begin(step)
            if self.rng.random() >= self.service.failing * (1 + attempt * 12):
                self._succeed(step, agent, context, tools, answer)
                return step
            failure = self._fail(step, model)
            self.pause(0.5 * 2**attempt, 1.2 * 2**attempt)
        raise GaveUpError(failure)

    def use_tools(self, call: Step) -> None:
        """Run all tools that a model call asked for, side by side."""
        start = latest = self.now
        for step in call.requests:
            self.now = step.start_ns = start + self.rng.randrange(1, 4_000_000)
            self._begin(step)
            self.now += int((0.02 + self.rng.expovariate(5.0)) * NS)
            if self.rng.random() < self.service.failing * 1.5:
                step.failure = Failure(*self.rng.choice(_TOOL_FAILURES))
                step.answer = f"error: {step.failure.message}"
            step.end_ns = self.now
            latest = max(latest, self.now)
        self.now = latest + self.rng.randrange(1, 3_000_000)

    @contextmanager
    def inside_tool(self, step: Step) -> Iterator[None]:
        """What a tool that is itself an agent does."""
        step.start_ns = self.now
        self._begin(step)
        with self._inside(step):
            yield

    def request(self, tool: str, agent: str, *, handoff_to: str = "") -> Step:
        """A tool call that a model asks for; it happens with ``use_tools`` or ``inside_tool``."""
        step = Step(
            Kind.TOOL, tool, agent, self.now, handoff_to=handoff_to, call_id=f"call_{self.rng.getrandbits(64):016x}"
        )
        if handoff_to:
            step.answer = handoff_to
        else:
            step.arguments, step.answer = texts.tool_call(self.rng, tool)
        return step

    def embed(self, model: Model) -> None:
        """Embed the question."""
        step = self._begin(Step(Kind.EMBEDDING, model.name, self.agent, self.now, model=model, prompt=self.question))
        step.usage = TokenUsage(input=len(self.question) // 4 + self.rng.randrange(3, 9))
        self.pause(0.04, 0.16)
        step.end_ns = self.now

    def _begin(self, step: Step) -> Step:
        if self._open:
            self._open[-1].children.append(step)
        self.now += self.rng.randrange(100_000, 2_000_000)
        return step

    @contextmanager
    def _inside(self, step: Step) -> Iterator[None]:
        self._open.append(step)
        try:
            yield
        except GaveUpError as error:
            step.failure = error.failure
            raise
        finally:
            self._open.pop()
            self.now += self.rng.randrange(100_000, 2_000_000)
            step.end_ns = self.now

    def _succeed(self, step: Step, agent: Agent, context: int, tools: Sequence[str], answer: str) -> None:
        model, rng = step.asked, self.rng
        visible = max(8, int(rng.lognormvariate(math.log(agent.output), 0.3)) // (3 if tools else 1))
        reasoning = int(visible * model.reasoning * rng.uniform(0.5, 1.6))
        step.usage = TokenUsage(input=context, output=visible + reasoning)
        if model.reasoning:
            step.usage.reasoning = reasoning
        if model.caches:
            self._cache(step, agent.name, context)
        seconds = rng.uniform(0.2, 0.6) + (visible + reasoning) / model.speed
        self.now += int(seconds * self.service.pace * NS)
        step.end_ns = self.now
        prefix = {"anthropic": "msg_", "openai": "chatcmpl-"}.get(model.provider, "gen-")
        if self.service.dialect is Dialect.OPENAI_AGENTS:
            prefix = "resp_"
        step.response_id = f"{prefix}{rng.getrandbits(80):020x}"
        step.requests = [self.request(tool, self.agent) for tool in tools]
        step.answer = "" if tools else answer or self.answer

    def _cache(self, step: Step, agent: str, context: int) -> None:
        kept = min(self._prompted.get(agent, 0), context) // _CACHE_BLOCK * _CACHE_BLOCK
        read = kept if kept >= _CACHE_FROM else 0
        if read:
            step.usage.cache_read = read
        if step.model is not None and step.model.provider == "anthropic" and context - read >= _CACHE_FROM:
            step.usage.cache_creation = (context - read) * 9 // 10
        self._prompted[agent] = context

    def _fail(self, step: Step, model: Model) -> Failure:
        _, kind, message, seconds = self.rng.choices(_MODEL_FAILURES, [f[0] for f in _MODEL_FAILURES])[0]
        client = "anthropic" if model.provider == "anthropic" else "openai"
        step.failure = Failure(f"{client}.{kind}", message.format(model=model.name))
        self.pause(seconds * 0.8, seconds * 1.2)
        step.end_ns = self.now
        return step.failure
