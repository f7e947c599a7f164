"""What an alert is: its kinds, its states and the moves between them, when a signal opens one, and what keeps it quiet.

An alert is known by its fingerprint: of what kind, of which service, and whose. As long as it is not resolved, every
further signal of the same fingerprint only counts it up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: Every kind of alert, in the order in which pages offer them.
KINDS = (
    "loop.repeat",
    "loop.cycle",
    "loop.ping_pong",
    "loop.no_progress",
    "loop.near_duplicate",
    "steps.budget",
    "cost.velocity",
    "cost.anomaly",
    "budget.threshold",
    "budget.exhausted",
    "budget.burn_rate",
    "guard.unreachable",
    "run.errors_hidden",
    "service.unowned",
    "service.ungated",
    "service.silent",
    "oncall.gap",
    "readiness.expired",
    "cliff.latency",
    "cliff.accuracy",
    "stage.overdue",
)

#: A condition that has ended must stay ended for so long before its alert is resolved.
HYSTERESIS = timedelta(seconds=60)
#: What resolved by itself and comes back within this time is the same alert.
REOPENED_WITHIN = timedelta(hours=1)
#: What a person resolved stays resolved for so long, unless it gets worse.
COOL_OFF = timedelta(minutes=10)
#: More alerts of one kind and service than this, opened within ``STORM_WITHIN``, are one storm.
STORM_LIMIT = 25
STORM_WITHIN = timedelta(seconds=60)
#: Nobody looks away for longer than this.
LONGEST_SNOOZE = timedelta(days=30)
LONGEST_SILENCE = timedelta(days=366)

#: What a silence can look at.
MATCHED = ("kind", "service", "severity", "run", "session", "user", "feature")
MAX_PATTERN_CHARS = 512


class Severity(StrEnum):
    """Whether somebody should look, or must: a warning waits, a page wakes somebody."""

    WARN = "warn"
    PAGE = "page"


#: Severities from the least to the most severe.
SEVERITIES = tuple(Severity)


class State(StrEnum):
    """Where an alert is. Whatever is not resolved is open."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


class Move(StrEnum):
    """What takes an alert from one state to another."""

    OPEN = "open"
    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    SNOOZE = "snooze"
    SILENCE = "silence"
    WAKE = "wake"
    WORSEN = "worsen"
    RESOLVE = "resolve"
    REOPEN = "reopen"


#: From which states a move is allowed, and to which it leads.
MOVES: Mapping[Move, tuple[frozenset[State], State]] = {
    Move.ACKNOWLEDGE: (frozenset({State.FIRING, State.SILENCED}), State.ACKNOWLEDGED),
    Move.UNACKNOWLEDGE: (frozenset({State.ACKNOWLEDGED}), State.FIRING),
    Move.SNOOZE: (frozenset({State.FIRING, State.ACKNOWLEDGED, State.SILENCED}), State.SILENCED),
    Move.SILENCE: (frozenset({State.FIRING}), State.SILENCED),
    Move.WAKE: (frozenset({State.SILENCED}), State.FIRING),
    Move.WORSEN: (frozenset({State.FIRING, State.ACKNOWLEDGED}), State.FIRING),
    Move.RESOLVE: (frozenset({State.FIRING, State.ACKNOWLEDGED, State.SILENCED}), State.RESOLVED),
    Move.REOPEN: (frozenset({State.RESOLVED}), State.FIRING),
}


class UnsoundMatchers(ValueError):
    """Matchers of a silence that look at nothing, or at what no alert has; the reason is a sentence."""


class UnsoundMoment(ValueError):
    """A moment until which nobody may look away; the reason is a sentence."""


class Fate(StrEnum):
    """What becomes of a signal."""

    COUNT = "count"  # its alert is open: one more observation
    OPEN = "open"
    REOPEN = "reopen"
    HOLD = "hold"  # a person has just resolved it


@dataclass(frozen=True, slots=True)
class Last:
    """The latest alert of a fingerprint, as far as the next signal is concerned."""

    state: State
    severity: Severity
    resolved_at: datetime | None = None
    by_person: bool = False


def target(state: State, move: Move) -> State | None:
    """The state that a move leads to; ``None`` when it is not allowed from here."""
    sources, leads_to = MOVES[move]
    return leads_to if state in sources else None


def rank(severity: str) -> int:
    """How severe: a larger number is worse; -1 for what is no severity."""
    return SEVERITIES.index(Severity(severity)) if severity in SEVERITIES else -1


def worst(severities: Iterable[str]) -> Severity:
    """The most severe of some, of which there is at least one."""
    return Severity(max(severities, key=rank))


def fingerprint(
    kind: str,
    service: str,
    *,
    run: bytes | None = None,
    session: str | None = None,
    user: str | None = None,
    feature: str | None = None,
    topic: str = "",
) -> str:
    """What makes two signals the same alert: 32 hexadecimal digits.

    It is about its ``topic``, if it has one of its own, else about the narrowest of run, session, user and feature that
    is named. The others may become known later.
    """
    if topic:
        return _digest("alert", kind, "topic", topic)
    subjects = (("run", run.hex() if run else None), ("session", session), ("user", user), ("feature", feature))
    subject = next(((name, value) for name, value in subjects if value), ("", ""))
    return _digest("alert", kind, service, *subject)


def storm_fingerprint(kind: str, service: str) -> str:
    """The fingerprint of the one alert that stands for very many of a kind and service; no single one has it."""
    return _digest("storm", kind, service)


def decide(last: Last | None, severity: str, *, now: datetime) -> Fate:
    """What becomes of a signal, by the latest alert of its fingerprint, if there is any."""
    if last is None:
        return Fate.OPEN
    if last.state != State.RESOLVED:
        return Fate.COUNT
    since = now - last.resolved_at if last.resolved_at is not None else timedelta.max
    if last.by_person:
        is_worse = rank(severity) > rank(last.severity)
        return Fate.HOLD if since < COOL_OFF and not is_worse else Fate.OPEN
    return Fate.REOPEN if since < REOPENED_WITHIN else Fate.OPEN


def is_storm(opened: int, opening: int) -> bool:
    """Whether so many of one kind and service, opened within ``STORM_WITHIN`` and about to be, are one storm."""
    return opened + opening > STORM_LIMIT


def is_over(cleared_at: datetime | None, *, now: datetime) -> bool:
    """Whether a condition has been gone for long enough to resolve its alert."""
    return cleared_at is not None and now - cleared_at >= HYSTERESIS


def check_snooze(until: datetime, *, now: datetime) -> None:
    """Raises ``UnsoundMoment`` for a moment that is past, or further away than ``LONGEST_SNOOZE``."""
    if until <= now:
        message = "That moment is past."
        raise UnsoundMoment(message)
    if until - now > LONGEST_SNOOZE:
        message = f"That is more than {LONGEST_SNOOZE.days} days away."
        raise UnsoundMoment(message)


def check_silence(starts_at: datetime, ends_at: datetime, *, now: datetime) -> None:
    """Raises ``UnsoundMoment`` for a silence that is over before it begins, or lasts too long."""
    if ends_at <= starts_at:
        message = "It ends before it begins."
        raise UnsoundMoment(message)
    if ends_at <= now:
        message = "It would be over already."
        raise UnsoundMoment(message)
    if ends_at - max(starts_at, now) > LONGEST_SILENCE:
        message = f"It lasts more than {LONGEST_SILENCE.days} days."
        raise UnsoundMoment(message)


def check_matchers(matchers: Mapping[str, str]) -> dict[str, str]:
    """The matchers without surrounding space and without empty ones. Raises ``UnsoundMatchers``."""
    if unknown := sorted(set(matchers) - set(MATCHED)):
        message = f"An alert has no “{unknown[0]}”: a silence looks at {', '.join(MATCHED)}."
        raise UnsoundMatchers(message)
    sound = {name: text.strip() for name in MATCHED if (text := matchers.get(name, "")).strip()}
    if not sound:
        message = "Say what to silence: at least one of the fields."
        raise UnsoundMatchers(message)
    if any(len(text) > MAX_PATTERN_CHARS for text in sound.values()):
        message = f"A pattern is at most {MAX_PATTERN_CHARS} characters long."
        raise UnsoundMatchers(message)
    if not any(set(text) - {"*"} for text in sound.values()):
        message = "This would silence everything: name something."
        raise UnsoundMatchers(message)
    return sound


def matches(matchers: Mapping[str, str], labels: Mapping[str, str | None]) -> bool:
    """Whether all matchers fit: a text equals, ``*`` stands for any characters. No matchers at all fit nothing."""
    given = {name: pattern for name, pattern in matchers.items() if pattern}
    return bool(given) and all(_fits(pattern, labels.get(name)) for name, pattern in given.items())


def _fits(pattern: str, text: str | None) -> bool:
    """Whether a pattern fits; each part is looked for once, so that no pattern is slow."""
    if not text:
        return False
    first, *parts = pattern.split("*")
    if not parts:
        return text == first
    *middle, last = parts
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
