"""Runs that look like loops and are none: they get on, or people ask for each step."""

from __future__ import annotations

from collections.abc import Callable

from agentops.demo import chores
from agentops.demo.script import Script, Use


def _people(script: Script, turns: int, act: Callable[[str], None]) -> None:
    """A person asks, reads, and asks again."""
    for _ in range(turns):
        act(script.prose.question())
        script.wait(8, 120)


def paging(script: Script) -> None:
    """Page after page."""
    what = script.prose.noun()
    with script.run("agent"):
        for page in range(script.rng.randint(10, 40)):
            script.use(Use(f"list_{what}s", {"page": page, "size": 50}, script.prose.rows()))


def paging_by_cursor(script: Script) -> None:
    """Page after page, by cursors."""
    with script.run("agent"):
        for _ in range(script.rng.randint(10, 30)):
            cursor = f"{script.rng.getrandbits(96):024x}"
            script.use(Use("search_issues", {"state": "open", "after": cursor}, script.prose.hits()))


def reading_on(script: Script) -> None:
    """A large file in pieces."""
    path = script.prose.path()
    with script.run("coder"):
        for piece in range(script.rng.randint(8, 25)):
            given: dict[str, str | int] = {"path": path, "from": 200 * piece, "to": 200 * piece + 200}
            script.use(Use("read_file", given, script.prose.code(20, 60)))


def batch_with_ok(script: Script) -> None:
    """The same change of many things."""
    said = script.rng.choice(("ok", "updated", '{"status": "ok"}', "Done.", "", "null"))
    with script.run("agent"):
        for _ in range(script.rng.randint(12, 40)):
            given: dict[str, str | int] = {"id": script.rng.randrange(10_000), "field": "status", "value": "archived"}
            script.use(Use("update_record", given, said))


def batch_of_texts(script: Script) -> None:
    """Letters to many people, in almost the same words."""
    prose = script.prose
    body = prose.paragraph(3, 5)
    with script.run("agent"):
        for _ in range(script.rng.randint(10, 30)):
            person = f"{prose.noun()}@{prose.noun()}.example"
            script.use(Use("send_email", {"to": person, "subject": "Your order", "body": body}, "sent"))


def batch_with_misses(script: Script) -> None:
    """Many things are looked up, and some of them are not there."""
    prose, rng = script.prose, script.rng
    with script.run("agent"):
        for _ in range(rng.randint(15, 40)):
            given = {"email": f"{prose.name()}@{prose.noun()}.example"}
            script.use(Use("lookup_customer", given, "not found" if rng.random() < 0.25 else prose.rows(1, 2)))


def silent_commands(script: Script) -> None:
    """Commands of a shell that say nothing when they succeed."""
    prose = script.prose
    with script.run("coder"):
        for _ in range(script.rng.randint(8, 20)):
            command = script.rng.choice(("mkdir -p", "git add", "rm -f", "touch", "chmod +x"))
            script.use(Use("bash", {"command": f"{command} {prose.path()}"}, ""))
            if script.rng.random() < 0.3:
                script.use(chores.read(prose))


def thinking_aloud(script: Script) -> None:
    """A tool that only takes thoughts and lists of tasks."""
    with script.run("agent"):
        for _ in range(script.rng.randint(6, 14)):
            script.use(Use("think", {"thought": script.prose.paragraph(2, 5)}, ""))
            script.use(chores.use(script.prose))
            script.use(Use("todo_write", {"todos": script.prose.paragraph(2, 4)}, "Todos have been modified."))


def polling_with_progress(script: Script) -> None:
    """A job that is asked for until it is done, and gets on."""
    done = 0
    with script.run("agent"):
        while done < 100:
            done = min(100, done + script.rng.randint(2, 9))
            script.use(Use("check_status", {"job": "job-7"}, f"running, {done} % done"))
            script.wait(5, 30)


def polling_besides(script: Script) -> None:
    """A job that is asked for a few times, while other work is done."""
    with script.run("agent"):
        for _ in range(script.rng.randint(3, 5)):
            script.use(Use("check_status", {"job": "job-7"}, "pending"))
            chores.work(script, script.rng.randint(3, 6))
        script.use(Use("check_status", {"job": "job-7"}, "succeeded"))


def edit_and_test(script: Script) -> None:
    """Edits and tests by turns: fewer fail each time."""
    path, left = script.prose.path(), script.rng.randint(6, 16)
    with script.run("coder"):
        while left:
            script.use(chores.edit(script.prose)._replace(arguments={"path": path, "new": script.prose.code(1, 5)}))
            left -= 1
            script.use(chores.tests(script.prose, 60 - left, left))


def two_retries(script: Script) -> None:
    """Calls that fail twice and succeed the third time, now and then."""
    prose, rng = script.prose, script.rng
    with script.run("agent"):
        for _ in range(rng.randint(2, 4)):
            use = chores.use(prose)
            said = rng.choice(("Error: upstream timed out", "HTTP 503 Service Unavailable", "Error: no answer"))
            for _ in range(rng.randint(1, 2)):
                script.use(use._replace(result=said, fails=True))
                script.wait(1, 4)
            script.use(use)
            chores.work(script, rng.randint(3, 8))


def long_chat(script: Script) -> None:
    """A person and one agent, for many turns."""

    def answer(question: str) -> None:
        with script.run("assistant", question):
            script.say(script.prose.paragraph(1, 6))

    _people(script, script.rng.randint(20, 40), answer)


def chat_in_one_run(script: Script) -> None:
    """A person and one agent in a single run."""
    with script.run("assistant"):
        for _ in range(script.rng.randint(15, 30)):
            script.say(script.prose.paragraph(1, 6), script.prose.question())
            script.wait(8, 60)


def chat_of_two_agents(script: Script) -> None:
    """A person who is passed on to a second agent at each turn."""
    prose = script.prose

    def answer(question: str) -> None:
        with script.run("", question):
            with script.turn("triage", question):
                script.say(f"Passing this on: {prose.sentence()}")
            with script.turn("specialist"):
                script.say(prose.paragraph(1, 5))

    _people(script, script.rng.randint(12, 30), answer)


def chat_with_either(script: Script) -> None:
    """A person whose questions go now to one agent, now to the other."""

    def answer(question: str) -> None:
        with script.run(script.rng.choice(("billing", "shipping")), question):
            script.say(script.prose.paragraph(1, 4))

    _people(script, script.rng.randint(15, 30), answer)


def chat_about_one_order(script: Script) -> None:
    """Every answer begins with a look at the same order."""
    use = Use("lookup_order", {"order_id": "SO-48213"}, f"SO-48213: {script.prose.paragraph(2, 3)}")

    def answer(question: str) -> None:
        with script.run("assistant", question):
            script.use(use)
            script.say(script.prose.paragraph(1, 3))

    _people(script, script.rng.randint(6, 15), answer)


def chat_beside_the_point(script: Script) -> None:
    """A person asks what the agent may not answer, which it says in the same words."""
    refusal = script.prose.canned()

    def answer(question: str) -> None:
        with script.run("assistant", question):
            script.say(refusal if script.rng.random() < 0.6 else script.prose.paragraph())

    _people(script, script.rng.randint(6, 12), answer)


def simulated_person(script: Script) -> None:
    """An agent and a model that plays its user."""
    prose = script.prose
    user = script.rng.choice(("user", "customer", "user_simulator", "Human"))
    with script.run(""):
        for _ in range(script.rng.randint(8, 16)):
            with script.turn(user):
                script.say(prose.question())
            with script.turn("assistant"):
                script.say(prose.paragraph(1, 4))


def group_chat(script: Script) -> None:
    """Three or more agents that discuss something."""
    names = ("architect", "tester", "product", "security")[: script.rng.randint(3, 4)]
    with script.run(""):
        for number in range(script.rng.randint(12, 30)):
            with script.turn(names[number % len(names)]):
                script.say(script.prose.paragraph(2, 6))


def debate(script: Script) -> None:
    """Two agents argue for three rounds, and a third one decides."""
    with script.run(""):
        for _ in range(3):
            for name in ("proponent", "opponent"):
                with script.turn(name):
                    script.say(script.prose.paragraph(3, 8))
        with script.turn("judge"):
            script.say(script.prose.paragraph())


def writer_and_critic(script: Script) -> None:
    """Drafts and reviews of them, a few times."""
    with script.run(""):
        for _ in range(script.rng.randint(3, 5)):
            with script.turn("writer"):
                script.say(script.prose.paragraph(8, 16))
            with script.turn("critic"):
                script.say(script.prose.paragraph(2, 5))


def two_with_tools(script: Script) -> None:
    """Two agents that talk and work by turns."""
    with script.run(""):
        for _ in range(script.rng.randint(8, 16)):
            for name in ("analyst", "engineer"):
                with script.turn(name):
                    if name == "analyst" or script.rng.random() < 0.7:
                        chores.work(script, script.rng.randint(1, 3))
                    script.say(script.prose.paragraph(1, 4))


def two_with_code(script: Script) -> None:
    """One writes code, the other reads it."""
    with script.run(""):
        for _ in range(script.rng.randint(8, 14)):
            with script.turn("coder"):
                script.say(f"{script.prose.sentence()}\n```python\n{script.prose.code()}\n```")
            with script.turn("reviewer"):
                script.say(script.prose.paragraph(1, 4))


def map_and_reduce(script: Script) -> None:
    """Pieces of a text are summed up one by one, then together."""

    def sums_up(number: int) -> Callable[[], None]:
        def act() -> None:
            with script.turn("mapper", script.prose.paragraph(6, 12)):
                script.say(f"Summary of part {number}: {script.prose.paragraph(2, 4)}")

        return act

    parts = [sums_up(number) for number in range(script.rng.randint(10, 30))]
    with script.run(""):
        if script.rng.random() < 0.5:
            script.side_by_side(*parts)
        else:
            for part in parts:
                part()
        with script.turn("reducer"):
            script.say(script.prose.paragraph(4, 8))


def judging_items(script: Script) -> None:
    """One item after the other is given one of few labels."""
    with script.run("judge"):
        for _ in range(script.rng.randint(12, 40)):
            script.say(
                script.rng.choice(("relevant", "relevant", "relevant", "not relevant")), script.prose.paragraph()
            )


def healthy_services(script: Script) -> None:
    """Many services are asked for, and all are well."""
    with script.run("agent"):
        for _ in range(script.rng.randint(12, 30)):
            script.use(Use("check_health", {"service": script.prose.name()}, "healthy"))


def long_coding(script: Script) -> None:
    """A long piece of work."""
    prose, rng = script.prose, script.rng
    files = [prose.path() for _ in range(12)]
    with script.run("coder"):
        for number in range(rng.randint(150, 190)):
            path = rng.choice(files)
            script.use(
                rng.choice(
                    (
                        chores.read(prose)._replace(arguments={"path": path}),
                        chores.grep(prose),
                        chores.edit(prose)._replace(arguments={"path": path, "new": prose.code(1, 6)}),
                        chores.tests(prose, 100 + number, rng.randrange(9)),
                        Use("bash", {"command": f"git diff {path}"}, prose.code(2, 20)),
                    )
                )
            )


def everybody_reads_it(script: Script) -> None:
    """Agents that each read the same file before they begin."""
    use = chores.read(script.prose)
    with script.run(""):
        for number in range(script.rng.randint(5, 9)):
            with script.turn(f"worker_{number}" if script.rng.random() < 0.9 else "worker"):
                script.use(use)
                chores.work(script, script.rng.randint(2, 6))


def rounds_of_workers(script: Script) -> None:
    """A supervisor that asks each of its workers once a round."""
    prose = script.prose

    def says() -> str:
        text = prose.paragraph(2, 5)
        script.say(text)
        return text

    with script.run("supervisor"):
        for number in range(script.rng.randint(3, 6)):
            for worker in ("researcher", "analyst", "writer"):
                script.ask(worker, f"Round {number}: {prose.sentence()}", says)
        script.say(prose.paragraph())


def overlapping_passages(script: Script) -> None:
    """Other questions that find some of the same passages."""
    prose, rng = script.prose, script.rng
    passages = [prose.paragraph(2, 3) for _ in range(8)]

    def answer(question: str) -> None:
        with script.run("assistant", question):
            script.use(Use("vector_search", {"query": question, "limit": 5}, "\n---\n".join(rng.sample(passages, 5))))
            script.say(prose.paragraph(1, 3))

    _people(script, rng.randint(8, 16), answer)


def clicking_through(script: Script) -> None:
    """A browser that scrolls and looks, scrolls and looks."""
    with script.run("browser_agent"):
        for _ in range(script.rng.randint(6, 12)):
            script.use(Use("scroll", {"direction": "down"}, "ok"))
            script.use(Use("get_page", {}, script.prose.hits(3, 6)))


def exploring_tables(script: Script) -> None:
    """Queries that are alike, with other rows each time."""
    table, column = script.prose.name(), script.prose.name()
    with script.run("analyst"):
        for month in range(1, script.rng.randint(8, 13)):
            sql = f"SELECT count(*), sum({column}) FROM {table} WHERE month = {month} AND region = 'EU'"
            script.use(Use("run_sql", {"sql": sql}, f"{script.rng.randrange(90_000)} | {script.rng.randrange(10**7)}"))


def the_same_question_again(script: Script) -> None:
    """A person asks three times, because the answer did not help."""
    question = script.prose.question()
    for _ in range(3):
        with script.run("assistant", question):
            script.use(chores.search(script.prose))
            script.say(script.prose.paragraph(1, 3))
        script.wait(10, 60)


def many_small_runs(script: Script) -> None:
    """Ordinary runs of one session."""
    for _ in range(script.rng.randint(3, 6)):
        with script.run("agent"):
            chores.work(script, script.rng.randint(1, 8))
            script.say(script.prose.paragraph(1, 5))
        script.wait(8, 90)


BUSY: tuple[Callable[[Script], None], ...] = (
    paging, paging_by_cursor, reading_on, batch_with_ok, batch_of_texts, batch_with_misses, silent_commands,
    thinking_aloud, polling_with_progress, polling_besides, edit_and_test, two_retries, long_chat, chat_in_one_run,
    chat_of_two_agents, chat_with_either, chat_about_one_order, chat_beside_the_point, simulated_person, group_chat,
    debate, writer_and_critic, two_with_tools, two_with_code, map_and_reduce, judging_items, healthy_services,
    long_coding, everybody_reads_it, rounds_of_workers, overlapping_passages, clicking_through, exploring_tables,
    the_same_question_again, many_small_runs,
)  # fmt: skip
