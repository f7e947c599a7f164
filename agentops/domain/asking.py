"""Tools between the calls of a model: what it asked for, what came back, and what can be known where nothing is told.

Some frameworks keep a tool's arguments and results on its own span, some only on the model's calls around it, and some
keep nothing at all: then the tokens of these calls still tell whether the same was asked for, and as much came back.
"""

from __future__ import annotations

from agentops.domain.alarms import Alarms
from agentops.domain.evidence import Pending, Untold
from agentops.domain.memory import RING
from agentops.domain.steps import Act, Result, Step, Trait

#: Tools that are remembered, and tool calls of which nothing is told, and models whose tokens are.
_MAX_SHOWN, _MAX_UNTOLD = 64, 16


class Asking(Alarms):
    """Follows what models ask for."""

    def use_tool(self, step: Step) -> None:
        """Judge a tool call of which all is known."""
        raise NotImplementedError

    def came(self, step: Step) -> None:
        """A tool was used: judge it, as soon as all that will ever be known of it is."""
        told = self._told(step)
        if told is None:
            return
        if told.what or told.result or step.agent not in self.tokens:
            self.use_tool(told)
        else:
            used = Untold(step.agent, step.tool, step.start_ns, step.end_ns, (step.trace_id, step.span_id))
            self.untold = [*self.untold[-_MAX_UNTOLD:], used]

    def goes_on_asking(self, step: Step) -> None:
        """A model is called: what it asked for before has been done; remember what it asks for now."""
        if self.pending:
            self._answered(step)
        if self.untold:
            self._weigh(step)
        if step.given and step.made:
            self.tokens.pop(step.agent, None)
            self.tokens[step.agent] = (step.given, step.made)
            if len(self.tokens) > _MAX_UNTOLD:
                del self.tokens[next(iter(self.tokens))]
        if step.asked:
            key = (step.trace_id, step.span_id)
            self.pending += [Pending(step.agent, asked, step.end_ns, key) for asked in step.asked]
            del self.pending[:-RING]

    def _told(self, step: Step) -> Step | None:
        """A tool call with what the model asked it for, where its span does not say; ``None`` for one that must wait.

        One of which neither is known waits for the next call of its model, whose input may tell what came back.
        """
        shown = self.shown
        if step.tool not in shown:
            shown[step.tool] = None
            if len(shown) > _MAX_SHOWN:
                del shown[next(iter(shown))]
        at = next((i for i, p in enumerate(self.pending) if p.asked.tool == step.tool and not p.is_shown), None)
        if at is None:
            return step
        pending = self.pending[at]
        if step.what:
            del self.pending[at]
            return step
        if step.result:
            del self.pending[at]
            return step._replace(what=pending.asked.what, words=pending.asked.words)
        key = (step.trace_id, step.span_id)
        self.pending[at] = pending._replace(end_ns=step.end_ns, key=key, is_shown=True)
        return None

    def _answered(self, step: Step) -> None:
        """A model goes on: what it asked for before, and no span shows, or tells nothing of, has been done."""
        mine = [p for p in self.pending if p.agent == step.agent and p.key[0] == step.trace_id]
        if not mine:
            return
        self.pending = [p for p in self.pending if p not in mine]
        results = list(step.results[-len(mine) :])
        results += [Result(0, 0)] * (len(mine) - len(results))
        for (agent, asked, end_ns, key, is_shown), (result, traits) in zip(mine, results, strict=True):
            if asked.tool in self.shown and not is_shown:
                continue  # its span is yet to come
            self.use_tool(
                Step(
                    step.start_ns, key[1], end_ns, key[0], Act.TOOL, agent, asked.tool, asked.what, asked.words,
                    result, traits,
                )
            )  # fmt: skip

    def _weigh(self, step: Step) -> None:
        """A model goes on, and was given so much more than before: that is all that tells of what its tools did.

        The same tool, asked for with as many tokens, that answered with as many, did the same.
        """
        mine = [u for u in self.untold if u.agent == step.agent and u.key[0] == step.trace_id]
        self.untold = [u for u in self.untold if u not in mine]
        given, made = self.tokens.get(step.agent, (0, 0))
        for agent, tool, start_ns, end_ns, (trace_id, span_id) in mine:
            what, result = 1 + made, 1 + max(0, step.given - given)
            known = (what, 0, result, Trait.UNTOLD) if step.given and made else (0, 0, 0, 0)
            self.use_tool(Step(end_ns, span_id, start_ns, trace_id, Act.TOOL, agent, tool, *known))
