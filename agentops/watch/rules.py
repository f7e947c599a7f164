"""The rules by which a service is watched: the defaults, and what people have decided otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db.models import Max

from agentops.accounts.models import User
from agentops.current import Current
from agentops.domain import habits, velocity
from agentops.domain.alerting import KINDS
from agentops.domain.watchrules import Rules
from agentops.watch.models import RuleChange


@dataclass(frozen=True, slots=True)
class Setting:
    """A number that can be set for a service, in words, within bounds."""

    name: str
    words: str
    help: str
    least: float
    most: float
    default: float
    is_whole: bool = True


_RULES = Rules()
#: What may be set for a service.
SETTINGS = (
    Setting("warn", "Evidence to warn", "1.0 is the third exact repetition.", 0.3, 20, _RULES.warn, is_whole=False),
    Setting("page", "Evidence to page", "1.4 is the fourth exact repetition.", 0.3, 20, _RULES.page, is_whole=False),
    Setting(
        "talk_warn",
        "Talk: rounds to warn",
        "Messages of each of two agents with no tool work between.",
        2,
        1_000,
        _RULES.talk_warn,
    ),
    Setting("talk_page", "Talk: rounds to page", "The same, to page.", 2, 1_000, _RULES.talk_page),
    Setting(
        "same_result_warn",
        "Same result: calls to warn",
        "Calls of a tool with one result, among the last 20.",
        2,
        20,
        _RULES.same_result_warn,
    ),
    Setting("same_result_page", "Same result: calls to page", "The same, to page.", 2, 20, _RULES.same_result_page),
    Setting(
        "faults_warn",
        "Malformed or unknown: calls to warn",
        "Calls that cannot be read, or of tools that do not exist.",
        2,
        100,
        _RULES.faults_warn,
    ),
    Setting("faults_page", "Malformed or unknown: calls to page", "The same, to page.", 2, 100, _RULES.faults_page),
    Setting(
        "least_budget",
        "Step budget: at least",
        "A run may take as many steps in any case.",
        1,
        1_000_000,
        habits.LEAST_BUDGET,
    ),
    Setting(
        "budget_times",
        "Step budget: times a long good run",
        "Of the service's own runs that ended well, p95.",
        1,
        100,
        habits.BUDGETS_A_LONG_RUN,
        is_whole=False,
    ),
    Setting(
        "sigmas",
        "Speed of a run: standard deviations",
        "Tokens a minute beyond the mean of good runs.",
        1,
        20,
        habits.SIGMAS,
        is_whole=False,
    ),
    Setting(
        "too_much",
        "Speed of the service: sum to page",
        "What stands out of the hour of the week, added up.",
        1,
        100,
        velocity.TOO_MUCH,
        is_whole=False,
    ),
    Setting(
        "cold_cap_usd",
        "Speed of a new service: dollars in 15 minutes",
        "Where nothing is usual yet.",
        0.01,
        1_000_000,
        velocity.COLD_CAP_NANO / 1e9,
        is_whole=False,
    ),
)
DEFAULTS: dict[str, float] = {setting.name: setting.default for setting in SETTINGS}
#: Kinds that can be switched off: those that the watch raises.
SWITCHES = tuple(
    kind for kind in KINDS if kind.startswith("loop.") or kind in {"steps.budget", "cost.velocity", "run.errors_hidden"}
)
_OF_DOMAIN = frozenset(_RULES.__slots__)


class ToolUse:
    """How calls of a tool count."""

    NORMAL, PATIENT, IGNORED = "normal", "patient", "ignored"


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

    def of(self, service: str) -> Effective:
        """What is in force for a service."""
        numbers = dict(DEFAULTS)
        disabled: set[str] = set()
        for name in ("", service):
            settings = self.decided.get((name, ""), {})
            numbers |= {key: value for key, value in settings.items() if key in DEFAULTS}
            disabled = set(settings.get("disabled", disabled))
        tools = {
            tool: settings.get("use", ToolUse.NORMAL)
            for name in ("", service)
            for (owner, tool), settings in self.decided.items()
            if owner == name and tool
        }
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


def latest_revision() -> int:
    """Rises with every decision."""
    return RuleChange.objects.aggregate(latest=Max("id"))["latest"] or 0


def load(_revision: int = 0) -> Rulebook:
    """All decisions that are in force."""
    latest = RuleChange.objects.order_by("service", "tool", "-id").distinct("service", "tool")
    return Rulebook({(change.service, change.tool): change.chosen for change in latest if change.chosen})


def current() -> Current[Rulebook]:
    """What every process knows of the rules within seconds."""
    return Current(latest_revision, load)


def decide(
    *, service: str, tool: str, settings: Mapping[str, Any], reason: str, by: User | None, now: datetime
) -> RuleChange:
    """Decide the rules of a service or a tool; only what differs from the defaults is kept."""
    kept = {name: value for name, value in settings.items() if value not in (None, [], "", ToolUse.NORMAL)}
    kept = {name: value for name, value in kept.items() if service or DEFAULTS.get(name) != value}
    return RuleChange.objects.create(
        service=service, tool=tool, chosen=kept, reason=reason, changed_by=by, changed_at=now
    )
