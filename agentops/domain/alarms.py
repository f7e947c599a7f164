"""Opens findings and goes on with them: one for each loop, with its steps and its money."""

from __future__ import annotations

from agentops.domain.alerting import Severity
from agentops.domain.evidence import FAULTS, TALKS, Past
from agentops.domain.findings import Finding, Mode
from agentops.domain.memory import Memory
from agentops.domain.steps import Step

#: Steps without one of a finding's own after which it has ended.
QUIET = 24
#: Steps by which the present speed of spending is told.
_PACE = 20
_MAX_FINDINGS = 64


class Alarms(Memory):
    """What was found in the steps that were judged."""

    def goes_on(self, finding: Finding) -> bool:
        """Whether a finding may go on: it has not been quiet for long."""
        return finding.mode is Mode.BUDGET or self.number - finding.latest_number <= QUIET

    def find(
        self, mode: Mode, severity: Severity, step: Step, past: Past, members: list[Past], period: int, count: int
    ) -> None:
        """Open a finding, or go on with one that this belongs to."""
        finding = self._belongs(mode, past, members[0].number if members else past.number)
        if finding is None:
            first = members[0] if members else past
            finding = self.open_finding(mode, severity, step, first.start_ns, first.spent)
            if finding is None:
                return
            finding.period = period
            for other in members:
                if other.number != past.number:
                    finding.add(other.key)
                finding.involve(cluster=other.cluster, label=other.lane[1], agent=other.lane[0])
        finding.count = max(finding.count, count)
        finding.involve(cluster=past.cluster, label=past.lane[1], agent=past.lane[0])
        self.extend(finding, step, past)
        self.go_on(finding, severity, step)

    def _belongs(self, mode: Mode, past: Past, since: int) -> Finding | None:
        """The finding that a step belongs to: it has the step's cluster or tool, or went on since a step.

        Calls that one agent makes in turn, in whatever order, are one loop.
        """
        agent, tool = past.lane
        for at in reversed(self.open):
            finding = self.findings[at]
            if finding.mode is Mode.BUDGET:
                continue
            if past.cluster in finding.clusters or (tool and tool in finding.labels):
                return finding
            if mode is finding.mode and mode in FAULTS:
                return finding
            if tool and finding.mode not in TALKS and agent in finding.agents and finding.latest_number > since:
                return finding
            if not tool and agent in finding.agents and (finding.mode in TALKS or mode in TALKS):
                return finding
        return None

    def open_finding(self, mode: Mode, severity: Severity, step: Step, began_ns: int, spent: int) -> Finding | None:
        """A new finding; ``None`` where its kind is not looked for, or there are too many."""
        finding = Finding(mode, severity, began_ns, (step.trace_id, step.span_id), step.end_ns, spent_before_nano=spent)
        if finding.kind in self.rules.disabled or len(self.findings) >= _MAX_FINDINGS:
            return None
        self.open.append(len(self.findings))
        self.findings.append(finding)
        return finding

    def extend(self, finding: Finding, step: Step, past: Past) -> None:
        """Go on with a finding by a step of its own."""
        if finding.latest_number == past.number and finding.total:
            return
        finding.add(past.key)
        finding.latest_number = past.number
        if finding.mode is not Mode.TALK:
            finding.count = max(finding.count, finding.total // finding.period)
        self.go_on(finding, finding.severity, step)

    def go_on(self, finding: Finding, severity: Severity, step: Step) -> None:
        """Remember how far a finding has gone: how loud it is, until when, for how much."""
        if severity is Severity.PAGE and finding.paged is None:
            finding.severity, finding.paged = severity, (step.trace_id, step.span_id)
        finding.latest_ns = max(finding.latest_ns, step.end_ns)
        spent = self.spent + step.cost_nano
        finding.spent_nano = spent - finding.spent_before_nano
        ring = self.ring
        earlier = ring[max(-len(ring), -_PACE)] if ring else None
        if earlier is not None and step.end_ns - earlier.end_ns >= 1_000_000_000:
            finding.per_hour_nano = (spent - earlier.spent) * 3_600_000_000_000 // (step.end_ns - earlier.end_ns)
