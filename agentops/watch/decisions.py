"""What people decide about the watch: checked, written beside what was decided before, and gone back to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db import transaction

from agentops.accounts.models import User
from agentops.watch import rules
from agentops.watch.models import RuleChange
from agentops.watch.numbers import BY_NAME, DEFAULTS, PAIRS, SWITCHES, ToolUse
from agentops.watch.rules import Decided, Rulebook

#: Of one service.
MAX_TOOLS, MAX_TOOL_CHARS, MAX_REASON_CHARS = 200, 256, 400


class UnsoundRules(ValueError):
    """Rules that cannot be; ``problems`` says why, by setting (``warn``), kind or tool."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = problems


class ChangedMeanwhile(ValueError):
    """Somebody else has decided since the change that was looked at."""

    def __init__(self, latest: RuleChange) -> None:
        by = f" by {latest.changed_by}" if latest.changed_by else ""
        super().__init__(f"It was changed{by} meanwhile: look at change {latest.pk} first.")
        self.latest = latest


@dataclass(frozen=True, slots=True)
class Change:
    """One decision: ``before`` it and ``after`` it; ``pk`` is the last of its rows."""

    pk: int
    at: datetime
    by: User | None
    reason: str
    before: Decided
    after: Decided


def check(service: str, decided: Decided, book: Rulebook) -> None:
    """Raises ``UnsoundRules`` unless that can be decided for a service, among all that is decided otherwise."""
    problems = dict(_problems(decided))
    if not problems:
        numbers = book.with_decided(service, decided).numbers(service)
        for warn, page in PAIRS:
            if numbers[page] < numbers[warn]:
                words = f"To page must not take less than to warn: {numbers[page]:g} is below {numbers[warn]:g}."
                problems[page if page in decided.numbers else warn] = words
    if problems:
        raise UnsoundRules(problems)


def _problems(decided: Decided) -> Iterator[tuple[str, str]]:
    for name, value in decided.numbers.items():
        setting = BY_NAME.get(name)
        if setting is None:
            yield name, "There is no such setting."
        elif not math.isfinite(value) or not setting.least <= value <= setting.most:
            yield name, f"It must be between {setting.least:,.10g} and {setting.most:,.10g}."
        elif setting.is_whole and value != int(value):
            yield name, "It must be a whole number."
    yield from ((kind, "There is no such kind.") for kind in decided.switches if kind not in SWITCHES)
    yield from _problems_of_tools(decided.tools)


def _problems_of_tools(tools: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if len(tools) > MAX_TOOLS:
        yield "tools", f"There may be {MAX_TOOLS} tools at most."
    for tool, use in tools.items():
        if not tool or len(tool) > MAX_TOOL_CHARS or "\0" in tool:
            yield tool[:40] or "tools", f"The name of a tool has 1 to {MAX_TOOL_CHARS} characters."
        elif use not in ToolUse.WORDS:
            yield tool, f"It must be one of {', '.join(ToolUse.WORDS)}."


@transaction.atomic
def save(
    *, service: str, decided: Decided, seen: int | None, reason: str, by: User | None, now: datetime
) -> int | None:
    """Decide all rules of a service at once; the latest change then, or ``None`` when they are as they were.

    ``seen`` is the latest change of the service that was looked at, 0 for none, ``None`` for whatever it is. Raises
    ``UnsoundRules`` and ``ChangedMeanwhile``.
    """
    rules.wait_for_turn()
    book = rules.load(rules.latest_revision())
    check(service, decided, book)
    last = latest(service)
    if last is not None and seen is not None and last.pk != seen:
        raise ChangedMeanwhile(last)
    before, decided = book.decided_for(service), normal(service, decided)
    reason = reason.strip()[:MAX_REASON_CHARS]
    pk = None
    if before.chosen != decided.chosen:
        pk = rules.decide(service=service, tool="", settings=decided.chosen, reason=reason, by=by, now=now).pk
    for tool in sorted(before.tools.keys() | decided.tools.keys()):
        use = decided.tools.get(tool)
        if before.tools.get(tool) != use:
            pk = rules.decide(service=service, tool=tool, settings={"use": use}, reason=reason, by=by, now=now).pk
    return pk


def restore(*, service: str, change: int, seen: int, by: User | None, now: datetime) -> int | None:
    """Decide again what was in force after a change of the service. Raises as ``save`` does, and ``DoesNotExist``."""
    row = RuleChange.objects.get(service=service, pk=change)
    reason = f"Back to what was decided on {row.changed_at:%d %b %Y %H:%M} UTC."
    return save(service=service, decided=as_of(service, change), seen=seen, reason=reason, by=by, now=now)


def as_of(service: str, change: int) -> Decided:
    """What was decided for a service after one of its changes."""
    return rules.load(change).decided_for(service)


def latest(service: str) -> RuleChange | None:
    """The latest change of a service."""
    return RuleChange.objects.filter(service=service).select_related("changed_by").order_by("-pk").first()


def latest_change(service: str) -> int:
    """The number of the latest change of a service; 0 before the first."""
    return found.pk if (found := latest(service)) else 0


def history(service: str) -> list[Change]:
    """Every decision for a service, the latest first."""
    rows = RuleChange.objects.filter(service=service).select_related("changed_by").order_by("pk")
    changes: list[Change] = []
    known: dict[tuple[str, str], Mapping[str, object]] = {}
    before = Decided()
    for _, together in groupby(rows, key=lambda row: (row.changed_at, row.changed_by_id, row.reason)):
        group = list(together)
        known |= {(row.service, row.tool): row.chosen for row in group}
        after, last = Rulebook(known).decided_for(service), group[-1]
        changes.append(Change(last.pk, last.changed_at, last.changed_by, last.reason, before, after))
        before = after
    return changes[::-1]


def latest_of_all() -> dict[str, RuleChange]:
    """The latest change of every service that has one."""
    rows: Iterable[RuleChange] = (
        RuleChange.objects.order_by("service", "-pk").distinct("service").select_related("changed_by")
    )
    return {row.service: row for row in rows}


def normal(service: str, decided: Decided) -> Decided:
    """Without what says nothing: defaults of all services. What a service says itself is kept."""
    if service:
        return decided
    return Decided(
        {name: value for name, value in decided.numbers.items() if DEFAULTS[name] != value},
        {kind: False for kind, is_on in decided.switches.items() if not is_on},
        {tool: use for tool, use in decided.tools.items() if use != ToolUse.NORMAL},
    )
