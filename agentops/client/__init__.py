"""The guard's client for programs with agents: asked before each step, told after it; see docs/clients.md.

It needs httpx alone, and OpenTelemetry's API where a program has it. What it plugs into beyond that has a module of its
own: ``httpx2``, ``litellm``, ``langchain``, ``pydantic_ai``.
"""

from agentops.client.answers import Decision, Reason, Settlement
from agentops.client.errors import (
    BudgetExceeded,
    GuardError,
    GuardMisconfigured,
    GuardStopped,
    GuardUnavailable,
    LoopDetected,
    Stopped,
)
from agentops.client.guard import Guard
from agentops.client.questions import Question, Told, Usage
from agentops.client.steps import Run, Step, current_run, current_step
from agentops.client.transport import AsyncGuardTransport, GuardTransport

__all__ = [
    "AsyncGuardTransport",
    "BudgetExceeded",
    "Decision",
    "Guard",
    "GuardError",
    "GuardMisconfigured",
    "GuardStopped",
    "GuardTransport",
    "GuardUnavailable",
    "LoopDetected",
    "Question",
    "Reason",
    "Run",
    "Settlement",
    "Step",
    "Stopped",
    "Told",
    "Usage",
    "current_run",
    "current_step",
]
