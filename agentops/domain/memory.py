"""What a watch knows of a run so far: bounded, and small enough to be copied and stored."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

from agentops.domain.evidence import Call, Cluster, Entry, Handed, Past, Pending, Speaker, Untold
from agentops.domain.findings import Finding
from agentops.domain.steps import Asked
from agentops.domain.watchrules import Rules

#: Longest cycle that is recognised, in steps; steps that are remembered; tool calls among which a result is looked for.
PERIODS, RING, CALLS = 8, 64, 20


class Memory:
    """All that is remembered of the steps that were judged."""

    def __init__(self, rules: Rules, *, is_session: bool) -> None:
        self.rules = rules
        self.is_session = is_session
        self.number = 0
        self.steps = 0
        self.spent = 0
        self.began_ns = 0
        #: When the latest step ended.
        self.latest_ns = 0
        #: The latest traces, the agents that have spoken in the last of them, and what it heard first.
        self.traces: list[bytes] = []
        self.voices: list[str] = []
        self.heard = 0
        #: Tools of which spans have come.
        self.shown: dict[str, None] = {}
        self.lanes: dict[tuple[str, str], tuple[Entry, ...]] = {}
        self.clusters: dict[int, Cluster] = {}
        self.ring: deque[Past] = deque(maxlen=RING)
        self.runs = [0] * (PERIODS + 1)
        self.exact_runs = [0] * (PERIODS + 1)
        self.talk: dict[str, Speaker] = {}
        self.talk_began = 0
        self.calls: deque[Call] = deque(maxlen=CALLS)
        self.faults: dict[int, float] = {}
        #: Tasks that agents hand to each other, by tool and arguments.
        self.handed: dict[tuple[str, int], Handed] = {}
        self.pending: list[Pending] = []
        #: Tool calls of which nothing is recorded; tokens that each agent's model was given last, and made.
        self.untold: list[Untold] = []
        self.tokens: dict[str, tuple[int, int]] = {}
        self.findings: list[Finding] = []
        #: Those of the findings that can still go on.
        self.open: list[int] = []

    def copy(self) -> Self:
        """One that can go on without this."""
        other = type(self)(self.rules, is_session=self.is_session)
        other.number, other.steps, other.spent = self.number, self.steps, self.spent
        other.began_ns, other.latest_ns, other.talk_began = self.began_ns, self.latest_ns, self.talk_began
        other.traces, other.voices, other.heard = self.traces[:], self.voices[:], self.heard
        other.shown = self.shown.copy()
        other.lanes, other.clusters = self.lanes.copy(), self.clusters.copy()
        other.ring, other.calls = self.ring.copy(), self.calls.copy()
        other.runs, other.exact_runs = self.runs[:], self.exact_runs[:]
        other.talk, other.faults, other.handed = self.talk.copy(), self.faults.copy(), self.handed.copy()
        other.pending, other.untold, other.tokens = self.pending[:], self.untold[:], self.tokens.copy()
        other.findings, other.open = self.findings[:], self.open[:]
        for at in self.open:
            other.findings[at] = self.findings[at].copy()
        return other

    def dump(self) -> list[Any]:
        """Its state as JSON can hold it."""
        return [
            [self.number, self.steps, self.spent, self.began_ns, self.latest_ns, self.talk_began],
            [[trace.hex() for trace in self.traces], self.voices, f"{self.heard:x}", list(self.shown)],
            [[*lane, [[e.what, f"{e.words:x}", *e[2:]] for e in entries]] for lane, entries in self.lanes.items()],
            [[number, *cluster] for number, cluster in self.clusters.items()],
            [[past.number, list(past.lane), *past[2:-1], past.key[0].hex(), past.key[1].hex()] for past in self.ring],
            [self.runs, self.exact_runs],
            [[agent, *speaker] for agent, speaker in self.talk.items()],
            [list(call) for call in self.calls],
            [list(fault) for fault in self.faults.items()],
            [[*task, *handed] for task, handed in self.handed.items()],
            [
                [*p.asked[:2], f"{p.asked.words:x}", p.agent, p.end_ns, p.key[0].hex(), p.key[1].hex(), p.is_shown]
                for p in self.pending
            ],
            [[*u[:4], u.key[0].hex(), u.key[1].hex()] for u in self.untold],
            [[agent, *tokens] for agent, tokens in self.tokens.items()],
            [finding.dump() for finding in self.findings],
            self.open,
        ]

    def load(self, state: list[Any]) -> None:
        """Be what ``dump`` told of."""
        numbers, runs_of, lanes, clusters, ring, runs, talk, calls, faults, *rest = state
        handed, pending, untold, tokens, findings, self.open = rest
        self.number, self.steps, self.spent, self.began_ns, self.latest_ns, self.talk_began = numbers
        traces, self.voices, heard, shown = runs_of
        self.traces, self.heard = [bytes.fromhex(trace) for trace in traces], int(heard, 16)
        self.shown = dict.fromkeys(shown)
        self.lanes = {
            (agent, tool): tuple(Entry(what, int(words, 16), *rest) for what, words, *rest in entries)
            for agent, tool, entries in lanes
        }
        self.clusters = {number: Cluster(*values) for number, *values in clusters}
        self.ring.extend(
            Past._make([number, (agent, tool), *values, (bytes.fromhex(trace), bytes.fromhex(span))])
            for number, (agent, tool), *values, trace, span in ring
        )
        self.runs, self.exact_runs = runs
        self.talk = {agent: Speaker(*values) for agent, *values in talk}
        self.calls.extend(Call(*values) for values in calls)
        self.faults = dict(faults)
        self.handed = {(tool, what): Handed(*values) for tool, what, *values in handed}
        self.pending = [
            Pending(
                agent, Asked(tool, what, int(words, 16)), end_ns, (bytes.fromhex(trace), bytes.fromhex(span)), shown
            )
            for tool, what, words, agent, end_ns, trace, span, shown in pending
        ]
        self.untold = [
            Untold(agent, tool, start_ns, end_ns, (bytes.fromhex(trace), bytes.fromhex(span)))
            for agent, tool, start_ns, end_ns, trace, span in untold
        ]
        self.tokens = {agent: (given, made) for agent, given, made in tokens}
        self.findings = [Finding.load(values) for values in findings]
