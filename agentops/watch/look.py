"""One look: what waits is read, judged, and what was found is stored and said, all in one transaction.

What waits is taken away by the same commit, so that nothing is lost and nothing is judged twice, whatever is killed.
One look goes on at a time: a lock says whose it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from agentops.alerts import actions as alerts
from agentops.alerts.models import Alert
from agentops.alerts.queries import open_services
from agentops.domain.alerting import Severity
from agentops.domain.findings import Finding, Mode
from agentops.domain.habits import Habits
from agentops.domain.hidden import Failure, is_hidden, words_of
from agentops.domain.spans import COSTED_KINDS, Kind
from agentops.domain.steps import Step, messages_of, step_of, text_of
from agentops.locks import Lock
from agentops.runs import findings, pending
from agentops.runs.api import from_ns
from agentops.runs.findings import Place, Scope
from agentops.runs.pending import Waiting
from agentops.runs.store import RunKey
from agentops.watch import rules, streams, usual
from agentops.watch.reporting import Report, ended_of
from agentops.watch.rules import Effective
from agentops.watch.spans import Read, RunFacts, agents_of, read_runs, read_spans
from agentops.watch.speed import KIND, Speeds
from agentops.watch.streams import MAX_FAILURES, Stream

log = logging.getLogger(__name__)

LOCK = f"SELECT pg_try_advisory_xact_lock({Lock.WATCH})"
#: What one look takes at most.
ROWS, SPANS = 400, 2_000
#: Steps of a run up to which it is a part of its session: where every hop is a run of its own, runs are small.
HOP = 8
#: A run that failed so often, and in so many of its tool calls, and still ended well, was salvaged.
SALVAGED_ERRORS, SALVAGED_SHARE = 3, 0.5
#: A run that says nothing for so long does not go on, whatever it said last.
QUIET = timedelta(minutes=10)

_MODELS = frozenset(map(int, COSTED_KINDS))
_rulebook = rules.current()
_speeds = Speeds()


def look(*, now: datetime | None = None) -> int:
    """Look at what waits; how many rows were done. 0 when nothing waits, or another process looks.

    What cannot be judged is tried again alone, and set aside when it fails too often: it never holds up the rest.
    """
    now = now or timezone.now()
    try:
        return _look(now, rows=ROWS)
    except (OperationalError, InterfaceError):
        streams.forget_remembered()
        raise  # the database is away or busy: nothing is wrong with what waits
    except Exception:
        log.exception("what waits could not be judged together; it is tried one by one")
    return _one_by_one(now)


def _one_by_one(now: datetime) -> int:
    done = 0
    for row in pending.oldest(rows=ROWS, spans=SPANS):
        try:
            looked = _look(now, rows=1, after=row.id - 1)
        except (OperationalError, InterfaceError):
            streams.forget_remembered()
            raise
        except Exception as error:
            log.exception("a run could not be watched")
            pending.fail(row.id, f"{type(error).__name__}: {error}")
        else:
            if not looked:
                break  # another process looks now
            done += looked
    return done


def _look(now: datetime, *, rows: int, after: int = 0) -> int:
    with transaction.atomic():
        if not _is_ours():
            return 0
        waiting = pending.oldest(rows=rows, spans=SPANS, after=after)
        if not waiting:
            return 0
        touched = _judge(waiting, now)
        pending.remove([row.id for row in waiting])
        alerts.announce(touched)
    return len(waiting)


def _is_ours() -> bool:
    with connection.cursor() as cursor:
        # A commit that a crash undoes brings back what waits as well, so nobody needs to wait for the disk.
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(LOCK)
        return bool(cursor.fetchone()[0])


def _judge(waiting: Sequence[Waiting], now: datetime) -> list[Alert]:
    spans = read_spans(waiting)
    runs = read_runs({(row.trace_id, row.service) for row in waiting})
    seen = _Looked(spans, runs, now)
    report = seen.judge()
    findings.forget(report.refuted)
    findings.save(report.findings)
    report.signals += _speeds.signals(seen.spent_by(), now=now)
    touched = alerts.report(report.signals, now=now) if report.signals else []
    if report.ended:
        touched += alerts.clear(report.ended, now=now)
    return touched


@dataclass(slots=True)
class _Looked:
    """What one look has read, and what it makes of it."""

    spans: Mapping[RunKey, list[Read]]
    runs: Mapping[RunKey, RunFacts]
    now: datetime

    def judge(self) -> Report:
        """Judge every run, and its session; write the streams back."""
        places = {key: places_of(run) for key, run in self.runs.items()}
        known = streams.read(place for pair in places.values() for place in pair)
        habits = usual.read_habits(
            name for run in self.runs.values() for name in ((run.service, ""), (run.service, run.name or ""))
        )
        late = self._late_agents(known, places)
        book = _rulebook.get()
        report = Report()
        learnt: dict[usual.Class, Habits] = {}
        hops: dict[Place, list[tuple[RunFacts, list[Step]]]] = {}
        for key, run in sorted(self.runs.items()):
            own, *session = (known[place] for place in places[key])
            effective = book.of(run.service)
            steps = steps_of(own, self.spans.get(key, ()), hears=bool(session))
            own.watch.use(effective.budgeted(habits.get((run.service, ""))))
            own.watch.see(steps + late.get(key, []))
            if effective.is_on("run.errors_hidden"):
                look_for_hidden(own, self.spans.get(key, ()))
            if look_at_end(own, run, habits.get((run.service, run.name or "")), effective):
                _learn(own, run, habits, learnt)
            report.add(own, run, now=self.now)
            for stream in session:
                hops.setdefault(stream.place, []).append((run, steps))
        for place, seen in hops.items():
            run = max((run for run, _ in seen), key=lambda run: run.latest_at)
            known[place].watch.use(book.of(place.service).rules)
            known[place].watch.see(step for _, steps in seen for step in steps)
            report.add(known[place], run, now=self.now)
        usual.write_habits(learnt)
        streams.write(list(known.values()))
        return report

    def _late_agents(
        self, known: Mapping[Place, Stream], places: Mapping[RunKey, Sequence[Place]]
    ) -> dict[RunKey, list[Step]]:
        """Steps whose agent has become known since they were judged: an agent's own span comes when it has ended."""
        nameless = [
            (key, step)
            for key, run in self.runs.items()
            for step in known[places[key][0]].watch.tail
            if not step.agent and step.trace_id == run.trace_id
        ]
        asked = [((step.trace_id, step.span_id, key[1]), step.start_ns, self.runs[key].since) for key, step in nameless]
        found = agents_of(asked)
        late: dict[RunKey, list[Step]] = {}
        for key, step in nameless:
            if agent := found.get((step.trace_id, step.span_id, key[1])):
                late.setdefault(key, []).append(step._replace(agent=agent))
        return late

    def spent_by(self) -> dict[str, list[tuple[datetime, int]]]:
        """What each service's new calls cost, and when they ended."""
        amounts: dict[str, list[tuple[datetime, int]]] = {}
        for (_, service), reads in self.spans.items():
            for read in reads:
                if read.seen.cost_nano:
                    amounts.setdefault(service, []).append((from_ns(read.seen.end_ns), read.seen.cost_nano))
        return amounts


def places_of(run: RunFacts) -> list[Place]:
    """Where the steps of a run count: in itself and, while it is small, in its session."""
    own = Place(run.service, Scope.RUN, run.trace_id.hex())
    if run.session is None or run.steps > HOP:
        return [own]
    return [own, Place(run.service, Scope.SESSION, run.session)]


def steps_of(stream: Stream, spans: Sequence[Read], *, hears: bool) -> list[Step]:
    """The steps that spans are; ``hears`` keeps what they were asked, which tells turns of a session apart."""
    expects = stream.watch.is_expecting or any("requested_tools" in read.content for read in spans)
    made = (step_of(read.seen, read.content, hears=hears, results=expects) for read in spans)
    return [step for step in made if step is not None]


def look_for_hidden(stream: Stream, spans: Sequence[Read]) -> None:
    """Errors of tools that the next model call was not shown."""
    for read in sorted(spans, key=lambda read: (read.seen.end_ns, read.seen.span_id)):
        seen = read.seen
        if seen.kind == Kind.TOOL and seen.is_error:
            said = str(read.content.get("error_message") or read.content.get("result") or "")
            failure = Failure(seen.span_id, seen.agent or "", seen.tool or "", seen.end_ns, words_of(said))
            stream.failures = [*stream.failures[1 - MAX_FAILURES :], failure]
        elif seen.kind in _MODELS and stream.failures:
            _was_told(stream, read)


def _was_told(stream: Stream, read: Read) -> None:
    seen = read.seen
    mine = [f for f in stream.failures if f.end_ns <= seen.start_ns and f.agent in ("", seen.agent or f.agent)]
    if not mine:
        return
    stream.failures = [failure for failure in stream.failures if failure not in mine]
    messages = messages_of(read.content.get("input"))
    texts = [text_of(message) for message in messages]
    for failure in mine:
        if not is_hidden(failure, messages, texts):
            continue
        key = (seen.trace_id, seen.span_id)
        finding = stream.others.get("errors")
        if finding is None:
            finding = stream.others["errors"] = Finding(Mode.HIDDEN, Severity.WARN, failure.end_ns, key, seen.end_ns)
        finding.count += 1
        finding.latest_ns = max(finding.latest_ns, seen.end_ns)
        finding.add((seen.trace_id, failure.span_id))
        finding.add(key)
        finding.involve(cluster=None, label=failure.tool, agent=failure.agent)


def look_at_end(stream: Stream, run: RunFacts, known: Habits | None, effective: Effective) -> bool:
    """Whether a run has just ended well; a finding says when it is too fast for its class, or was salvaged."""
    key = (run.trace_id, bytes(8))
    too_fast = known is not None and known.is_too_fast(run.tokens, run.seconds, sigmas=effective.numbers["sigmas"])
    if known is not None and too_fast and effective.is_on("cost.velocity") and "speed" not in stream.others:
        finding = stream.others["speed"] = _of_run(Mode.SPEED, run, key, int(run.tokens * 60 / run.seconds))
        finding.period = int(known.usual_speed)
    if not run.is_over or stream.is_learnt or run.is_error:
        return False
    stream.is_learnt = True
    is_salvaged = run.errors >= SALVAGED_ERRORS and run.errors >= SALVAGED_SHARE * run.tool_calls
    if is_salvaged and effective.is_on("run.errors_hidden"):
        salvaged = stream.others["salvaged"] = _of_run(Mode.SALVAGED, run, key, run.errors)
        salvaged.per_hour_nano = None
    return True


def _learn(stream: Stream, run: RunFacts, habits: dict[usual.Class, Habits], learnt: dict[usual.Class, Habits]) -> None:
    """Learn from a run that has ended well, unless anything goes round in it."""
    if stream.watch.findings:
        return
    for name in {(run.service, ""), (run.service, run.name or "")}:
        learnt[name] = habits.setdefault(name, Habits())
        learnt[name].learn(run.steps, tokens=run.tokens, seconds=run.seconds)


def _of_run(mode: Mode, run: RunFacts, key: tuple[bytes, bytes], count: int) -> Finding:
    began, latest = (int(moment.timestamp() * 1_000_000) * 1_000 for moment in (run.started_at, run.latest_at))
    per_hour = int(run.cost_nano * 3_600 / run.seconds) if run.seconds >= 1 else None
    return Finding(
        mode, Severity.WARN, began, key, latest,
        count=count, latest_ns=latest, spent_nano=run.cost_nano, per_hour_nano=per_hour,
    )  # fmt: skip


def look_at_quiet(*, now: datetime) -> int:
    """End what goes on no more because its run has gone quiet; how many findings. May run at any time."""
    with transaction.atomic():
        quiet = findings.open_and_quiet(now - QUIET)
        findings.close(quiet)
        touched = alerts.clear(ended_of(quiet), now=now) if quiet else []
        if touched:
            alerts.announce(touched)
    return len(quiet)


def look_at_speeds(*, now: datetime) -> None:
    """End the alerts of services that spend as usual again. May run at any time."""
    alerted = open_services(KIND)
    if not alerted:
        return
    found = _speeds.judge(alerted.values(), now=now)
    ended = [key for key, service in alerted.items() if found.get(service) is None]
    with transaction.atomic():
        touched = alerts.clear(ended, now=now) if ended else []
        if touched:
            alerts.announce(touched)
