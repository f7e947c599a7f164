"""What may be set about the watch of a service, in words, within bounds, and what holds when nobody has set it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agentops.domain import habits, velocity
from agentops.domain.alerting import KINDS
from agentops.domain.watchrules import Rules


@dataclass(frozen=True, slots=True)
class Setting:
    """A number that can be set for a service, in words, within bounds. ``group`` is what it stands among."""

    name: str
    group: str
    words: str
    help: str
    least: float
    most: float
    default: float
    is_whole: bool = True


_RULES = Rules()
_LOOPS, _TALK, _RESULTS, _FAULTS = "Repeated steps", "Talk between agents", "Calls with one result", "Calls that fail"
_STEPS, _SPEED, _GUARD = "Number of steps", "Speed", "What the guard does"
#: What may be set for a service, in the order in which pages show it.
SETTINGS = (
    Setting(
        "warn", _LOOPS, "Evidence to warn", "1.0 is the third exact repetition.", 0.3, 20, _RULES.warn, is_whole=False
    ),
    Setting(
        "page", _LOOPS, "Evidence to page", "1.4 is the fourth exact repetition.", 0.3, 20, _RULES.page, is_whole=False
    ),
    Setting(
        "talk_warn",
        _TALK,
        "Rounds to warn",
        "Messages of each of two agents, with no tool work between.",
        2,
        1_000,
        _RULES.talk_warn,
    ),
    Setting("talk_page", _TALK, "Rounds to page", "The same, to page.", 2, 1_000, _RULES.talk_page),
    Setting(
        "same_result_warn",
        _RESULTS,
        "Calls to warn",
        "Calls of one tool with the same result, among the last 20.",
        2,
        20,
        _RULES.same_result_warn,
    ),
    Setting("same_result_page", _RESULTS, "Calls to page", "The same, to page.", 2, 20, _RULES.same_result_page),
    Setting(
        "faults_warn",
        _FAULTS,
        "Calls to warn",
        "Calls that cannot be read, or of tools that do not exist.",
        2,
        100,
        _RULES.faults_warn,
    ),
    Setting("faults_page", _FAULTS, "Calls to page", "The same, to page.", 2, 100, _RULES.faults_page),
    Setting(
        "least_budget",
        _STEPS,
        "Budget of a run, at least",
        "So many steps are fine in any case.",
        1,
        1_000_000,
        habits.LEAST_BUDGET,
    ),
    Setting(
        "budget_times",
        _STEPS,
        "Times a long good run",
        "The budget is so many times the 95th percentile of runs that ended well.",
        1,
        100,
        habits.BUDGETS_A_LONG_RUN,
        is_whole=False,
    ),
    Setting(
        "sigmas",
        _SPEED,
        "Run: standard deviations",
        "Tokens a minute, beyond the mean of good runs.",
        1,
        20,
        habits.SIGMAS,
        is_whole=False,
    ),
    Setting(
        "too_much",
        _SPEED,
        "Service: sum to page",
        "What stands out of the hour of the week, added up every five minutes.",
        1,
        100,
        velocity.TOO_MUCH,
        is_whole=False,
    ),
    Setting(
        "cold_cap_usd",
        _SPEED,
        "Service: $ in 15 min",
        "Dollars to page at; more where two of its dearest hours cost more.",
        0.01,
        1_000_000,
        velocity.COLD_CAP_NANO / 1e9,
        is_whole=False,
    ),
    Setting(
        "guard_stops_loops",
        _GUARD,
        "Stop what pages",
        "1: a run in which a loop has paged is let through no more, until somebody resolves the alert. 0: it is told.",
        0,
        1,
        1,
    ),
    Setting(
        "guard_steps_times",
        _GUARD,
        "Stop at times the step budget",
        "At the budget itself a run is told. 0: it is never stopped for its steps.",
        0,
        1_000,
        2,
        is_whole=False,
    ),
)
BY_NAME: Mapping[str, Setting] = MappingProxyType({setting.name: setting for setting in SETTINGS})
DEFAULTS: Mapping[str, float] = MappingProxyType({setting.name: setting.default for setting in SETTINGS})
#: A page is never sent before a warning.
PAIRS = (
    ("warn", "page"),
    ("talk_warn", "talk_page"),
    ("same_result_warn", "same_result_page"),
    ("faults_warn", "faults_page"),
)
_WORDS = {
    "loop.repeat": "The same step again and again",
    "loop.cycle": "Steps that go round in a circle",
    "loop.ping_pong": "Two agents that keep passing it to each other",
    "loop.no_progress": "Calls whose result does not change",
    "loop.near_duplicate": "Almost the same step again and again",
    "steps.budget": "More steps than a run should need",
    "cost.velocity": "Money or tokens used too fast",
    "run.errors_hidden": "Errors that never reach the model",
}
#: Kinds that can be switched off: those that the watch raises.
SWITCHES = tuple(kind for kind in KINDS if kind in _WORDS)


def words_of(kind: str) -> str:
    """What a kind is, in words."""
    return _WORDS[kind]


class ToolUse:
    """How calls of a tool count."""

    NORMAL, PATIENT, IGNORED = "normal", "patient", "ignored"
    WORDS: Mapping[str, str] = MappingProxyType(
        {
            NORMAL: "normal: repeated calls count",
            PATIENT: "patient: they weigh a third (queues, builds, other people)",
            IGNORED: "ignored: they never count",
        }
    )
