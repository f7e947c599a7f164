"""What is known of tools whose spans tell little, by the calls of the model that uses them."""

from __future__ import annotations

import random

from agentops.domain.alerting import Severity
from agentops.domain.findings import Mode
from agentops.domain.spans import Kind
from agentops.domain.steps import Seen, step_of
from tests.domain.acted import Story


def used_silently(story: Story, *, given: int, made: int, tool: str = "Bash", agent: str = "coder") -> None:
    """A model call of which only the tokens are known, and the tool that it asked for, of which nothing is."""
    for kind, name, tokens in ((Kind.LLM, None, (given, made)), (Kind.TOOL, tool, (0, 0))):
        span_id = len(story.steps).to_bytes(8, "big")
        seen = Seen(story.trace, span_id, int(kind), False, agent, name, story.now, story.now + 10**8, 10, *tokens)
        step = step_of(seen, {"asks_for_tools": True} if kind is Kind.LLM else {})
        assert step is not None
        story.steps.append(step)
        story.wait(1)


def test_where_nothing_is_recorded_the_tokens_tell_that_the_same_was_done_again() -> None:
    story = Story()
    for turn in range(12):
        used_silently(story, given=2_000 + 180 * turn, made=40)
    (finding,) = story.watched().findings
    assert (finding.kind, finding.mode, finding.severity) == ("loop.repeat", Mode.REPEAT, Severity.PAGE)
    assert finding.labels == ["Bash"]
    assert story.number(finding.detected) == 10  # the fifth, as soon as the next call tells what came back


def test_work_of_which_nothing_is_recorded_is_no_loop() -> None:
    rng = random.Random(3)
    for _ in range(50):
        story, given = Story(), 2_000
        for _ in range(150):
            made = rng.randint(30, 90)
            used_silently(story, given=given, made=made, tool=rng.choice(["Bash", "Bash", "Bash", "Read", "Edit"]))
            given += made + rng.randint(20, 900)
        watch = story.watched()
        assert [f for f in watch.findings if f.kind != "steps.budget"] == []


def test_a_tool_that_answers_more_each_time_makes_progress() -> None:
    story, given = Story(), 2_000
    for turn in range(30):
        used_silently(story, given=given, made=40, tool="next_page")
        given += 200 + 17 * turn
    assert [f for f in story.watched().findings if f.kind != "steps.budget"] == []


def test_without_tokens_nothing_is_concluded_from_the_name_of_a_tool() -> None:
    story = Story()
    for _ in range(40):
        used_silently(story, given=0, made=0)
    assert [f for f in story.watched().findings if f.kind != "steps.budget"] == []


def test_what_the_model_asked_for_tells_what_a_silent_tool_was_given_and_its_next_call_what_came_back() -> None:
    story = Story()
    for turn in range(6):
        told = [{"role": "user", "content": "how much?"}]
        if turn:
            told += [{"role": "assistant", "content": "I ask"}, {"role": "tool", "content": "12 entries are open"}]
        story.hear(told).ask(("query", {"sql": "select total from ledger"})).use("query", None, None)
    (finding,) = story.watched().findings
    assert (finding.mode, finding.labels, finding.count) == (Mode.REPEAT, ["query"], 5)


def test_a_task_that_two_agents_hand_to_each_other_is_found_though_each_time_something_else_comes_back() -> None:
    story = Story()
    rng = random.Random(5)
    for turn in range(16):
        agent = ("planner", "worker")[turn % 2]
        story.say(agent, " ".join(rng.sample(WORDS, 9)))
        story.use("create_ticket", "the refund of the northern order", " ".join(rng.sample(WORDS, 12)), agent)
    (finding,) = story.watched().findings
    assert (finding.kind, finding.period, finding.count) == ("loop.ping_pong", 2, 8)
    assert sorted(finding.agents) == ["planner", "worker"]


def test_several_who_do_the_same_once_hand_nothing_to_each_other() -> None:
    story = Story()
    for round_ in range(3):
        for agent in ("north", "south", "east", "west", "centre"):
            story.use("read_file", f"the guide of round {round_}", f"page {round_} of the guide says much", agent)
    assert story.watched().findings == []


WORDS = [
    "ledger",
    "order",
    "region",
    "archive",
    "refund",
    "invoice",
    "pallet",
    "harbour",
    "crane",
    "ticket",
    "carrier",
    "weight",
    "customs",
    "stamp",
    "driver",
    "night",
    "gate",
    "bridge",
    "river",
    "storm",
    "repair",
    "budget",
    "winter",
    "audit",
    "letter",
    "window",
]
