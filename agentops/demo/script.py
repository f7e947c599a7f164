"""Acts out runs word by word: what is said, which tool is called with what, and what it answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from agentops.demo.fleet import Agent, Service
from agentops.demo.plan import NS, Dialect, Failure, RunPlan, Step
from agentops.demo.prose import Prose
from agentops.demo.stage import Stage
from agentops.domain.spans import Kind

_START_NS = 1_780_300_800 * NS
_MODELS = ("gpt-4.1", "gpt-4.1-mini", "claude-sonnet-4-5", "gpt-4o", "gemini-2.5-flash", "claude-haiku-4-5")
_MAX_CONTEXT = 128_000
#: Those that can spell several agents in one run, and a tool that is an agent.
_DIALECTS = (Dialect.GENAI, Dialect.GENAI_OLD, Dialect.OPENINFERENCE, Dialect.LANGGRAPH)

Arguments = Mapping[str, str | int]


class Use(NamedTuple):
    """One call of a tool: with what, what it answers, and whether that is an error."""

    tool: str
    arguments: Arguments
    result: str
    fails: bool = False


class Script(Stage):
    """One session while it is written. ``plans`` are its runs so far, ``begins_ns`` when what it is about begins."""

    def __init__(self, rng: random.Random) -> None:
        model = rng.choice(_MODELS)
        service = Service(
            "labelled", "research", "Does what it is told.", rng.choice(_DIALECTS), "single",
            (Agent("agent", (model,)),), (("faq", 1),), "UTC", "steady", 1, 1, 0, failing=0.0,
        )  # fmt: skip
        super().__init__(service, "faq", _START_NS + rng.randrange(86_400) * NS, 0, rng)
        self.prose = Prose(rng)
        self.plans: list[RunPlan] = []
        self.begins_ns = 0
        self._session = f"sess-{rng.getrandbits(48):012x}"
        self._model = model
        self._tokens: dict[str, int] = {}
        self._said = ""

    def begins(self) -> None:
        """From here on it is what its label says."""
        self.begins_ns = self.now

    @contextmanager
    def run(self, agent: str, question: str = "") -> Iterator[None]:
        """A run of its own, by this agent; an empty name for one whose agents take the stage themselves."""
        question = self._said = question or self.prose.question()
        with self.scope(Kind.OTHER, "") as top:
            kind, name = (Kind.AGENT, agent) if agent else (Kind.WORKFLOW, "answer question")
            with self.scope(kind, name, prompt=question):
                yield
        self.plans.append(self._plan(top.children[0]))

    @contextmanager
    def turn(self, agent: str, heard: str = "") -> Iterator[None]:
        """What one agent of a run does before another has its turn."""
        if heard:
            self._said = heard
        with self.scope(Kind.AGENT, agent, prompt=self._said):
            yield

    def wait(self, shortest: float, longest: float) -> None:
        """Let so many seconds pass."""
        self.pause(shortest, longest)

    def say(self, text: str, heard: str = "") -> None:
        """The agent's model answers: the next one hears that."""
        self._model_call(heard or self._said, text)
        self._said = text

    def use(self, *uses: Use, says: str = "", shown: bool = True) -> None:
        """The agent's model asks for tools, which run side by side; without ``shown`` no span tells of them."""
        call = self._model_call(self._said, says)
        call.requests = [self._tool(use) for use in uses]
        if shown:
            self.use_tools(call)
        self._said = "\n".join(use.result for use in uses)

    def hand_over(self, to: str) -> None:
        """The agent passes the conversation on."""
        call = self._model_call(self._said, "")
        call.requests = [self.request(f"transfer_to_{to}", self.agent, handoff_to=to)]
        self.use_tools(call)

    def ask(self, worker: str, question: str, answer: Callable[[], str]) -> None:
        """The agent has another one do a part of the work, as one of its tools."""
        call = self._model_call(self._said, "")
        tool = self._tool(Use(f"ask_{worker}", {"question": question}, ""))
        call.requests = [tool]
        with self.inside_tool(tool), self.turn(worker, question):
            tool.answer = answer()
        self._said = tool.answer

    def side_by_side(self, *branches: Callable[[], None]) -> None:
        """Several things that happen at the same time."""
        start = latest = self.now
        for branch in branches:
            self.now = start
            branch()
            latest = max(latest, self.now)
        self.now = latest

    def _model_call(self, prompt: str, answer: str) -> Step:
        name = self.agent or "agent"
        context = self._tokens.get(name, self.rng.randint(900, 3_000))
        call = self.call(Agent(name, (self._model,)), context, prompt=prompt, answer="~")
        call.answer = answer
        self._tokens[name] = min(_MAX_CONTEXT, context + (call.usage.output or 0) + len(prompt) // 4)
        return call

    def _tool(self, use: Use) -> Step:
        step = Step(Kind.TOOL, use.tool, self.agent, self.now, call_id=f"call_{self.rng.getrandbits(64):016x}")
        step.arguments, step.answer = dict(use.arguments), use.result
        if use.fails:
            step.failure = Failure("ToolError", use.result)
        return step

    def _plan(self, root: Step) -> RunPlan:
        service = self.service
        return RunPlan(
            service=service.slug, team=service.team, dialect=service.dialect,
            trace_id=self.rng.getrandbits(128).to_bytes(16, "big"), session=self._session, turn=len(self.plans),
            user=None, feature=None, release="1", environment="production", instance="labelled-0", root=root,
        )  # fmt: skip
