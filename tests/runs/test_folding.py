"""Folding: what repeats itself becomes one line, and nothing else is hidden."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.findings import KIND_OF, Mode
from agentops.domain.spans import Kind
from agentops.runs.findings import Place, Scope, StoredFinding
from agentops.runs.folding import PAGED, WARNED, Fold, belonging, fold
from agentops.runs.queries import StepRow
from agentops.runs.tree import Line, lines
from tests.runs.test_tree import call, step

TRACE = b"t" * 16
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


def span(n: int) -> str:
    return n.to_bytes(8, "big").hex()


def finding(
    mode: Mode,
    steps: Sequence[int],
    *,
    until: int,
    what: Sequence[str] = (),
    agents: Sequence[str] = ("a",),
    **more: Any,
) -> StoredFinding:
    """A finding that remembers steps, the spans of these numbers, and went on until the end of a second."""
    detail = {
        "steps": [span(n) for n in steps],
        "what": [*what],
        "agents": [*agents],
        "detected_span_id": span(steps[-1]),
    }
    values: dict[str, Any] = {
        "place": Place("shop", Scope.RUN, TRACE.hex()), "source": "loops", "ordinal": 0, "trace_id": TRACE,
        "kind": KIND_OF[mode], "mode": str(mode), "severity": "page", "title": str(mode),
        "began_at": at(steps[0]), "detected_at": at(steps[-1]), "latest_at": at(until + 1), "is_open": True,
        "count": 9, "period": 1, "cost_nano": 1, "per_hour_nano": 1, "detail": detail | more.pop("detail", {}),
    }  # fmt: skip
    return StoredFinding(**(values | more))


def tool(n: int, name: str, parent: int | None = None, **more: Any) -> StepRow:
    return step(n, parent, Kind.TOOL, **({"tool": name, "agent": "a"} | more))


def agent(n: int, name: str, parent: int | None = None, **more: Any) -> StepRow:
    return step(n, parent, Kind.AGENT, agent=name, **more)


def folded(steps: list[StepRow], *findings: StoredFinding) -> list[Line | Fold]:
    tree = lines(steps)
    found = fold(tree, belonging(tree, findings, TRACE))
    assert unfolded(found) == tree  # nothing is lost, and the order stays
    return found


def unfolded(found: Sequence[Line | Fold]) -> list[Line]:
    return [line for item in found for line in (item.lines if isinstance(item, Fold) else [item])]


def shape(found: Sequence[Line | Fold]) -> list[Any]:
    """The numbers of the lines; of a fold, those that it hides from and to, and how often they repeat."""
    numbers = [(item.lines[0], item.lines[-1], item.rounds) if isinstance(item, Fold) else item for item in found]
    return [
        (number(item[0]), number(item[1]), item[2]) if isinstance(item, tuple) else number(item) for item in numbers
    ]


def number(line: Line) -> int:
    return int.from_bytes(line.step.span_id, "big")


def grep_loop(times: int, *, start: int = 1, parent: int | None = None) -> list[StepRow]:
    """Model calls, each followed by the same tool call."""
    pairs = ((call(n, parent, agent="a"), tool(n + 1, "grep", parent)) for n in range(start, start + 2 * times, 2))
    return [one for pair in pairs for one in pair]


def talk(hops: int, *, nested: bool, root: int | None = None) -> list[StepRow]:
    """Two agents that speak in turns, with or without spans of their own around each message."""
    found = []
    for hop in range(hops):
        name, n = ("analyst", "verifier")[hop % 2], 10 + 2 * hop
        if nested:
            found += [agent(n, name, root, end_ns=(n + 2) * 10**9), call(n + 1, n, agent=name)]
        else:
            found.append(call(n + 1, root, agent=name))
    return found


def test_without_findings_every_line_stays() -> None:
    assert shape(folded(grep_loop(3))) == [1, 2, 3, 4, 5, 6]


def test_a_flat_tool_loop_is_one_line_between_its_first_and_its_last_call() -> None:
    found = folded(grep_loop(9), finding(Mode.REPEAT, range(2, 19, 2), until=18, what=["grep"]))
    assert shape(found) == [1, 2, (3, 16, 7), 17, 18]
    assert isinstance(found[2], Fold)
    assert (found[2].cost_nano, found[2].tokens, found[2].has_tools) == (7 * 5, 7 * 10, True)
    assert found[2].speaker.tool == "grep"


def test_steps_that_the_finding_does_not_remember_are_recognised_by_tool_agent_and_time() -> None:
    steps = [*grep_loop(40), tool(81, "grep", agent="b"), tool(82, "grep", start_ns=500 * 10**9, end_ns=501 * 10**9)]
    found = folded(steps, finding(Mode.REPEAT, [2, 4, 6, 78, 80], until=80, what=["grep"]))
    assert shape(found) == [1, 2, (3, 78, 38), 79, 80, 81, 82]


@pytest.mark.parametrize("root", [None, 1])
def test_turns_of_agents_with_spans_of_their_own_are_folded_with_all_below_them(root: int | None) -> None:
    steps = [agent(1, "boss", end_ns=10**12), *talk(20, nested=True, root=root)]
    remembered = [10 + 2 * hop + 1 for hop in range(20)]
    found = folded(steps, finding(Mode.TALK, remembered, until=49, agents=["analyst", "verifier"], period=2, count=10))
    assert shape(found) == [1, 10, 11, 12, 13, (14, 45, 8), 46, 47, 48, 49]
    made = found[5]
    assert isinstance(made, Fold)
    assert (made.depth, made.has_tools, made.cost_nano) == (int(root is not None), False, 16 * 5)
    assert made.speaker.kind == Kind.LLM


def test_flat_turns_are_folded_and_who_goes_on_speaking_takes_one_turn() -> None:
    steps = talk(20, nested=False)
    steps.append(call(100, agent="verifier", start_ns=21 * 10**9 + 1, end_ns=21 * 10**9 + 2))
    remembered = [11 + 2 * hop for hop in range(20)]
    found = folded(
        steps, finding(Mode.PING_PONG, remembered, until=49, agents=["analyst", "verifier"], period=2, count=10)
    )
    (made,) = (item for item in found if isinstance(item, Fold))
    assert made.rounds == 8


def test_a_turn_in_which_something_else_is_done_stays_and_so_does_what_is_done() -> None:
    steps = [*talk(40, nested=True), tool(300, "web_search", 50, agent="analyst")]
    remembered = [11 + 2 * hop for hop in range(40)]
    found = folded(steps, finding(Mode.TALK, remembered, until=90, agents=["analyst", "verifier"], period=2, count=20))
    visible = [number(item) for item in found if isinstance(item, Line)]
    assert {50, 51, 300} <= set(visible)
    assert sum(isinstance(item, Fold) for item in found) == 2


def test_a_cycle_is_counted_in_rounds_of_its_tools() -> None:
    names = ("grep", "read", "edit")
    steps = [
        one for n in range(30) for one in (call(2 * n + 1, agent="a"), tool(2 * n + 2, names[n % 3], is_error=n == 10))
    ]
    remembered = [2 * n + 2 for n in range(30)]
    found = folded(steps, finding(Mode.CYCLE, remembered, until=60, what=names, period=3, count=10))
    assert shape(found) == [1, 2, 3, 4, 5, 6, (7, 54, 8), 55, 56, 57, 58, 59, 60]
    assert isinstance(found[6], Fold)
    assert found[6].errors == 1


def test_folding_never_hides_a_step_that_does_not_belong() -> None:
    steps = grep_loop(12)
    others = [
        tool(100, "read", start_ns=8 * 10**9 + 5), call(101, agent="b", start_ns=12 * 10**9 + 5),
        agent(102, "b", start_ns=16 * 10**9 + 5), step(103, is_error=True, start_ns=20 * 10**9 + 5),
    ]  # fmt: skip
    found = folded([*steps, *others], finding(Mode.REPEAT, range(2, 25, 2), until=24, what=["grep"]))
    visible = {number(item) for item in found if isinstance(item, Line)}
    assert {100, 101, 102, 103} <= visible
    assert not any(number(line) > 24 for item in found if isinstance(item, Fold) for line in item.lines)


def test_spans_that_do_nothing_go_along_and_wrappers_of_what_belongs_are_folded() -> None:
    steps = []
    for n in range(0, 60, 5):
        steps += [
            step(n + 1),
            call(n + 2, n + 1, agent="a", end_ns=(n + 2) * 10**9 + 5),
            tool(n + 3, "grep", n + 1),
            step(n + 4, kind=Kind.OTHER),
        ]
    found = folded(steps, finding(Mode.REPEAT, [n + 3 for n in range(0, 60, 5)], until=60, what=["grep"]))
    assert shape(found) == [1, 2, 3, (4, 53, 10), 54, 56, 57, 58, 59]


def test_several_findings_are_folded_each_for_itself() -> None:
    reads = [tool(n, "read") for n in range(40, 50)]
    found = folded(
        [*grep_loop(9), *reads],
        finding(Mode.REPEAT, range(2, 19, 2), until=18, what=["grep"]),
        finding(Mode.SAME_RESULT, range(40, 50), until=49, what=["read"], ordinal=1),
    )
    assert shape(found) == [1, 2, (3, 16, 7), 17, 18, 40, (41, 48, 8), 49]
    assert [item.finding.ordinal for item in found if isinstance(item, Fold)] == [0, 1]


def test_orphans_are_folded_where_they_stand() -> None:
    steps = [tool(n, "grep", 900 + n) for n in range(1, 9)]
    assert shape(folded(steps, finding(Mode.REPEAT, range(1, 9), until=8, what=["grep"]))) == [1, (2, 7, 6), 8]


def test_what_hardly_repeats_itself_and_what_no_loop_is_stay() -> None:
    few = finding(Mode.REPEAT, range(2, 7, 2), until=6, what=["grep"])
    budget = finding(Mode.BUDGET, [6], until=60, agents=())
    assert not any(isinstance(item, Fold) for item in folded(grep_loop(3), few, budget))


def test_merged_calls_belong_to_nothing_and_cost_nothing() -> None:
    steps = [*grep_loop(9), call(50, agent="a", start_ns=9 * 10**9 + 5, merged_into=b"x" * 8)]
    found = folded(steps, finding(Mode.REPEAT, range(2, 19, 2), until=18, what=["grep"]))
    (made,) = (item for item in found if isinstance(item, Fold))
    assert made.cost_nano == 7 * 5


def test_the_totals_of_folds_and_of_visible_lines_are_those_of_all_lines() -> None:
    steps = [*grep_loop(30), call(80, agent="a", cost=None), call(81, cost=11)]
    found = folded(steps, finding(Mode.REPEAT, range(2, 61, 2), until=60, what=["grep"]))
    assert sum(item.cost_nano or 0 for item in found) == sum(one.cost_nano or 0 for one in steps)
    assert sum(item.tokens for item in found) == 10 * 32


def test_a_fold_says_that_something_was_found_in_it() -> None:
    detail = {"detected_span_id": span(6), "paged_span_id": span(10)}
    found = finding(Mode.REPEAT, range(2, 19, 2), until=18, what=["grep"], detail=detail)
    (made,) = (item for item in folded(grep_loop(9), found) if isinstance(item, Fold))
    assert [(int.from_bytes(one.span_id, "big"), mark.words) for one, mark in made.marks] == [(6, WARNED), (10, PAGED)]


def test_only_what_belongs_is_owned() -> None:
    tree = lines([agent(30, "a", end_ns=10**12, start_ns=0), *grep_loop(9, parent=30), tool(40, "read", 30)])
    of = belonging(tree, [finding(Mode.REPEAT, range(2, 19, 2), until=18, what=["grep"])], TRACE)
    assert {int.from_bytes(span_id, "big") for span_id in of.owners} == set(range(2, 19, 2))


def test_a_run_of_twenty_thousand_lines_is_folded_quickly() -> None:
    steps = [agent(1, "boss", end_ns=10**15), *grep_loop(10_000, start=2, parent=1)]
    tree = lines(steps)
    found = [
        finding(Mode.REPEAT, range(3 + n, 103 + n, 2), until=20_002, what=["grep", f"t{n}"], ordinal=n)
        for n in range(0, 40, 2)
    ]
    began = time.process_time()
    result = fold(tree, belonging(tree, found, TRACE))
    assert time.process_time() - began < 1.5
    assert len(result) < 50


SPANS = st.tuples(
    st.sampled_from([Kind.TOOL, Kind.TOOL, Kind.TOOL, Kind.LLM, Kind.LLM, Kind.AGENT, Kind.OTHER]),
    st.sampled_from(["a", "a", "a", "b"]),
    st.sampled_from(["grep", "grep", "grep", "read"]),
    st.integers(0, 3),
    st.booleans(),
)


@given(st.lists(SPANS, min_size=10, max_size=60))
def test_whatever_a_run_is_like_only_what_belongs_is_hidden_and_nothing_is_lost(drawn: list[Any]) -> None:
    steps = []
    for n, (kind, name, tool_name, back, fails) in enumerate(drawn, 1):
        more = {"tool": tool_name} if kind == Kind.TOOL else {}
        steps.append(
            step(n, n - back if 0 < back < n else None, kind, agent=name, is_error=fails and n % 5 == 0, **more)
        )
    calls = [n for n, one in enumerate(steps, 1) if (one.kind, one.agent, one.tool) == (Kind.TOOL, "a", "grep")]
    if not calls:
        return
    found = folded(steps, finding(Mode.REPEAT, calls[:5], until=len(steps) // 2, what=["grep"]))
    for item in found:
        if not isinstance(item, Fold):
            continue
        hidden = {line.step.span_id: line.step for line in item.lines}
        assert all(is_hidden_rightly(one, hidden) for one in hidden.values())
        assert sum(one.kind == Kind.TOOL and one.tool == "grep" for one in hidden.values()) >= 2


def is_hidden_rightly(one: StepRow, hidden: dict[bytes, StepRow]) -> bool:
    """Whether a step is the loop's, a model call or a turn of its agent, does nothing, or is a part of such a step."""
    parent = hidden.get(one.parent_span_id or b"")
    if parent is not None and parent.kind in (Kind.TOOL, Kind.LLM):
        return is_hidden_rightly(parent, hidden)
    if one.kind == Kind.TOOL:
        return (one.agent, one.tool) == ("a", "grep")
    return one.agent == "a" if one.kind in (Kind.LLM, Kind.AGENT) else True
