"""What one of something costs: an amount divided by what it brought about."""

from __future__ import annotations

from dataclasses import dataclass

TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Nano-dollars for one run, one run that succeeded, one user, a thousand tokens; ``None`` where nobody knows."""

    per_run: int | None
    per_success: int | None
    per_user: int | None
    per_thousand: int | None
    success_share: float | None


def unit_costs(
    cost_nano: int | None, tokens: int, *, runs: int | None = None, ok: int | None = None, users: int | None = None
) -> UnitCosts:
    """What ``cost_nano`` is for each; failed runs cost too, so that those that succeeded carry them."""
    return UnitCosts(
        per_run=_each(cost_nano, runs),
        per_success=_each(cost_nano, ok),
        per_user=_each(cost_nano, users),
        per_thousand=_each(None if cost_nano is None else cost_nano * TOKENS, tokens),
        success_share=None if not runs or ok is None else ok / runs,
    )


def _each(cost_nano: int | None, number: int | None) -> int | None:
    """Rounded to the nearest, half up."""
    return None if cost_nano is None or not number else (2 * cost_nano + number) // (2 * number)
