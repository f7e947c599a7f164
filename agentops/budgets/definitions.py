"""A budget as somebody wants it: checked before anybody else sees it, and written down as it was and as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from math import isfinite
from typing import Any

from agentops.budgets.models import MAX_NAME_CHARS, MAX_NOTE_CHARS, Budget
from agentops.domain import budgets as rules
from agentops.domain.budgets import JOIN, Action, Each, Period
from agentops.pages import find_zone

MAX_THRESHOLDS, MAX_SERVICES, MAX_VALUE_CHARS = 10, 100, 512
#: No ceiling is higher: what is above has no use, and sums stay far below what the database holds.
MAX_NANO, MAX_COUNT = 10**18, 10**15
DEFAULT_THRESHOLDS = (0.5, 0.8, 1.0)
#: What a budget can be narrowed to, besides services.
NARROWED = ("team", "feature", "user", "session", "run", "environment")


class UnsoundBudget(ValueError):
    """A budget that cannot be; ``problems`` says why, by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Definition:
    """What somebody decides about a budget. Money is nano-dollars.

    ``effective_from`` of ``None`` is now. Spend from before it was made counts only with ``count_past``: then since
    ``effective_from``, or, without one, all of its window.
    """

    period: Period
    action: Action
    name: str = ""
    services: tuple[str, ...] = ()
    team: str = ""
    feature: str = ""
    user: str = ""
    session: str = ""
    run: str = ""
    environment: str = ""
    each: Each | None = None
    timezone: str = "UTC"
    limit_nano: int | None = None
    limit_tokens: int | None = None
    limit_steps: int | None = None
    thresholds: tuple[float, ...] = DEFAULT_THRESHOLDS
    kept_nano: int = 0
    effective_from: datetime | None = None
    expires_at: datetime | None = None
    note: str = ""
    is_off: bool = False
    count_past: bool = field(default=False, compare=False)

    @property
    def counted(self) -> tuple[object, ...]:
        """What decides which spend counts in which window."""
        narrowed = tuple(getattr(self, name) for name in NARROWED)
        return (frozenset(self.services), narrowed, self.each, self.period, self.timezone)

    @property
    def limits_nothing(self) -> bool:
        """Whether no limit is said at all."""
        return self.limit_nano is None and self.limit_tokens is None and self.limit_steps is None

    def as_budget(self, *, pk: int = 0, counts_from: datetime = rules.ALWAYS, set_by: str = "") -> rules.Budget:
        """As the rules read it."""
        return rules.Budget(
            id=pk,
            name=self.name,
            scope=rules.Scope(frozenset(self.services), **{name: getattr(self, name) for name in NARROWED}),
            each=self.each,
            period=self.period,
            zone=self.timezone,
            limits=rules.Limits(self.limit_nano, self.limit_tokens, self.limit_steps),
            thresholds=self.thresholds,
            action=self.action,
            counts_from=counts_from,
            expires_at=self.expires_at,
            kept_nano=self.kept_nano,
            set_by=set_by,
        )

    def dump(self) -> dict[str, Any]:
        """As a record keeps it."""
        plain = asdict(self)
        del plain["count_past"]
        return {name: _plain(value) for name, value in plain.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def definition_of(budget: Budget) -> Definition:
    """What a budget is now."""
    return Definition(
        period=Period(budget.period),
        action=Action(budget.action),
        name=budget.name,
        services=tuple(budget.services),
        **{name: getattr(budget, name) for name in NARROWED},
        each=Each(budget.each) if budget.each else None,
        timezone=budget.timezone,
        limit_nano=budget.limit_nano,
        limit_tokens=budget.limit_tokens,
        limit_steps=budget.limit_steps,
        thresholds=tuple(budget.thresholds),
        kept_nano=budget.kept_nano,
        effective_from=budget.effective_from,
        expires_at=budget.expires_at,
        note=budget.note,
        is_off=budget.is_off,
    )


def check(wanted: Definition) -> Definition:
    """The definition in its usual form. Raises ``UnsoundBudget``."""
    if problems := dict(_problems(wanted)):
        raise UnsoundBudget(problems)
    return replace(
        wanted,
        name=wanted.name.strip(),
        note=wanted.note.strip(),
        services=tuple(sorted(set(wanted.services))),
        thresholds=tuple(sorted(set(wanted.thresholds))),
    )


def _problems(wanted: Definition) -> Iterator[tuple[str, str]]:
    yield from _problems_of_limits(wanted)
    if len(wanted.services) > MAX_SERVICES:
        yield "services", f"At most {MAX_SERVICES} services share a budget."
    named = [("services", service) for service in wanted.services]
    named += [(name, getattr(wanted, name)) for name in NARROWED]
    for name, value in named:
        if len(value) > MAX_VALUE_CHARS or "\0" in value or JOIN in value:
            yield name, f"At most {MAX_VALUE_CHARS} characters, and none of control."
    for name, most in (("name", MAX_NAME_CHARS), ("note", MAX_NOTE_CHARS)):
        if len(getattr(wanted, name)) > most or "\0" in getattr(wanted, name):
            yield name, f"At most {most} characters."
    if find_zone(wanted.timezone) is None:
        yield "timezone", "There is no such time zone: write it like Europe/Berlin."
    if wanted.expires_at and wanted.effective_from and wanted.expires_at <= wanted.effective_from:
        yield "expires_at", "It would expire before it begins."


def _problems_of_limits(wanted: Definition) -> Iterator[tuple[str, str]]:
    limits = {"limit_usd": wanted.limit_nano, "limit_tokens": wanted.limit_tokens, "limit_steps": wanted.limit_steps}
    if wanted.limits_nothing:
        yield "limit_usd", "Limit something: dollars, tokens or steps."
    for name, limit in limits.items():
        most = MAX_NANO if name == "limit_usd" else MAX_COUNT
        if limit is not None and not 0 <= limit <= most:
            yield name, "It must not be below zero." if limit < 0 else "That is no limit any more."
    if not 0 <= wanted.kept_nano <= (wanted.limit_nano or 0):
        yield "final_answer_usd", "It is a part of the limit in dollars, and no more than that."
    if len(wanted.thresholds) > MAX_THRESHOLDS:
        yield "thresholds", f"At most {MAX_THRESHOLDS}."
    if any(not isfinite(one) or not 0 < one <= 10 for one in wanted.thresholds):
        yield "thresholds", "Shares of the limit: 0.8 is 80 %."
