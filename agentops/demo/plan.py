"""What one simulated run is, before any dialect spells it: a tree of steps, and the books that must follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum

from agentops.domain.pricing import PriceList
from agentops.domain.spans import COSTED_KINDS, STEP_KINDS, Kind, TokenUsage

NS = 1_000_000_000
#: Kinds that count as steps.
PRICES = PriceList()


class Dialect(StrEnum):
    """Which instrumentation a service uses."""

    GENAI = "OpenTelemetry GenAI"
    GENAI_OLD = "OpenTelemetry GenAI, old names"
    LANGGRAPH = "OpenInference, LangGraph"
    OPENAI_AGENTS = "OpenInference, OpenAI Agents"
    OPENINFERENCE = "OpenInference, plain"
    PYDANTIC_AI = "pydantic-ai"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as services ask for it. ``speed`` is output tokens a second; ``reasoning`` the share of hidden output."""

    name: str
    snapshot: str
    provider: str
    speed: float = 90.0
    caches: bool = True
    reasoning: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed."""

    type: str
    message: str


@dataclass(slots=True)
class Step:
    """One thing that happened. ``agent`` is who did it; ``name`` the agent's, tool's or index's own name.

    ``requests`` are the tool steps that a model call asked for; ``handoff_to`` the agent that a tool
    step passes the conversation to. Times are ns since the epoch.
    """

    kind: Kind
    name: str
    agent: str
    start_ns: int
    end_ns: int = 0
    children: list[Step] = field(default_factory=list)
    model: Model | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    response_id: str = ""
    call_id: str = ""
    system: str = ""
    prompt: str = ""
    answer: str = ""
    arguments: dict[str, str | int] = field(default_factory=dict)
    requests: list[Step] = field(default_factory=list)
    failure: Failure | None = None
    handoff_to: str = ""

    def walk(self) -> Iterator[Step]:
        """This step and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def asked(self) -> Model:
        """The model of a model call. Raises ``ValueError`` for any other step."""
        if self.model is None:
            message = f"{self.name} is no model call"
            raise ValueError(message)
        return self.model

    @property
    def cost_nano(self) -> int | None:
        """Nano-dollars of this one step; ``None`` when it is no model call, reports no usage or has no price."""
        if self.kind not in COSTED_KINDS or self.model is None or self.usage.input is None:
            return None
        return PRICES.cost(self.usage, self.model.provider, self.model.snapshot, self.start_ns).nano


@dataclass(slots=True)
class Truth:
    """What the books must say of some steps; the same measures, by the same names, as a run's totals."""

    spans: int = 0
    cost_nano: int = 0
    unpriced_calls: int = 0
    llm_calls: int = 0
    tool_calls: int = 0
    steps: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    reasoning_output_tokens: int = 0

    def __add__(self, other: Truth) -> Truth:
        return Truth(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Truth)))


@dataclass(slots=True)
class RunPlan:
    """One run of one service: who, what for, and everything that happens in it.

    ``user`` and ``feature`` may be ``None``: some traffic carries none. ``turn`` counts a session's runs from 0.
    """

    service: str
    team: str
    dialect: Dialect
    trace_id: bytes
    session: str
    turn: int
    user: str | None
    feature: str | None
    release: str
    environment: str
    instance: str
    root: Step

    def steps(self) -> Iterator[Step]:
        """Every step, parents first."""
        return self.root.walk()

    def truth(self) -> Truth:
        """The run's totals. ``spans`` counts steps and agents only: what a dialect adds is its own affair."""
        return sum_steps(self.steps())

    def agents(self) -> list[str]:
        """The names of the agents that took part, sorted."""
        return sorted({step.name for step in self.steps() if step.kind is Kind.AGENT})


def sum_steps(steps: Iterable[Step]) -> Truth:
    """The totals of some steps."""
    total = Truth()
    for step in steps:
        total.spans += 1
        if step.kind not in STEP_KINDS:
            continue
        total.steps += 1
        total.errors += step.failure is not None
        total.tool_calls += step.kind is Kind.TOOL
        if step.kind not in COSTED_KINDS:
            continue
        usage, cost = step.usage, step.cost_nano
        total.llm_calls += 1
        total.cost_nano += cost or 0
        total.unpriced_calls += cost is None and (usage.input is not None or step.failure is None)
        total.input_tokens += usage.input or 0
        total.output_tokens += usage.output or 0
        total.cache_read_input_tokens += usage.cache_read or 0
        total.cache_creation_input_tokens += usage.cache_creation or 0
        total.reasoning_output_tokens += usage.reasoning or 0
    return total


def _of_step(name: Callable[[Step], str]) -> Callable[[RunPlan], Iterator[tuple[str, Iterable[Step]]]]:
    def each(plan: RunPlan) -> Iterator[tuple[str, Iterable[Step]]]:
        for step in plan.steps():
            yield name(step), (step,)

    return each


def _of_run(name: Callable[[RunPlan], str | None]) -> Callable[[RunPlan], Iterator[tuple[str, Iterable[Step]]]]:
    def once(plan: RunPlan) -> Iterator[tuple[str, Iterable[Step]]]:
        yield name(plan) or "", plan.steps()

    return once


_DIMENSIONS: dict[str, Callable[[RunPlan], Iterator[tuple[str, Iterable[Step]]]]] = {
    "service": _of_run(lambda plan: plan.service),
    "team": _of_run(lambda plan: plan.team),
    "user": _of_run(lambda plan: plan.user),
    "feature": _of_run(lambda plan: plan.feature),
    "session": _of_run(lambda plan: plan.session),
    "release": _of_run(lambda plan: plan.release),
    "environment": _of_run(lambda plan: plan.environment),
    "agent": _of_step(lambda step: step.agent),
    "model": _of_step(lambda step: step.model.snapshot if step.model is not None and step.failure is None else ""),
}
DIMENSIONS = tuple(_DIMENSIONS)


def truth_by(plans: Iterable[RunPlan], dimension: str) -> dict[str, Truth]:
    """The totals by one of ``DIMENSIONS``; what carries no key is under ``""``.

    By model, calls that failed are under ``""``: not every dialect names the model of a failed call.
    """
    totals: dict[str, Truth] = {}
    for plan in plans:
        for key, steps in _DIMENSIONS[dimension](plan):
            totals[key] = totals.get(key, Truth()) + sum_steps(steps)
    return totals
