"""What is found does not depend on batches, order, repeated spans or stores; and what is remembered does not grow."""

from __future__ import annotations

import random

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.demo import labelled
from agentops.domain.findings import Finding
from agentops.domain.loops import WINDOW, Watch
from agentops.domain.steps import Step
from agentops.domain.watchrules import Rules
from tests.domain.acted import NS, Story

LONG = "The ledger of the northern region holds four hundred and twelve open entries of last month"
QUESTIONS = (
    "Which one?",
    "Where does it end?",
    "Who owns the register?",
    "Is it closed?",
    "May it begin?",
    "How many?",
)
CASES = list(labelled.cases("orders", len(labelled.SORTS)))
RUNS = [sorted(step for run in labelled.steps_of(case) for step in run) for case in CASES]
#: Some of each: the whole set takes long, and all of it stands in the confusion table.
PICKED = st.sampled_from(range(len(CASES)))


def told(findings: list[Finding]) -> list[dict[str, object]]:
    return [finding.dump() for finding in findings]


def at_once(number: int) -> tuple[Watch, list[Step], bool]:
    is_session = len(CASES[number].plans) > 1
    watch = Watch(CASES[number].rules, is_session=is_session)
    watch.see(RUNS[number])
    return watch, RUNS[number], is_session


@given(number=PICKED, seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=60)
def test_batches_do_not_matter(number: int, seed: int) -> None:
    expected, steps, is_session = at_once(number)
    rng, watch, at = random.Random(seed), Watch(CASES[number].rules, is_session=is_session), 0
    while at < len(steps):
        size = rng.choice((1, 2, 5, 11, 12, 13, 40))
        watch.see(steps[at : at + size])
        at += size
    assert told(watch.findings) == told(expected.findings)
    assert watch.dump() == expected.dump()


@given(number=PICKED, seed=st.integers(0, 1 << 30), size=st.sampled_from((1, 3, 20)))
@settings(deadline=None, max_examples=60)
def test_order_does_not_matter_within_the_window(number: int, seed: int, size: int) -> None:
    expected, steps, is_session = at_once(number)
    rng = random.Random(seed)
    late = [step for _, step in sorted(enumerate(steps), key=lambda pair: pair[0] + rng.uniform(0, WINDOW))]
    watch = Watch(CASES[number].rules, is_session=is_session)
    for at in range(0, len(late), size):
        watch.see(late[at : at + size])
    assert told(watch.findings) == told(expected.findings)
    assert watch.dump() == expected.dump()


@given(number=PICKED, seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=60)
def test_order_and_repeated_spans_do_not_matter_within_the_window(number: int, seed: int) -> None:
    expected, steps, is_session = at_once(number)
    rng = random.Random(seed)
    # Nothing comes after more than the window's steps that ended after it.
    late = [step for _, step in sorted(enumerate(steps), key=lambda pair: pair[0] + rng.uniform(0, WINDOW / 2))]
    watch, recent = Watch(CASES[number].rules, is_session=is_session), list[Step]()
    at = 0
    while at < len(late):
        batch = late[at : at + rng.choice((1, 1, 2, 3))]
        at += len(batch)
        again = [step for step in recent if rng.random() < 0.3]
        watch.see(rng.sample([*batch, *again], len(batch) + len(again)))
        recent = (recent + batch)[-WINDOW // 2 :]
    assert told(watch.findings) == told(expected.findings)
    assert watch.dump() == expected.dump()


@given(number=PICKED, seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=40)
def test_a_watch_that_was_stored_goes_on_as_if_it_had_not_been(number: int, seed: int) -> None:
    expected, steps, is_session = at_once(number)
    rng, rules = random.Random(seed), CASES[number].rules
    watch, at = Watch(rules, is_session=is_session), 0
    while at < len(steps):
        size = rng.randint(1, 30)
        watch.see(steps[at : at + size])
        at += size
        watch = Watch.load(orjson.loads(orjson.dumps(watch.dump())), rules, is_session=is_session)
    assert told(watch.findings) == told(expected.findings)
    assert watch.dump() == expected.dump()
    assert watch.steps == expected.steps


def test_a_state_of_another_version_is_not_taken_up() -> None:
    story = Story()
    for _ in range(5):
        story.use()
    state = story.watched().dump()
    assert not Watch.load([state[0] + 1, *state[1:]]).findings
    assert not Watch.load([]).findings
    assert Watch.load(state).findings


def test_what_is_remembered_does_not_grow_with_the_run() -> None:
    rng, story = random.Random(1), Story()
    for number in range(500):
        story.run(b"run-%d" % (number // 9))
        story.ask((f"tool_{rng.randrange(90)}", rng.random()), agent=f"agent_{rng.randrange(90)}")
        story.use(f"tool_{number % 3}", rng.choice(QUESTIONS), rng.choice(QUESTIONS), f"agent_{number // 9 % 70}")
        story.use(f"tool_{rng.randrange(90)}", rng.choice(QUESTIONS), LONG, f"agent_{rng.randrange(9)}")
        story.say(f"agent_{rng.randrange(90)}", rng.choice(QUESTIONS))
    watch, sizes, whole = Watch(Rules(step_budget=None)), dict[int, int](), story.now - 1_000 * NS
    for turn in range(100):
        later = turn * whole
        watch.see(
            step._replace(
                span_id=b"%d-%s" % (turn, step.span_id), start_ns=step.start_ns + later, end_ns=step.end_ns + later
            )
            for step in story.steps
        )
        sizes[(turn + 1) * len(story.steps)] = len(orjson.dumps(watch.dump()))
    assert watch.steps == 200_000
    assert sizes[200_000] < 1.05 * max(sizes[20_000], sizes[22_000], sizes[24_000])
    assert max(sizes.values()) < 500_000
