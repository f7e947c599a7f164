"""What an incident would have cost with the watch: the very same detector sees its steps until it wakes somebody.

Pure functions of an incident and of the rules, so that they can be remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from agentops.domain.alerting import Severity
from agentops.domain.findings import Finding, title
from agentops.domain.incidents import HOUR_NS, NS, Incident, beats
from agentops.domain.loops import Watch
from agentops.domain.watchrules import Rules

#: Steps that the watch is shown at most: whatever the rules, it has spoken by then or never will.
MOST_STEPS = 2_000
#: Points of a curve.
POINTS = 400
MINUTE_NS = 60 * NS
#: Every incident begins at 22:00; somebody comes in at 08:00.
MORNING_NS = 10 * HOUR_NS


class Reaction(StrEnum):
    """When an incident ends once the watch has spoken."""

    CEILING = "ceiling"
    MINUTES_5 = "5"
    MINUTES_15 = "15"
    MINUTES_60 = "60"
    MORNING = "morning"


_MINUTES = {Reaction.MINUTES_5: 5, Reaction.MINUTES_15: 15, Reaction.MINUTES_60: 60}


@dataclass(frozen=True, slots=True)
class Alarm:
    """When the watch spoke: after how many cycles and how long, at which cost, and what it said."""

    severity: Severity
    cycles: int
    after_ns: int
    spent_nano: int
    kind: str
    words: str
    agents: tuple[str, ...]
    labels: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Replay:
    """An incident seen by the watch: its warning and its page, ``None`` where there was none."""

    incident: Incident
    warned: Alarm | None
    paged: Alarm | None

    @property
    def first(self) -> Alarm | None:
        """What somebody heard first."""
        return self.warned or self.paged

    @property
    def last(self) -> Alarm | None:
        """What was said last, which is the loudest."""
        return self.paged or self.warned


@dataclass(frozen=True, slots=True)
class Stop:
    """When an incident was stopped, and what came of it. Money is nano-dollars."""

    cycles: int
    after_ns: int
    spent_nano: int
    avoided_nano: int


def replay(incident: Incident, rules: Rules) -> Replay:
    """Show an incident to the watch, step by step, until it pages."""
    watch = Watch(rules)
    warned: Alarm | None = None
    for beat in islice(beats(incident), MOST_STEPS):
        watch.see((beat.step,))
        paged = next((finding for finding in watch.findings if finding.paged is not None), None)
        if warned is None and watch.findings:
            warned = _alarm(incident, watch.findings[0], Severity.WARN, beat.cycle)
        if paged is not None:
            return Replay(incident, warned, _alarm(incident, paged, Severity.PAGE, beat.cycle))
    return Replay(incident, warned, None)


def _alarm(incident: Incident, finding: Finding, severity: Severity, cycle: int) -> Alarm:
    return Alarm(
        severity,
        cycle + 1,
        (cycle + 1) * incident.cycle_ns,
        incident.spent_nano(cycle + 1),
        finding.kind,
        title(finding),
        tuple(finding.agents),
        tuple(finding.labels),
        finding.count,
    )


def stopped(seen: Replay, reaction: Reaction) -> Stop:
    """When it ends: the ceiling acts with the page, people so many minutes after the first word of it."""
    incident, first = seen.incident, seen.first
    end_ns = incident.lasted_ns
    if reaction is Reaction.CEILING:
        alarm = seen.paged
        after_ns = alarm.after_ns if alarm else end_ns
    elif first is None:
        after_ns = end_ns
    elif reaction is Reaction.MORNING:
        after_ns = max(MORNING_NS, first.after_ns)
    else:
        after_ns = first.after_ns + _MINUTES[reaction] * MINUTE_NS
    after_ns = min(after_ns, end_ns)
    cycles = incident.done(after_ns)
    spent = incident.spent_nano(cycles)
    return Stop(cycles, after_ns, spent, incident.cost_nano - spent)


def curve(incident: Incident, until: int, points: int = POINTS) -> list[tuple[int, int]]:
    """Time in ns and what had been spent by then, over the first ``until`` cycles.

    Half of the points stand at equal distances and half ever further apart, so that both the beginning and the
    whole have their shape.
    """
    half = max(1, points // 2)
    chosen = {0, until} | {until * n // half for n in range(half)}
    chosen |= {round(until ** (n / half)) for n in range(half)} if until else set()
    return [(cycle * incident.cycle_ns, incident.spent_nano(cycle)) for cycle in sorted(chosen)]


def crossed(incident: Incident, nano: int) -> int | None:
    """After how many cycles it had cost so much; ``None`` if it never did."""
    low, high = 0, incident.cycles
    if incident.cost_nano < nano:
        return None
    while low < high:
        middle = (low + high) // 2
        if incident.spent_nano(middle) >= nano:
            high = middle
        else:
            low = middle + 1
    return low
