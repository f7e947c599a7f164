"""From signals to alerts: what opens, counts up, comes back, or is one of very many.

A report takes a bounded number of statements whatever the number of signals, and belongs to the transaction of whoever
makes it: what was looked at and what was found there are committed together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from django.db import transaction

from agentops.alerts import moves, store
from agentops.alerts.models import MAX_REASON_CHARS, MAX_TITLE_CHARS, Alert, AlertMove
from agentops.alerts.queries import active_silences, is_covered
from agentops.alerts.signals import Signal, dollars, merge, nano
from agentops.alerts.store import Mark, Member, Pair
from agentops.domain import alerting
from agentops.domain.alerting import Fate, Last, Move, State

#: Runs that the evidence of a storm names.
NAMED_RUNS = 20
ENDED = "the condition has ended"


def report(signals: Iterable[Signal], *, now: datetime) -> list[Alert]:
    """Raise, count up and reopen alerts by what detectors say; those that changed, each with its ``change``.

    Call it once in a transaction, and ``announce`` its answer at the end of it. Two reports about the same kind and
    service follow each other.
    """
    merged = merge(signals)
    if not merged:
        return []
    with transaction.atomic(savepoint=False):
        return _Report(merged, now).make()


def clear(fingerprints: Iterable[str], *, now: datetime, reason: str = ENDED) -> list[Alert]:
    """Note that conditions have ended; those concerned. They are resolved when that has lasted for a while.

    A later signal of the same fingerprint takes it back.
    """
    asked = list(fingerprints)
    if not asked:
        return []
    with transaction.atomic(savepoint=False):
        found = store.clear(asked, now=now, reason=reason[:MAX_REASON_CHARS])
    for alert in found:
        alert.change = moves.CLEARED
    return found


class _Storm:
    """Very many of one kind and service: its alert, what joins it now, and what was opened just before."""

    def __init__(self, alert: Alert) -> None:
        self.alert = alert
        self.joining: list[Signal] = []
        self.opened: list[Alert] = []

    @property
    def members(self) -> list[Member]:
        """What it takes in."""
        before = [
            Member(one.fingerprint, one.run, one.cost_nano, one.nano_per_hour, one.cleared_at) for one in self.opened
        ]
        return before + [Member(one.fingerprint, one.run, *_money(one)) for one in self.joining]


class _Report:
    """One report at work."""

    def __init__(self, signals: dict[str, Signal], now: datetime) -> None:
        self.now = now
        self.signals = signals
        self.groups = _by_pair(signals.values())
        self.storm_prints = {pair: alerting.storm_fingerprint(*pair) for pair in self.groups}
        self.new: list[Alert] = []
        self.changed: dict[int, Alert] = {}
        self.moves: list[AlertMove] = []
        self.storms: list[_Storm] = []

    def make(self) -> list[Alert]:
        """Read, decide, write."""
        self._read()
        for pair, group in self.groups.items():
            self._take(pair, group)
        self._write()
        return [*self.new, *self.changed.values()]

    def _read(self) -> None:
        store.lock(self.groups)
        found = store.read([*self.signals, *self.storm_prints.values()], self.groups, now=self.now)
        self.marks = {alert.pk: Mark.of(alert) for alert in found}
        self.latest = {alert.fingerprint: alert for alert in sorted(found, key=lambda alert: alert.pk)}
        self.recent: dict[Pair, list[Alert]] = defaultdict(list)
        since = self.now - alerting.STORM_WITHIN
        for alert in found:
            if not alert.is_storm and alert.group_id is None and alert.opened_at > since:
                self.recent[alert.kind, alert.service].append(alert)
        self.silences = active_silences(now=self.now)
        held = [storm.pk for pair in self.groups if (storm := self._held_storm(pair)) is not None]
        self.held = store.members_of(held, self.signals)

    def _held_storm(self, pair: Pair) -> Alert | None:
        """The storm of a pair that a person has just resolved."""
        storm = self.latest.get(self.storm_prints[pair])
        is_held = storm is not None and self._fate(storm, storm.severity) is Fate.HOLD
        return storm if is_held else None

    def _fate(self, last: Alert | None, severity: str) -> Fate:
        if last is None:
            return alerting.decide(None, severity, now=self.now)
        by_person = last.resolved_by_id is not None
        known = Last(State(last.state), alerting.Severity(last.severity), last.resolved_at, by_person=by_person)
        return alerting.decide(known, severity, now=self.now)

    def _take(self, pair: Pair, group: list[Signal]) -> None:
        arriving: list[Signal] = []
        for signal in group:
            fate = self._fate(self.latest.get(signal.fingerprint), signal.severity)
            if fate is Fate.COUNT:
                self._count(self.latest[signal.fingerprint], signal)
            elif fate is not Fate.HOLD and signal.fingerprint not in self.held:
                arriving.append(signal)
        if not arriving:
            return
        storm, recent = self.latest.get(self.storm_prints[pair]), self.recent[pair]
        if storm is not None and storm.state != State.RESOLVED:
            self._join(storm, arriving)
        elif alerting.is_storm(len(recent), len(arriving)):
            severity = alerting.worst([*(one.severity for one in arriving), *(one.severity for one in recent)])
            if self._fate(storm, severity) is not Fate.HOLD:
                opened = [alert for alert in recent if alert.state != State.RESOLVED]
                example = replace(arriving[0], severity=severity)
                self._join(self._open(example, fingerprint=self.storm_prints[pair]), arriving).opened += opened
        else:
            for signal in arriving:
                self._raise(signal)

    def _count(self, alert: Alert, signal: Signal) -> None:
        """Count an open alert up: what it says is what was seen last, and it only gets more severe."""
        self.changed[alert.pk] = alert
        alert.change = moves.COUNTED
        alert.count += signal.observations
        self._sight(alert, signal)
        self._worsen(alert, signal.severity)

    def _sight(self, alert: Alert, signal: Signal) -> None:
        alert.title, alert.evidence = signal.title, dict(signal.evidence)
        alert.cost_nano, alert.nano_per_hour = _money(signal)
        alert.last_seen_at, alert.cleared_at, alert.cleared_reason = signal.seen_at, None, ""

    def _worsen(self, alert: Alert, severity: str) -> None:
        if alerting.rank(severity) <= alerting.rank(alert.severity):
            return
        reason = f"from {alert.severity} to {severity}"
        alert.severity = severity
        if alerting.target(State(alert.state), Move.WORSEN) is not None:
            self.moves.append(moves.take(alert, Move.WORSEN, at=self.now, reason=reason))
            self._hush(alert)

    def _raise(self, signal: Signal) -> None:
        """Open an alert, or open again the one that has only just resolved by itself."""
        last = self.latest.get(signal.fingerprint)
        if last is None or self._fate(last, signal.severity) is Fate.OPEN:
            self._open(signal)
            return
        self.changed[last.pk] = last
        self.moves.append(moves.take(last, Move.REOPEN, at=self.now, reason="it came back"))
        last.count += signal.observations
        last.severity = alerting.worst((last.severity, signal.severity))
        self._sight(last, signal)
        self._hush(last)

    def _open(self, signal: Signal, *, fingerprint: str = "") -> Alert:
        """A new alert; of a storm when the fingerprint of one is given."""
        names = ("kind", "service", "severity", "environment")
        whose = () if fingerprint else ("run", "session", "user", "feature")
        alert = Alert(
            fingerprint=fingerprint or signal.fingerprint,
            is_storm=bool(fingerprint),
            count=signal.observations,
            opened_at=self.now,
            **{name: getattr(signal, name) for name in names + whose},
        )
        self._sight(alert, signal)
        alert.state = State.SILENCED if is_covered(alert, self.silences) else State.FIRING
        self.new.append(alert)
        self.moves.append(moves.opening(alert, at=self.now))
        return alert

    def _hush(self, alert: Alert) -> None:
        """Keep an alert quiet that fires again though a silence covers it."""
        if is_covered(alert, self.silences):
            self.moves.append(moves.take(alert, Move.SILENCE, at=self.now, reason="a silence covers it"))

    def _join(self, alert: Alert, arriving: list[Signal]) -> _Storm:
        storm = _Storm(alert)
        storm.joining += arriving
        self.storms.append(storm)
        if alert.pk is not None:
            self.changed[alert.pk] = alert
            alert.change = moves.COUNTED
        return storm

    def _write(self) -> None:
        if self.new:
            Alert.objects.bulk_create(self.new)
        self.marks |= {alert.pk: Mark.of(alert) for alert in self.new}
        for storm in self.storms:
            for alert in storm.opened:
                reason = f"part of storm #{storm.alert.pk}"
                self.moves.append(moves.take(alert, Move.RESOLVE, at=self.now, reason=reason))
                alert.group = storm.alert
                self.changed[alert.pk] = alert
        if self.storms:
            self._sum_up()
        written = [*self.changed.values(), *(storm.alert for storm in self.storms if storm.alert in self.new)]
        store.write(written, self.marks, signals=True)
        store.record(self.moves)

    def _sum_up(self) -> None:
        store.take_in({storm.alert.pk: storm.members for storm in self.storms})
        sums = store.sum_up([storm.alert.pk for storm in self.storms], named=NAMED_RUNS)
        for storm in self.storms:
            alert, found = storm.alert, sums[storm.alert.pk]
            severities = [signal.severity for signal in storm.joining] + [one.severity for one in storm.opened]
            self._worsen(alert, alerting.worst(severities))
            what = "runs" if found.with_run == found.count else "alerts"
            length = _length(self.now - alert.opened_at)
            alert.title = f"{found.count:,} {what} of {alert.service}: {alert.kind} within {length}"[:MAX_TITLE_CHARS]
            alert.count = found.count
            alert.cost_nano, alert.nano_per_hour = found.cost_nano, found.nano_per_hour
            alert.last_seen_at, alert.cleared_at, alert.cleared_reason = self.now, None, ""
            alert.evidence = {
                "count": found.count,
                "runs": found.runs,
                "cost_usd": dollars(found.cost_nano),
                "usd_per_hour": dollars(found.nano_per_hour),
            }
            environments = {one.environment for one in storm.joining} | {one.environment for one in storm.opened}
            environments.add(alert.environment)
            alert.environment = environments.pop() if len(environments) == 1 else None


def _by_pair(signals: Iterable[Signal]) -> dict[Pair, list[Signal]]:
    ordered = sorted(signals, key=lambda signal: signal.pair)
    return {pair: list(group) for pair, group in groupby(ordered, key=lambda signal: signal.pair)}


def _money(signal: Signal) -> tuple[int | None, int | None]:
    """What a signal says of money: so far, and by the hour, in nano-dollars."""
    return nano(signal.evidence.get("cost_usd")), nano(signal.evidence.get("usd_per_hour"))


def _length(length: timedelta) -> str:
    if length <= alerting.STORM_WITHIN:
        return "a minute"
    minutes = -(-length // timedelta(minutes=1))
    return f"{minutes} minutes" if minutes <= 120 else f"{minutes // 60} hours"
