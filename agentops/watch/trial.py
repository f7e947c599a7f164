"""Runs judged twice, by the rules in force and by proposed ones: what each finds, and what only one of them does.

It uses what the watch uses, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any

import orjson

from agentops.domain.alerting import Severity
from agentops.domain.findings import Finding, title
from agentops.domain.habits import Habits
from agentops.domain.loops import Watch
from agentops.runs.api import from_ns
from agentops.runs.findings import Place, Scope
from agentops.watch import streams
from agentops.watch.look import look_at_end, look_for_hidden, places_of, steps_of
from agentops.watch.reporting import FEWEST_TRACES
from agentops.watch.rules import Rulebook
from agentops.watch.spans import Read, RunFacts
from agentops.watch.streams import Stream
from agentops.watch.usual import Class

#: By kind: warnings and pages by the present rules, then by the proposed ones.
Counts = dict[str, list[int]]
_AT = {Severity.WARN: 0, Severity.PAGE: 1}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finding that the two sets of rules do not agree about; a severity is empty where nothing is found."""

    place: Place
    trace_id: bytes
    kind: str
    title: str
    severity_now: str
    severity_proposed: str
    detected_at: datetime
    cost_nano: int | None


@dataclass(slots=True)
class Pair:
    """One run, or one session, under both sets of rules."""

    place: Place
    present: Stream
    proposed: Stream
    is_unpriced: bool = False

    @classmethod
    def at(cls, place: Place) -> Pair:
        """One of which nothing has been seen."""
        is_session = place.scope is Scope.SESSION
        present, proposed = (Stream(place, Watch(is_session=is_session)) for _ in range(2))
        return cls(place, present, proposed)

    def dump(self) -> list[Any]:
        """As JSON can hold it."""
        place = [self.place.service, int(self.place.scope), self.place.key]
        return [place, self.present.dump().decode(), self.proposed.dump().decode(), self.is_unpriced]

    @classmethod
    def load(cls, plain: Sequence[Any]) -> Pair:
        """The pair that ``dump`` told of."""
        (service, scope, key), *texts, is_unpriced = plain
        place = Place(service, Scope(scope), key)
        present, proposed = (streams.load(place, 0, text) for text in texts)
        return cls(place, present, proposed, is_unpriced)

    def findings(self) -> Iterator[tuple[Finding | None, Finding | None]]:
        """What is found by the present rules beside what is by the proposed ones, kind by kind."""
        now, then = self._by_kind(self.present), self._by_kind(self.proposed)
        for kind in sorted(now.keys() | then.keys()):
            yield from zip_longest(now.get(kind, ()), then.get(kind, ()))

    def _by_kind(self, stream: Stream) -> Mapping[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for finding, _ in stream.findings().values():
            if self.place.scope is Scope.RUN or len({trace for trace, _ in finding.steps}) >= FEWEST_TRACES:
                found.setdefault(finding.kind, []).append(finding)
        return found


@dataclass(slots=True)
class Trial:
    """Runs under both sets of rules, one after the other; ``counts`` and ``outcomes`` are of those that are over."""

    present: Rulebook
    proposed: Rulebook
    counts: Counts = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    run: Pair | None = None
    session: Pair | None = None

    def take(self, run: RunFacts, reads: Sequence[Read], habits: Mapping[Class, Habits], *, is_last: bool) -> None:
        """The next spans of a run; ``is_last`` says that no more of it come. Runs of a session follow one another."""
        own, session = self._turn_to(run)
        steps = steps_of(own.present, reads, hears=session is not None)
        for stream, book in self._sides(own):
            effective = book.of(run.service)
            stream.watch.use(effective.budgeted(habits.get((run.service, ""))))
            stream.watch.see(steps)
            if effective.is_on("run.errors_hidden"):
                look_for_hidden(stream, reads)
            if is_last:
                look_at_end(stream, run, habits.get((run.service, run.name or "")), effective)
        for stream, book in self._sides(session):
            stream.watch.use(book.of(run.service).rules)
            stream.watch.see(steps)
        if is_last:
            self._end(own)
            self.run = None

    def _turn_to(self, run: RunFacts) -> tuple[Pair, Pair | None]:
        """What the steps of a run count in: itself, and its session. What is over is counted."""
        place, *session = places_of(run)
        if self.run is None or self.run.place != place:
            self.run = Pair.at(place)
        if self.session is not None and session != [self.session.place]:
            self._end(self.session)
            self.session = None
        if session and self.session is None:
            self.session = Pair.at(session[0])
        for pair in (self.run, self.session):
            if pair is not None:
                pair.is_unpriced |= run.unpriced_calls > 0
        return self.run, self.session

    def _sides(self, pair: Pair | None) -> Iterator[tuple[Stream, Rulebook]]:
        if pair is not None:
            yield pair.present, self.present
            yield pair.proposed, self.proposed

    def end(self) -> None:
        """Nothing more comes."""
        for pair in (self.run, self.session):
            if pair is not None:
                self._end(pair)
        self.run = self.session = None

    def carry(self) -> str:
        """What goes on with the next spans, as JSON text."""
        return orjson.dumps([pair and pair.dump() for pair in (self.run, self.session)]).decode()

    def take_up(self, carried: str) -> None:
        """Go on from what ``carry`` told of; an empty text is the beginning."""
        if carried:
            self.run, self.session = (plain and Pair.load(plain) for plain in orjson.loads(carried))

    def _end(self, pair: Pair) -> None:
        for now, then in pair.findings():
            for offset, finding in ((0, now), (2, then)):
                if finding is not None:
                    self.counts.setdefault(finding.kind, [0] * 4)[offset + _AT[finding.severity]] += 1
            if (now and now.severity) != (then and then.severity):
                self.outcomes.append(_outcome(pair, now, then))


def _outcome(pair: Pair, now: Finding | None, then: Finding | None) -> Outcome:
    found = then or now
    assert found is not None
    return Outcome(
        pair.place,
        found.detected[0],
        found.kind,
        title(found),
        str(now.severity) if now else "",
        str(then.severity) if then else "",
        from_ns(found.detected_ns),
        None if pair.is_unpriced and not found.spent_nano else found.spent_nano,
    )
