"""How much of what loops is found, and how often what does not loop is taken for a loop, on labelled runs."""

from __future__ import annotations

import pytest

from agentops.demo.confusion import Confusion, confusion
from agentops.demo.labelled import SORTS, Capture, Case, Family, cases, steps_of
from agentops.domain.alerting import Severity
from agentops.domain.steps import Step

ROUNDS = 6
EXACT = ("exact_repeat", "exact_failing", "recovers", "same_command_other_times", "exact_repeat, hashed recorded")


@pytest.fixture(scope="module")
def table() -> Confusion:
    return confusion(cases("confusion", ROUNDS * len(SORTS)))


def test_tool_loops_are_found(table: Confusion) -> None:
    assert table.recall(Family.TOOLS) >= 0.95, table
    assert table.precision() >= 0.95, table


def test_loops_of_messages_are_found(table: Confusion) -> None:
    assert table.recall(Family.MESSAGES) >= 0.95, table
    assert table.recall(Family.CANNED) >= 0.9, table
    assert table.recall(Family.REWORDED) >= 0.8, table
    # Two agents that get on without tools are taken for two that do not, after a longer time.
    assert table.precision("loop.ping_pong") >= 0.8, table


def test_harder_ones_are_found_for_the_most_part(table: Confusion) -> None:
    assert table.recall(Family.HARDER_TOOLS) >= 0.7, table
    assert table.recall(Family.HARDER_TALK) >= 0.6, table
    assert table.false(Severity.PAGE, Family.HARDER_BUSY) <= 20, table


def test_runs_of_too_many_steps_are_found(table: Confusion) -> None:
    assert table.recall(Family.BUDGET) == 1.0, table


def test_nobody_is_woken_for_work_that_only_looks_like_a_loop(table: Confusion) -> None:
    assert table.false(Severity.PAGE) == 0, table
    assert table.false(Severity.WARN) <= 15, table


def test_exact_loops_are_found_at_their_third_repetition(table: Confusion) -> None:
    for row in table.rows:
        if row.name in EXACT:
            assert row.third == row.right == row.cases, table


def test_one_loop_is_one_finding(table: Confusion) -> None:
    loops = [row for row in table.rows if row.family not in {Family.BUSY, Family.HARDER_BUSY}]
    assert sum(row.findings for row in loops) <= 1.05 * sum(row.right for row in loops) + 5, table


def test_what_goes_over_the_wire_is_judged_as_well() -> None:
    table = confusion(cases("wire", 2 * len(SORTS)), through_wire=True)
    assert table.recall(Family.TOOLS) >= 0.95, table
    assert table.recall(Family.CANNED, Family.REWORDED, Family.MESSAGES) >= 0.85, table
    assert table.precision() >= 0.9, table
    assert table.false(Severity.PAGE) == 0, table


def told(made: list[list[Step]]) -> list[list[tuple[object, ...]]]:
    return [[(step.act, step.agent, step.tool, step.end_ns) for step in sorted(run)] for run in made]


def test_both_ways_to_make_steps_make_the_same_ones() -> None:
    for case in cases("both", len(SORTS)):
        # Agents' own spans are as many as their instrumentation likes; they say nothing that a model has not said.
        direct, wired = ([[s for s in run if s.act != 3] for run in made] for made in ways(case))
        assert told(direct) == told(wired), case.name
        if case.capture is Capture.FULL:
            whats = [[[step.what for step in sorted(run)] for run in made] for made in (direct, wired)]
            assert whats[0] == whats[1], case.name


def ways(case: Case) -> tuple[list[list[Step]], list[list[Step]]]:
    return steps_of(case), steps_of(case, through_wire=True)


def test_the_same_seed_gives_the_same_cases() -> None:
    one, other, another = (list(cases(seed, len(SORTS))) for seed in ("same", "same", "another"))
    assert one == other
    assert one != another
