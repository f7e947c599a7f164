"""From what was found to what is stored and said: rows of findings, signals to the alerts, and what has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from agentops.alerts.actions import Signal
from agentops.domain import alerting
from agentops.domain.alerting import Severity
from agentops.domain.findings import Finding, Mode, pattern, title
from agentops.runs.api import from_ns, usd
from agentops.runs.findings import Place, Scope, StoredFinding
from agentops.watch.spans import RunFacts
from agentops.watch.streams import Noted, Stream

#: A finding that only goes on is told again no sooner.
AGAIN = timedelta(seconds=10)
#: What was over so long ago is found when it is sent, and wakes nobody.
HISTORY = timedelta(days=1)
#: What is found in a run and said of its service: it is over, and one is like the other.
_OF_SERVICE = frozenset({Mode.SALVAGED})


@dataclass(slots=True)
class Report:
    """What a look has to write: findings, signals, fingerprints of what has ended, findings that were refuted."""

    findings: list[StoredFinding] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    refuted: list[tuple[Place, str, int]] = field(default_factory=list)

    def add(self, stream: Stream, run: RunFacts, *, now: datetime) -> None:
        """Everything of a stream that has changed since it was stored last."""
        found = stream.findings()
        gone: set[str] = set()
        for name in stream.noted.keys() - found.keys():
            source, _, ordinal = name.partition(":")
            self.refuted.append((stream.place, source, int(ordinal)))
            gone.add(stream.noted.pop(name).alert)
        for name, (finding, goes_on) in found.items():
            if stream.place.scope is Scope.SESSION and len({key[0] for key in finding.steps}) < FEWEST_TRACES:
                continue  # the run itself says it
            self._note(stream, run, name, finding, is_open=goes_on and not self._is_over(stream, run), now=now)
        # An alert ends with the last of its findings that goes on.
        self.ended |= gone | {noted.alert for noted in stream.noted.values()}
        self.ended -= {noted.alert for noted in stream.noted.values() if noted.is_open}

    def _is_over(self, stream: Stream, run: RunFacts) -> bool:
        return run.is_over and stream.place.scope is Scope.RUN

    def _note(
        self, stream: Stream, run: RunFacts, name: str, finding: Finding, *, is_open: bool, now: datetime
    ) -> None:
        noted = stream.noted.get(name)
        mark = [
            finding.count,
            str(finding.severity),
            finding.total,
            finding.detected[1].hex(),
            is_open,
            finding.latest_ns,
        ]
        if noted is not None and noted.mark == mark:
            return
        seconds = now.timestamp()
        is_news = noted is None or noted.severity != finding.severity
        noted = noted or Noted(mark, fingerprint(stream.place, run.trace_id, finding.mode, finding.kind))
        stored = _stored(stream.place, name, run, finding, is_open=is_open)
        is_due = is_news or (is_open and seconds - noted.reported_at >= AGAIN.total_seconds())
        if is_due and not _is_quiet(stream, run, finding, now):
            times = finding.count - noted.reported_count
            self.signals.append(_signal(stored, run, times, now=now))
            noted.reported_at, noted.reported_count = seconds, finding.count
        noted.mark, noted.severity, noted.is_open = mark, str(finding.severity), is_open
        stream.noted[name] = noted
        self.findings.append(stored)


def _is_quiet(stream: Stream, run: RunFacts, finding: Finding, now: datetime) -> bool:
    """Whether a finding is nobody's business any more, or is said already by another one.

    A clock that is slow must keep no alert back: only a run that has ended is history.
    """
    if run.is_over and now - from_ns(finding.latest_ns) > HISTORY:
        return True
    found = stream.findings().values()
    return finding.mode is Mode.BUDGET and any(
        goes_on and other.severity is Severity.PAGE and other is not finding for other, goes_on in found
    )


#: What is found in fewer runs of a session is found in these themselves.
FEWEST_TRACES = 3


def fingerprint(place: Place, trace_id: bytes, mode: str, kind: str) -> str:
    """Which alert a finding belongs to."""
    if mode in _OF_SERVICE:
        return alerting.fingerprint(kind, place.service)
    if place.scope is Scope.SESSION:
        return alerting.fingerprint(kind, place.service, session=place.key)
    return alerting.fingerprint(kind, place.service, run=trace_id)


def _signal(found: StoredFinding, run: RunFacts, times: int, *, now: datetime) -> Signal:
    of_session = found.place.scope is Scope.SESSION
    of_service = found.mode in _OF_SERVICE
    evidence = {name: value for name, value in found.detail.items() if name != "traces"}
    return Signal(
        kind=found.kind,
        severity=found.severity,
        service=found.place.service,
        title=found.title,
        evidence=evidence | ({"run": run.trace_id.hex()} if of_session or of_service else {}),
        seen_at=min(now, found.latest_at),
        observations=max(1, times),
        run=None if of_session or of_service else run.trace_id,
        session=None if of_service else found.place.key if of_session else run.session,
        user=None if of_service else run.user,
        feature=None if of_service else run.feature,
        environment=run.environment,
    )


def _stored(place: Place, name: str, run: RunFacts, finding: Finding, *, is_open: bool) -> StoredFinding:
    source, _, ordinal = name.partition(":")
    unknown = not finding.spent_nano and run.unpriced_calls > 0
    cost, per_hour = (None, None) if unknown else (finding.spent_nano, finding.per_hour_nano)
    return StoredFinding(
        place=place,
        source=source,
        ordinal=int(ordinal),
        trace_id=finding.detected[0],
        kind=finding.kind,
        mode=str(finding.mode),
        severity=str(finding.severity),
        title=title(finding),
        began_at=from_ns(finding.began_ns),
        detected_at=from_ns(finding.detected_ns),
        latest_at=from_ns(max(finding.latest_ns, finding.detected_ns)),
        is_open=is_open,
        count=finding.count,
        period=finding.period,
        cost_nano=cost,
        per_hour_nano=per_hour,
        detail=_evidence(finding, cost, per_hour),
    )


def _evidence(finding: Finding, cost_nano: int | None, per_hour_nano: int | None) -> dict[str, Any]:
    """What shows that it is so: the steps and their runs, the period, how often, what it cost."""
    steps = finding.steps
    return {
        "mode": str(finding.mode),
        "steps": [span.hex() for _, span in steps],
        "steps_total": finding.total,
        "first_span_id": (steps[0] if steps else finding.detected)[1].hex(),
        "detected_span_id": finding.detected[1].hex(),
        "paged_span_id": finding.paged[1].hex() if finding.paged else None,
        "period": finding.period,
        "count": finding.count,
        "since": from_ns(finding.began_ns).isoformat(),
        "pattern": pattern(finding),
        "what": finding.labels,
        "agents": finding.agents,
        "cost_usd": usd(cost_nano),
        "usd_per_hour": usd(per_hour_nano),
        "traces": sorted({trace.hex() for trace, _ in steps}),
    }


def ended_of(findings: Iterable[StoredFinding]) -> set[str]:
    """The fingerprints of stored findings that go on no more."""
    return {fingerprint(f.place, f.trace_id, f.mode, f.kind) for f in findings}
