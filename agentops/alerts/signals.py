"""What detectors say: a signal, and several of one fingerprint as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from agentops.alerts.models import MAX_TITLE_CHARS
from agentops.domain import alerting

NANO = Decimal(10**9)
MAX_NANO = 2**63 - 1
#: Steps that evidence names at most.
MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class Signal:
    """A condition that holds: ``evidence`` is JSON-able, with money as decimal strings.

    ``observations`` says how often it was seen since the last signal. Run, session, user and feature tell whose it is,
    and make its fingerprint together with kind and service, unless it has a topic of its own.
    """

    kind: str
    severity: str
    service: str
    title: str
    seen_at: datetime
    evidence: Mapping[str, Any] = field(default_factory=dict)
    observations: int = 1
    run: bytes | None = None
    session: str | None = None
    user: str | None = None
    feature: str | None = None
    environment: str | None = None
    #: What it is about, where that is none of those: a window of a budget, say.
    topic: str = ""

    @property
    def fingerprint(self) -> str:
        """Which alert it is about."""
        return alerting.fingerprint(
            self.kind,
            self.service,
            run=self.run,
            session=self.session,
            user=self.user,
            feature=self.feature,
            topic=self.topic,
        )

    @property
    def pair(self) -> tuple[str, str]:
        """Its kind and service."""
        return self.kind, self.service


def merge(signals: Iterable[Signal]) -> dict[str, Signal]:
    """One signal for each fingerprint, in their order: the latest, as severe as the worst, seen as often as all."""
    found: dict[str, Signal] = {}
    for signal in signals:
        key, clean = signal.fingerprint, _clean(signal)
        if (other := found.get(key)) is not None:
            latest = clean if clean.seen_at >= other.seen_at else other
            severity = alerting.worst((clean.severity, other.severity))
            clean = replace(latest, severity=severity, observations=clean.observations + other.observations)
        found[key] = clean
    return dict(sorted(found.items()))


def nano(usd: object) -> int | None:
    """Nano-dollars of a decimal string of dollars; ``None`` for what is none."""
    try:
        amount = Decimal(str(usd)) * NANO
    except InvalidOperation:
        return None
    return int(amount) if amount.is_finite() and abs(amount) <= MAX_NANO else None


def dollars(amount: int | None) -> str | None:
    """A decimal string of dollars, from nano-dollars."""
    return None if amount is None else format((Decimal(amount) / NANO).normalize(), "f")


def _clean(signal: Signal) -> Signal:
    """Without what the database cannot hold, and bounded."""
    evidence = _storable(dict(signal.evidence))
    if isinstance(steps := evidence.get("steps"), list):
        evidence["steps"] = steps[:MAX_STEPS]
    title = _storable(signal.title)[:MAX_TITLE_CHARS]
    return replace(signal, severity=alerting.Severity(signal.severity), title=title, evidence=evidence)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime) else value
