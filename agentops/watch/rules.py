"""The rules by which a service is watched: the defaults, and what people have decided otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from agentops.accounts.models import Role, User
from agentops.current import Current
from agentops.domain import habits
from agentops.domain.watchrules import Rules
from agentops.live.actions import publish
from agentops.locks import Lock
from agentops.watch.models import RuleChange
from agentops.watch.numbers import DEFAULTS, PAIRS, SETTINGS, SWITCHES, Setting, ToolUse

__all__ = ["DEFAULTS", "SETTINGS", "SWITCHES", "Decided", "Effective", "Rulebook", "Setting", "ToolUse"]

#: Who may decide.
WRITES = Role.OWNER
#: The live topic of rules and their dry runs.
TOPIC = "watch_rules"
#: Decisions follow each other, so that their ids become visible in their order.
LOCK = f"SELECT pg_advisory_xact_lock({Lock.WATCH_RULES})"
_OF_DOMAIN = frozenset(Rules.__slots__)


@dataclass(frozen=True, slots=True)
class Decided:
    """What people have decided for one service, or for all: numbers by setting, switches by kind, uses by tool.

    What is missing is as it is for all services, and as the defaults say.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, chosen: Mapping[str, Any], tools: Mapping[str, Mapping[str, Any]]) -> Decided:
        """What rows say: of the service, and of its tools."""
        return cls(
            {name: chosen[name] for name in DEFAULTS if name in chosen},
            dict.fromkeys(chosen.get("disabled", ()), False) | dict.fromkeys(chosen.get("enabled", ()), True),
            {tool: settings["use"] for tool, settings in sorted(tools.items()) if settings.get("use")},
        )

    @property
    def chosen(self) -> dict[str, Any]:
        """What a row of the service holds."""
        disabled = sorted(kind for kind, is_on in self.switches.items() if not is_on)
        enabled = sorted(kind for kind, is_on in self.switches.items() if is_on)
        return {**self.numbers, "disabled": disabled, "enabled": enabled}

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"numbers": dict(self.numbers), "switches": dict(self.switches), "tools": dict(self.tools)}

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Decided:
        """What ``dump`` told of."""
        return cls(plain["numbers"], plain["switches"], plain["tools"])


@dataclass(frozen=True, slots=True)
class Effective:
    """What is in force for a service: ``rules`` for loops, and the numbers of the rest."""

    rules: Rules = field(default_factory=Rules)
    numbers: Mapping[str, float] = field(default_factory=lambda: DEFAULTS)

    def is_on(self, kind: str) -> bool:
        """Whether a kind is looked for."""
        return kind not in self.rules.disabled

    def budgeted(self, known: habits.Habits | None) -> Rules:
        """The rules with the step budget that the service's habits make."""
        least, times = int(self.numbers["least_budget"]), self.numbers["budget_times"]
        budget = least if known is None else known.step_budget(least=least, times=times)
        return replace(self.rules, step_budget=budget)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All decisions that are in force: settings by (service, tool)."""

    decided: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    _known: dict[str, Effective] = field(default_factory=dict, init=False, compare=False, repr=False)

    def of(self, service: str) -> Effective:
        """What is in force for a service; an empty one is any that has no rules of its own."""
        found = self._known.get(service)
        if found is None:
            found = self._known[service] = self._of(service)
        return found

    def _of(self, service: str) -> Effective:
        numbers = self.numbers(service)
        for warn, page in PAIRS:  # one of them may be the service's own, and the other that of all services
            numbers[page] = max(numbers[warn], numbers[page])
        disabled: set[str] = set()
        tools: dict[str, str] = {}
        for name in _layers(service):
            decided = self.decided_for(name)
            disabled = {kind for kind in disabled if not decided.switches.get(kind)}
            disabled |= {kind for kind, is_on in decided.switches.items() if not is_on}
            tools |= decided.tools
        of_loops: dict[str, Any] = {
            name: value if name in ("warn", "page") else int(value)
            for name, value in numbers.items()
            if name in _OF_DOMAIN
        }
        rules = Rules(
            **of_loops,
            disabled=frozenset(disabled),
            ignored_tools=frozenset(tool for tool, use in tools.items() if use == ToolUse.IGNORED),
            patient_tools=frozenset(tool for tool, use in tools.items() if use == ToolUse.PATIENT),
        )
        return Effective(rules, numbers)

    def numbers(self, service: str) -> dict[str, float]:
        """Every number as it was decided last, or its default."""
        numbers = dict(DEFAULTS)
        for name in _layers(service):
            numbers |= self.decided_for(name).numbers
        return numbers

    def decided_for(self, service: str) -> Decided:
        """What was decided for a service itself, or, when it is empty, for all."""
        tools = {tool: settings for (owner, tool), settings in self.decided.items() if owner == service and tool}
        return Decided.of(self.decided.get((service, ""), {}), tools)

    def with_decided(self, service: str, decided: Decided) -> Rulebook:
        """The rules as they would be if that were decided."""
        others = {key: settings for key, settings in self.decided.items() if key[0] != service}
        tools = {(service, tool): {"use": use} for tool, use in decided.tools.items()}
        return Rulebook(others | {(service, ""): decided.chosen} | tools)


def latest_revision() -> int:
    """Rises with every decision."""
    return RuleChange.objects.aggregate(latest=Max("id"))["latest"] or 0


def load(revision: int) -> Rulebook:
    """All decisions that were in force at a revision."""
    rows = RuleChange.objects.filter(pk__lte=revision)
    latest = rows.order_by("service", "tool", "-id").distinct("service", "tool")
    return Rulebook({(change.service, change.tool): change.chosen for change in latest if change.chosen})


def current() -> Current[Rulebook]:
    """What every process knows of the rules within seconds."""
    return Current(latest_revision, load)


@transaction.atomic
def decide(
    *, service: str, tool: str, settings: Mapping[str, Any], reason: str, by: User | None, now: datetime
) -> RuleChange:
    """Decide the rules of a service or a tool; only what differs from what holds otherwise is kept.

    ``settings`` are those of a service (numbers, ``disabled`` and ``enabled`` kinds), or the ``use`` of a tool.
    """
    wait_for_turn()
    kept = {name: value for name, value in settings.items() if value not in (None, [], "")}
    if not service:
        normal: dict[str, Any] = {**DEFAULTS, "use": ToolUse.NORMAL}
        kept = {name: value for name, value in kept.items() if name != "enabled" and normal.get(name) != value}
    change = RuleChange.objects.create(
        service=service, tool=tool, chosen=kept, reason=reason, changed_by=by, changed_at=now
    )
    publish([TOPIC])
    return change


def wait_for_turn() -> None:
    """Decide after those who decide just now, inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK)


def _layers(service: str) -> tuple[str, ...]:
    return ("", service) if service else ("",)
