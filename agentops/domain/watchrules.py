"""What counts as too much in a run, and for which tools: the settings of the watch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as too much; the defaults suit any service.

    ``ignored_tools`` never count; repeated calls of ``patient_tools`` (queues, builds, other people) weigh a third.
    ``step_budget`` is in steps of a run, ``None`` for none. ``disabled`` names kinds that are not looked for.
    """

    warn: float = 1.0
    page: float = 1.4
    like_tools: float = 0.6
    like_messages: float = 0.5
    talk_warn: int = 4
    talk_page: int = 8
    same_result_warn: int = 4
    same_result_page: int = 8
    faults_warn: int = 3
    faults_page: int = 5
    step_budget: int | None = 50
    ignored_tools: frozenset[str] = frozenset()
    patient_tools: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()


DEFAULTS = Rules()
