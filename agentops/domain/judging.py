"""Judges a run's steps one after the other: what is like what, what the evidence adds up to, what it is called.

``agentops.domain.loops`` says in which order they come.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from agentops.domain.evidence import (
    OTHER_RESULT,
    SAME_EMPTY,
    TALKS,
    Call,
    Cluster,
    Entry,
    Past,
    Pending,
    Speaker,
    mode_of,
    result_match,
)
from agentops.domain.findings import Finding, Mode, Severity
from agentops.domain.sketches import likeness
from agentops.domain.steps import Act, Asked, Result, Step, Trait
from agentops.domain.watchrules import Rules

#: Steps of a lane that a new one is compared with, and tool calls among which a result is looked for.
_LANE, _CALLS = 12, 20
#: Longest cycle that is recognised, in steps; steps that are remembered; lanes and findings of one run.
_PERIODS, _RING, _MAX_LANES, _MAX_FINDINGS = 8, 64, 48, 64
#: Steps without one of a finding's own after which it has ended.
_QUIET = 24
#: Steps by which the present speed of spending is told.
_PACE = 20
#: Evidence that is taken off at each step of a cluster, what the sum for a page loses besides at each step of the run,
#: and below which a cluster can be found again.
_DRIFT, _LEAK, _REARM = 0.3, 0.02, 0.5
_MESSAGE = 0.8
#: One retries what passes, and waits for what takes time.
_RETRIED, _PATIENT = 0.7, 0.34
_NOVELTY = 0.8
_PAGE_BUDGETS = 4

_FAILED, _EMPTY, _LONG = Trait.FAILED, Trait.EMPTY, Trait.LONG
_TRANSIENT, _POLL, _HANDOFF = Trait.TRANSIENT, Trait.POLL, Trait.HANDOFF
_CODE, _ASKS, _PERSON = Trait.CODE, Trait.ASKS, Trait.PERSON
_UNKNOWN, _MALFORMED = Trait.UNKNOWN_TOOL, Trait.MALFORMED
_TOOL, _AGENT, _SAYS = int(Act.TOOL), int(Act.AGENT), int(Act.MESSAGE)
_TELLING = _FAILED | _EMPTY | _LONG


class Judge:
    """Judges steps in their order."""

    def __init__(self, rules: Rules, *, is_session: bool) -> None:
        self.rules = rules
        self.is_session = is_session
        self.number = 0
        self.steps = 0
        self.spent = 0
        self.began_ns = 0
        self.trace_id = b""
        self.lanes: dict[tuple[str, str], tuple[Entry, ...]] = {}
        self.clusters: dict[int, Cluster] = {}
        self.ring: deque[Past] = deque(maxlen=_RING)
        self.runs = [0] * (_PERIODS + 1)
        self.exact_runs = [0] * (_PERIODS + 1)
        self.talk: dict[str, Speaker] = {}
        self.talk_began = 0
        self.calls: deque[Call] = deque(maxlen=_CALLS)
        self.faults: dict[int, float] = {}
        self.pending: list[Pending] = []
        self.findings: list[Finding] = []
        #: Those of the findings that can still go on.
        self.open: list[int] = []

    def copy(self) -> Judge:
        """One that can go on without this."""
        other = Judge(self.rules, is_session=self.is_session)
        other.number, other.steps, other.spent = self.number, self.steps, self.spent
        other.began_ns, other.trace_id, other.talk_began = self.began_ns, self.trace_id, self.talk_began
        other.lanes, other.clusters = self.lanes.copy(), self.clusters.copy()
        other.ring, other.calls = self.ring.copy(), self.calls.copy()
        other.runs, other.exact_runs = self.runs[:], self.exact_runs[:]
        other.talk, other.faults, other.pending = self.talk.copy(), self.faults.copy(), self.pending[:]
        other.findings, other.open = self.findings[:], self.open[:]
        for at in self.open:
            other.findings[at] = self.findings[at].copy()
        return other

    def dump(self) -> list[Any]:
        """Its state as JSON can hold it."""
        return [
            [self.number, self.steps, self.spent, self.began_ns, self.trace_id.hex(), self.talk_began],
            [[*lane, [[e.what, f"{e.words:x}", *e[2:]] for e in entries]] for lane, entries in self.lanes.items()],
            [[number, *cluster] for number, cluster in self.clusters.items()],
            [[past.number, list(past.lane), *past[2:-1], past.key[0].hex(), past.key[1].hex()] for past in self.ring],
            [self.runs, self.exact_runs],
            [[agent, *speaker] for agent, speaker in self.talk.items()],
            [list(call) for call in self.calls],
            [list(fault) for fault in self.faults.items()],
            [
                [p.agent, p.asked.tool, p.asked.what, f"{p.asked.words:x}", p.end_ns, p.key[0].hex(), p.key[1].hex()]
                for p in self.pending
            ],
            [finding.dump() for finding in self.findings],
            self.open,
        ]

    def load(self, state: list[Any]) -> None:
        """Be what ``dump`` told of."""
        numbers, lanes, clusters, ring, runs, talk, calls, faults, pending, findings, self.open = state
        self.number, self.steps, self.spent, self.began_ns, trace_id, self.talk_began = numbers
        self.trace_id = bytes.fromhex(trace_id)
        self.lanes = {
            (agent, tool): tuple(Entry(what, int(words, 16), *rest) for what, words, *rest in entries)
            for agent, tool, entries in lanes
        }
        self.clusters = {number: Cluster(*values) for number, *values in clusters}
        self.ring.extend(
            Past._make([number, (agent, tool), *values, (bytes.fromhex(trace), bytes.fromhex(span))])
            for number, (agent, tool), *values, trace, span in ring
        )
        self.runs, self.exact_runs = runs
        self.talk = {agent: Speaker(*values) for agent, *values in talk}
        self.calls.extend(Call(*values) for values in calls)
        self.faults = dict(faults)
        self.pending = [
            Pending(agent, Asked(tool, what, int(words, 16)), end_ns, (bytes.fromhex(trace), bytes.fromhex(span)))
            for agent, tool, what, words, end_ns, trace, span in pending
        ]
        self.findings = [Finding.load(values) for values in findings]

    # --- One step

    def judge(self, step: Step) -> None:
        """Take the next step."""
        if not self.began_ns:
            self.began_ns = step.start_ns
        act = step.act
        if act == _TOOL:
            if self.pending:
                self._came(step)
            self._count(step)
            self._tool(step)
        elif act == _AGENT:
            if step.what and self._is_new(step):
                self._message(step)
        else:
            self._model(step)
        self.spent += step.cost_nano
        if self.open:
            self.open = [at for at in self.open if self._goes_on(self.findings[at])]

    def _goes_on(self, finding: Finding) -> bool:
        return finding.mode is Mode.BUDGET or self.number - finding.latest_number <= _QUIET

    def _model(self, step: Step) -> None:
        if self.pending:
            self._answered(step)
        self._count(step)
        if step.asked:
            key = (step.trace_id, step.span_id)
            self.pending += [Pending(step.agent, asked, step.end_ns, key) for asked in step.asked]
            del self.pending[:-_RING]
        elif step.act == _SAYS:
            self._message(step)

    def _count(self, step: Step) -> None:
        self.steps += 1
        budget = self.rules.step_budget
        if budget is None or self.steps <= budget or self.is_session or "steps.budget" in self.rules.disabled:
            return
        severity = Severity.PAGE if self.steps > _PAGE_BUDGETS * budget else Severity.WARN
        finding = next((f for at in self.open if (f := self.findings[at]).mode is Mode.BUDGET), None)
        if finding is None:
            finding = self._open_finding(Mode.BUDGET, severity, step, self.began_ns, 0)
            if finding is None:
                return
            finding.period = budget
        finding.count = self.steps
        self._go_on(finding, severity, step)

    def _is_new(self, step: Step) -> bool:
        """Whether nothing has been told of what this agent did: what it says is known from no model call."""
        return not any(past.end_ns >= step.start_ns and past.start_ns <= step.end_ns for past in self.ring)

    def _came(self, step: Step) -> None:
        for at, pending in enumerate(self.pending):
            if pending.asked.tool == step.tool:
                del self.pending[at]
                return

    def _answered(self, step: Step) -> None:
        """A model goes on: what it asked for before, and no span shows, has been done."""
        mine = [p for p in self.pending if p.agent == step.agent and p.key[0] == step.trace_id]
        if not mine:
            return
        self.pending = [p for p in self.pending if p not in mine]
        results = list(step.results[-len(mine) :])
        results += [Result(0, 0)] * (len(mine) - len(results))
        for pending, result in zip(mine, results, strict=True):
            asked = pending.asked
            done = Step(step.start_ns, pending.key[1], pending.end_ns, pending.key[0], Act.TOOL, pending.agent)
            self._tool(
                done._replace(
                    tool=asked.tool, what=asked.what, words=asked.words, result=result.digest, traits=result.traits
                )
            )

    def _tool(self, step: Step) -> None:
        rules, traits = self.rules, step.traits
        if step.tool in rules.ignored_tools:
            return
        if not traits & _HANDOFF:
            self.talk = {}
        lane = (step.agent, step.tool)
        past, match, evidence = self._compare(step, lane, rules.like_tools)
        weight = _RETRIED if traits & _TRANSIENT else 1.0
        if step.tool in rules.patient_tools:
            weight = _PATIENT
        elif traits & _POLL:
            weight = min(weight, SAME_EMPTY)
        self._remember(step, past)
        if match is not None:
            self._add(step, past, evidence * weight, is_exact=match)
        self._cycle(step, past, is_patient=weight < _RETRIED)
        if step.result and step.tool not in rules.patient_tools:
            self._same_result(step, past)
        self._fault(step, past)

    def _message(self, step: Step) -> None:
        traits = step.traits
        if traits & _PERSON:
            self.talk = {}
            return
        is_turn = self.is_session and self._is_turn(step)
        self.trace_id = step.trace_id
        if is_turn:
            self.talk = {}
        past, match, evidence = self._compare(step, (step.agent, ""), self.rules.like_messages)
        self._remember(step, past)
        if traits & _MALFORMED:
            self._fault(step, past)
        elif match is not None and not is_turn:
            self._add(step, past, evidence, is_exact=match)
        if not is_turn:
            self._cycle(step, past, is_patient=False)
        if traits & _CODE:
            self.talk = {}
        elif step.agent:
            self._talk(step, past)

    def _is_turn(self, step: Step) -> bool:
        """Whether a person has spoken before this step: a run begins with something that no agent has said."""
        if step.trace_id == self.trace_id:
            return False
        if not step.heard:
            # Nothing is told of what it heard. Agents that take turns, a run for each, do not wait for a person.
            return not self.ring or self.ring[-1].lane[0] == step.agent or not step.agent
        lanes = [entries for (agent, tool), entries in self.lanes.items() if not tool and agent != step.agent]
        said = (entry.words for entries in lanes for entry in entries[-2:])
        return not any(words and (words & step.heard).bit_count() >= 0.8 * words.bit_count() for words in said)

    # --- Likeness

    def _compare(self, step: Step, lane: tuple[str, str], least: float) -> tuple[Past, bool | None, float]:
        """The step as remembered; whether it is exactly like an earlier one (``None``: it is like none); evidence."""
        what, words = step.what, step.words
        best, found = 0.0, None
        for entry in reversed(self.lanes.get(lane, ())):
            if what and what == entry.what:
                best, found = 1.0, entry
                break
            like = likeness(words, entry.words) if words and entry.words else 0.0
            if like >= least and like > best:
                best, found = like, entry
            elif not (what or entry.what) and best < least:
                best, found = least, entry
        is_exact = None if found is None else bool(what and what == found.what)
        factor = 0.0
        if found is not None:
            factor = (
                _MESSAGE if not lane[1] and step.act != _TOOL else result_match(step, found, is_exact=bool(is_exact))
            )
        is_novel = found is None or factor <= OTHER_RESULT
        past = Past(
            self.number, lane, is_novel, self.number if found is None else found.cluster, what, step.result,
            step.traits, step.start_ns, step.end_ns, self.spent, (step.trace_id, step.span_id),
        )  # fmt: skip
        if found is None:
            return past, None, 0.0
        return past, is_exact, best * factor * (1.0 - _NOVELTY * self._novelty(lane, found.number))

    def _novelty(self, lane: tuple[str, str], since: int) -> float:
        """The share of steps since one that were new, other lanes' among all."""
        between = new = 0
        for past in reversed(self.ring):
            if past.number <= since:
                break
            between += 1
            if past.is_novel and past.lane != lane:
                new += 1
        return new / between if between else 0.0

    def _remember(self, step: Step, past: Past) -> None:
        lane, lanes = past.lane, self.lanes
        entry = Entry(past.what, step.words, past.result, past.cluster, past.number)
        before = lanes.pop(lane, ())
        lanes[lane] = (*before[1 - _LANE :], entry) if len(before) >= _LANE else (*before, entry)
        if len(lanes) > _MAX_LANES:
            del lanes[next(iter(lanes))]
        ring, runs, exact_runs = self.ring, self.runs, self.exact_runs
        for period, other in zip(range(1, _PERIODS + 1), reversed(ring), strict=False):
            if other.cluster == past.cluster:
                runs[period] += 1
                same = past.what and other.what == past.what and other.result == past.result
                exact_runs[period] = exact_runs[period] + 1 if same else 0
            else:
                runs[period] = exact_runs[period] = 0
        ring.append(past)
        if past.cluster == past.number:
            clusters = self.clusters
            clusters[past.number] = Cluster(number=past.number)
            if len(clusters) > 2 * _RING:
                for number in list(islice(clusters, _RING)):
                    if clusters[number].number < past.number - 2 * _RING:
                        del clusters[number]
        self.number += 1

    # --- What is found

    def _add(self, step: Step, past: Past, evidence: float, *, is_exact: bool) -> None:
        rules = self.rules
        was = self.clusters.pop(past.cluster, None) or Cluster()
        total = max(0.0, was.evidence + evidence - _DRIFT)
        elapsed = past.number - was.number
        leaking = max(0.0, was.leaking - _LEAK * elapsed + evidence - _DRIFT)
        is_armed = was.is_armed or total < _REARM
        count, exact = was.times + 1, was.exact + is_exact
        is_found = total >= rules.warn
        is_paged = is_found and leaking >= rules.page
        self.clusters[past.cluster] = Cluster(total, leaking, is_armed and not is_found, count, exact, past.number)
        if is_found and (is_armed or is_paged):
            self._found_cluster(step, past, count, exact, Severity.PAGE if is_paged else Severity.WARN)
            return
        for at in self.open:
            finding = self.findings[at]
            if past.cluster in finding.clusters:
                finding.count = max(finding.count, count // max(1, finding.clusters.count(past.cluster)))
                self._extend(finding, step, past)

    def _found_cluster(self, step: Step, past: Past, count: int, exact: int, severity: Severity) -> None:
        is_message = step.act != _TOOL
        mode = Mode.MESSAGE if is_message else Mode.REPEAT if 2 * exact >= count - 1 else Mode.NEAR
        period = self._period(self.runs)
        members = [other for other in self.ring if other.cluster == past.cluster]
        if period > 1:
            circle = list(self.ring)[-period:]
            mode = mode_of(circle)
            clusters = {other.cluster for other in circle}
            members = [other for other in self.ring if other.cluster in clusters]
        self._find(mode, severity, step, past, members, period, count)

    def _period(self, runs: list[int]) -> int:
        """In how many steps it repeats itself now; 1 where nothing longer does."""
        return next((p for p in range(1, _PERIODS + 1) if runs[p] >= max(p, 2)), 1)

    def _cycle(self, step: Step, past: Past, *, is_patient: bool) -> None:
        """Three times exactly the same circle, results and all."""
        runs = self.exact_runs
        period = next((p for p in range(2, _PERIODS + 1) if runs[p] >= 2 * p), 0)
        if not period or runs[1] >= period:
            return
        circle = list(self.ring)[-period:]
        # Circles without results, and those of somebody who waits, must go round more often.
        spare = 1 if any(not other.result for other in circle if other.lane[1]) else 0
        spare += 2 * is_patient
        rounds = runs[period] // period + 1
        if rounds < 3 + spare:
            return
        severity = Severity.PAGE if rounds >= 4 + spare else Severity.WARN
        clusters = {other.cluster for other in circle}
        members = [other for other in self.ring if other.cluster in clusters]
        self._find(mode_of(circle), severity, step, past, members, period, rounds)

    def _same_result(self, step: Step, past: Past) -> None:
        """The same tool has given the same result again and again, whatever it was asked."""
        rules = self.rules
        tells = step.traits & _TELLING
        same = [call for call in self.calls if call.tool == step.tool and call.result == step.result]
        if not tells:
            same = [call for call in same if step.what and call.what == step.what]
        self.calls.append(Call(step.tool, step.what, step.result, past.number))
        count = len(same) + 1
        if count < rules.same_result_warn:
            return
        severity = Severity.PAGE if count >= rules.same_result_page else Severity.WARN
        numbers = {call.number for call in same}
        members = [other for other in self.ring if other.number in numbers] + [past]
        mode = Mode.POLL if step.traits & _POLL else Mode.SAME_RESULT
        self._find(mode, severity, step, past, members, 1, count)

    def _fault(self, step: Step, past: Past) -> None:
        """Tools that do not exist, and actions that cannot be read."""
        rules = self.rules
        for trait, mode in ((_UNKNOWN, Mode.UNKNOWN_TOOL), (_MALFORMED, Mode.MALFORMED)):
            before = self.faults.get(trait, 0.0)
            if not step.traits & trait:
                if before:
                    self.faults[trait] = max(0.0, before - 0.5)
                continue
            count = self.faults[trait] = before + 1.0
            if count >= rules.faults_warn:
                severity = Severity.PAGE if count >= rules.faults_page else Severity.WARN
                members = [other for other in self.ring if other.traits & trait]
                self._find(mode, severity, step, past, members, 1, int(count))

    def _talk(self, step: Step, past: Past) -> None:
        """Two agents go on talking, and nothing is done."""
        talk, agent = self.talk, step.agent
        speaks = next(reversed(talk), None)
        if agent not in talk and len(talk) == 2:  # a third one: whoever spoke last may begin a talk with it
            talk = self.talk = {}
        if not talk:
            self.talk_began = past.number
        if speaks == agent and talk:
            return
        was = talk.pop(agent, Speaker())
        asks = not step.what or bool(step.traits & _ASKS)
        talk[agent] = Speaker(was.messages + 1, was.asks + asks, was.again + (not past.is_novel))
        if len(talk) < 2:
            return
        one, other = talk.values()
        rounds = min(one.messages, other.messages)
        rules = self.rules
        if rounds < rules.talk_warn:
            return
        is_canned = any(s.again >= s.messages - 2 for s in (one, other))
        # Two who neither ask nor repeat themselves may be getting somewhere: they get longer.
        is_plain = not is_canned and 2 * (one.asks + other.asks) < one.messages + other.messages
        spare = rules.talk_warn // 2 if is_plain else 0
        if rounds < rules.talk_warn + spare:
            return
        severity = Severity.PAGE if rounds >= rules.talk_page + 2 * spare else Severity.WARN
        members = [other for other in self.ring if other.number >= self.talk_began and other.lane[0] in talk]
        self._find(Mode.TALK, severity, step, past, members, 2, rounds)

    def _find(
        self, mode: Mode, severity: Severity, step: Step, past: Past, members: list[Past], period: int, count: int
    ) -> None:
        """Open a finding, or go on with one that this belongs to."""
        finding = self._belongs(mode, past)
        if finding is None:
            first = members[0] if members else past
            finding = self._open_finding(mode, severity, step, first.start_ns, first.spent)
            if finding is None:
                return
            finding.period = period
            for other in members:
                if other.number != past.number:
                    finding.add(other.key)
                finding.involve(cluster=other.cluster, label=other.lane[1], agent=other.lane[0])
        finding.count = max(finding.count, count)
        finding.involve(cluster=past.cluster, label=past.lane[1], agent=past.lane[0])
        self._extend(finding, step, past)
        self._go_on(finding, severity, step)

    def _belongs(self, mode: Mode, past: Past) -> Finding | None:
        agent, tool = past.lane
        for at in reversed(self.open):
            finding = self.findings[at]
            if finding.mode is Mode.BUDGET:
                continue
            if past.cluster in finding.clusters or (tool and tool in finding.labels):
                return finding
            if not tool and agent in finding.agents and (finding.mode in TALKS or mode in TALKS):
                return finding
        return None

    def _open_finding(self, mode: Mode, severity: Severity, step: Step, began_ns: int, spent: int) -> Finding | None:
        finding = Finding(mode, severity, began_ns, (step.trace_id, step.span_id), step.end_ns, spent_before_nano=spent)
        if finding.kind in self.rules.disabled or len(self.findings) >= _MAX_FINDINGS:
            return None
        self.open.append(len(self.findings))
        self.findings.append(finding)
        return finding

    def _extend(self, finding: Finding, step: Step, past: Past) -> None:
        if finding.latest_number == past.number and finding.total:
            return
        finding.add(past.key)
        finding.latest_number = past.number
        self._go_on(finding, finding.severity, step)

    def _go_on(self, finding: Finding, severity: Severity, step: Step) -> None:
        if severity is Severity.PAGE and finding.paged is None:
            finding.severity, finding.paged = severity, (step.trace_id, step.span_id)
        finding.latest_ns = max(finding.latest_ns, step.end_ns)
        spent = self.spent + step.cost_nano
        finding.spent_nano = spent - finding.spent_before_nano
        ring = self.ring
        earlier = ring[max(-len(ring), -_PACE)] if ring else None
        if earlier is not None and step.end_ns - earlier.end_ns >= 1_000_000_000:
            finding.per_hour_nano = (spent - earlier.spent) * 3_600_000_000_000 // (step.end_ns - earlier.end_ns)
