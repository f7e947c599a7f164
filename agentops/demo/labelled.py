"""Runs of which it is known whether they loop: what the watch is measured with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from agentops.demo import busy, harder, looping
from agentops.demo.plan import RunPlan, Step
from agentops.demo.script import Script
from agentops.demo.writers import encode, spans_of
from agentops.demo.writers.base import compact
from agentops.domain import steps
from agentops.domain.alerting import Severity
from agentops.domain.dialects import normalise
from agentops.domain.findings import Finding
from agentops.domain.loops import Watch
from agentops.domain.runtree import Node, resolve
from agentops.domain.spans import COSTED_KINDS, STEP_KINDS, Kind, Span
from agentops.domain.watchrules import Rules
from agentops.ingest.otlp import decode_protobuf, limits

_LEAST_BUDGET, _BUDGETS = 50, 3
#: Steps that the runs of a service have at most in which something loops.
_LOOPING_USUAL = 55
#: What stands for a text that the client may not record.
_HASH_CHARS = 24


class Family(StrEnum):
    """What kind of label a case has."""

    TOOLS = "tools"
    MESSAGES = "messages"
    CANNED = "clarification, one side canned"
    REWORDED = "clarification, both sides reworded"
    HARDER_TOOLS = "tools, harder"
    HARDER_TALK = "talk, harder"
    BUDGET = "budget"
    BUSY = "no loop"
    HARDER_BUSY = "no loop, harder"


class Capture(StrEnum):
    """What the client records of texts."""

    FULL = "full"
    HASHED = "hashed"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Case:
    """The runs of one session; ``label`` is the kinds of finding of which one is right, ``None`` for no loop.

    ``begins_ns`` is when the loop begins, ``usual`` how many steps the runs of its service have at most.
    """

    name: str
    label: frozenset[str] | None
    plans: tuple[RunPlan, ...]
    family: Family
    capture: Capture = Capture.FULL
    begins_ns: int = 0
    usual: int = 20

    @property
    def rules(self) -> Rules:
        """The rules of its service."""
        return Rules(step_budget=max(_LEAST_BUDGET, _BUDGETS * self.usual))


@dataclass(frozen=True, slots=True)
class _Sort:
    act: Callable[[Script], None]
    label: frozenset[str] | None
    family: Family
    capture: Capture = Capture.FULL

    @property
    def name(self) -> str:
        return self.act.__name__ if self.capture is Capture.FULL else f"{self.act.__name__}, {self.capture} recorded"


_FAMILIES = {
    looping.clarification_canned: Family.CANNED,
    looping.a_run_for_each_hop: Family.CANNED,
    looping.clarification_reworded: Family.REWORDED,
    looping.polite_without_end: Family.REWORDED,
}
_HASHED = (looping.exact_repeat, looping.three_greps, looping.recovers)
_UNRECORDED = (
    looping.ping_pong_exact, looping.clarification_reworded, looping.a_run_for_each_hop, looping.hands_over_and_back,
)  # fmt: skip
_QUIETLY_BUSY = (
    busy.paging, busy.batch_with_ok, busy.polling_with_progress, busy.long_chat, busy.chat_of_two_agents,
    busy.chat_with_either, busy.group_chat, busy.two_with_tools, busy.map_and_reduce, busy.long_coding, busy.debate,
)  # fmt: skip


def _kinds(said: str) -> frozenset[str]:
    return frozenset(f"loop.{kind}" for kind in said.split())


def _sorts() -> Iterator[_Sort]:
    labels = {act: _kinds(said) for act, said in (looping.TOOL_LOOPS | looping.MESSAGE_LOOPS).items()}
    families = dict.fromkeys(looping.TOOL_LOOPS, Family.TOOLS) | dict.fromkeys(looping.MESSAGE_LOOPS, Family.MESSAGES)
    families |= _FAMILIES
    for act, label in labels.items():
        yield _Sort(act, label, families[act])
    for act in _HASHED:
        yield _Sort(act, labels[act], families[act], Capture.HASHED)
    for act in _UNRECORDED:
        yield _Sort(act, labels[act], families[act], Capture.NOTHING)
    yield _Sort(looping.too_many_steps, frozenset({"steps.budget"}), Family.BUDGET)
    for family, acts in ((Family.HARDER_TOOLS, harder.LOOPS), (Family.HARDER_TALK, harder.TALKS)):
        for act, said in acts.items():
            yield _Sort(act, _kinds(said), family)
    for act in harder.WORK:
        yield _Sort(act, None, Family.HARDER_BUSY)
    for act in busy.BUSY:
        yield _Sort(act, None, Family.BUSY)
    for act in _QUIETLY_BUSY:
        yield _Sort(act, None, Family.BUSY, Capture.NOTHING)


SORTS = tuple(_sorts())


def cases(seed: str, count: int) -> Iterator[Case]:
    """So many cases, of all sorts in turn; the same seed always gives the same ones."""
    for number in range(count):
        sort = SORTS[number % len(SORTS)]
        script = Script(random.Random(f"labelled:{seed}:{number}"))
        sort.act(script)
        if sort.capture is Capture.HASHED:
            for plan in script.plans:
                _hash(plan)
        usual = _LOOPING_USUAL if sort.label is not None else max(map(_length, script.plans))
        yield Case(sort.name, sort.label, tuple(script.plans), sort.family, sort.capture, script.begins_ns, usual)


def _length(plan: RunPlan) -> int:
    return sum(step.kind in STEP_KINDS for step in plan.steps())


def _hash(plan: RunPlan) -> None:
    for step in plan.steps():
        step.prompt, step.answer = _hashed(step.prompt), _hashed(step.answer)
        step.arguments = {name: _hashed(str(value)) for name, value in step.arguments.items()}
        for tool in step.requests:
            tool.arguments = {name: _hashed(str(value)) for name, value in tool.arguments.items()}


def _hashed(text: str) -> str:
    if not text or text.startswith("sha256:"):
        return text
    return f"sha256:{sha256(text.encode()).hexdigest()[:_HASH_CHARS]}"


# --- Judging


def found(case: Case, made: list[list[steps.Step]]) -> list[Finding]:
    """What the watch finds in each run, and across them where there are several; ``made`` are the steps by run."""
    watches = [Watch(case.rules) for _ in made]
    for watch, of_run in zip(watches, made, strict=True):
        watch.see(of_run)
    if len(made) > 1:
        session = Watch(case.rules, is_session=True)
        for of_run in made:
            session.see(of_run)
        watches.append(session)
    return [finding for watch in watches for finding in watch.findings]


def is_right(case: Case, finding: Finding) -> bool:
    """Whether the case's label says this."""
    return case.label is not None and (finding.kind in case.label or finding.kind == "steps.budget")


def worst(findings: list[Finding]) -> Severity | None:
    """The loudest of them."""
    return max((finding.severity for finding in findings), key=list(Severity).index, default=None)


def steps_of(case: Case, *, through_wire: bool = False) -> list[list[steps.Step]]:
    """The steps of each run of a case; ``through_wire`` takes the way of real spans, which costs much more."""
    wanted = _wired if through_wire else _direct
    return [list(wanted(case, plan)) for plan in case.plans]


def texts_of(case: Case) -> Iterator[tuple[steps.Seen, dict[str, object]]]:
    """Every span of a case as it is booked, with its content."""
    for plan in case.plans:
        for number, step in enumerate(plan.steps()):
            yield _seen(case, plan, number, step)


def _direct(case: Case, plan: RunPlan) -> Iterator[steps.Step]:
    hears = len(case.plans) > 1
    for number, planned in enumerate(plan.steps()):
        step = steps.step_of(*_seen(case, plan, number, planned), hears=hears)
        if step is not None:
            yield step


def _seen(case: Case, plan: RunPlan, number: int, step: Step) -> tuple[steps.Seen, dict[str, object]]:
    seen = steps.Seen(
        plan.trace_id,
        number.to_bytes(8, "big"),
        int(step.kind),
        step.failure is not None,
        step.agent or None,
        step.name if step.kind in {Kind.TOOL, Kind.RETRIEVAL} else None,
        step.start_ns,
        step.end_ns,
        step.cost_nano,
    )
    if case.capture is Capture.NOTHING:
        return seen, {"asks_for_tools": True} if step.requests else {}
    content: dict[str, object] = {}
    if step.kind is Kind.TOOL:
        content = {"arguments": step.arguments, "result": step.answer}
    elif step.prompt:
        content["input"] = compact([{"role": "user", "parts": [{"type": "text", "content": step.prompt}]}])
    if step.requests:
        content["requested_tools"] = [{"tool": tool.name, "arguments": tool.arguments} for tool in step.requests]
    elif step.kind is Kind.LLM:
        answer = [{"role": "assistant", "parts": [{"type": "text", "content": step.answer}], "finish_reason": "stop"}]
        content["output"] = compact(answer)
    if step.failure is not None:
        content["error_message"] = step.failure.message
    return seen, content


def _wired(case: Case, plan: RunPlan) -> Iterator[steps.Step]:
    keeps = case.capture is not Capture.NOTHING
    bounds = limits(spans=100_000, past_days=1, future_seconds=86_400, now_ns=plan.root.end_ns)
    raws = decode_protobuf(encode(spans_of(plan)), bounds).spans
    spans = [normalise(raw, plan.service) for raw in raws]
    if not keeps:
        for span in spans:
            span.content = {}
    tree = resolve([_node(span) for span in spans])
    costs = {step.response_id: step.cost_nano for step in plan.steps() if step.response_id}
    for span in spans:
        booking = tree[span.span_id]
        if booking.merged_into is not None:
            continue
        seen = steps.Seen(
            span.trace_id, span.span_id, int(span.kind), span.is_error, booking.agent, span.tool_name,
            span.start_ns, span.end_ns, costs.get(span.response_id or ""),
        )  # fmt: skip
        if not keeps and (span.finish_reason or "").startswith("tool"):
            span.content["asks_for_tools"] = True
        step = steps.step_of(seen, span.content, hears=len(case.plans) > 1)
        if step is not None:
            yield step


def _node(span: Span) -> Node:
    usage = span.usage
    known = (usage.input, usage.output) if span.kind in COSTED_KINDS else ()
    return Node(
        span_id=span.span_id, parent_span_id=span.parent_span_id, kind=span.kind, own_agent=span.agent_name,
        scope=span.scope, response_id=span.response_id, start_ns=span.start_ns, end_ns=span.end_ns,
        usage_fields=sum(count is not None for count in known),
    )  # fmt: skip
