"""Judges a run's steps one after the other: what is like what, what the evidence adds up to, what it is called.

``agentops.domain.loops`` says in which order they come.
"""

from __future__ import annotations

from itertools import islice

from agentops.domain.alarms import QUIET
from agentops.domain.alerting import Severity
from agentops.domain.asking import Asking
from agentops.domain.evidence import (
    OTHER_RESULT,
    SAME_EMPTY,
    Call,
    Cluster,
    Entry,
    Handed,
    Past,
    Speaker,
    message_match,
    mode_of,
    result_match,
)
from agentops.domain.findings import Mode
from agentops.domain.memory import PERIODS, RING
from agentops.domain.sketches import holds, likeness
from agentops.domain.steps import Act, Step, Trait

#: Steps of a lane that a new one is compared with; lanes, traces and tools of one run.
_LANE, _MAX_LANES, _MAX_TRACES = 12, 48, 8
#: Evidence that is taken off at each step of a cluster, what the sum for a page loses besides at each step of the run,
#: and below which a cluster can be found again.
_DRIFT, _LEAK, _REARM = 0.3, 0.02, 0.5
#: One retries what passes, and waits for what takes time.
_RETRIED, _PATIENT = 0.7, 0.34
_NOVELTY = 0.8
#: What another result of a tool takes from how often it gave the same one.
_OTHERWISE = 0.5
_PAGE_BUDGETS = 4
#: Tasks that change hands, of which so many are remembered; they are the same affair within so many steps.
_MAX_HANDED, _HANDED_WITHIN = 16, 16
_MAX_SPEAKERS = 4
#: How many times longer two may talk who neither ask nor repeat themselves.
_OF_OTHERS = 3
#: Fewer words may be anybody's. Such a share of what an agent said stands in what hears it.
_FEW_WORDS, _HEARD = 4, 0.8
#: After so long a pause somebody has read the answer.
_READ_NS = 30_000_000_000

_FAILED, _EMPTY, _LONG = Trait.FAILED, Trait.EMPTY, Trait.LONG
_TRANSIENT, _POLL, _HANDOFF = Trait.TRANSIENT, Trait.POLL, Trait.HANDOFF
_CODE, _ASKS, _PERSON = Trait.CODE, Trait.ASKS, Trait.PERSON
_UNKNOWN, _MALFORMED, _CONTINUES = Trait.UNKNOWN_TOOL, Trait.MALFORMED, Trait.CONTINUES
_TOOL, _AGENT, _SAYS = int(Act.TOOL), int(Act.AGENT), int(Act.MESSAGE)
_UNTOLD = Trait.UNTOLD
_TELLING = _FAILED | _EMPTY | _LONG


class Judge(Asking):
    """Judges steps in their order."""

    # --- One step

    def judge(self, step: Step) -> None:
        """Take the next step."""
        if not self.began_ns:
            self.began_ns = step.start_ns
        if step.trace_id not in self.traces:
            self._begin(step)
        act = step.act
        if act == _TOOL:
            self._count(step)
            self.came(step)
        elif act == _AGENT:
            if step.what and self._is_new(step):
                self._message(step)
        else:
            self._model(step)
        self.spent += step.cost_nano
        self.latest_ns = step.end_ns
        if self.open:
            self.open = [at for at in self.open if self.goes_on(self.findings[at])]

    def _model(self, step: Step) -> None:
        self.goes_on_asking(step)
        self._count(step)
        if not step.asked and step.act == _SAYS:
            self._message(step)

    def _count(self, step: Step) -> None:
        self.steps += 1
        budget = self.rules.step_budget
        if budget is None or self.steps <= budget or self.is_session or "steps.budget" in self.rules.disabled:
            return
        severity = Severity.PAGE if self.steps > _PAGE_BUDGETS * budget else Severity.WARN
        finding = next((f for at in self.open if (f := self.findings[at]).mode is Mode.BUDGET), None)
        if finding is None:
            finding = self.open_finding(Mode.BUDGET, severity, step, self.began_ns, 0)
            if finding is None:
                return
            finding.period = budget
        finding.count = self.steps
        self.go_on(finding, severity, step)

    def _is_new(self, step: Step) -> bool:
        """Whether nothing has been told of what this agent did: what it says is known from no model call."""
        return not self.ring or self.ring[-1].end_ns < step.start_ns

    # --- Runs of a session

    def _begin(self, step: Step) -> None:
        """The first step of another trace."""
        if self.is_session and self.traces and self._is_turn(step):
            # Whatever was done before, it is another question now.
            self.talk, self.clusters, self.faults, self.pending, self.open = {}, {}, {}, [], []
            self.runs, self.exact_runs = [0] * (PERIODS + 1), [0] * (PERIODS + 1)
            self.calls.clear()
        self.traces = [*self.traces[1 - _MAX_TRACES :], step.trace_id]
        self.voices, self.heard = [], step.heard

    def _is_turn(self, step: Step) -> bool:
        """Whether a person has spoken: what the run begins with is new, and no agent has said it."""
        heard = step.heard
        at_once = step.start_ns - self.latest_ns <= _READ_NS
        if step.traits & _CONTINUES or (heard and heard == self.heard and at_once):
            return False  # it goes on with what was begun, or is begun again by nobody who reads
        if heard.bit_count() >= _FEW_WORDS:
            said = (entry.words for (_, tool), lane in self.lanes.items() if not tool for entry in lane[-2:])
            return not any(words.bit_count() >= _FEW_WORDS and holds(heard, words) >= _HEARD for words in said)
        # Nothing is told of what it heard. Agents that take turns, a run for each, do not wait for anybody.
        takes_turns = len(self.voices) == 1 and step.agent not in self.voices and bool(step.agent)
        return heard > 0 or step.act == _TOOL or not takes_turns or not at_once

    def use_tool(self, step: Step) -> None:
        """Judge a tool call of which all is known."""
        rules, traits = self.rules, step.traits
        if step.tool in rules.ignored_tools:
            return
        if not traits & _HANDOFF:
            self.talk = {}
        lane = (step.agent, step.tool)
        if self._is_told(step, lane):
            return
        past, match, evidence = self._compare(step, lane, rules.like_tools)
        weight = _RETRIED if traits & _TRANSIENT else 1.0
        if step.tool in rules.patient_tools:
            weight = _PATIENT
        elif traits & (_POLL | _UNTOLD):
            weight = min(weight, SAME_EMPTY)
        self._remember(step, past)
        self._fault(step, past)
        if match is not None:
            self._add(step, past, evidence * weight, is_exact=match)
        self._cycle(step, past, is_patient=weight < _RETRIED)
        if step.result and step.tool not in rules.patient_tools and not traits & _UNTOLD:
            self._same_result(step, past)
        if traits & _HANDOFF and step.agent:
            self._talk(step, past)
        elif step.what and step.words and step.agent and weight == 1.0:
            self._hand_over(step, past)

    def _message(self, step: Step) -> None:
        traits = step.traits
        if traits & _PERSON:
            self.talk = {}
            return
        if step.agent not in self.voices and len(self.voices) < 2:
            self.voices = [*self.voices, step.agent]
        lane = (step.agent, "")
        if self._is_told(step, lane):
            return
        past, match, evidence = self._compare(step, lane, self.rules.like_messages)
        self._remember(step, past)
        if traits & _MALFORMED:
            self._fault(step, past)
        elif match is not None and step.what and not self.is_session:
            self._add(step, past, evidence, is_exact=match)
        self._cycle(step, past, is_patient=False)
        if traits & _CODE:
            self.talk = {}
        elif step.agent:
            self._talk(step, past)

    # --- Likeness

    def _is_told(self, step: Step, lane: tuple[str, str]) -> bool:
        """Whether the same was done at the same time: two instrumentations tell of it, or two branches ask for it."""
        for entry in reversed(self.lanes.get(lane, ())):
            if entry.end_ns <= step.start_ns:
                return False
            if step.what and step.what == entry.what:
                return True
        return False

    def _compare(self, step: Step, lane: tuple[str, str], least: float) -> tuple[Past, bool | None, float]:
        """The step as remembered; whether it is exactly like an earlier one (``None``: it is like none); evidence."""
        what, words, start_ns = step.what, step.words, step.start_ns
        best, found = 0.0, None
        for entry in reversed(self.lanes.get(lane, ())):
            if entry.end_ns > start_ns:
                continue  # side by side: it does not follow
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
            is_tool = bool(lane[1]) or step.act == _TOOL
            factor = result_match(step, found, is_exact=bool(is_exact)) if is_tool else message_match(step, found)
        past = Past(
            self.number, lane, factor <= OTHER_RESULT, self.number if found is None else found.cluster, what,
            step.result or step.after, step.traits, start_ns, step.end_ns, self.spent, (step.trace_id, step.span_id),
        )  # fmt: skip
        if found is None:
            return past, None, 0.0
        return past, is_exact, best * factor * (1.0 - _NOVELTY * self._novelty(lane, found.number, start_ns))

    def _novelty(self, lane: tuple[str, str], since: int, start_ns: int) -> float:
        """The share of steps since one that were new, other lanes' among all.

        What other agents do is nothing new to one who uses a tool; what they say may be, before the tool was called:
        afterwards it is part of what the tool does.
        """
        between = new = 0
        agent, tool = lane
        for past in reversed(self.ring):
            if past.number <= since:
                break
            if past.start_ns >= start_ns or (tool and past.lane[1] and past.lane[0] != agent):
                continue
            between += 1
            if past.is_novel and past.lane != lane:
                new += 1
        return new / between if between else 0.0

    def _remember(self, step: Step, past: Past) -> None:
        lane, lanes = past.lane, self.lanes
        entry = Entry(past.what, step.words, past.result, past.cluster, past.number, past.end_ns, step.after)
        before = lanes.pop(lane, ())
        lanes[lane] = (*before[1 - _LANE :], entry) if len(before) >= _LANE else (*before, entry)
        if len(lanes) > _MAX_LANES:
            del lanes[next(iter(lanes))]
        ring, runs, exact_runs = self.ring, self.runs, self.exact_runs
        for period, other in zip(range(1, PERIODS + 1), reversed(ring), strict=False):
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
            if len(clusters) > 2 * RING:
                for number in list(islice(clusters, RING)):
                    if clusters[number].number < past.number - 2 * RING:
                        del clusters[number]
        self.number += 1

    # --- What is found

    def _add(self, step: Step, past: Past, evidence: float, *, is_exact: bool) -> None:
        rules = self.rules
        was = self.clusters.pop(past.cluster, None)
        if was is None or past.number - was.number > QUIET:
            was = Cluster(number=past.number)
        total = max(0.0, was.evidence + evidence - _DRIFT)
        elapsed = past.number - was.number
        leaking = max(0.0, was.leaking - _LEAK * elapsed + evidence - _DRIFT)
        is_armed = was.is_armed or total < _REARM
        count, exact = (was.times + 1, was.exact + is_exact) if total else (1, 0)
        is_found = total >= rules.warn
        is_paged = is_found and leaking >= rules.page
        self.clusters[past.cluster] = Cluster(total, leaking, is_armed and not is_found, count, exact, past.number)
        if is_found and (is_armed or is_paged):
            self._found_cluster(step, past, count, exact, Severity.PAGE if is_paged else Severity.WARN)
            return
        for at in self.open:
            finding = self.findings[at]
            if past.cluster in finding.clusters:
                self.extend(finding, step, past)

    def _found_cluster(self, step: Step, past: Past, count: int, exact: int, severity: Severity) -> None:
        is_message = step.act != _TOOL
        mode = Mode.MESSAGE if is_message else Mode.REPEAT if 2 * exact >= count - 1 else Mode.NEAR
        period = self._period(self.runs)
        members = [other for other in self.ring if other.cluster == past.cluster][-count:]
        if period > 1:
            members = list(self.ring)[-period - self.runs[period] :]
            mode, count = mode_of(members[-period:]), len(members) // period
        self.find(mode, severity, step, past, members, period, count)

    def _period(self, runs: list[int]) -> int:
        """In how many steps it repeats itself now; 1 where nothing longer does."""
        return next((p for p in range(1, PERIODS + 1) if runs[p] >= max(p, 2)), 1)

    def _cycle(self, step: Step, past: Past, *, is_patient: bool) -> None:
        """Three times exactly the same circle, results and all."""
        runs = self.exact_runs
        period = next((p for p in range(2, PERIODS + 1) if runs[p] >= 2 * p), 0)
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
        members = list(self.ring)[-period - runs[period] :]
        self.find(mode_of(circle), severity, step, past, members, period, rounds)

    def _same_result(self, step: Step, past: Past) -> None:
        """The same tool has given the same result again and again, whatever it was asked."""
        rules, traits = self.rules, step.traits
        agent, tool, result, what = step.agent, step.tool, step.result, step.what if not traits & _TELLING else 0
        same = [
            call
            for call in self.calls
            if call.result == result and call.tool == tool and call.agent == agent and call.end_ns <= step.start_ns
        ]
        if not traits & _TELLING:
            same = [call for call in same if call.what == what] if what else []
        weight = 1.0 - _NOVELTY * self._progress(past, same[-1].number) if same else 0.0
        if traits & _TRANSIENT:
            weight *= _RETRIED
        self.calls.append(Call(agent, tool, step.what, result, past.number, step.end_ns, weight))
        told = 1.0 + weight + sum(call.weight for call in same[1:]) - self._otherwise(step, same)
        if told < rules.same_result_warn:
            return
        severity = Severity.PAGE if told >= rules.same_result_page else Severity.WARN
        numbers = {call.number for call in same}
        members = [other for other in self.ring if other.number in numbers] + [past]
        is_exact = all(call.what == step.what for call in same)
        mode = Mode.POLL if traits & _POLL else Mode.REPEAT if is_exact and step.what else Mode.SAME_RESULT
        self.find(mode, severity, step, past, members, 1, len(same) + 1)

    def _otherwise(self, step: Step, same: list[Call]) -> float:
        """What other results of the tool take from the same ones: most where a call had both of them."""
        if not same:
            return 0.0
        whats, first = {call.what for call in same} | {step.what}, same[0].number
        return sum(
            1.0 if call.what in whats else _OTHERWISE
            for call in self.calls
            if call.tool == step.tool
            and call.agent == step.agent
            and call.result != step.result
            and call.number > first
        )

    def _progress(self, past: Past, since: int) -> float:
        """The share of steps since one that were new; where what is repeated has failed, only what told something."""
        between = new = 0
        fails = past.traits & _FAILED
        for other in reversed(self.ring):
            if other.number <= since:
                break
            if other.start_ns >= past.start_ns or (other.lane == past.lane and other.result == past.result):
                continue
            if other.lane[1] and other.lane[0] != past.lane[0]:
                continue
            between += 1
            if other.is_novel and (not fails or (other.lane[1] and other.traits & _LONG)):
                new += 1
        return new / between if between else 0.0

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
                self.find(mode, severity, step, past, members, 1, int(count))

    def _hand_over(self, step: Step, past: Past) -> None:
        """Two agents do the same in turns, whatever comes back: each hands it to the other again."""
        task, agent, number = (step.tool, step.what), step.agent, past.number
        was = self.handed.pop(task, None)
        if was is None or number - was.number > _HANDED_WITHIN or (was.other and agent not in was[:2]):
            was = Handed(agent, "", agent, 0, number, number)
        other = was.other or (agent if agent != was.one else "")
        handed = Handed(was.one, other, agent, was.turns + (agent != was.latest), number, was.began)
        self.handed[task] = handed
        if len(self.handed) > _MAX_HANDED:
            del self.handed[next(iter(self.handed))]
        rounds = (handed.turns + 1) // 2
        rules = self.rules
        if rounds <= rules.talk_warn or agent == was.latest:
            return
        severity = Severity.PAGE if rounds > rules.talk_page else Severity.WARN
        members = [p for p in self.ring if p.lane[1] == step.tool and p.what == step.what and p.number >= handed.began]
        self.find(Mode.PING_PONG, severity, step, past, members, 2, rounds)

    def _talk(self, step: Step, past: Past) -> None:
        """Two agents go on talking, or more of whom each one asks, and nothing is done."""
        agent, number = step.agent, past.number
        asks = not step.what or bool(step.traits & (_ASKS | _HANDOFF))
        talk = self.talk = self._those_who_talk(agent, number, asks=asks and step.what > 0)
        if not talk:
            self.talk_began = number
        elif next(reversed(talk)) == agent:
            return
        was = talk.pop(agent, Speaker())
        talk[agent] = Speaker(was.messages + 1, was.asks + asks, was.again + (not past.is_novel), number)
        rules, rounds = self.rules, min(speaker.messages for speaker in talk.values())
        if len(talk) < 2 or rounds < rules.talk_warn:
            return
        asking = [2 * speaker.asks >= speaker.messages for speaker in talk.values()]
        again = [speaker.again >= speaker.messages - 2 for speaker in talk.values()]
        # All ask, all repeat themselves, or one asks and somebody repeats: nobody answers. Others may be getting
        # somewhere, as one does whom another asks this and that, or approves of: they get longer.
        is_stuck = all(asking) or all(again) or (any(asking) and any(again))
        patience = 1 if is_stuck else _OF_OTHERS
        if rounds < rules.talk_warn * patience or (len(talk) > 2 and not all(asking)):
            return
        severity = Severity.PAGE if rounds >= rules.talk_page * patience else Severity.WARN
        members = [other for other in self.ring if other.number >= self.talk_began and other.lane[0] in talk]
        self.find(Mode.TALK, severity, step, past, members, len(talk), rounds)

    def _those_who_talk(self, agent: str, number: int, *, asks: bool) -> dict[str, Speaker]:
        """Who is in the talk when an agent speaks: without those who have left it; a new one where it joins two others.

        A third one joins only those who all ask, as it does: else it is a discussion, and another talk may begin.
        """
        talk = self.talk
        while len(talk) > 2 and number - next(iter(talk.values())).latest > 2 * len(talk):
            del talk[next(iter(talk))]
        if agent in talk or len(talk) < 2:
            return talk
        joins = asks and len(talk) < _MAX_SPEAKERS and all(2 * s.asks >= s.messages for s in talk.values())
        return talk if joins else {}
