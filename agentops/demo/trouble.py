"""How agents misbehave: they ask each other what is meant, repeat a call, wait for nothing, pass over an error."""

from __future__ import annotations

from dataclasses import dataclass

from agentops.demo import texts
from agentops.demo.fleet import Agent
from agentops.demo.plan import NS, Failure, Step
from agentops.demo.stage import Stage
from agentops.domain.spans import Kind

#: How many turns two agents take that do not understand each other, before somebody stops them.
_CLARIFICATIONS = (55, 75)
#: What a model reads at most, in tokens; the last part of it is kept for the answer.
_WINDOW = 128_000


@dataclass(frozen=True, slots=True)
class _Talk:
    """A talk that is watched while it goes on.

    ``context`` is what it begins with, ``growth`` what each turn adds, in tokens; a deadline ends it after
    ``lasts_seconds``; agents hesitate for ``pause`` seconds.
    """

    context: int = 9_000
    growth: int = 700
    lasts_seconds: int = 15 * 60
    pause: tuple[float, float] = (4.0, 6.0)


_WATCHED = _Talk()
_GAVE_UP = Failure("TimeoutError", "cancelled: no answer within 15 minutes")


def clarify(stage: Stage) -> Step:
    """Two agents ask each other what is meant, and nobody stops them: each turn sees all that was said before."""
    first, second = stage.service.agents[:2]
    context = stage.rng.randint(*first.context)
    stage.question = heard = texts.malformed(stage.question)
    with stage.scope(Kind.WORKFLOW, "answer question", prompt=stage.question) as root:
        for turn in range(stage.rng.randint(*_CLARIFICATIONS)):
            call = _ask(stage, (first, second)[turn % 2], context, heard, turn)
            heard = call.answer
            context += (call.usage.output or 0) + stage.rng.randrange(80, 160)
            stage.pause(20, 32)
    return root


def misread(stage: Stage) -> Step:
    """The same, at a pace that can be watched, until a deadline ends it a quarter of an hour later."""
    first, second = stage.service.agents[:2]
    stage.question = heard = texts.malformed(stage.question)
    began_ns, context, turn = stage.now, _WATCHED.context, 0
    with stage.scope(Kind.WORKFLOW, "answer question", prompt=stage.question) as root:
        while stage.now - began_ns < _WATCHED.lasts_seconds * NS:
            heard = _ask(stage, (first, second)[turn % 2], context, heard, turn).answer
            context = min(_WINDOW, context + _WATCHED.growth + stage.rng.randrange(-60, 60))
            turn += 1
            stage.pause(*_WATCHED.pause)
        root.failure = _GAVE_UP
    return root


def _ask(stage: Stage, agent: Agent, context: int, heard: str, turn: int) -> Step:
    with stage.scope(Kind.AGENT, agent.name, prompt=heard):
        return stage.call(agent, context, prompt=heard, answer=texts.clarification(stage.question, turn))


def repeat(stage: Stage) -> Step:
    """An agent makes one call again and again, the same way, and gets the same answer; then it gives its own."""
    agent = stage.service.agents[0]
    return _calls(stage, agent, agent.tools[-1], stage.rng.randint(5, 8), pause=(0.5, 2.0))


def poll(stage: Stage) -> Step:
    """An agent asks whether something is done, again and again; it is not."""
    return _calls(stage, stage.service.agents[0], "query_status", stage.rng.randint(9, 13), pause=(4.0, 7.0))


def _calls(stage: Stage, agent: Agent, tool: str, times: int, *, pause: tuple[float, float]) -> Step:
    context = stage.rng.randint(*agent.context)
    arguments, answer = texts.tool_call(stage.rng, tool)
    said = stage.question
    with stage.scope(Kind.AGENT, agent.name, prompt=stage.question, answer=stage.answer) as root:
        for _ in range(times):
            call = stage.call(agent, context, [tool], prompt=said)
            (done,) = call.requests
            done.arguments, done.answer = arguments, answer
            stage.use_tools(call)
            said = done.answer
            context += (call.usage.output or 0) + 80 + 15 * len(said)
            stage.pause(*pause)
        stage.call(agent, context, prompt=said)
    return root


def hide_an_error(stage: Stage) -> Step:
    """A tool fails, its error gets lost on the way to the model, and the answer is as confident as ever."""
    agent = stage.service.agents[0]
    context = stage.rng.randint(*agent.context)
    with stage.scope(Kind.AGENT, agent.name, prompt=stage.question, answer=stage.answer) as root:
        call = stage.call(agent, context, [agent.tools[0]])
        stage.use_tools(call)
        (failed,) = call.requests
        failed.failure = Failure("ConnectionError", "connection refused by logs.internal:9200 after 3 attempts")
        failed.answer = f"error: {failed.failure.message}"
        # The framework's handler swallows the exception: what the model reads next says nothing of it.
        stage.call(agent, context + 400, prompt=f"{stage.question}\n\n(no output)")
    return root
