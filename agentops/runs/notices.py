"""What was found in a run, as its page says it: the worst first, with what shows that it is so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.urls import reverse

from agentops.domain.alerting import Severity
from agentops.domain.findings import EXCHANGES, Mode
from agentops.runs.findings import Scope, StoredFinding
from agentops.runs.queries import RunRow
from agentops.templatetags.formats import count

SHOWN = 3
#: What is true of a run as a whole: nothing in it repeats itself.
_OF_RUN = frozenset({Mode.BUDGET, Mode.SPEED, Mode.SALVAGED})


@dataclass(frozen=True, slots=True)
class Notice:
    """A finding at the head of its run.

    ``times`` says how often it happened and in which rhythm, empty where its title says all. ``lasted`` is how long it
    has gone on. ``session`` and ``runs`` are set when it was found across the runs of a session. ``alert_query``
    finds its alert.
    """

    finding: StoredFinding
    anchor: str
    tone: str
    times: str
    lasted: timedelta
    is_of_run: bool
    session: str
    runs: int
    alert_query: str


def worst_first(findings: Iterable[StoredFinding]) -> list[StoredFinding]:
    """Pages before warnings, what goes on before what has ended, a cause before its effects, then by cost."""
    return sorted(findings, key=_badness)


def _badness(finding: StoredFinding) -> tuple[bool, bool, bool, int, datetime, str]:
    is_effect = finding.mode in _OF_RUN
    cost = finding.cost_nano or 0
    is_page = finding.severity == Severity.PAGE
    return not is_page, not finding.is_open, is_effect, -cost, finding.detected_at, anchor(finding)


def notices(findings: Sequence[StoredFinding], *, now: datetime) -> list[Notice]:
    """Findings as they are written, in their order."""
    return [_notice(finding, now) for finding in findings]


def anchor(finding: StoredFinding) -> str:
    """The id that a finding has on the page of its run."""
    return f"found-{finding.place.scope.name.lower()}-{finding.source}-{finding.ordinal}"


def is_salvaged(findings: Iterable[StoredFinding]) -> bool:
    """Whether the run ended well in spite of what failed in it."""
    return any(finding.mode == Mode.SALVAGED for finding in findings)


def tone(severity: str) -> str:
    """The tone of a severity."""
    return "critical" if severity == Severity.PAGE else "warning"


@dataclass(frozen=True, slots=True)
class StepNotice:
    """That a step belongs to a finding, or that it was made there: in words, with the address of the finding."""

    finding: StoredFinding
    words: str
    tone: str
    url: str


def at_step(findings: Sequence[StoredFinding], run: RunRow, span_id: bytes) -> list[StepNotice]:
    """The findings that remember a step of a run, the worst first."""
    found = []
    for finding in worst_first(findings):
        detail, span = finding.detail, span_id.hex()
        if span == detail.get("paged_span_id"):
            words = "paged here"
        elif span == detail.get("detected_span_id") and finding.trace_id == run.trace_id:
            words = "warned here"
        elif span in detail.get("steps", ()):
            words = "part of"
        else:
            continue
        url = f"{reverse('runs:detail', args=[run.hex_id])}?{urlencode({'service': run.service})}#{anchor(finding)}"
        found.append(StepNotice(finding, words, tone(finding.severity), url))
    return found


def _notice(finding: StoredFinding, now: datetime) -> Notice:
    of_session = finding.place.scope is Scope.SESSION
    session = finding.place.key if of_session else ""
    query = {"kind": finding.kind, "service": finding.place.service} | ({"session": session} if of_session else {})
    until = max(now, finding.latest_at) if finding.is_open else finding.latest_at
    return Notice(
        finding=finding,
        anchor=anchor(finding),
        tone=tone(finding.severity),
        times=_times(finding),
        lasted=until - finding.began_at,
        is_of_run=finding.mode in _OF_RUN,
        session=session,
        runs=len(finding.detail.get("traces", ())) if of_session else 0,
        alert_query=urlencode(query),
    )


def _times(finding: StoredFinding) -> str:
    if finding.mode in _OF_RUN:
        return ""
    number = count(finding.count)
    unit = "round" if finding.mode in EXCHANGES or finding.period > 1 else "time"
    parts = [f"{number} {unit}{'' if finding.count == 1 else 's'}"]
    if finding.period > 1:
        parts.append(f"period {finding.period}")
    if finding.mode == Mode.TALK and not finding.detail.get("what"):
        parts.append("no tool call in between")
    return ", ".join(parts)
