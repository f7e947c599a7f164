"""Finds loops in a run while it runs: repeats, cycles, ping-pong, no progress, unknown tools, malformed actions.

A loop is at least three cycles of substantively the same steps, with no new information and no progress. Evidence is
added up: how alike a step is to an earlier one of its lane, whether its result is the same, how much that is new
happened in between. Paging, batches over different targets, polling whose result changes, edit-test cycles and up to
two retries add nothing.

``Watch`` takes a run's steps in any batches. What it finds does not depend on the order in which steps come, as long as
none is displaced by more than ``WINDOW`` steps: so many of the latest are judged again when one comes in between. Its
memory, and the time for each step, do not grow with the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentops.domain.findings import Finding, StepKey
from agentops.domain.judging import Judge
from agentops.domain.steps import Act, Asked, Result, Step
from agentops.domain.watchrules import DEFAULTS, Rules

#: Of the stored states: those of another are not taken up.
VERSION = 5
#: Steps within which the order of arrival does not matter.
WINDOW = 12


class Watch:
    """The steps of one run, or of one session, and what was found in them.

    ``is_session`` says that several runs follow one another: what a person asks anew starts every talk again.
    """

    def __init__(self, rules: Rules = DEFAULTS, *, is_session: bool = False) -> None:
        """Begin with nothing seen."""
        self._settled = Judge(rules, is_session=is_session)
        self._tail: list[Step] = []
        self._known: set[StepKey] = set()
        self._latest = Judge(rules, is_session=is_session)

    @property
    def findings(self) -> list[Finding]:
        """Everything found so far, in the order in which it was."""
        return self._latest.findings

    def is_open(self, at: int) -> bool:
        """Whether a finding can still go on."""
        return at in self._latest.open

    @property
    def is_expecting(self) -> bool:
        """Whether tools have been asked for of which no span was seen."""
        return bool(self._latest.pending)

    @property
    def tail(self) -> list[Step]:
        """The latest steps: those that would be judged again."""
        return self._tail

    @property
    def steps(self) -> int:
        """How many steps there have been."""
        return self._latest.steps

    def dump(self) -> list[Any]:
        """Its state as JSON can hold it."""
        return [VERSION, self._settled.dump(), [_plain(step) for step in self._tail]]

    @classmethod
    def load(cls, state: list[Any], rules: Rules = DEFAULTS, *, is_session: bool = False) -> Watch:
        """The watch that ``dump`` told of; a new one where the state is of another version of these rules."""
        watch = cls(rules, is_session=is_session)
        if state and state[0] == VERSION:
            _, settled, tail = state
            watch._settled.load(settled)
            watch._tail = [_step(values) for values in tail]
            watch._judge_tail()
        return watch

    def use(self, rules: Rules) -> None:
        """Judge what comes by these rules, and the latest steps again: their state does not hold by which they were."""
        if rules != self._latest.rules:
            self._settled.rules = rules
            self._judge_tail()

    def see(self, steps: Iterable[Step]) -> None:
        """Judge further steps; one that is among the latest already is passed over, or replaced by what it is now."""
        new = sorted(steps)
        if not new:
            return
        known, keys = self._known, {(step.trace_id, step.span_id) for step in new}
        if (self._tail and new[0] < self._tail[-1]) or len(keys) < len(new) or not known.isdisjoint(keys):
            self._see_again(new)
            return
        if len(new) > WINDOW:  # all before the last few settle at once
            self._tail += new
            self._settle()
            self._judge_tail()
            return
        for step in new:
            self._latest.judge(step)
        self._tail += new
        known |= keys
        self._settle()

    def _see_again(self, new: list[Step]) -> None:
        """Put steps in their places among the latest, and judge these again if that changes any."""
        merged = {(step.trace_id, step.span_id): step for step in (*self._tail, *new)}
        tail = sorted(merged.values())
        if tail != self._tail:
            self._tail = tail
            self._settle()
            self._judge_tail()

    def _judge_tail(self) -> None:
        self._known = {(step.trace_id, step.span_id) for step in self._tail}
        self._latest = self._settled.copy()
        for step in self._tail:
            self._latest.judge(step)

    def _settle(self) -> None:
        tail = self._tail
        if len(tail) > WINDOW:
            for step in tail[:-WINDOW]:
                self._settled.judge(step)
                self._known.discard((step.trace_id, step.span_id))
            del tail[:-WINDOW]


def _plain(step: Step) -> list[Any]:
    plain: list[Any] = list(step)
    plain[_SPAN], plain[_TRACE], plain[_ACT] = step.span_id.hex(), step.trace_id.hex(), int(step.act)
    plain[_WORDS], plain[_HEARD] = f"{step.words:x}", f"{step.heard:x}"
    plain[_ASKED] = [[asked.tool, asked.what, f"{asked.words:x}"] for asked in step.asked]
    plain[_RESULTS] = [list(result) for result in step.results]
    return plain


def _step(plain: list[Any]) -> Step:
    plain[_SPAN], plain[_TRACE], plain[_ACT] = (
        bytes.fromhex(plain[_SPAN]),
        bytes.fromhex(plain[_TRACE]),
        Act(plain[_ACT]),
    )
    plain[_WORDS], plain[_HEARD] = int(plain[_WORDS], 16), int(plain[_HEARD], 16)
    plain[_ASKED] = tuple(Asked(tool, what, int(words, 16)) for tool, what, words in plain[_ASKED])
    plain[_RESULTS] = tuple(Result(*values) for values in plain[_RESULTS])
    return Step(*plain)


_SPAN, _TRACE, _ACT, _WORDS, _ASKED, _RESULTS, _HEARD = map(
    Step._fields.index, ("span_id", "trace_id", "act", "words", "asked", "results", "heard")
)
