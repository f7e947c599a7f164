"""Ordinary work of agents, one tool call after the other: no two of them alike but by chance."""

from __future__ import annotations

from collections.abc import Callable

from agentops.demo.prose import Prose
from agentops.demo.script import Script, Use


def work(script: Script, steps: int) -> None:
    """So many tool calls as a run of one kind of agent has them."""
    does = script.rng.choice((_coding, _coding, _research, _support, _analysis))
    for _ in range(steps):
        script.use(does(script.prose))


def use(prose: Prose) -> Use:
    """Any call of a tool, with a result that is information."""
    return prose.rng.choice(_ANY)(prose)


def search(prose: Prose) -> Use:
    """A search on the web."""
    return Use("web_search", {"query": f"{prose.noun()} {prose.name()} {prose.noun()}"}, prose.hits())


def read(prose: Prose) -> Use:
    """A look into a file."""
    return Use("read_file", {"path": prose.path()}, prose.code())


def grep(prose: Prose) -> Use:
    """A search in files that finds something."""
    pattern = prose.name()
    found = "\n".join(f"{prose.path()}:{prose.rng.randrange(900)}: {pattern}" for _ in range(prose.rng.randint(1, 9)))
    return Use("grep", {"pattern": pattern, "path": prose.noun()}, found)


def query(prose: Prose) -> Use:
    """A query of a database."""
    what, least = f"{prose.name()}, sum({prose.noun()})", prose.rng.randrange(99)
    sql = f"SELECT {what} FROM {prose.name()} WHERE {prose.noun()} > {least}"
    return Use("run_sql", {"sql": sql}, prose.rows())


def edit(prose: Prose) -> Use:
    """A change of a file."""
    path = prose.path()
    return Use("edit_file", {"path": path, "old": prose.code(1, 4), "new": prose.code(1, 6)}, f"edited {path}")


def tests(prose: Prose, passed: int, failed: int) -> Use:
    """A run of tests."""
    took = prose.rng.randrange(900) / 100
    names = "\n".join(f"FAILED tests/test_{prose.name()}.py::test_{prose.noun()}" for _ in range(failed))
    said = f"{names}\n{f'{failed} failed, ' if failed else ''}{passed} passed in {took:.2f}s"
    return Use("run_tests", {"path": "tests"}, said, fails=False)


def _coding(prose: Prose) -> Use:
    rng = prose.rng
    does: Callable[[Prose], Use] = rng.choice((read, read, grep, edit, _run))
    if rng.random() < 0.15:
        return tests(prose, rng.randrange(900), rng.randrange(6))
    return does(prose)


def _run(prose: Prose) -> Use:
    command = prose.rng.choice(("python -m", "git diff", "ls", "git log -n 5 --", "wc -l", "head -n 40"))
    return Use("bash", {"command": f"{command} {prose.path()}"}, prose.log(1, 8))


def _research(prose: Prose) -> Use:
    if prose.rng.random() < 0.5:
        return search(prose)
    return Use("fetch_page", {"url": f"https://{prose.noun()}.example/{prose.name()}"}, prose.paragraph(4, 20))


def _support(prose: Prose) -> Use:
    rng = prose.rng
    order = f"SO-{rng.randrange(10_000, 99_999)}"
    return rng.choice(
        (
            Use("lookup_order", {"order_id": order}, f"{order}: {rng.randrange(1, 9)} items. {prose.sentence()}"),
            Use("search_articles", {"query": prose.question()}, prose.hits(1, 4)),
            Use("lookup_customer", {"email": f"{prose.noun()}@{prose.noun()}.example"}, prose.rows(1, 2)),
            Use("issue_refund", {"order_id": order, "cents": rng.randrange(90_000)}, "accepted"),
        )
    )


def _analysis(prose: Prose) -> Use:
    if prose.rng.random() < 0.3:
        return Use("describe_table", {"table": prose.name()}, prose.rows())
    return query(prose)


_ANY = (search, read, grep, query, _run, _support)
