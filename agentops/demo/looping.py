"""Runs that loop, by kind: each begins with ordinary work and then goes round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle, islice

from agentops.demo import chores
from agentops.demo.script import Script, Use

_PAIRS = (
    ("analysis_agent", "verification_agent"), ("planner", "reviewer"), ("researcher", "writer"), ("sales", "legal"),
    ("coordinator", "data_agent"), ("booking_agent", "policy_agent"),
)  # fmt: skip
_DENIED = (
    "Error: permission denied for relation {noun}",
    'ERROR: column "{name}" does not exist',
    "Traceback (most recent call last): KeyError: '{name}'",
    "Error: ENOENT, no entry {name}",
    "HTTP 403 Forbidden: the token may not read {noun}",
)  # fmt: skip
_NOT_THERE = (
    "Error: unknown tool '{tool}'",
    "Tool {tool} not found. Available tools: search, read_file, answer.",
    "No such tool: {tool}",
    "Error: function '{tool}' is not registered",
)
_UNREADABLE = (
    "Could not parse the action: Expecting value: line 1 column {n} (char {n})",
    "Invalid JSON in tool call: unexpected token at position {n}",
    "ValidationError: 1 validation error for Action, field required: path (item {n})",
    "Error: missing required argument 'query' (call {n})",
)


def _warm(script: Script, longest: int = 60) -> None:
    chores.work(script, script.rng.randint(0, longest) if script.rng.random() < 0.6 else script.rng.randint(0, 4))


def _round(script: Script, uses: Iterable[Use], fewest: int = 5, most: int = 25) -> None:
    script.begins()
    uses = list(uses)
    for use in islice(cycle(uses), len(uses) * script.rng.randint(fewest, most)):
        script.use(use)


def exact_repeat(script: Script) -> None:
    """The same call with the same result."""
    with script.run("agent"):
        _warm(script)
        _round(script, [chores.use(script.prose)])


def exact_nothing_found(script: Script) -> None:
    """The same search that finds nothing."""
    with script.run("agent"):
        _warm(script)
        found = script.rng.choice(("No matches found.", "[]", "0 results", "not found"))
        _round(script, [chores.grep(script.prose)._replace(result=found)], 6)


def exact_failing(script: Script) -> None:
    """The same call with the same error."""
    prose = script.prose
    said = script.rng.choice(_DENIED).format(noun=prose.noun(), name=prose.name())
    with script.run("agent"):
        _warm(script)
        _round(script, [chores.use(prose)._replace(result=said, fails=script.rng.random() < 0.5)])


def same_command_other_times(script: Script) -> None:
    """The same command, whose output differs in how long it took and when."""
    rng = script.rng
    error = script.prose.name()
    with script.run("agent"):
        _warm(script)
        script.begins()
        for number in range(rng.randint(6, 30)):
            said = (
                f"npm ERR! code ERESOLVE\nnpm ERR! while resolving {error}@1.4.2\n"
                f"npm ERR! A complete log of this run can be found in: /tmp/npm-{rng.getrandbits(40):x}/run.log\n"
                f"failed after {rng.randrange(900) / 10} s at 2026-03-04 10:{number:02d}:{rng.randrange(60):02d}"
            )
            script.use(Use("bash", {"command": "npm install"}, said))


def near_duplicate_search(script: Script) -> None:
    """Searches in almost the same words that find the same."""
    prose, rng = script.prose, script.rng
    words, found = [prose.noun() for _ in range(9)], prose.hits()
    with script.run("researcher"):
        _warm(script)
        script.begins()
        for _ in range(rng.randint(6, 20)):
            asked = [*rng.sample(words, len(words) - rng.choice((0, 1, 1))), *[prose.noun()] * rng.choice((0, 1))]
            script.use(Use("web_search", {"query": " ".join(asked)}, found))


def near_duplicate_edit(script: Script) -> None:
    """The same edit with little changes, which fails in the same way."""
    prose, rng = script.prose, script.rng
    path, old = prose.path(), prose.code(4, 9).splitlines()
    with script.run("coder"):
        _warm(script)
        script.begins()
        for _ in range(rng.randint(6, 20)):
            lines = [line.rstrip() + rng.choice(("", "", " ", "  # fixed")) for line in old]
            given = {"path": path, "old_string": "\n".join(lines), "new_string": "\n".join(lines[:-1])}
            script.use(Use("edit_file", given, f"Error: old_string was not matched in {path}", fails=True))


def _cycle(period: int) -> Callable[[Script], None]:
    def act(script: Script) -> None:
        makes = (chores.read, chores.query, chores.search, chores.grep, chores.edit)
        with script.run("agent"):
            _warm(script)
            _round(script, [make(script.prose) for make in script.rng.sample(makes, period)], 4, 15)

    act.__name__, act.__doc__ = f"cycle_of_{period}", f"{period} calls in turn, always with the same results."
    return act


def three_greps(script: Script) -> None:
    """One tool, three patterns in turn."""
    with script.run("coder"):
        _warm(script)
        _round(script, [chores.grep(script.prose) for _ in range(3)], 4, 40)


def edit_undo(script: Script) -> None:
    """An edit, the tests that fail by it, the edit taken back, the tests that fail without it."""
    prose = script.prose
    path, one, other = prose.path(), prose.code(1, 4), prose.code(1, 4)
    failing = chores.tests(prose, 40, 2), chores.tests(prose, 41, 1)
    uses = [
        Use("edit_file", {"path": path, "old": one, "new": other}, f"edited {path}"),
        failing[0],
        Use("edit_file", {"path": path, "old": other, "new": one}, f"edited {path}"),
        failing[1],
    ]
    with script.run("coder"):
        _warm(script)
        _round(script, uses, 5, 12)


def eight_folders(script: Script) -> None:
    """Eight folders are listed, and listed again."""
    prose = script.prose
    uses = [Use("list_files", {"path": prose.path()}, "\n".join(prose.path() for _ in range(5))) for _ in range(8)]
    with script.run("coder"):
        _warm(script)
        _round(script, uses, 4, 12)


def fresh_ids(script: Script) -> None:
    """The same call, whose result differs in the request's id and the moment alone."""
    prose, rng = script.prose, script.rng
    use, said = chores.query(prose), prose.paragraph(1, 3)
    with script.run("agent"):
        _warm(script)
        script.begins()
        for number in range(rng.randint(6, 20)):
            fresh = f'"request_id": "{rng.getrandbits(64):016x}", "at": "2026-03-04T10:{number:02d}:11Z"'
            told = f'{{{fresh}, "rows": "{said}"}}'
            script.use(use._replace(result=told))


def stuck_on_a_test(script: Script) -> None:
    """Another edit each time, and the test fails as before."""
    prose, rng = script.prose, script.rng
    failing, path = chores.tests(prose, 40, 1), prose.path()
    with script.run("coder"):
        _warm(script)
        script.begins()
        for _ in range(rng.randint(8, 16)):
            script.use(chores.edit(prose)._replace(arguments={"path": path, "new": prose.code(1, 5)}))
            script.use(failing._replace(fails=True))


def no_progress(script: Script) -> None:
    """Another question each time, always the same answer."""
    prose = script.prose
    said = script.rng.choice(("No results found for your query.", prose.paragraph(2, 5), "Error: the index is empty"))
    with script.run("agent"):
        _warm(script)
        script.begins()
        for _ in range(script.rng.randint(8, 25)):
            script.use(Use("search_articles", {"query": prose.sentence()}, said))


def poll_without_progress(script: Script) -> None:
    """A job that is asked for again and again and never gets on."""
    rng = script.rng
    job = f"job-{rng.randrange(10_000)}"
    said = rng.choice((f'{{"job": "{job}", "state": "pending"}}', "status: queued", f"{job} is still running (12 %)"))
    with script.run("agent"):
        _warm(script, 20)
        script.begins()
        for _ in range(rng.randint(12, 40)):
            script.use(Use("check_status", {"job": job}, said))
            script.wait(5, 30)


def unknown_tool(script: Script) -> None:
    """A tool that does not exist, with other arguments each time."""
    prose, rng = script.prose, script.rng
    tool, said = prose.name(), rng.choice(_NOT_THERE)
    with script.run("agent"):
        _warm(script)
        script.begins()
        for _ in range(rng.randint(5, 15)):
            script.use(Use(tool, {"value": prose.sentence()}, said.format(tool=tool), fails=True))


def malformed_actions(script: Script) -> None:
    """Calls that cannot be read, other ones each time."""
    prose, rng = script.prose, script.rng
    said = rng.choice(_UNREADABLE)
    with script.run("agent"):
        _warm(script)
        script.begins()
        for _ in range(rng.randint(5, 15)):
            use = chores.use(prose)
            script.use(Use(use.tool, {"raw": prose.code(1, 2)}, said.format(n=rng.randrange(90)), fails=True))


def plan_and_rate_limit(script: Script) -> None:
    """A plan, a call that is refused for too many requests, another plan."""
    prose, rng = script.prose, script.rng
    things = prose.things()
    with script.run("planner"):
        _warm(script, 10)
        script.begins()
        for _ in range(rng.randint(8, 25)):
            script.say(
                f"The {rng.choice(things)} was refused. New plan: fetch the {rng.choice(things)}. {prose.sentence()}"
            )
            script.use(Use("fetch_data", {"source": things[0]}, "Error 429: too many requests", fails=True))
            script.wait(0.5, 2)


def too_many_steps(script: Script) -> None:
    """Many times the steps of its service's runs, none like another."""
    with script.run("agent"):
        script.begins()
        chores.work(script, 100)


def interleaved(script: Script) -> None:
    """The same call with the same result, and sometimes a step that is new."""
    with script.run("agent"):
        _warm(script)
        use = chores.grep(script.prose)
        script.begins()
        for number in range(script.rng.randint(8, 25)):
            if number % 3 == 2:
                script.use(chores.read(script.prose))
            script.use(use)


def in_a_branch(script: Script) -> None:
    """One of two branches loops while the other one works."""
    use = chores.grep(script.prose)

    def loops() -> None:
        with script.turn("searcher"):
            for _ in range(script.rng.randint(8, 20)):
                script.use(use)

    def works() -> None:
        with script.turn("reader"):
            chores.work(script, script.rng.randint(5, 12))

    with script.run(""):
        script.begins()
        script.side_by_side(loops, works)


def asked_but_not_shown(script: Script) -> None:
    """The same tool is asked for again and again, and no span tells of the tool."""
    use = chores.search(script.prose)
    with script.run("agent"):
        script.begins()
        for _ in range(script.rng.randint(8, 20)):
            script.use(use, shown=False)


def over_many_runs(script: Script) -> None:
    """Runs of one session that each do the same and end, because somebody starts them again."""
    use, question = chores.use(script.prose), script.prose.question()
    script.begins()
    for _ in range(script.rng.randint(8, 20)):
        with script.run("agent", question):
            script.use(use)
            script.say("I could not finish. " + question)
        script.wait(1, 3)


def recovers(script: Script) -> None:
    """A loop that ends by itself."""
    use = chores.read(script.prose)
    with script.run("agent"):
        script.begins()
        for _ in range(script.rng.randint(5, 8)):
            script.use(use)
        chores.work(script, 40)


def same_message(script: Script) -> None:
    """One agent that says the same again and again, without tools."""
    said = script.prose.paragraph(1, 3)
    with script.run("agent"):
        _warm(script, 5)
        script.begins()
        for _ in range(script.rng.randint(5, 20)):
            script.say(said)


def three_in_a_circle(script: Script) -> None:
    """Three agents that say the same in turn."""
    said = {name: script.prose.paragraph(1, 3) for name in ("planner", "critic", "writer")}
    with script.run(""):
        script.begins()
        for _ in range(script.rng.randint(5, 12)):
            for name, text in said.items():
                with script.turn(name):
                    script.say(text)


def same_worker_same_question(script: Script) -> None:
    """A supervisor that asks a worker the same question, which answers the same."""
    question, answer = script.prose.question(), script.prose.paragraph()

    def says() -> str:
        script.say(answer)
        return answer

    with script.run("supervisor"):
        script.begins()
        for _ in range(script.rng.randint(6, 15)):
            script.ask("worker", question, says)


def _talk(script: Script, one: Callable[[], str], other: Callable[[], str], pair: tuple[str, str]) -> None:
    script.begins()
    for _ in range(script.rng.randint(10, 30)):
        for agent, says in zip(pair, (one, other), strict=True):
            with script.turn(agent):
                script.say(says())
            script.wait(1, 30)


def ping_pong_exact(script: Script) -> None:
    """Two agents that say the same to each other each time."""
    one, other = script.prose.clarification(script.prose.things()), script.prose.canned()
    with script.run(""):
        _talk(script, lambda: one, lambda: other, script.rng.choice(_PAIRS))


def clarification_canned(script: Script) -> None:
    """Two agents that ask each other, one of them always in the same words."""
    prose = script.prose
    things, canned = prose.things(), prose.canned()
    pair = script.rng.choice(_PAIRS)
    with script.run(""):
        if script.rng.random() < 0.5:
            with script.turn(pair[0]):
                chores.work(script, script.rng.randint(1, 20))
        _talk(script, lambda: prose.clarification(things), lambda: canned, pair)


def clarification_reworded(script: Script) -> None:
    """Two agents that ask each other, in other words each time."""
    prose, rng = script.prose, script.rng
    things = prose.things()

    def says() -> str:
        asked = prose.clarification(things) if rng.random() < 0.8 else prose.sentence()
        return f"{asked} {prose.paragraph(1, 3)}" if rng.random() < 0.4 else asked

    with script.run(""):
        _talk(script, says, says, rng.choice(_PAIRS))


def polite_without_end(script: Script) -> None:
    """Two agents that thank each other and say goodbye, without end."""
    prose, rng = script.prose, script.rng
    words = (
        "Thank you",
        "Goodbye",
        "You are welcome",
        "Have a great day",
        "It was a pleasure",
        "Take care",
        "Thanks again",
    )

    def says() -> str:
        return ". ".join(rng.sample(words, rng.randint(2, 4))) + rng.choice(
            ("!", ".", f", and good luck with the {prose.noun()}.")
        )

    with script.run(""):
        _talk(script, says, says, rng.choice(_PAIRS))


def hands_over_and_back(script: Script) -> None:
    """Two agents that pass the conversation to each other."""
    one, other = script.rng.choice(_PAIRS)
    with script.run(""):
        script.begins()
        for _ in range(script.rng.randint(6, 20)):
            for agent, to in ((one, other), (other, one)):
                with script.turn(agent):
                    script.hand_over(to)


def a_run_for_each_hop(script: Script) -> None:
    """Two agents that ask each other, with a run for each message."""
    prose = script.prose
    things, canned, pair = prose.things(), prose.canned(), script.rng.choice(_PAIRS)
    heard = prose.question()
    script.begins()
    for number in range(2 * script.rng.randint(10, 25)):
        said = canned if number % 2 and script.rng.random() < 0.8 else prose.clarification(things)
        with script.run(pair[number % 2], heard):
            script.say(said, heard)
        heard = said
        script.wait(0.2, 2)


TOOL_LOOPS: dict[Callable[[Script], None], str] = {
    exact_repeat: "repeat",
    exact_nothing_found: "repeat no_progress",
    exact_failing: "repeat no_progress",
    same_command_other_times: "repeat no_progress",
    near_duplicate_search: "near_duplicate no_progress",
    near_duplicate_edit: "near_duplicate no_progress repeat",
    **{_cycle(period): "cycle" for period in (2, 3, 4, 5)},
    three_greps: "cycle repeat",
    edit_undo: "cycle",
    eight_folders: "cycle repeat",
    fresh_ids: "repeat",
    stuck_on_a_test: "no_progress repeat",
    no_progress: "no_progress near_duplicate",
    poll_without_progress: "no_progress repeat",
    unknown_tool: "repeat",
    malformed_actions: "repeat",
    plan_and_rate_limit: "no_progress repeat cycle",
    interleaved: "repeat no_progress cycle",
    in_a_branch: "repeat",
    asked_but_not_shown: "repeat",
    over_many_runs: "repeat cycle",
    recovers: "repeat",
    same_worker_same_question: "repeat cycle",
}
MESSAGE_LOOPS: dict[Callable[[Script], None], str] = {
    same_message: "repeat",
    three_in_a_circle: "cycle",
    ping_pong_exact: "ping_pong",
    clarification_canned: "ping_pong",
    clarification_reworded: "ping_pong",
    polite_without_end: "ping_pong",
    hands_over_and_back: "ping_pong",
    a_run_for_each_hop: "ping_pong",
}
