"""A run's tree: order, depth, totals, and who talks to whom."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from agentops.domain.spans import Kind
from agentops.runs.charts import MAX_AGENTS, cost_over_time, talk_graph
from agentops.runs.queries import StepRow
from agentops.runs.tree import Talk, lines, talks

SECOND = 10**9


def step(n: int, parent: int | None = None, kind: Kind = Kind.OTHER, **more: Any) -> StepRow:
    """A span that starts at second ``n`` and takes one."""
    values: dict[str, Any] = dict.fromkeys(StepRow.__dataclass_fields__)
    values |= {
        "span_id": n.to_bytes(8, "big"),
        "parent_span_id": None if parent is None else parent.to_bytes(8, "big"),
        "kind": kind,
        "is_error": False,
        "name": f"span {n}",
        "start_ns": n * SECOND,
        "end_ns": (n + 1) * SECOND,
    }
    return StepRow(**(values | more))


def call(n: int, parent: int | None = None, cost: int | None = 5, **more: Any) -> StepRow:
    """A model call with ten tokens."""
    tokens = {"input_tokens": 8, "output_tokens": 2}
    return step(n, parent, Kind.LLM, own_cost_nano=cost, **(tokens | more))


def shape(steps: list[StepRow]) -> list[tuple[int, int]]:
    """The number and the depth of each line."""
    return [(int.from_bytes(line.step.span_id, "big"), line.depth) for line in lines(steps)]


def test_children_follow_their_parent_in_order_of_start_whatever_the_order_of_arrival() -> None:
    steps = [step(4, 1), step(3, 2), step(1), step(2, 1)]
    assert shape(steps) == [(1, 0), (2, 1), (3, 2), (4, 1)]
    assert shape(steps[::-1]) == shape(steps)


def test_an_orphan_and_a_cycle_are_shown_once_each() -> None:
    assert shape([step(5, 99), step(1, 2), step(2, 1)]) == [(5, 0), (1, 0), (2, 1)]


def test_a_chain_of_five_thousand_spans_is_drawn() -> None:
    found = lines([step(n, n - 1 if n else None) for n in range(5_000)])
    assert found[-1].depth == 4_999
    assert found[0].below == 4_999


def test_a_line_sums_what_is_below_it_and_nothing_beside_it() -> None:
    found = lines([step(1, kind=Kind.AGENT), step(2, 1, Kind.AGENT), call(3, 2), call(4, 2, cost=7), call(5, 1)])
    assert [(line.cost_nano, line.tokens, line.below) for line in found] == [
        (17, 30, 4), (12, 20, 2), (5, 10, 0), (7, 10, 0), (5, 10, 0),
    ]  # fmt: skip


def test_an_unknown_cost_is_counted_and_never_zero() -> None:
    found = lines([step(1), call(2, 1, cost=None), call(3, 1, cost=None)])
    assert (found[0].cost_nano, found[0].unpriced) == (None, 2)
    mixed = lines([step(1), call(2, 1, cost=None), call(3, 1)])
    assert (mixed[0].cost_nano, mixed[0].unpriced) == (5, 1)


def test_a_failed_call_without_usage_is_not_unpriced() -> None:
    failed = call(2, 1, cost=None, is_error=True, input_tokens=None, output_tokens=None)
    assert lines([step(1), failed])[0].unpriced == 0


def test_a_merged_call_adds_neither_cost_nor_tokens() -> None:
    found = lines([step(1), call(2, 1), call(3, 1, merged_into=(2).to_bytes(8, "big"))])
    assert (found[0].cost_nano, found[0].tokens) == (5, 10)
    assert (found[2].cost_nano, found[2].tokens) == (None, 0)


def test_agents_that_ask_each_other_are_counted_in_both_directions() -> None:
    steps = [call(n, agent="analyst" if n % 2 else "verifier") for n in range(1, 8)]
    assert talks(steps) == [
        Talk("analyst", "verifier", 3, is_call=False),
        Talk("verifier", "analyst", 3, is_call=False),
    ]


def test_an_agent_below_another_is_called_by_it() -> None:
    steps = [
        step(1, kind=Kind.AGENT, agent="boss"),
        step(2, 1, Kind.AGENT, agent="worker"),
        call(3, 2, agent="worker"),
        step(4, 1, Kind.AGENT, agent="boss"),
    ]
    assert talks(steps) == [Talk("boss", "worker", 1, is_call=True)]


def test_merged_calls_and_calls_without_an_agent_say_nothing() -> None:
    steps = [call(1, agent="a"), call(2), call(3, agent="b", merged_into=b"x"), call(4, agent="a")]
    assert talks(steps) == []


def test_the_drawing_holds_a_bounded_number_of_agents_and_every_name_inside_it() -> None:
    names = [f"agent {n}" for n in range(20)]
    graph = talk_graph([Talk(a, b, n + 1, is_call=False) for n, (a, b) in enumerate(pairwise(names))])
    assert graph is not None
    assert (len(graph.spots), graph.left_out) == (MAX_AGENTS, 20 - MAX_AGENTS)
    assert all(0 <= spot.x <= graph.width and 0 <= spot.label_y <= graph.height for spot in graph.spots)
    assert talk_graph([]) is None


def test_an_agent_that_never_spoke_is_drawn_as_quiet() -> None:
    graph = talk_graph([Talk("analyst", "verifier", 23, is_call=False)], ["analyst", "verifier", "summary"])
    assert graph is not None
    assert [(spot.name, spot.is_quiet) for spot in graph.spots] == [
        ("analyst", False), ("verifier", False), ("summary", True),
    ]  # fmt: skip


def test_the_cost_over_time_ends_at_the_runs_cost() -> None:
    costly = [call(n, cost=n * 10**9) for n in range(1, 1_500)]
    chart = cost_over_time([*costly, call(2_000, cost=None)])
    (trace,) = chart["traces"]
    assert trace["y"][-1] == sum(range(1, 1_500))
    assert trace["y"] == sorted(trace["y"])
    assert len(trace["x"]) <= 501


def test_without_a_known_cost_there_is_no_curve() -> None:
    assert cost_over_time([call(1, cost=None)])["traces"] == []
