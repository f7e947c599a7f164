"""Loops that ran until somebody looked, as data: who did what, how fast, and what each step cost.

The accounts of such nights differ in detail; the arithmetic here is ours. An incident is a cycle that repeats itself:
two agents that take turns, or a model that asks for a tool and gets its answer. What it has cost after any number of
cycles is a formula; its steps are made one by one, and only for whoever looks at them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agentops.domain.clarifications import clarification, malformed
from agentops.domain.spans import Kind
from agentops.domain.steps import Seen, Step, step_of

NS = 1_000_000_000
HOUR_NS = 3_600 * NS
#: What part of a cycle the model takes, where a tool takes the rest: so many tenths.
_THINKS, _TENTHS = 6, 10
#: When every incident begins, in ns since the epoch. A watch asks for moments; any will do.
BEGAN_NS = 1_700_000_000 * NS


class Tariff(NamedTuple):
    """What a model costs, in nano-dollars a token, as published: $10 a million tokens are 10,000."""

    model: str
    input: int
    cached: int
    output: int


class Call(NamedTuple):
    """A tool call that is made again and again, with what comes back of it."""

    tool: str
    arguments: dict[str, str]
    result: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Incident:
    """So many cycles, one after the other, each ``cycle_ns`` long and with one model call in it.

    The n-th call reads ``context`` tokens and ``growth`` more for each before it, up to ``window``, all from the
    provider's cache if ``is_cached``, and writes ``output``. Without ``calls``, ``agents[0]`` and ``agents[1]`` talk
    in turn; with them ``agents[0]`` makes one a cycle, in rotation. ``others`` belong to the service and were never
    reached. ``usual_nano`` is what an answer costs that goes well, ``usual_ns`` how long it takes.
    """

    slug: str
    name: str
    story: str
    service: str
    tariff: Tariff
    agents: tuple[str, ...]
    cycles: int
    cycle_ns: int
    context: int
    output: int
    growth: int = 0
    window: int = 1_000_000
    is_cached: bool = False
    calls: tuple[Call, ...] = ()
    others: tuple[str, ...] = ()
    usual_nano: int | None = None
    usual_ns: int | None = None

    @property
    def unit(self) -> str:
        """What a cycle is called, in the plural."""
        return "calls" if self.calls else "turns"

    @property
    def one(self) -> str:
        """The same in the singular."""
        return self.unit[:-1]

    @property
    def lasted_ns(self) -> int:
        """How long it went on."""
        return self.cycles * self.cycle_ns

    @property
    def cost_nano(self) -> int:
        """What it came to."""
        return self.spent_nano(self.cycles)

    def tokens(self, cycle: int) -> int:
        """What the model reads in a cycle; the first one is 0."""
        return min(self.context + self.growth * cycle, self.window)

    def cycle_nano(self, cycle: int) -> int:
        """What a cycle costs."""
        return self.tokens(cycle) * self._rate + self.output * self.tariff.output

    def spent_nano(self, cycles: int) -> int:
        """What the first so many cycles cost together."""
        growing = cycles
        if self.growth:
            growing = min(cycles, max(0, -(-(self.window - self.context) // self.growth)))
        read = growing * self.context + self.growth * growing * (growing - 1) // 2 + (cycles - growing) * self.window
        return read * self._rate + cycles * self.output * self.tariff.output

    def read_tokens(self, cycles: int) -> int:
        """What the first so many cycles read and wrote together, in tokens."""
        return (
            self.spent_nano(cycles) - cycles * self.output * self.tariff.output
        ) // self._rate + cycles * self.output

    def done(self, after_ns: int) -> int:
        """How many cycles are over after so long."""
        return min(self.cycles, max(0, after_ns // self.cycle_ns))

    def per_hour_nano(self, cycle: int) -> int:
        """What an hour costs at the speed of a cycle."""
        return self.cycle_nano(min(cycle, self.cycles - 1)) * HOUR_NS // self.cycle_ns

    @property
    def _rate(self) -> int:
        return self.tariff.cached if self.is_cached else self.tariff.input


class Beat(NamedTuple):
    """One step of an incident: in which cycle, what was read and written, and who said what to whom, in words."""

    step: Step
    cycle: int
    read: int
    written: int
    agent: str
    to: str
    said: str


def beats(incident: Incident, since: int = 0) -> Iterator[Beat]:
    """The steps of an incident from a cycle on, each made when it is asked for. Read as any span is."""
    for cycle in range(since, incident.cycles):
        if incident.calls:
            yield from _call(incident, cycle)
        else:
            yield _turn(incident, cycle)


def heard(incident: Incident) -> str:
    """What a person had asked, in the words that arrived; empty where nobody did."""
    return "" if incident.calls else malformed(f"{incident.slug}:asked", "supplier churn")


def _turn(incident: Incident, cycle: int) -> Beat:
    agent, other = incident.agents[cycle % 2], incident.agents[1 - cycle % 2]
    said = clarification(incident.slug, cycle)
    step = _step(
        incident, Kind.LLM, cycle, (0, _TENTHS), {"output": said}, agent=agent, cost=incident.cycle_nano(cycle)
    )
    return Beat(step, cycle, incident.tokens(cycle), incident.output, agent, other, said)


def _call(incident: Incident, cycle: int) -> Iterator[Beat]:
    agent, call = incident.agents[0], incident.calls[cycle % len(incident.calls)]
    wanted: dict[str, object] = {"tool": call.tool, "arguments": call.arguments}
    asks: dict[str, object] = {"output": "", "requested_tools": [wanted]}
    step = _step(incident, Kind.LLM, cycle, (0, _THINKS), asks, agent=agent, cost=incident.cycle_nano(cycle))
    shown = ", ".join(f"{name}: {value}" for name, value in call.arguments.items())
    yield Beat(step, cycle, incident.tokens(cycle), incident.output, agent, call.tool, shown)
    content = wanted | {"result": call.result}
    done = _step(
        incident, Kind.TOOL, cycle, (_THINKS, _TENTHS), content, agent=agent, tool=call.tool, is_error=call.is_error
    )
    yield Beat(done, cycle, 0, 0, call.tool, agent, call.result)


def _step(
    incident: Incident,
    kind: Kind,
    cycle: int,
    tenths: tuple[int, int],
    content: dict[str, object],
    *,
    agent: str,
    tool: str | None = None,
    cost: int | None = None,
    is_error: bool = False,
) -> Step:
    begins = BEGAN_NS + cycle * incident.cycle_ns
    start_ns, end_ns = (begins + incident.cycle_ns * tenth // _TENTHS for tenth in tenths)
    span_id = (cycle * 2 + (tool is not None) + 1).to_bytes(8, "big")
    seen = Seen(_TRACE, span_id, int(kind), is_error, agent, tool, start_ns, end_ns, cost)
    step = step_of(seen, content)
    assert step is not None, "model calls and tools are steps"
    return step


_TRACE = bytes(15) + b"\1"

_TURBO = Tariff("gpt-4-turbo", 10_000, 10_000, 30_000)
_SONNET = Tariff("claude-sonnet-4-5", 3_000, 300, 15_000)
_SONNET_LONG = Tariff("claude-sonnet-4-5, long context", 6_000, 600, 22_500)
_GPT = Tariff("gpt-4.1", 2_000, 500, 8_000)

INCIDENTS = (
    Incident(
        "clarification",
        "Two agents ask each other what is meant",
        "Four agents answer research questions, for about $0.40 each. Then inputs arrive malformed. Analysis asks "
        "verification to clarify, verification asks back, in ever new words, and every turn sends all that was said "
        "before. No call fails, no message is sent twice, and nobody is told for eleven days.",
        "research-assistant",
        _TURBO,
        ("analysis", "verification"),
        cycles=36_554,
        cycle_ns=26 * NS,
        context=1_500,
        output=500,
        growth=600,
        window=128_000,
        others=("research", "summary"),
        usual_nano=NS * 2 // 5,
        usual_ns=8 * NS,
    ),
    Incident(
        "replan",
        "Plan, call, 429, plan again",
        "A planner meets a rate limit, takes it for news, and makes the same plan again: more than once a second, from "
        "Friday evening on. Each attempt costs a cent; there are three hundred thousand of them by Monday.",
        "lead-scout",
        _GPT,
        ("planner",),
        cycles=302_400,
        cycle_ns=NS * 3 // 4,
        context=5_945,
        output=250,
        calls=(
            Call(
                "crm_export",
                {"segment": "all", "fields": "name,owner,stage"},
                "Error 429: rate limit exceeded, try again later",
                is_error=True,
            ),
        ),
    ),
    Incident(
        "list-files",
        "The same folder, fourteen thousand times",
        "A coding agent lists a folder, forgets that it did, and lists it again until the morning. Each call is cheap "
        "and succeeds, so neither an error rate nor a price for one call shows anything.",
        "code-reviewer",
        _SONNET,
        ("coder",),
        cycles=14_000,
        cycle_ns=3 * NS,
        context=10_000,
        output=80,
        calls=(Call("list_files", {"path": "src/"}, "app.py, models.py, urls.py, views.py"),),
    ),
    Incident(
        "grep-cached",
        "One grep, 364 times, from the cache",
        "A long session searches for a symbol that is not there. The prompt comes from the cache at a tenth of the "
        "price, which sounds free. At 390,000 tokens a call it is not.",
        "code-reviewer",
        _SONNET_LONG,
        ("coder",),
        cycles=364,
        cycle_ns=50 * 60 * NS // 364,
        context=390_000,
        output=60,
        is_cached=True,
        calls=(Call("grep", {"pattern": "retry_policy", "path": "."}, "no matches found"),),
    ),
    Incident(
        "npm-install",
        "npm install, until it works",
        "A build agent answers a peer dependency conflict by installing again, the same way, for an afternoon: "
        "300 attempts and 27 million tokens.",
        "build-fixer",
        _SONNET,
        ("builder",),
        cycles=300,
        cycle_ns=int(4.6 * HOUR_NS) // 300,
        context=89_900,
        output=100,
        calls=(
            Call(
                "shell",
                {"command": "npm install"},
                "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE could not resolve: peer react@17 from react-scroll@1.8.2",
                is_error=True,
            ),
        ),
    ),
    Incident(
        "rotation",
        "Three searches in rotation",
        "A model looks for a setting in three places, in turn, and starts over. No call equals the one before it: "
        "whoever counts repetitions in a row counts to one.",
        "code-reviewer",
        _SONNET,
        ("coder",),
        cycles=720,
        cycle_ns=10 * NS,
        context=150_000,
        output=60,
        is_cached=True,
        calls=(
            Call("grep", {"pattern": "MAX_RETRIES", "path": "src/"}, "src/settings.py:41: MAX_RETRIES = env.int()"),
            Call("grep", {"pattern": "env.int", "path": "src/"}, "src/env.py:12: def int(self): return self._int"),
            Call("grep", {"pattern": "_int", "path": "src/"}, "src/env.py:7: self._int = settings.MAX_RETRIES"),
        ),
    ),
)
BY_SLUG = {incident.slug: incident for incident in INCIDENTS}
