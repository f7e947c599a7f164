"""What the watch remembers of steps: small records that are replaced and never changed, so that states share them."""

from __future__ import annotations

from typing import NamedTuple

from agentops.domain.findings import Mode, StepKey
from agentops.domain.steps import Asked, Step, Trait

#: How much a step like an earlier one counts, by what came back of it.
SAME_EMPTY, OTHER_RESULT, _UNTOLD_EXACT, _UNTOLD_NEAR = 0.6, 0.1, 0.7, 0.4
FAULTS = frozenset({Mode.UNKNOWN_TOOL, Mode.MALFORMED})
_SAID, _SAID_OTHERWISE = 0.8, 0.32
TALKS = frozenset({Mode.TALK, Mode.PING_PONG, Mode.MESSAGE})


class Entry(NamedTuple):
    """A step as its lane remembers it."""

    what: int
    words: int
    result: int
    cluster: int
    number: int
    end_ns: int
    after: int


class Past(NamedTuple):
    """A step as the run remembers it.

    ``result`` is what came back, or what a message answers; ``spent`` what had been spent before it.
    """

    number: int
    lane: tuple[str, str]
    is_novel: bool
    cluster: int
    what: int
    result: int
    traits: int
    start_ns: int
    end_ns: int
    spent: int
    key: StepKey


class Cluster(NamedTuple):
    """Steps that are alike: the evidence that they are a loop, and how many there are."""

    evidence: float = 0.0
    leaking: float = 0.0
    is_armed: bool = True
    times: int = 1
    exact: int = 0
    number: int = 0


class Speaker(NamedTuple):
    """An agent in a talk: its messages, how many of them ask something, how many say what it said before, the last."""

    messages: int = 0
    asks: int = 0
    again: int = 0
    latest: int = 0


class Handed(NamedTuple):
    """A task that two agents do in turns: who, who did it last, how often it has changed hands, since which step."""

    one: str
    other: str
    latest: str
    turns: int
    number: int
    began: int


class Pending(NamedTuple):
    """A tool that was asked for and not been judged: no span of it has been seen, or one that tells nothing."""

    agent: str
    asked: Asked
    end_ns: int
    key: StepKey
    is_shown: bool = False


class Untold(NamedTuple):
    """A tool call of which nothing is recorded, until the next call of its model tells how much came back."""

    agent: str
    tool: str
    start_ns: int
    end_ns: int
    key: StepKey


class Call(NamedTuple):
    """A tool call as the look-out for results remembers it; ``weight`` is how little was new since the one before."""

    agent: str
    tool: str
    what: int
    result: int
    number: int
    end_ns: int
    weight: float


def result_match(step: Step, earlier: Entry, *, is_exact: bool) -> float:
    """How much of a loop it is that something like this was done before: by what came back of both."""
    result = step.result
    if not result or not earlier.result:
        return _UNTOLD_EXACT if is_exact else _UNTOLD_NEAR
    if result != earlier.result:
        return OTHER_RESULT
    if is_exact:
        return SAME_EMPTY if step.traits & Trait.EMPTY and not step.traits & Trait.FAILED else 1.0
    # "Done" says nothing of what was done: calls that are only alike may be a batch.
    return (
        1.0 if step.traits & (Trait.LONG | Trait.FAILED) else SAME_EMPTY if step.traits & Trait.EMPTY else OTHER_RESULT
    )


def message_match(step: Step, earlier: Entry) -> float:
    """How much of a loop it is that something like this was said before: less where it answers something else."""
    return _SAID if step.after == earlier.after or not (step.after and earlier.after) else _SAID_OTHERWISE


def mode_of(circle: list[Past]) -> Mode:
    """What a circle is: two agents that pass messages, or the conversation, to and fro; or any other."""
    agents = {past.lane[0] for past in circle}
    passes = all(not past.lane[1] or past.traits & Trait.HANDOFF for past in circle)
    return Mode.PING_PONG if len(agents) == 2 and "" not in agents and passes else Mode.CYCLE
