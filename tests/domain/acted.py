"""Steps of runs that tests write down: one after the other, a second each, a cent for each model call."""

from __future__ import annotations

import orjson

from agentops.domain.loops import Watch
from agentops.domain.spans import Kind
from agentops.domain.steps import Seen, Step, step_of
from agentops.domain.watchrules import DEFAULTS, Rules

NS = 1_000_000_000
CENT = 10_000_000


class Story:
    """Steps in their order. ``trace`` is the run that they belong to."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.now = 1_000 * NS
        self.trace = b"run-1"
        self.heard: list[dict[str, str]] = []

    def use(
        self,
        tool: str = "grep",
        arguments: object = "a pattern in a folder",
        result: str | None = "one line of a file",
        agent: str = "agent",
        *,
        fails: bool = False,
    ) -> Story:
        content = {"arguments": arguments, "result": result}
        return self._add(Kind.TOOL, agent, {k: v for k, v in content.items() if v is not None}, tool, fails=fails)

    def say(self, agent: str = "agent", text: str | None = None, heard: str = "", cost: int = CENT) -> Story:
        content = {"output": text} if text is not None else {}
        return self._add(Kind.LLM, agent, content | ({"input": heard} if heard else {}), cost=cost)

    def ask(self, *tools: tuple[str, object], agent: str = "agent", cost: int = CENT) -> Story:
        requested = [{"tool": tool, "arguments": arguments} for tool, arguments in tools]
        given = {"input": orjson.dumps(self.heard).decode()} if self.heard else {}
        return self._add(Kind.LLM, agent, {"requested_tools": requested, **given}, cost=cost)

    def hear(self, messages: list[dict[str, str]]) -> Story:
        """What the next models that ask for tools are given."""
        self.heard = messages
        return self

    def wait(self, seconds: float) -> Story:
        self.now += int(seconds * NS)
        return self

    def run(self, trace: bytes) -> Story:
        self.trace = trace
        return self

    def watched(self, rules: Rules = DEFAULTS, *, is_session: bool = False) -> Watch:
        watch = Watch(rules, is_session=is_session)
        watch.see(self.steps)
        return watch

    def _add(
        self, kind: Kind, agent: str, content: dict[str, object], tool: str = "", cost: int = 0, *, fails: bool = False
    ) -> Story:
        span_id = len(self.steps).to_bytes(8, "big")
        seen = Seen(
            self.trace, span_id, int(kind), fails, agent or None, tool or None, self.now, self.now + NS // 2, cost
        )
        self.now += NS
        step = step_of(seen, content, hears=True, results=True)
        assert step is not None
        self.steps.append(step)
        return self

    def number(self, key: tuple[bytes, bytes]) -> int:
        """Which step this is, counted from 1."""
        return [(step.trace_id, step.span_id) for step in self.steps].index(key) + 1
