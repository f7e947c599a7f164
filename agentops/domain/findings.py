"""What the watch finds, with its evidence, and the sentence that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from agentops.domain.alerting import Severity

#: Steps that a finding remembers: the earliest and the latest.
FIRST_STEPS, LAST_STEPS = 48, 24
_MAX_LABELS, _MAX_CLUSTERS = 8, 24

#: (trace id, span id)
StepKey = tuple[bytes, bytes]


class Mode(StrEnum):
    """What a finding is, closer than its kind: the failure modes of tool loops by their usual names."""

    REPEAT = "generic_repeat"
    MESSAGE = "message_repeat"
    NEAR = "near_duplicate"
    CYCLE = "cycle"
    TALK = "talk"
    PING_PONG = "ping_pong"
    SAME_RESULT = "same_result"
    POLL = "poll_no_progress"
    UNKNOWN_TOOL = "unknown_tool_repeat"
    MALFORMED = "malformed_action"
    BUDGET = "global_breaker"
    HIDDEN = "hidden"
    SALVAGED = "salvaged"
    SPEED = "tokens_a_minute"


#: Agents that pass each other the turn: their repetitions are rounds.
EXCHANGES = frozenset({Mode.TALK, Mode.PING_PONG})
KIND_OF = {
    Mode.REPEAT: "loop.repeat",
    Mode.MESSAGE: "loop.repeat",
    Mode.NEAR: "loop.near_duplicate",
    Mode.CYCLE: "loop.cycle",
    Mode.TALK: "loop.ping_pong",
    Mode.PING_PONG: "loop.ping_pong",
    Mode.SAME_RESULT: "loop.no_progress",
    Mode.POLL: "loop.no_progress",
    Mode.UNKNOWN_TOOL: "loop.repeat",
    Mode.MALFORMED: "loop.repeat",
    Mode.BUDGET: "steps.budget",
    Mode.HIDDEN: "run.errors_hidden",
    Mode.SALVAGED: "run.errors_hidden",
    Mode.SPEED: "cost.velocity",
}


@dataclass(slots=True)
class Finding:
    """What was found, and how far it has gone. Times are ns, money is nano-dollars.

    ``count`` is how often it happened, every ``period`` steps; ``labels`` what repeats, ``agents`` who does it.
    ``first`` and ``last`` are the earliest and the latest of ``total`` steps. ``spent_nano`` is what the run, or the
    session, has spent since it began; ``per_hour_nano`` what an hour costs at the present speed, ``None`` when unknown.
    """

    mode: Mode
    severity: Severity
    began_ns: int
    detected: StepKey
    detected_ns: int
    period: int = 1
    count: int = 0
    labels: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)
    first: list[StepKey] = field(default_factory=list)
    last: list[StepKey] = field(default_factory=list)
    total: int = 0
    latest_ns: int = 0
    latest_number: int = 0
    paged: StepKey | None = None
    spent_before_nano: int = 0
    spent_nano: int = 0
    per_hour_nano: int | None = None

    @property
    def kind(self) -> str:
        """The kind of its alert."""
        return KIND_OF[self.mode]

    @property
    def steps(self) -> list[StepKey]:
        """The steps that are remembered, in order."""
        return self.first + self.last

    def dump(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("first", "last"):
            plain[name] = [[trace.hex(), span.hex()] for trace, span in plain[name]]
        for name in ("detected", "paged"):
            plain[name] = plain[name] and [plain[name][0].hex(), plain[name][1].hex()]
        return plain

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Finding:
        """The finding that ``dump`` told of."""
        found = cls(**plain)
        found.mode, found.severity = Mode(found.mode), Severity(found.severity)
        for name in ("first", "last"):
            setattr(found, name, [(bytes.fromhex(trace), bytes.fromhex(span)) for trace, span in plain[name]])
        for name in ("detected", "paged"):
            value = plain[name]
            setattr(found, name, value and (bytes.fromhex(value[0]), bytes.fromhex(value[1])))
        return found

    def copy(self) -> Finding:
        """One that can change without this."""
        return replace(
            self,
            labels=self.labels[:],
            agents=self.agents[:],
            clusters=self.clusters[:],
            first=self.first[:],
            last=self.last[:],
        )

    def add(self, key: StepKey) -> None:
        """A further step of it."""
        self.total += 1
        if len(self.first) < FIRST_STEPS:
            self.first.append(key)
        else:
            self.last.append(key)
            if len(self.last) > LAST_STEPS:
                del self.last[0]

    def involve(self, *, cluster: int | None, label: str, agent: str) -> None:
        """Remember what takes part in it."""
        if cluster is not None and cluster not in self.clusters:
            self.clusters.append(cluster)
            del self.clusters[:-_MAX_CLUSTERS]
        if label and label not in self.labels and len(self.labels) < _MAX_LABELS:
            self.labels.append(label)
        if agent and agent not in self.agents and len(self.agents) < _MAX_LABELS:
            self.agents.append(agent)


_SENTENCES = {
    Mode.REPEAT: "{who}{what} is called the same way {times}",
    Mode.MESSAGE: "{who}the same message {times}",
    Mode.NEAR: "{who}{what} is called almost the same way {times}",
    Mode.CYCLE: "{who}{what} goes round in a circle of {period}, {times}",
    Mode.TALK: "{pair} keep asking each other, {count} rounds without a result",
    Mode.PING_PONG: "{pair} keep passing it to each other, {count} rounds without a result",
    Mode.SAME_RESULT: "{who}{what} gives the same result {times}",
    Mode.POLL: "{who}{what} is asked {times} and nothing changes",
    Mode.UNKNOWN_TOOL: "{who}{what} does not exist and is called {times}",
    Mode.MALFORMED: "{who}{what} is called with input that cannot be read, {times}",
    Mode.BUDGET: "The run has taken {count} steps, more than {period}",
    Mode.HIDDEN: "{who}an error of {what} never reached the model, {times}",
    Mode.SALVAGED: "The run ended well with {count} failed steps inside",
    Mode.SPEED: "The run uses {count} tokens a minute, its like use {period}",
}


def _listed(names: list[str]) -> str:
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last


def title(finding: Finding) -> str:
    """What was found, as a sentence without a full stop."""
    return _SENTENCES[finding.mode].format(
        who=f"{finding.agents[0]}: " if len(finding.agents) == 1 else "",
        pair=_listed(finding.agents[: max(2, finding.period)]) or "Two agents",
        what=" → ".join(finding.labels or finding.agents) or "a step",
        times=f"{finding.count:,} times",
        count=f"{finding.count:,}",
        period=f"{finding.period:,}",
    )


def pattern(finding: Finding) -> str:
    """What repeats, in one line: ``planner ⇄ reviewer``, ``grep → read_file``, ``coder: grep``."""
    if finding.mode in EXCHANGES:
        return " ⇄ ".join(finding.agents[:2]) + (f" with {', '.join(finding.labels)}" if finding.labels else "")
    what = " → ".join(finding.labels or finding.agents)
    return f"{finding.agents[0]}: {what}" if len(finding.agents) == 1 and finding.labels else what
