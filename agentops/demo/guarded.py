"""Simulated agents that ask the guard before each step, as those with our client do; others only tell what they did.

A step that is refused is not made: what its run has under way ends with an error, and nothing of it comes after.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Iterable

from agentops.client import Guard, GuardError, Question
from agentops.client.questions import Whose
from agentops.client.telemetry import RESERVATION
from agentops.demo.plan import RunPlan, Step
from agentops.demo.writers import WireSpan
from agentops.demo.writers.wire import STATUS_ERROR
from agentops.domain.spans import Kind

logger = logging.getLogger(__name__)

#: Services whose agents ask. The one that falls into the great loop does not: that is why nobody stopped it.
GUARDED = frozenset({"help-center-chat", "support-triage", "lead-scout", "email-writer", "code-reviewer"})
#: What an agent allows its model to answer, beyond what it then does, in tenths.
_ROOM = 16


class Asking:
    """What is to be asked, and which runs were stopped when. Not for several threads at once.

    ``url`` is where the product answers, ``key`` a collector's. Where there is nobody to ask, agents go on.
    """

    def __init__(self, url: str, key: str) -> None:
        self._guards = {service: Guard(url, key, service, on_unreachable="open") for service in sorted(GUARDED)}
        self._due: list[tuple[int, int, RunPlan, WireSpan]] = []
        self._order = itertools.count()
        self.stopped: dict[bytes, int] = {}

    def plan(self, plan: RunPlan, spans: Iterable[WireSpan]) -> None:
        """Ask before each step of a run, if its service does so."""
        if plan.service in GUARDED:
            for span in spans:
                if span.step is not None and span.kind in (Kind.LLM, Kind.TOOL):
                    heapq.heappush(self._due, (span.start_ns, next(self._order), plan, span))

    def ask(self, now_ns: int) -> None:
        """Ask about all steps that begin by now; what is granted is said on their spans."""
        while self._due and self._due[0][0] <= now_ns:
            start_ns, _, plan, span = heapq.heappop(self._due)
            if plan.trace_id in self.stopped or span.step is None:
                continue
            try:
                decision = self._guards[plan.service].check(_question(plan, span.step))
            except GuardError as error:
                logger.warning("the guard cannot be asked: %s", error)
                continue
            if decision.decision == "stop":
                self.stopped[plan.trace_id] = start_ns
            elif decision.reservation:
                span.attributes.append((RESERVATION, decision.reservation))

    def keeps(self, span: WireSpan) -> bool:
        """Whether a span is made though its run was stopped; what was under way then ends then, with an error."""
        stopped_ns = self.stopped.get(span.trace_id)
        if stopped_ns is None or span.end_ns < stopped_ns:
            return True
        if span.start_ns >= stopped_ns:
            return False
        span.end_ns, span.status, span.message = stopped_ns, STATUS_ERROR, "BudgetExceeded: the guard said stop"
        return True

    def close(self) -> None:
        """Close the guards' connections."""
        for guard in self._guards.values():
            guard.close()


def _question(plan: RunPlan, step: Step) -> Question:
    whose = Whose(
        run=plan.trace_id.hex(),
        session=plan.session,
        user=plan.user,
        feature=plan.feature,
        agent=step.agent,
        environment=plan.environment,
    )
    if step.kind is Kind.TOOL:
        return Question(kind="tool", whose=whose, tool=step.name)
    model = step.asked
    return Question(
        kind="llm",
        whose=whose,
        provider=model.provider,
        model=model.name,
        input_tokens=step.usage.input,
        max_output_tokens=None if step.usage.output is None else step.usage.output * _ROOM // 10,
    )
