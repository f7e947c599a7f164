"""What the client raises.

A stop is an ordinary ``Exception``: an agent may catch it, say what it has got so far, and end. Whoever catches
every exception and goes on is stopped again at the next step, before it costs anything.
"""

from __future__ import annotations

from datetime import datetime

from agentops.client.answers import Decision, Reason


class GuardError(Exception):
    """Whatever the client raises of itself."""


class GuardMisconfigured(GuardError):
    """The guard refused the question itself: a wrong key, another service's, a body it does not understand.

    This is nothing that passes: it is raised at once, whatever is to be done when the guard cannot be reached.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class GuardUnreachable(GuardError):
    """The guard could not be asked. The rule for that case stands in ``Guard``."""


class GuardStopped(GuardError):
    """A step was not allowed; nothing is reserved, and what it asked for was not called."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[GuardStopped], tuple[Decision]]:
        # Workers in processes of their own hand exceptions over.
        return type(self), (self.decision,)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why: what stops first, then what only warns."""
        return tuple(sorted(self.decision.reasons, key=lambda reason: reason.action != "stop"))

    @property
    def message(self) -> str:
        """The reason in a sentence, as the server says it."""
        said = " ".join(reason.message for reason in self.decision.stops if reason.message)
        return said or "The guard stopped this step."

    @property
    def resets_at(self) -> datetime | None:
        """When the last of the budgets that stop it starts anew; ``None`` when none does by itself."""
        moments = [reason.resets_at for reason in self.decision.stops]
        known = [moment for moment in moments if moment is not None]
        return max(known) if known and len(known) == len(moments) else None

    @property
    def final_answer(self) -> bool:
        """Whether the run may ask once more, for its final answer."""
        return self.decision.final_answer


class BudgetExceeded(GuardStopped):
    """A budget of dollars, tokens or steps has no room for the step."""


class LoopDetected(GuardStopped):
    """The run goes round in circles."""


class Stopped(GuardStopped):
    """Somebody has pulled the kill switch."""


class GuardUnavailable(GuardStopped):
    """The guard could not be asked, and a ceiling that must hold may apply: the step was not made."""

    @property
    def message(self) -> str:
        """What happened, for there is no answer that could say it."""
        return "The guard could not be reached, and a ceiling may apply: the step was not made."


def stop_of(decision: Decision) -> GuardStopped:
    """The exception that stands for a stop: by its kill switch if there is one, else by its first reason."""
    if not decision.is_answer:
        return GuardUnavailable(decision)
    modes = [reason.mode for reason in decision.stops]
    if "kill_switch" in modes:
        return Stopped(decision)
    return LoopDetected(decision) if modes[:1] == ["loop"] else BudgetExceeded(decision)
