"""Decides what happens in a simulated session: a pure function of service, seed and start."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from agentops.demo import rhythm, texts, trouble
from agentops.demo.fleet import Agent, Service
from agentops.demo.plan import NS, RunPlan, Step
from agentops.demo.stage import GaveUpError, Stage
from agentops.domain.spans import Kind

_ENVIRONMENTS = (("production", 93), ("staging", 5), ("demo", 2))
_WITHOUT_USER, _WITHOUT_FEATURE = 0.06, 0.05
_RESEARCH_ROUNDS = 3
#: How often an agent asks for two tools at once, the first agent needs nobody else, and one delegates.
_TWO_TOOLS, _ALONE, _DELEGATES = 0.25, 0.12, 0.7
_FIRST = (
    "maria", "tom", "jun", "priya", "lucas", "sofia", "emil", "nadia", "owen", "ines",
    "karl", "aisha", "peter", "lena", "hugo", "mei", "ravi", "clara", "noah", "zofia",
)  # fmt: skip
_LAST = (
    "keller", "okafor", "watanabe", "nair", "moreau", "lindgren", "silva", "petrov", "byrne", "castro",
    "huber", "rahman", "novak", "sato", "weiss", "chen", "mehta", "rossi", "olsen", "kowalska", "dunn",
)  # fmt: skip


def plan_session(
    service: Service, seed: str, start_ns: int, *, pattern: str | None = None, environment: str | None = None
) -> list[RunPlan]:
    """The runs of one session, in order. The same arguments always give the same runs.

    ``pattern`` replaces the way in which the service's agents work together (a key of ``PATTERNS``), which is
    how a service is made to misbehave. ``environment`` says where, instead of the dice.
    """
    rng = random.Random(f"session:{seed}:{service.slug}")
    drawn = rng.choices([name for name, _ in _ENVIRONMENTS], [share for _, share in _ENVIRONMENTS])[0]
    user = _user(service, rng)
    feature = rng.choices([name for name, _ in service.features], [share for _, share in service.features])[0]
    named = feature if rng.random() >= _WITHOUT_FEATURE else None
    release = rhythm.release(service, datetime.fromtimestamp(start_ns / NS, UTC), rng)
    session = f"sess-{rng.getrandbits(48):012x}"
    instance = f"{service.slug}-{rng.randrange(3)}"
    runs = []
    for turn in range(rng.randint(*service.turns)):
        stage = Stage(service, feature, start_ns, turn * rng.randrange(300, 800), rng)
        plan = RunPlan(
            service=service.slug,
            team=service.team,
            dialect=service.dialect,
            trace_id=rng.getrandbits(128).to_bytes(16, "big"),
            session=session,
            turn=turn,
            user=user,
            feature=named,
            release=release,
            environment=environment or drawn,
            instance=instance,
            root=_act(stage, PATTERNS[pattern or service.pattern]),
        )
        runs.append(plan)
        start_ns = plan.root.end_ns + int(rng.uniform(8, 90) * NS)  # the user reads, then asks again
    return runs


def _user(service: Service, rng: random.Random) -> str | None:
    if not service.audience or rng.random() < _WITHOUT_USER:
        return None
    rank = int(service.audience ** rng.random())  # by Zipf's law: each doubling of rank is as likely
    if service.prefix:
        return f"{service.prefix}{10_000 + rank * 7_919 % 89_989}"
    return f"{_FIRST[rank % len(_FIRST)]}.{_LAST[(rank * 5 + rank // len(_FIRST)) % len(_LAST)]}"


Pattern = Callable[[Stage], Step]


def _act(stage: Stage, pattern: Pattern) -> Step:
    """Act the pattern out; a run that gives up is a run all the same."""
    with stage.scope(Kind.OTHER, "") as top, suppress(GaveUpError):
        pattern(stage)
    (root,) = top.children
    return root


def _single(stage: Stage) -> Step:
    """One agent with its tools."""
    agent = stage.service.agents[0]
    with stage.scope(Kind.AGENT, agent.name, prompt=stage.question, answer=stage.answer) as root:
        _work(stage, agent)
    return root


def _work(stage: Stage, agent: Agent, *, prompt: str = "", answer: str = "") -> None:
    """An agent asks its model and uses tools until the model answers."""
    rng = stage.rng
    context = rng.randint(*agent.context) + stage.carried
    said = prompt
    for remaining in reversed(range(rng.randint(*agent.turns))):
        tools: list[str] = []
        if remaining and agent.tools:
            tools = rng.sample(agent.tools, min(len(agent.tools), 2 if rng.random() < _TWO_TOOLS else 1))
        call = stage.call(agent, context, tools, prompt=said, answer=answer)
        stage.use_tools(call)
        said = "\n".join(step.answer for step in call.requests)
        context += (call.usage.output or 0) + sum(80 + 15 * len(step.answer) for step in call.requests)


def _retrieve(stage: Stage) -> Step:
    """Look passages up, then answer from them."""
    agent, rng = stage.service.agents[0], stage.rng
    with stage.scope(Kind.AGENT, agent.name, prompt=stage.question, answer=stage.answer) as root:
        found = texts.tool_call(rng, agent.tools[0])[1]
        with stage.scope(Kind.RETRIEVAL, agent.tools[0], prompt=stage.question, answer=found):
            stage.embed(stage.service.embedding)
            stage.pause(0.01, 0.08)
        stage.call(agent, rng.randint(*agent.context) + stage.carried, prompt=f"{stage.question}\n\n{found}")
    return root


def _handoff(stage: Stage) -> Step:
    """The first agent hands the conversation to the one who can solve it."""
    first, *others = stage.service.agents
    chosen = stage.rng.choice(others)
    with stage.scope(Kind.WORKFLOW, f"{stage.service.slug} workflow", prompt=stage.question) as root:
        with stage.scope(Kind.AGENT, first.name, prompt=stage.question):
            call = stage.call(first, stage.rng.randint(*first.context) + stage.carried)
            if stage.rng.random() < _ALONE:
                return root  # it could answer by itself
            call.answer = ""
            call.requests = [stage.request(f"handoff to {chosen.name}", first.name, handoff_to=chosen.name)]
            stage.use_tools(call)
        with stage.scope(Kind.AGENT, chosen.name, prompt=stage.question, answer=stage.answer):
            _work(stage, chosen)
    return root


def _delegate(stage: Stage) -> Step:
    """The first agent works, then has the second do a part as one of its tools, then answers."""
    first, second = stage.service.agents
    with stage.scope(Kind.AGENT, first.name, prompt=stage.question, answer=stage.answer) as root:
        _work(stage, first)
        if stage.rng.random() < _DELEGATES:
            _delegated(stage, first, second)
    return root


def _delegated(stage: Stage, first: Agent, second: Agent) -> None:
    context = first.context[1] + stage.carried
    call = stage.call(first, context)
    tool = stage.request(first.tools[0], first.name)
    tool.name, tool.arguments = f"ask_{second.name}", {"question": stage.question}
    call.requests, call.answer = [tool], ""
    with stage.inside_tool(tool), stage.scope(Kind.AGENT, second.name, prompt=stage.question, answer=tool.answer):
        _work(stage, second, prompt=stage.question, answer=tool.answer)
    stage.call(first, context + 400, prompt=tool.answer)


def _supervise(stage: Stage) -> Step:
    """A graph: the first agent decides, each other one does its part, the first one answers."""
    first, *others = stage.service.agents
    with stage.scope(Kind.WORKFLOW, "LangGraph", prompt=stage.question, answer=stage.answer) as root:
        with stage.scope(Kind.AGENT, first.name, prompt=stage.question):
            stage.call(first, stage.rng.randint(*first.context))
        for agent in others:
            with stage.scope(Kind.AGENT, agent.name, prompt=stage.question, answer=stage.answer):
                _work(stage, agent)
        with stage.scope(Kind.AGENT, first.name, answer=stage.answer):
            stage.call(first, first.context[1] + 900)
    return root


def _research(stage: Stage) -> Step:
    """Rounds of research, analysis and verification, then a summary; each sees what was said before it."""
    *circle, summary = stage.service.agents
    context = stage.rng.randint(*circle[0].context)
    with stage.scope(Kind.WORKFLOW, "answer question", prompt=stage.question, answer=stage.answer) as root:
        for agent in circle * _RESEARCH_ROUNDS + [summary]:
            with stage.scope(Kind.AGENT, agent.name, prompt=stage.question):
                # Its answer is a message to the next agent as well as the reason to look something up.
                call = stage.call(agent, context, prompt=stage.question)
                call.requests = [stage.request(tool, agent.name) for tool in agent.tools]
                stage.use_tools(call)
            context += agent.growth + stage.rng.randrange(-20, 20)
    return root


#: How the agents of a service may work together.
PATTERNS: dict[str, Pattern] = {
    "single": _single,
    "retrieve": _retrieve,
    "handoff": _handoff,
    "delegate": _delegate,
    "supervise": _supervise,
    "research": _research,
    "clarify": trouble.clarify,
    "misread": trouble.misread,
    "repeat": trouble.repeat,
    "poll": trouble.poll,
    "hide_an_error": trouble.hide_an_error,
}
