"""What is said of one step: may it be made, and if not, why, in words that name the ceiling and who set it.

No I/O: a round has read everything before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agentops.budgets.ceilings import Halt
from agentops.domain.budgets import (
    Action,
    Amounts,
    Budget,
    Position,
    Shortage,
    Unit,
    amount_words,
    member_words,
    shortages,
    title_of,
)
from agentops.guard.context import Found, Steps, is_page, worst_first
from agentops.guard.shapes import amount_text, moment_text
from agentops.runs.api import usd

STOP, WARN, ALLOW = "stop", "warn", "allow"


@dataclass(slots=True)
class Verdict:
    """What becomes of a step.

    ``refusing`` are the budgets that stop it. ``causes`` is all that does: mode, which one, whose, and its name.
    """

    reasons: list[dict[str, Any]] = field(default_factory=list)
    refusing: list[Position] = field(default_factory=list)
    causes: list[tuple[str, int, str, str]] = field(default_factory=list)
    hard: bool = False
    final_answer: bool = False
    could_end: list[bool] = field(default_factory=list)

    @property
    def decision(self) -> str:
        """``stop``, ``warn`` or ``allow``."""
        actions = {reason["action"] for reason in self.reasons}
        return STOP if STOP in actions else WARN if actions else ALLOW


def judge(
    asked: Amounts,
    positions: Sequence[Position],
    *,
    halts: Iterable[Halt],
    found: Sequence[Found],
    steps: tuple[int, Steps | None],
    stops_loops: bool,
    is_final: bool,
    is_last: bool,
) -> Verdict:
    """Combine the kill switch, what the watch found, the step budget and every budget that applies.

    ``steps`` are those the run has made, and how many it may; ``is_final``: it is asked as a final answer, which
    ``is_last`` says the run has not had yet.
    """
    verdict = Verdict()
    for halt in halts:
        _halt(verdict, halt)
    for one in worst_first(found):
        _loop(verdict, one, stops=stops_loops)
    _steps(verdict, *steps)
    for position in positions:
        _budget(verdict, position, asked, is_final=is_final and is_last)
    for_good = any(reason["mode"] != "budget" and reason["action"] == STOP for reason in verdict.reasons)
    verdict.final_answer = is_last and not for_good and bool(verdict.refusing) and all(verdict.could_end)
    return verdict


def _halt(verdict: Verdict, halt: Halt) -> None:
    who = f" by {halt.stopped_by}" if halt.stopped_by else ""
    verdict.reasons.append(
        {
            "mode": "kill_switch",
            "action": STOP,
            "observed": {halt.what: halt.value, "since": moment_text(halt.stopped_at), "by": halt.stopped_by or None},
            "message": f"The {halt.what} {halt.value} was stopped{who}: {halt.reason or 'no reason was given'}",
        }
    )
    verdict.causes.append(("kill_switch", halt.id, "", f"{halt.what} {halt.value}"))
    verdict.hard = True


def _loop(verdict: Verdict, found: Found, *, stops: bool) -> None:
    action = STOP if stops and is_page(found.severity) else WARN
    cost = usd(found.cost_nano)
    verdict.reasons.append(
        {
            "mode": "loop",
            "action": action,
            "observed": {
                "kind": found.kind,
                "title": found.title,
                "severity": found.severity,
                "count": found.count,
                "period": found.period,
                "cost_usd": cost,
                "since": moment_text(found.detected_at),
            },
            "message": f"{found.title}{f', ${cost} so far' if cost else ''}."
            + (" Somebody has to resolve its alert before this goes on." if action == STOP else ""),
        }
    )
    if action == STOP:
        verdict.causes.append(("loop", 0, found.kind, found.title))


def _steps(verdict: Verdict, made: int, allowed: Steps | None) -> None:
    if allowed is None or made < allowed.budget:
        return
    is_over = allowed.stop is not None and made >= allowed.stop
    limit = allowed.stop if is_over and allowed.stop is not None else allowed.budget
    words = "and is let through no further" if is_over else "which is what good runs of its service need at most"
    verdict.reasons.append(
        {
            "mode": "step_budget",
            "action": STOP if is_over else WARN,
            "unit": Unit.STEPS.value,
            "limit": str(limit),
            "spent": str(made),
            "remaining": str(max(limit - made, 0)),
            "observed": made,
            "message": f"The run has made {made:,} steps of {limit:,}, {words}.",
        }
    )
    if is_over:
        verdict.causes.append(("step_budget", 0, "", f"{limit:,} steps"))


def _budget(verdict: Verdict, position: Position, asked: Amounts, *, is_final: bool) -> None:
    budget = position.budget
    stops = budget.action is Action.STOP
    verdict.hard |= stops
    lacking = shortages(position, asked, is_final=is_final)
    if not lacking:
        _near(verdict, position, asked)
        return
    worst = min(lacking, key=lambda one: one.remaining / one.limit if one.limit else 0)
    verdict.reasons.append(_reason(position, worst, STOP if stops else WARN))
    if stops:
        verdict.refusing.append(position)
        verdict.causes.append(("budget", budget.id, position.member, title_of(budget)))
        could = budget.kept_nano > 0 and not is_final and not shortages(position, asked, is_final=True)
        verdict.could_end.append(could)


def _near(verdict: Verdict, position: Position, asked: Amounts) -> None:
    """Warn when the last threshold below the limit has been reached: there is not much left."""
    below = [threshold for threshold in position.budget.thresholds if threshold < 1.0]
    if not below:
        return
    reserved = position.reserved.plus(asked)
    for unit, limit, spent, held, wanted in zip(Unit, position.limits, position.spent, reserved, asked, strict=True):
        if limit and spent + held >= limit * below[-1]:
            near = Shortage(unit, limit, spent, held - wanted, wanted, 0)
            reason = _reason(position, near, WARN)
            share = (spent + held) / limit
            reason["message"] = f"{share:.0%} of {_whose(position)} is used: {_numbers(near)}. {_resets(position)}"
            verdict.reasons.append(reason)
            return


def _reason(position: Position, one: Shortage, action: str) -> dict[str, Any]:
    budget, unit = position.budget, one.unit.value
    kept = f", and {amount_words(one.unit, one.kept)} are kept for a final answer" if one.kept else ""
    what = "too small for this step" if one.remaining else "used up"
    needs = f"this step may need {amount_words(one.unit, one.asked)}"
    message = f"{_whose(position)} is {what}: {_numbers(one)}{kept}; {needs}. {_resets(position)}"
    return {
        "mode": "budget",
        "action": action,
        "budget": budget.id,
        "name": title_of(budget),
        "unit": unit,
        "limit": amount_text(unit, one.limit),
        "spent": amount_text(unit, one.spent),
        "reserved": amount_text(unit, one.reserved),
        "remaining": amount_text(unit, one.remaining),
        "resets_at": moment_text(position.ends_at),
        "observed": {"asked": amount_text(unit, one.asked), "member": member_words(budget, position.member) or None},
        "message": message[0].upper() + message[1:],
    }


def _whose(position: Position) -> str:
    member = member_words(position.budget, position.member)
    return f"the budget “{title_of(position.budget)}”{f' of {member}' if member else ''}"


def _numbers(one: Shortage) -> str:
    held = f" and {amount_words(one.unit, one.reserved)} held for steps under way" if one.reserved else ""
    return f"{amount_words(one.unit, one.spent)} of {amount_words(one.unit, one.limit)} spent{held}"


def _resets(position: Position) -> str:
    budget: Budget = position.budget
    ask = f"ask {budget.set_by or 'an admin'} to raise budget {budget.id}"
    if position.ends_at is None:
        return f"It does not reset: {ask}."
    return f"It resets at {_clock(position.ends_at)}, or {ask}."


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
