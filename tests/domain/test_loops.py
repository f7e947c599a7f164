"""What is found in a run while it runs, at which step, and what is said about it; and that order and batches do not matter."""

from __future__ import annotations

import random
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.demo import labelled
from agentops.domain.findings import Finding, Mode, Severity, title
from agentops.domain.loops import WINDOW, Watch
from agentops.domain.steps import Step
from agentops.domain.watchrules import Rules
from tests.domain.acted import CENT, NS, Story

WARN, PAGE = Severity.WARN, Severity.PAGE
LONG = "The ledger of the northern region holds four hundred and twelve open entries of last month"
LONGER = "The archive of the southern region was closed in spring and has not been opened ever since then"
QUESTIONS = (
    "Which of the two ledgers do you mean?", "Could you tell me where the archive ends?", "What should become of it?",
    "Is the region part of the order?", "Please confirm the month.", "How is the entry to be read?",
    "May the export begin before that?", "Who owns the other register?", "Do you need both of them?",
    "Where would I find the missing page?", "Can it wait until the summer is over?", "What if nobody answers at all?",
)  # fmt: skip


def repeat(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.ask(("grep", "x")).use()
    return story


def nothing_found(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.use(result="No matches found.")
    return story


def untold(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.use(result=None)
    return story


def nearly(times: int) -> Story:
    story = Story()
    for number in range(times):
        story.use("web_search", f"prices of heat pumps in old buildings in the north since spring {'abcdefgh'[number]}x", LONG)
    return story


def circle(times: int, *patterns: str) -> Story:
    story = Story()
    for _ in range(times):
        for pattern in patterns:
            story.use(arguments=pattern, result=f"{pattern} {LONG}")
    return story


def other_tools(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.use("read_file", "a/b.py", LONG).use("run_tests", "tests", LONGER, fails=True)
    return story


def no_progress(times: int) -> Story:
    story = Story()
    for question in QUESTIONS[:times]:
        story.use("search_articles", question, LONG)
    return story


def poll(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.use("check_status", "job 7", "pending").wait(20)
    return story


def unknown(times: int) -> Story:
    story = Story()
    for question in QUESTIONS[:times]:
        story.use("frobnicate", question, "Error: unknown tool 'frobnicate'", fails=True)
    return story


def malformed(times: int) -> Story:
    story = Story()
    for number, question in enumerate(QUESTIONS[:times]):
        story.use(f"tool_{number}", question, f"Invalid JSON at position {number}", fails=True)
    return story


def rate_limited(times: int) -> Story:
    story = Story()
    for question in QUESTIONS[:times]:
        story.say("planner", question).use("fetch", "all", "Error 429: too many requests", "planner", fails=True)
    return story


def same_message(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.say("agent", LONG)
    return story


def ping_pong(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.say("planner", LONG).say("reviewer", LONGER)
    return story


def canned(times: int) -> Story:
    story = Story()
    for question in QUESTIONS[:times]:
        story.say("planner", question).say("reviewer", "Please provide more details.")
    return story


def reworded(times: int) -> Story:
    story = Story()
    for one, other in zip(QUESTIONS[:times], reversed(QUESTIONS), strict=False):
        story.say("planner", f"{one} I ask.").say("reviewer", other)
    return story


def silent_talk(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.say("planner").say("reviewer")
    return story


def hand_over(times: int) -> Story:
    story = Story()
    for _ in range(times):
        story.use("transfer_to_reviewer", None, None, "planner").use("transfer_to_planner", None, None, "reviewer")
    return story


def hidden_tools(times: int) -> Story:
    story = Story()
    for _ in range(times + 1):
        story.ask(("search", {"q": "the same"}))
    return story


@pytest.mark.parametrize(
    ("act", "mode", "warned", "paged", "period", "count"),
    [
        (repeat, Mode.REPEAT, 6, 6, 1, 10),
        (nothing_found, Mode.REPEAT, 4, 8, 1, 10),
        (untold, Mode.REPEAT, 4, 5, 1, 10),
        (nearly, Mode.NEAR, 3, 4, 1, 8),
        (lambda times: circle(times, "one", "two"), Mode.CYCLE, 5, 7, 2, 10),
        (lambda times: circle(times, "one", "two", "three"), Mode.CYCLE, 7, 10, 3, 10),
        (other_tools, Mode.CYCLE, 5, 7, 2, 10),
        (no_progress, Mode.SAME_RESULT, 4, 8, 1, 10),
        (poll, Mode.POLL, 4, 8, 1, 10),
        (unknown, Mode.UNKNOWN_TOOL, 3, 5, 1, 10),
        (malformed, Mode.MALFORMED, 3, 5, 1, 10),
        (rate_limited, Mode.REPEAT, 8, 16, 1, 10),
        (same_message, Mode.MESSAGE, 3, 4, 1, 10),
        (ping_pong, Mode.PING_PONG, 5, 7, 2, 10),
        (canned, Mode.TALK, 8, 16, 2, 10),
        (reworded, Mode.TALK, 8, 16, 2, 10),
        (silent_talk, Mode.TALK, 8, 16, 2, 10),
        (hand_over, Mode.TALK, 8, 10, 2, 10),
        (hidden_tools, Mode.REPEAT, 4, 5, 1, 10),
    ],
)
def test_each_kind_is_found_once_and_in_time(
    act: Callable[[int], Story], mode: Mode, warned: int, paged: int, period: int, count: int
) -> None:
    story = act(10)
    (finding,) = story.watched().findings
    assert finding.paged is not None
    found = (finding.mode, story.number(finding.detected), story.number(finding.paged), finding.period, finding.count)
    assert found == (mode, warned, paged, period, count)
    assert finding.severity is PAGE
    assert not finding.kind.startswith("steps")


@pytest.mark.parametrize(
    "act",
    [repeat, nothing_found, untold, nearly, no_progress, poll, unknown, malformed, same_message, ping_pong, canned],
)
def test_two_times_are_no_loop(act: Callable[[int], Story]) -> None:
    assert not act(2).watched().findings
