"""Alerts in words: the evidence as facts, what happened as sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from agentops.alerts.models import Alert
from agentops.alerts.queries import Entry
from agentops.alerts.signals import nano
from agentops.domain.alerting import Move
from agentops.templatetags.formats import TIMES, duration, money
from agentops.templatetags.formats import count as counted

SPAN_ID, TRACE_ID = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{32}")
MAX_FACT_CHARS = 600
#: Members of the evidence that are shown in a place of their own.
PLACED = frozenset(
    {
        "steps", "steps_total", "runs", "first_span_id", "detected_span_id", "paged_span_id", "cost_usd",
        "usd_per_hour", "since", "mode", "what", "agents", "run", "unit", "budget", "window", "over_seconds", "rule",
    }
)  # fmt: skip
NAMES = {
    "pattern": "What repeats",
    "period": "Period in steps",
    "count": "How often",
    "usual_usd_per_hour": "Usual in an hour",
    "member": "Whose",
    "limit": "Limit",
    "spent": "Spent",
    "reserved": "Held for steps under way",
    "remaining": "Left",
    "burn_rate": "Burn rate",
    "exhausted_at": "Used up at this rate",
    "resets_at": "Resets",
    "refused": "Steps refused",
    "refused_usd": "Which might have cost",
    "set_by": "Set by",
    "closed": "Steps not made",
    "open": "Steps made unasked",
}
#: Amounts of a budget, in its unit.
AMOUNTS = frozenset({"limit", "spent", "reserved", "remaining"})
#: Shares of one.
SHARES = frozenset({"share", "threshold"})
#: What people read for a move, by who made it: a person, or nobody.
WORDS: dict[str, tuple[str, str]] = {
    Move.OPEN: ("opened it", "opened"),
    Move.ACKNOWLEDGE: ("acknowledged it", "acknowledged"),
    Move.UNACKNOWLEDGE: ("gave it back", "not acknowledged any more"),
    Move.SNOOZE: ("snoozed it", "snoozed"),
    Move.SILENCE: ("silenced it", "silenced"),
    Move.WAKE: ("woke it", "fires again"),
    Move.WORSEN: ("raised it", "got worse"),
    Move.RESOLVE: ("resolved it", "resolved by itself"),
    Move.REOPEN: ("reopened it", "reopened"),
    "note": ("wrote", "noted"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the evidence says."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, in words: what, then why."""

    at: datetime
    who: str
    what: str
    why: str
    is_note: bool


def facts(alert: Alert) -> list[Fact]:
    """What the evidence says, except its steps and its money, the best known first."""
    evidence: Mapping[str, Any] = alert.evidence
    names = [*(name for name in NAMES if name in evidence), *sorted(set(evidence) - set(NAMES))]
    found = []
    for name in names:
        value = evidence[name]
        is_told = name in PLACED or (name == "count" and (alert.is_storm or value == 1))
        if is_told or value is None or value in ("", [], {}):
            continue
        words = NAMES.get(name) or name.replace("_", " ").removesuffix(" usd").capitalize()
        found.append(Fact(words, _amount(name, value, evidence.get("unit"))))
    return found


def _amount(name: str, value: Any, unit: Any) -> str:
    """A member of the evidence; amounts of a budget in its unit."""
    if name in AMOUNTS and unit is not None:
        return money(nano(value)) if unit == "usd" else f"{value} {unit}"
    if name in SHARES and isinstance(value, int | float):
        return f"{value:.0%}"
    if name == "burn_rate":
        return f"{value} {TIMES} what lasts to the end"
    if name.endswith("_at") and isinstance(value, str) and (moment := _moment(value)) is not None:
        return f"{moment:%d %b %Y %H:%M} UTC"
    return _text(name, value)


def steps(alert: Alert) -> list[str]:
    """The span ids that the evidence names, in its order."""
    return [step for step in _list(alert, "steps") if SPAN_ID.fullmatch(step)]


def runs(alert: Alert) -> list[str]:
    """The trace ids that the evidence names, in its order."""
    return [run for run in _list(alert, "runs") if TRACE_ID.fullmatch(run)]


def span_id(alert: Alert, name: str) -> str:
    """A span id of the evidence, empty when there is none."""
    found = alert.evidence.get(name)
    return found if isinstance(found, str) and SPAN_ID.fullmatch(found) else ""


def since(alert: Alert) -> datetime:
    """When it began, by its evidence; else when it was opened."""
    try:
        return datetime.fromisoformat(str(alert.evidence.get("since")))
    except ValueError:
        return alert.opened_at


def happenings(entries: Sequence[Entry]) -> list[Happening]:
    """What happened, in words."""
    return [_happening(entry) for entry in entries]


def lasting(alert: Alert) -> timedelta:
    """How long it has been open; when it is resolved, how long it had been wrong until it ended, or was resolved."""
    if alert.resolved_at is None:
        return timezone.now() - alert.opened_at
    return max((alert.cleared_at or alert.resolved_at) - since(alert), timedelta(0))


def _happening(entry: Entry) -> Happening:
    by_person, by_itself = WORDS.get(entry.what, (entry.what, entry.what))
    what = by_person if entry.by is not None else by_itself
    if entry.what == Move.OPEN and entry.to_state == "silenced":
        what = "opened, silenced"
    return Happening(entry.at, entry.by.get_username() if entry.by else "", what, entry.text, entry.what == "note")


def _list(alert: Alert, name: str) -> list[str]:
    found = alert.evidence.get(name)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _text(name: str, value: Any) -> str:
    if name.endswith(("_usd", "_usd_per_hour")):
        return money(nano(value))
    if name.endswith("_seconds") and isinstance(value, int | float):
        return duration(value * 1_000)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return counted(value)
    if isinstance(value, list):
        return " → ".join(_text("", each) for each in value)[:MAX_FACT_CHARS]
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return text[:MAX_FACT_CHARS]


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
