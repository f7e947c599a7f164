"""What else is known of the runs that checks are about: who they belong to, how far they are, what the watch found."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import DatabaseError
from psycopg import Cursor

from agentops.budgets.reservations import is_trace_id
from agentops.columns import Byteas, Integers, Texts, transpose
from agentops.current import Current
from agentops.domain.alerting import Severity, State
from agentops.domain.budgets import Facts
from agentops.domain.habits import Habits
from agentops.runs.findings import Place, Scope
from agentops.runs.store import RunKey
from agentops.watch import rules, usual
from agentops.watch.reporting import fingerprint
from agentops.watch.rules import Rulebook

log = logging.getLogger(__name__)

#: What was found in a session stops it for so long after it was last seen; a run is stopped for good.
SESSION_REST = timedelta(minutes=15)
#: How often the step budget of a service is worked out anew, in seconds, and how many are kept in mind.
BUDGETS_SECONDS, MAX_BUDGETS = 30.0, 10_000
#: Kinds of findings that the guard acts on.
KINDS = ("loop.repeat", "loop.cycle", "loop.ping_pong", "loop.no_progress", "loop.near_duplicate", "cost.velocity")


class RunFacts(NamedTuple):
    """What telemetry has told of a run."""

    environment: str
    user: str
    session: str
    feature: str
    steps: int


RUNS = """
SELECT r.trace_id, r.service, coalesce(r.environment, ''), coalesce(r."user", ''), coalesce(r.session, ''),
    coalesce(r.feature, ''), r.steps
FROM unnest(%b::bytea[], %b::text[]) AS k (trace_id, service) JOIN runs r USING (trace_id, service)
"""


def runs(cursor: Cursor[Any], keys: Iterable[RunKey]) -> Callable[[], dict[RunKey, RunFacts]]:
    """Ask what is known of runs; those of which nothing has come are missing."""
    wanted = sorted(set(keys))
    if not wanted:
        return dict
    cursor.execute(RUNS, transpose((Byteas, Texts), wanted))
    return lambda: {(row[0], row[1]): RunFacts(*row[2:]) for row in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Found:
    """A loop, or the like, that the watch found in a run or a session."""

    place: Place
    trace_id: bytes
    kind: str
    mode: str
    severity: str
    title: str
    count: int
    period: int
    cost_nano: int | None
    detected_at: datetime

    @property
    def fingerprint(self) -> str:
        """Of its alert."""
        return fingerprint(self.place, self.trace_id, self.mode, self.kind)


FOUND = f"""
SELECT f.service, f.scope, f.key, f.trace_id, f.kind, f.mode, f.severity, f.title, f.count, f.period, f.cost_nano,
    f.detected_at
FROM unnest(%b::text[], %b::bigint[], %b::text[]) AS k (service, scope, key)
JOIN run_findings f ON f.service = k.service AND f.scope = k.scope AND f.key = k.key
WHERE f.kind = ANY(%b) AND (f.scope = {int(Scope.RUN)} OR f.is_open OR f.latest_at > %b)
ORDER BY f.severity, f.detected_at
"""
# What a person has resolved since is let go on.
RESOLVED = f"""
SELECT fingerprint, max(resolved_at) FROM alerts_alert
WHERE fingerprint = ANY(%b) AND state = '{State.RESOLVED.value}' AND resolved_by_id IS NOT NULL GROUP BY fingerprint
"""


Key = tuple[str, int, str]


def keys_of(facts: Facts) -> set[Key]:
    """Where something may have been found that concerns a step: service, scope and key."""
    keys = {(facts.service, int(Scope.RUN), facts.run)} if is_trace_id(facts.run) else set()
    if facts.session:
        keys.add((facts.service, int(Scope.SESSION), facts.session))
    return keys


def found(cursor: Cursor[Any], keys: set[Key], at: datetime) -> Callable[[], dict[Key, list[Found]]]:
    """Ask what stops or warns runs and sessions."""
    if not keys:
        return dict
    cursor.execute(FOUND, [*transpose((Texts, Integers, Texts), sorted(keys)), Texts(KINDS), at - SESSION_REST])

    def take() -> dict[Key, list[Found]]:
        rows = cursor.fetchall()
        if not rows:
            return {}
        all_found = [Found(Place(row[0], Scope(row[1]), row[2]), *row[3:]) for row in rows]
        cursor.execute(RESOLVED, [Texts(sorted({one.fingerprint for one in all_found}))])
        resolved = dict(cursor.fetchall())
        by_key: dict[Key, list[Found]] = {}
        for one in all_found:
            if (let_go := resolved.get(one.fingerprint)) is None or let_go < one.detected_at:
                by_key.setdefault((one.place.service, int(one.place.scope), one.place.key), []).append(one)
        return by_key

    return take


class Steps(NamedTuple):
    """How many steps a run of a service may take: told at ``budget``, stopped at ``stop`` (``None``: never)."""

    budget: int
    stop: int | None


@dataclass(slots=True)
class Customs:
    """What has been decided about services and what is usual there, as at the last look, for one process."""

    clock: Callable[[], float] = time.monotonic
    _rules: Current[Rulebook] = field(default_factory=rules.current)
    _rulebook: Rulebook | None = None
    _steps: dict[str, tuple[float, Steps | None]] = field(default_factory=dict)

    def look(self, services: Iterable[str]) -> None:
        """Read what is due, of these services. Two statements at most; while they fail, all stays as it was.

        Raises ``DatabaseError`` when something was never read.
        """
        rulebook = self._rulebook = self._rules.get()
        now, known = self.clock(), self._steps
        if len(known) > MAX_BUDGETS:
            known.clear()
        due = {one for one in services if one not in known or now - known[one][0] > BUDGETS_SECONDS}
        if not due:
            return
        try:
            habits = usual.read_habits((service, "") for service in due)
        except DatabaseError as error:
            if not due <= known.keys():
                raise
            log.warning("what runs usually take cannot be read now: %s", error)
            known |= {service: (now, known[service][1]) for service in due}
        else:
            known |= {service: (now, _steps_of(service, rulebook, habits.get((service, "")))) for service in due}

    def steps(self, service: str) -> Steps | None:
        """The step budget of a service's runs; ``None`` where nobody wants one."""
        if service not in self._steps:
            self.look((service,))
        return self._steps[service][1]

    def stops_loops(self, service: str) -> bool:
        """Whether a loop that pages stops its run."""
        rulebook = self._rules.get() if self._rulebook is None else self._rulebook
        return bool(rulebook.of(service).numbers["guard_stops_loops"])


def _steps_of(service: str, rulebook: Rulebook, habits: Habits | None) -> Steps | None:
    effective = rulebook.of(service)
    if not effective.is_on("steps.budget"):
        return None
    budget, times = effective.budgeted(habits).step_budget, effective.numbers["guard_steps_times"]
    return None if budget is None else Steps(budget, int(budget * times) if times else None)


def is_page(severity: str) -> bool:
    """Whether a finding pages."""
    return severity == Severity.PAGE.value


def worst_first(found: Sequence[Found]) -> list[Found]:
    """Pages before warnings, the earliest first."""
    return sorted(found, key=lambda one: (not is_page(one.severity), one.detected_at))
