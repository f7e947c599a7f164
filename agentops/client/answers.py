"""What the guard answers: whether a step may be made, why not, and what became of a reservation.

Answers are read leniently: a field that a later server adds is passed over, one that is missing is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Verdict = Literal["allow", "warn", "stop"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks against a step. Amounts are in ``unit``; ``None`` is unknown."""

    mode: str
    action: str
    message: str
    budget: int | None = None
    name: str | None = None
    unit: str | None = None
    limit: Decimal | None = None
    spent: Decimal | None = None
    reserved: Decimal | None = None
    remaining: Decimal | None = None
    resets_at: datetime | None = None
    observed: Any = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Reason:
        """A reason as the server spells it."""
        return cls(
            mode=str(told.get("mode") or "budget"),
            action=str(told.get("action") or "stop"),
            message=str(told.get("message") or ""),
            budget=told.get("budget"),
            name=told.get("name"),
            unit=told.get("unit"),
            limit=_amount(told.get("limit")),
            spent=_amount(told.get("spent")),
            reserved=_amount(told.get("reserved")),
            remaining=_amount(told.get("remaining")),
            resets_at=_moment(told.get("resets_at")),
            observed=told.get("observed"),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a step may be made.

    ``is_answer`` is false when the guard could not be asked and the client had to decide by itself; nothing is
    reserved then. ``final_answer`` on a stop: asking again for a final answer may be granted.
    """

    decision: Verdict
    reservation: str | None = None
    expires_at: datetime | None = None
    hard: bool = False
    final_answer: bool = False
    cost_usd: Decimal | None = None
    estimate_source: str | None = None
    reasons: tuple[Reason, ...] = ()
    is_answer: bool = True

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Decision:
        """A decision as the server spells it; ``ValueError`` for one that is none."""
        verdict = told.get("decision")
        if verdict not in ("allow", "warn", "stop"):
            message = f"The guard answered with the decision {verdict!r}."
            raise ValueError(message)
        estimate = told.get("estimate") or {}
        return cls(
            decision=verdict,
            reservation=told.get("reservation"),
            expires_at=_moment(told.get("expires_at")),
            hard=bool(told.get("hard")),
            final_answer=bool(told.get("final_answer")),
            cost_usd=_amount(estimate.get("cost_usd")),
            estimate_source=estimate.get("source"),
            reasons=tuple(Reason.of(reason) for reason in told.get("reasons") or ()),
        )

    @property
    def stops(self) -> tuple[Reason, ...]:
        """The reasons for which it is a stop; none unless it is one."""
        return tuple(reason for reason in self.reasons if reason.action == "stop") if self.decision == "stop" else ()

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """The reasons that warn and do not stop."""
        return tuple(reason for reason in self.reasons if reason.action == "warn")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a reservation; amounts are those of the tightest budget, in its ``unit``, ``None`` without one."""

    reservation: str
    late: bool = False
    cost_usd: Decimal | None = None
    budget: int | None = None
    limit: Decimal | None = None
    spent: Decimal | None = None
    reserved: Decimal | None = None
    remaining: Decimal | None = None
    resets_at: datetime | None = None
    unit: str | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Settlement:
        """A settlement as the server spells it."""
        return cls(
            reservation=str(told.get("reservation") or ""),
            late=bool(told.get("late")),
            cost_usd=_amount(told.get("cost_usd")),
            budget=told.get("budget"),
            limit=_amount(told.get("limit")),
            spent=_amount(told.get("spent")),
            reserved=_amount(told.get("reserved")),
            remaining=_amount(told.get("remaining")),
            resets_at=_moment(told.get("resets_at")),
            unit=told.get("unit"),
        )


def _amount(told: Any) -> Decimal | None:
    try:
        return None if told is None else Decimal(str(told))
    except InvalidOperation:
        return None


def _moment(told: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        return None
