"""Incidents come to what is told of them, and the watch would have found each within minutes."""

from __future__ import annotations

import tracemalloc
from itertools import islice, pairwise

import pytest

from agentops.domain.alerting import Severity
from agentops.domain.clarifications import clarification
from agentops.domain.findings import Mode
from agentops.domain.incidents import BY_SLUG, HOUR_NS, INCIDENTS, NS, Incident, beats, heard
from agentops.domain.loops import Watch
from agentops.domain.replays import POINTS, Reaction, crossed, curve, replay, stopped
from agentops.domain.sketches import likeness, words_of
from agentops.domain.steps import Act
from agentops.domain.watchrules import DEFAULTS, Rules

MINUTE_NS = 60 * NS
LOOP = BY_SLUG["clarification"]
each_incident = pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.slug)


def usd(nano: int) -> float:
    return nano / NS


def test_the_clarification_loop_comes_to_what_is_told_of_it() -> None:
    assert LOOP.cycles == 36_554
    assert usd(LOOP.cost_nano) == pytest.approx(47_203, abs=1)
    assert LOOP.lasted_ns == pytest.approx(11 * 24 * HOUR_NS, rel=1e-4)
    assert usd(LOOP.spent_nano(2 * 4)) == pytest.approx(0.41, abs=0.005)
    assert usd(LOOP.spent_nano(2 * 20)) == pytest.approx(5.88, abs=0.005)
    assert 2 * 20 * LOOP.cycle_ns == pytest.approx(17 * MINUTE_NS, rel=0.03)
    assert usd(LOOP.spent_nano(LOOP.done(54 * MINUTE_NS))) == pytest.approx(50, rel=0.02)
    assert usd(LOOP.spent_nano(LOOP.done(int(6.3 * HOUR_NS)))) == pytest.approx(1_000, rel=0.01)
    assert usd(LOOP.per_hour_nano(LOOP.cycles)) == pytest.approx(180, rel=0.01)


@pytest.mark.parametrize(
    ("slug", "cycles", "hours", "dollars"),
    [
        ("grep-cached", 364, 50 / 60, 85.67),
        ("npm-install", 300, 4.6, 81.36),
        ("replan", 4_800 * 63, 63, 4_200),
        ("list-files", 14_000, 14_000 * 3 / 3_600, 437),
        ("rotation", 720, 2, 33.05),
    ],
)
def test_the_others_do_too(slug: str, cycles: int, hours: float, dollars: float) -> None:
    incident = BY_SLUG[slug]
    assert incident.cycles == cycles
    assert incident.lasted_ns == pytest.approx(hours * HOUR_NS, rel=1e-6)
    assert usd(incident.cost_nano) == pytest.approx(dollars, abs=0.5)


def test_npm_install_takes_27_million_tokens() -> None:
    incident = BY_SLUG["npm-install"]
    assert incident.read_tokens(incident.cycles) == 27_000_000


@each_incident
def test_the_formula_is_the_sum_of_the_steps(incident: Incident) -> None:
    total, context = 0, []
    for beat in islice(beats(incident), 2_000):
        total += beat.step.cost_nano
        if beat.step.act is Act.TOOL or not incident.calls:
            assert total == incident.spent_nano(beat.cycle + 1)
        context.append(beat.read)
    assert max(context) <= incident.window


def test_the_formula_holds_to_the_end() -> None:
    assert sum(map(LOOP.cycle_nano, range(LOOP.cycles))) == LOOP.cost_nano
    assert LOOP.tokens(LOOP.cycles) == 128_000


@each_incident
def test_the_watch_finds_it_within_the_first_minutes_and_dollars(incident: Incident) -> None:
    seen = replay(incident, DEFAULTS)
    assert seen.warned is not None
    assert seen.paged is not None
    assert seen.warned.cycles <= seen.paged.cycles
    assert seen.warned.after_ns < 4 * MINUTE_NS
    assert seen.paged.after_ns < 7 * MINUTE_NS
    assert usd(seen.warned.spent_nano) < 1
    assert usd(seen.paged.spent_nano) < 2
    assert stopped(seen, Reaction.CEILING).avoided_nano > incident.cost_nano * 95 // 100


def test_the_talk_is_found_as_one_after_four_rounds_and_eight() -> None:
    seen = replay(LOOP, DEFAULTS)
    assert seen.warned is not None
    assert seen.paged is not None
    assert (seen.warned.cycles, seen.paged.cycles) == (8, 16)
    assert (seen.warned.severity, seen.paged.severity) == (Severity.WARN, Severity.PAGE)
    assert seen.warned.kind == "loop.ping_pong"
    assert seen.warned.agents == ("analysis", "verification")


def test_the_rotation_is_found_though_no_call_equals_the_one_before() -> None:
    incident = BY_SLUG["rotation"]
    calls = [beat.step for beat in islice(beats(incident), 60) if beat.step.act is Act.TOOL]
    assert all(one.what != other.what for one, other in pairwise(calls))
    watch = Watch()
    watch.see(calls)
    assert watch.findings[0].mode is Mode.CYCLE
    assert watch.findings[0].period == 3


def test_agents_reword_what_they_say_and_always_ask() -> None:
    said = [clarification("any", turn) for turn in range(200)]
    assert len(set(said)) == len(said)
    words = [words_of(text) for text in said]
    alike = [likeness(words[at], other) for at in range(len(words)) for other in words[at + 1 : at + 24]]
    assert sum(like >= DEFAULTS.like_messages for like in alike) < len(alike) / 100
    assert clarification("any", 7) == clarification("any", 7) != clarification("other", 7)
    assert heard(LOOP)
    assert not heard(BY_SLUG["rotation"])


def test_steps_are_made_one_by_one() -> None:
    incident = BY_SLUG["replan"]
    assert 2 * incident.cycles > 300_000
    steps = beats(incident)
    next(steps)
    tracemalloc.start()
    for _ in islice(steps, 20_000):
        pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    (last,) = islice(beats(incident, incident.cycles - 1), 1)
    assert last.cycle == incident.cycles - 1


@each_incident
def test_a_curve_is_short_rises_and_ends_where_it_should(incident: Incident) -> None:
    points = curve(incident, incident.cycles)
    assert len(points) <= POINTS + 2
    assert points == sorted(set(points))
    assert points[0] == (0, 0)
    assert points[-1] == (incident.lasted_ns, incident.cost_nano)
    assert curve(incident, 0) == [(0, 0)]


def test_a_sum_is_crossed_by_the_first_step_that_reaches_it() -> None:
    cycles = crossed(LOOP, 50 * NS)
    assert cycles is not None
    assert LOOP.spent_nano(cycles - 1) < 50 * NS <= LOOP.spent_nano(cycles)
    assert crossed(LOOP, 50_000 * NS) is None


def test_where_the_watch_says_nothing_all_is_spent() -> None:
    deaf = Rules(disabled=frozenset({"loop.ping_pong", "loop.repeat", "steps.budget"}))
    seen = replay(LOOP, deaf)
    assert seen.first is None
    for reaction in Reaction:
        stop = stopped(seen, reaction)
        assert (stop.cycles, stop.avoided_nano) == (LOOP.cycles, 0)


def test_people_come_so_many_minutes_after_the_first_alert() -> None:
    seen = replay(LOOP, DEFAULTS)
    assert seen.warned is not None
    at = {reaction: stopped(seen, reaction).after_ns for reaction in Reaction}
    assert at[Reaction.MINUTES_15] == seen.warned.after_ns + 15 * MINUTE_NS
    assert at[Reaction.MORNING] == 10 * HOUR_NS
    assert at[Reaction.CEILING] < at[Reaction.MINUTES_5] < at[Reaction.MINUTES_60]
