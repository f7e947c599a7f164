"""Runs that are harder to tell apart: loops with something new in each round, and work that repeats itself."""

from __future__ import annotations

from collections.abc import Callable

from agentops.demo import chores
from agentops.demo.script import Script, Use


def counted_error(script: Script) -> None:
    """The same failing call, whose error counts the attempts."""
    use = chores.query(script.prose)
    with script.run("agent"):
        chores.work(script, script.rng.randint(0, 20))
        script.begins()
        for number in range(script.rng.randint(8, 20)):
            said = f"Error: attempt {number + 1} of the request was refused by {use.tool}: the token has expired"
            script.use(use._replace(result=said, fails=True))


def two_loops_at_once(script: Script) -> None:
    """Two agents side by side, each in a loop of its own."""
    one, other = chores.grep(script.prose), chores.search(script.prose)

    def loops(agent: str, use: Use) -> Callable[[], None]:
        def act() -> None:
            with script.turn(agent):
                for _ in range(script.rng.randint(8, 15)):
                    script.use(use)

        return act

    with script.run(""):
        script.begins()
        script.side_by_side(loops("finder", one), loops("searcher", other))


def mostly_new(script: Script) -> None:
    """The same failing call again and again, with two looks at something else in between."""
    prose = script.prose
    use = chores.query(prose)._replace(result=f"ERROR: column {prose.name()} does not exist", fails=True)
    with script.run("analyst"):
        script.begins()
        for _ in range(script.rng.randint(8, 15)):
            script.use(use)
            chores.work(script, 2)


def slightly_other_numbers(script: Script) -> None:
    """The same search with another limit each time, which finds the same."""
    prose, rng = script.prose, script.rng
    query, found = prose.sentence(), prose.hits()
    with script.run("researcher"):
        chores.work(script, rng.randint(0, 10))
        script.begins()
        for number in range(rng.randint(8, 16)):
            script.use(Use("web_search", {"query": query, "limit": 10 + number}, found))


def canned_with_names(script: Script) -> None:
    """Two agents; one always says the same but for a word, the other writes at length."""
    prose, rng = script.prose, script.rng
    things = prose.things()
    with script.run(""):
        script.begins()
        for _ in range(rng.randint(10, 20)):
            with script.turn("verifier"):
                script.say(f"I cannot verify the {rng.choice(things)} without a source. Please provide a source.")
            with script.turn("researcher"):
                script.say(prose.paragraph(2, 6))


def talk_with_notes(script: Script) -> None:
    """Two agents that ask each other; now and then one of them writes a note."""
    prose, rng = script.prose, script.rng
    things = prose.things()
    with script.run(""):
        script.begins()
        for number in range(rng.randint(15, 25)):
            for agent in ("planner", "reviewer"):
                with script.turn(agent):
                    if number % 4 == 3 and agent == "planner":
                        script.use(Use("write_note", {"text": prose.sentence()}, "ok"))
                    script.say(prose.clarification(things))


def without_names(script: Script) -> None:
    """A loop of an agent that nothing names."""
    use = chores.read(script.prose)
    with script.run(""):
        script.begins()
        for _ in range(script.rng.randint(6, 20)):
            script.use(use)


def drifting_edit(script: Script) -> None:
    """The same edit and its failure, growing by a line each time."""
    prose = script.prose
    path, lines = prose.path(), prose.code(6, 9).splitlines()
    with script.run("coder"):
        script.begins()
        for _ in range(script.rng.randint(8, 16)):
            lines.append(f"    # {prose.sentence()}")
            given = {"path": path, "old": "\n".join(lines)}
            script.use(Use("edit_file", given, f"Error: old text was not matched in {path}", fails=True))


def three_agents_ask(script: Script) -> None:
    """Three agents that ask each other in turn, in other words each time."""
    prose = script.prose
    things = prose.things()
    with script.run(""):
        script.begins()
        for _ in range(script.rng.randint(8, 15)):
            for agent in ("planner", "writer", "reviewer"):
                with script.turn(agent):
                    script.say(prose.clarification(things))


def slow_rotation(script: Script) -> None:
    """Fourteen files are read, and read again."""
    uses = [chores.read(script.prose) for _ in range(14)]
    with script.run("coder"):
        script.begins()
        for number in range(14 * script.rng.randint(4, 6)):
            script.use(uses[number % 14])


def shuffled_calls(script: Script) -> None:
    """Four calls in any order, always with the same results."""
    uses = [
        chores.read(script.prose),
        chores.grep(script.prose),
        chores.query(script.prose),
        chores.search(script.prose),
    ]
    with script.run("agent"):
        script.begins()
        for _ in range(script.rng.randint(30, 50)):
            script.use(script.rng.choice(uses))


# --- Work


def interview(script: Script) -> None:
    """One agent asks another ten different questions, and has its answers."""
    with script.run(""):
        for _ in range(10):
            with script.turn("interviewer"):
                script.say(script.prose.question())
            with script.turn("expert"):
                script.say(script.prose.paragraph(2, 5))


def translate_and_approve(script: Script) -> None:
    """Each text is translated by one agent and approved by another."""
    with script.run(""):
        for _ in range(script.rng.randint(8, 20)):
            with script.turn("translator", script.prose.paragraph(2, 4)):
                script.say(script.prose.paragraph(2, 4))
            with script.turn("reviewer"):
                script.say("Approved.")


def tabs_of_a_browser(script: Script) -> None:
    """The next button is pressed, which says nothing of the next page."""
    with script.run("browser_agent"):
        for _ in range(script.rng.randint(5, 9)):
            script.use(Use("click", {"selector": "#next"}, "clicked"))
            script.say(script.prose.paragraph(1, 3))


def asks_for_leave(script: Script) -> None:
    """An agent asks a person before each change, in one run."""
    with script.run("assistant"):
        for _ in range(script.rng.randint(8, 14)):
            script.say(f"May I go on with the change to {script.prose.path()}? Please confirm.", "yes")
            script.use(chores.edit(script.prose))


def git_status(script: Script) -> None:
    """The state of the tree is looked at between edits, and is often the same."""
    with script.run("coder"):
        for _ in range(script.rng.randint(6, 12)):
            script.use(Use("bash", {"command": "git status --short"}, " M src/app.py"))
            for _ in range(script.rng.randint(1, 2)):
                script.use(chores.edit(script.prose))


def flaky_items(script: Script) -> None:
    """Item after item: each fails once and then works."""
    prose = script.prose
    with script.run("agent"):
        for number in range(script.rng.randint(8, 14)):
            use = Use("upload", {"file": prose.path()}, f"stored as {number}-{prose.noun()}")
            script.use(use._replace(result="Error: the connection was closed", fails=True))
            script.use(use)


def many_misses(script: Script) -> None:
    """Names are tried until one is free."""
    with script.run("agent"):
        for _ in range(script.rng.randint(5, 9)):
            script.use(Use("check_name", {"name": f"{script.prose.name()}.example"}, "taken"))
        script.use(Use("check_name", {"name": "at-last.example"}, "free"))


def similar_reports(script: Script) -> None:
    """A report for each of many regions, out of one template."""
    prose = script.prose
    template = prose.paragraph(3, 5)
    with script.run("reporter"):
        for _ in range(script.rng.randint(8, 15)):
            script.say(f"{prose.noun().title()}: {script.rng.randrange(900)}. {template}", prose.sentence())


def heartbeat(script: Script) -> None:
    """A queue is looked at, and what is in it is done."""
    with script.run("agent"):
        for _ in range(script.rng.randint(6, 12)):
            script.use(Use("next_job", {}, f"job {script.rng.randrange(9_999)}: {script.prose.sentence()}"))
            chores.work(script, script.rng.randint(1, 3))
            script.use(Use("finish_job", {}, "ok"))


def tutor(script: Script) -> None:
    """A person learns: each turn of many runs ends with the same question."""
    for _ in range(script.rng.randint(8, 15)):
        with script.run("tutor", script.prose.sentence()):
            script.say(f"{script.prose.paragraph(1, 3)} Does that make sense? Shall we go on?")
        script.wait(10, 60)


LOOPS: dict[Callable[[Script], None], str] = {
    counted_error: "repeat no_progress",
    two_loops_at_once: "repeat cycle",
    mostly_new: "repeat no_progress",
    slightly_other_numbers: "near_duplicate no_progress",
    drifting_edit: "near_duplicate no_progress repeat",
    slow_rotation: "cycle repeat",
    shuffled_calls: "repeat cycle",
    without_names: "repeat",
}
TALKS: dict[Callable[[Script], None], str] = {
    canned_with_names: "ping_pong",
    talk_with_notes: "ping_pong",
    three_agents_ask: "cycle ping_pong",
}
WORK: tuple[Callable[[Script], None], ...] = (
    interview, translate_and_approve, tabs_of_a_browser, asks_for_leave, git_status, flaky_items, many_misses,
    similar_reports, heartbeat, tutor,
)  # fmt: skip
