"""What is found in a run while it runs, at which step, and what is said of it, whatever the order and the batches."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from agentops.demo.prose import Prose
from agentops.domain.alerting import Severity
from agentops.domain.findings import Mode, title
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
    story, asked = Story(), "prices of heat pumps in old buildings in the north since spring"
    for number in range(times):
        story.use("web_search", f"{asked} {'abcdefghij'[number]}x", LONG)
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
        (repeat, Mode.REPEAT, 6, 8, 1, 10),
        (nothing_found, Mode.REPEAT, 4, 7, 1, 10),
        (untold, Mode.REPEAT, 4, 5, 1, 10),
        (nearly, Mode.NEAR, 3, 4, 1, 10),
        (lambda times: circle(times, "one", "two"), Mode.CYCLE, 5, 7, 2, 10),
        (lambda times: circle(times, "one", "two", "three"), Mode.CYCLE, 7, 10, 3, 10),
        (other_tools, Mode.CYCLE, 6, 8, 2, 10),
        (no_progress, Mode.SAME_RESULT, 4, 8, 1, 10),
        (poll, Mode.POLL, 4, 7, 1, 10),
        (unknown, Mode.UNKNOWN_TOOL, 3, 5, 1, 10),
        (malformed, Mode.MALFORMED, 3, 5, 1, 10),
        (same_message, Mode.MESSAGE, 3, 4, 1, 10),
        (ping_pong, Mode.PING_PONG, 6, 8, 2, 10),
        (canned, Mode.TALK, 8, 16, 2, 10),
        (reworded, Mode.TALK, 8, 16, 2, 10),
        (silent_talk, Mode.TALK, 8, 16, 2, 10),
        (hand_over, Mode.PING_PONG, 7, 9, 2, 10),
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


def test_what_may_pass_is_tried_more_often() -> None:
    story = rate_limited(12)
    (finding,) = story.watched().findings
    assert finding.paged is not None
    assert (finding.count, finding.labels) == (12, ["fetch"])
    assert (story.number(finding.detected), story.number(finding.paged)) == (12, 22)


@pytest.mark.parametrize(
    "act",
    [repeat, nothing_found, untold, nearly, no_progress, poll, unknown, malformed, same_message, ping_pong, canned],
)
def test_two_times_are_no_loop(act: Callable[[int], Story]) -> None:
    assert not act(2).watched().findings


def test_paging_and_batches_are_no_loops() -> None:
    story = Story()
    for page in range(30):
        story.use("list_orders", {"page": page}, f"orders of page {page}: {LONG} {page * 17}")
        story.use("update_order", {"id": page, "state": "archived"}, "ok")
        story.use("bash", f"git add file_{page}", "")
    assert not story.watched(Rules(step_budget=None)).findings


def test_polling_that_changes_is_no_loop() -> None:
    story = Story()
    for done in range(0, 100, 3):
        story.use("check_status", "job 7", f"{done} % done").wait(20)
    assert not story.watched().findings


def test_a_call_that_fails_twice_and_then_succeeds_is_no_loop() -> None:
    story = Story()
    for question in QUESTIONS[:5]:
        for _ in range(2):
            story.use("fetch", question, "Error: connection reset", fails=True)
        story.use("fetch", question, f"{LONG} {question}")
    assert not story.watched().findings


def test_a_tool_that_says_ok_between_looks_at_what_is_new_is_no_loop() -> None:
    story = Story()
    for question in QUESTIONS:
        story.use("scroll", "down", "ok").use("look", None, f"{question} {LONG}")
    assert not story.watched().findings


def test_edits_that_end_in_the_same_failing_test_are_no_progress() -> None:
    story = Story()
    for question in QUESTIONS:
        story.use("edit_file", {"path": "a.py", "new": question}, "edited")
        story.use("run_tests", "tests", f"FAILED test_a in 0.{len(question)}s", fails=True)
    (finding,) = story.watched().findings
    assert finding.labels == ["run_tests"]
    assert finding.count == len(QUESTIONS)


def test_things_that_are_not_there_among_others_that_are_are_no_loop() -> None:
    story = Story()
    for number in range(30):
        found = "not found" if number % 3 == 0 else f"row {number}: {LONG}"
        story.use("lookup_customer", f"customer_{number}", found)
    assert not story.watched().findings


def test_calls_side_by_side_do_not_follow_one_another() -> None:
    story = Story()
    for number in range(8):
        story.use("read_file", "the same", LONG)
        last = story.steps[-1]
        story.steps[-1] = last._replace(start_ns=1_000 * NS, end_ns=1_000 * NS + 10 + number)
    assert not story.watched().findings


def test_a_call_that_two_instrumentations_tell_counts_once() -> None:
    story = Story()
    for _ in range(2):
        story.use("read_file", "the same", LONG)
        outer = story.steps[-1]
        inner = outer._replace(span_id=outer.span_id + b"i", start_ns=outer.start_ns + 5, end_ns=outer.end_ns - 5)
        story.steps.append(inner)
    assert not story.watched().findings


def test_a_tool_whose_span_comes_late_counts_once() -> None:
    story = Story()
    for question in QUESTIONS:
        # The same agent, twice at once: one goes on while the other one's tool still runs.
        story.use("search", question, f"{question} {LONG}").ask(("search", question)).say("agent", f"{question} yes")
    assert not story.watched().findings


def test_what_a_person_asks_anew_is_no_loop() -> None:
    story = Story()
    for number, question in enumerate(QUESTIONS):
        story.run(b"run-%d" % number).wait(20)
        story.say("triage", "I pass this on.", question).use("lookup_order", "SO-1", LONG, "specialist")
        story.say("specialist", f"{LONGER}, as to {question}", "I pass this on.")
    assert not story.watched(is_session=True).findings


def test_agents_that_take_turns_with_a_run_for_each_are_found_with_and_without_texts() -> None:
    told, untold = Story(), Story()
    heard = "Where does the ledger of the northern region end?"
    for number, question in enumerate((*QUESTIONS, *QUESTIONS)):
        agent = ("planner", "reviewer")[number % 2]
        told.run(b"run-%d" % number).say(agent, question, heard)
        untold.run(b"run-%d" % number).say(agent)
        heard = question
    for story in (told, untold):
        (finding,) = story.watched(is_session=True).findings
        assert (finding.mode, story.number(finding.detected), finding.severity) == (Mode.TALK, 8, PAGE)
        assert finding.agents == ["planner", "reviewer"]


def test_two_agents_in_each_run_of_a_person_are_no_loop_without_texts_either() -> None:
    story = Story()
    for number in range(12):
        story.run(b"run-%d" % number).wait(9).say("triage").say("specialist")
    assert not story.watched(is_session=True).findings


def test_a_run_that_is_started_again_and_again_is_a_loop() -> None:
    story = Story()
    for number in range(6):
        story.run(b"run-%d" % number).ask(("fetch", "all"))
        story.steps[-1] = story.steps[-1]._replace(heard=(1 << 40) - 1)
        story.use("fetch", "all", LONG)
    (finding,) = story.watched(is_session=True).findings
    assert finding.kind == "loop.repeat"


def test_a_discussion_of_three_is_no_loop_unless_it_repeats() -> None:
    story, same = Story(), Story()
    for number in range(12):
        for agent in ("architect", "tester", "owner"):
            story.say(agent, Prose(random.Random(f"{number} {agent}")).paragraph())
            same.say(agent, f"{agent} thinks: {LONG}")
    assert not story.watched().findings
    (finding,) = same.watched().findings
    assert (finding.mode, finding.period, finding.count) == (Mode.CYCLE, 3, 12)


@pytest.mark.parametrize("between", ["a tool", "code", "a person"])
def test_work_ends_a_talk(between: str) -> None:
    story = Story()
    for one, other in zip(QUESTIONS, reversed(QUESTIONS), strict=True):
        story.say("planner", f"{one} I ask.").say("reviewer", f"{other} I wonder.")
        if between == "a tool":
            story.use("search", one, f"{one} {LONG}", "planner")
        elif between == "code":
            story.say("planner", f"```python\n{one}\n```")
        else:
            story.say("user", one)
    assert not story.watched().findings


def test_two_who_neither_ask_nor_repeat_themselves_get_longer() -> None:
    story = Story()
    for question in QUESTIONS[:5]:
        story.say("writer", f"{question[:-1]}.").say("critic", f"{QUESTIONS[-QUESTIONS.index(question) - 1][:-1]}.")
    assert not story.watched().findings


def test_one_who_asks_and_one_who_answers_get_longer_and_two_who_ask_do_not() -> None:
    interview = Story()
    for number, question in enumerate(QUESTIONS):
        interview.say("interviewer", question).say("expert", f"Chapter {number} of volume {number * 7} tells of it.")
    (finding,) = interview.watched().findings
    assert (finding.severity, interview.number(finding.detected)) == (WARN, 24)
    both = Story()
    for number, question in enumerate(QUESTIONS[:6]):
        both.say("interviewer", question).say("expert", QUESTIONS[number - 6])
    (finding,) = both.watched().findings
    assert both.number(finding.detected) == 8


def test_who_approves_of_one_thing_after_the_other_repeats_nothing_and_who_takes_leave_for_ever_does() -> None:
    approved, leaving = Story(), Story()
    for number in range(10):
        text = f"Line {number * 13} of the poem is now a song of the {number + 3} winds."
        approved.say("translator", text).say("editor", "Approved.")
        leaving.say("agent", f"Thank you, {number * 11} times. Goodbye!").say(
            "helper", f"You too, on day {number * 17}."
        )
    assert not approved.watched().findings
    (finding,) = leaving.watched().findings
    assert (finding.mode, finding.severity) == (Mode.TALK, PAGE)


def test_three_who_ask_each_other_are_found_and_one_who_leaves_does_not_hide_the_others() -> None:
    story, left = Story(), Story().say("writer", QUESTIONS[0])
    for number, question in enumerate(QUESTIONS):
        for agent in ("planner", "reviewer", "writer"):
            story.say(agent, f"{QUESTIONS[(number + len(agent)) % 12]} {agent.title()} asks. {question}")
            if agent != "writer":
                left.say(agent, f"{QUESTIONS[(number + len(agent)) % 12]} {question}")
    (finding,) = story.watched().findings
    assert (story.number(finding.detected), finding.period, finding.severity) == (12, 3, PAGE)
    assert title(finding) == "planner, reviewer and writer keep asking each other, 12 rounds without a result"
    (finding,) = left.watched().findings
    assert finding.severity is PAGE


def test_what_a_worker_says_inside_a_tool_does_not_hide_that_it_is_asked_again() -> None:
    story = Story()
    for question in QUESTIONS[:6]:
        begun = story.now
        story.say("worker", question).use("ask_worker", "the same", "I could not tell what it is.", "lead")
        story.steps[-1] = story.steps[-1]._replace(start_ns=begun - 1)
    (finding,) = story.watched().findings
    assert story.number(finding.detected) <= 8
    assert finding.labels == ["ask_worker"]


def test_calls_of_one_agent_in_any_order_are_one_loop() -> None:
    story, rng = Story(), random.Random(3)
    for _ in range(40):
        tool = rng.choice(("grep", "read_file", "run_sql", "web_search"))
        story.use(tool, "the same", f"{tool}: {LONG}")
    (finding,) = story.watched().findings
    assert set(finding.labels) == {"grep", "read_file", "run_sql", "web_search"}


def test_an_item_that_fails_once_and_then_works_is_no_loop() -> None:
    story = Story()
    for question in QUESTIONS:
        story.use("upload", question, "Error: the token was refused", fails=True).use("upload", question, "stored")
    assert not story.watched().findings


def test_an_error_that_counts_the_attempts_is_the_same_error() -> None:
    story = Story()
    for number in range(5):
        story.use(result=f"Error: attempt {number + 1} was refused", fails=True)
    (finding,) = story.watched().findings
    assert story.number(finding.detected) == 3


def test_labels_given_to_one_item_after_the_other_are_no_repeat() -> None:
    story = Story()
    for question in QUESTIONS:
        story.say("judge", "relevant", question)
    assert not story.watched().findings


def test_a_loop_that_ends_is_over_and_a_later_one_is_another() -> None:
    story = repeat(5)
    for number in range(40):
        story.use("read_file", f"file_{number}", f"{number} {LONG}")
    story.use(result=LONG)
    for _ in range(5):
        story.use("fetch", "all", LONGER)
    first, second = story.watched(Rules(step_budget=None)).findings
    assert (first.count, first.labels, second.count, second.labels) == (5, ["grep"], 5, ["fetch"])
    assert story.number(first.last[-1] if first.last else first.first[-1]) == 10


def test_a_finding_tells_its_steps_and_its_money() -> None:
    story = Story()
    story.say("agent", "A plan.", cost=9 * CENT)
    for _ in range(30):
        story.ask(("grep", "x")).use()
    (finding,) = story.watched(Rules(step_budget=None)).findings
    tools = [(step.trace_id, step.span_id) for step in story.steps if step.tool]
    assert (finding.first, finding.last, finding.total) == (tools, [], 30)
    assert finding.began_ns == story.steps[2].start_ns
    assert finding.latest_ns == story.steps[-1].end_ns
    assert finding.spent_nano == 29 * CENT
    assert finding.per_hour_nano == 1_800 * CENT
    assert title(finding) == "agent: grep is called the same way 30 times"


def test_of_a_long_loop_the_first_and_the_latest_steps_are_kept() -> None:
    (finding,) = repeat(200).watched(Rules(step_budget=None)).findings
    assert (len(finding.first), len(finding.last), finding.total, finding.count) == (48, 24, 200, 200)


def test_more_steps_than_usual_are_one_finding() -> None:
    story = Story()
    for number in range(300):
        story.use("read_file", f"file_{number}", f"{number} {LONG}")
    (finding,) = story.watched(Rules(step_budget=60)).findings
    assert (finding.kind, story.number(finding.detected), finding.count) == ("steps.budget", 61, 300)
    assert finding.paged is not None
    assert story.number(finding.paged) == 241
    assert not story.watched(Rules(step_budget=None)).findings


@pytest.mark.parametrize(
    ("rules", "act"),
    [
        (Rules(ignored_tools=frozenset({"grep"})), repeat),
        (Rules(disabled=frozenset({"loop.repeat"})), repeat),
        (Rules(patient_tools=frozenset({"check_status"})), poll),
        (Rules(disabled=frozenset({"loop.ping_pong"})), reworded),
    ],
)
def test_what_is_not_wanted_is_not_found(rules: Rules, act: Callable[[int], Story]) -> None:
    assert not act(10).watched(rules).findings


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (same_message, "agent: the same message 10 times"),
        (canned, "planner and reviewer keep asking each other, 10 rounds without a result"),
        (ping_pong, "planner and reviewer keep passing it to each other, 10 rounds without a result"),
        (other_tools, "agent: read_file → run_tests goes round in a circle of 2, 10 times"),
        (unknown, "agent: frobnicate does not exist and is called 10 times"),
        (poll, "agent: check_status is asked 10 times and nothing changes"),
    ],
)
def test_a_finding_is_a_sentence(act: Callable[[int], Story], said: str) -> None:
    (finding,) = act(10).watched().findings
    assert title(finding) == said


def test_a_step_that_is_told_better_is_judged_again() -> None:
    story = repeat(3)
    watch = story.watched()
    assert watch.findings
    watch.see([story.steps[-1]._replace(what=5, words=0, result=6)])
    assert not watch.findings
