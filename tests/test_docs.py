"""What the documents say is true: commands, variables, links, tests and the first trace."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from agentops.accounts.actions import create_ingest_key
from agentops.costs.models import Dimension, SpendDaily
from agentops.domain.dialects.normalise import DIALECTS
from agentops.domain.dialects.page import page
from agentops.front import build
from agentops.runs.models import Run
from tests.ingest.asgi import Answer, call

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
#: What the code reads; not what only tests read.
SOURCES = [*ROOT.glob("agentops/**/*.py"), *ROOT.glob("docker/*"), ROOT / "tests" / "conftest.py"]
VARIABLE = re.compile(r"AGENTOPS_[A-Z]+(?:_[A-Z]+)*")


def each_document(function: object) -> object:
    return pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))(function)


def test_the_example_lists_every_variable_and_no_other() -> None:
    listed = re.findall(r"^#?(AGENTOPS_[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    read = {name for path in SOURCES if path.is_file() for name in VARIABLE.findall(path.read_text())}
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == read


@each_document
def test_documents_name_only_variables_that_exist(document: Path) -> None:
    listed = set(VARIABLE.findall((ROOT / ".env.example").read_text()))
    assert set(VARIABLE.findall(document.read_text())) <= listed


@each_document
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert [link for link in broken if not link.startswith("docs/images/")] == []


def test_the_page_about_dialects_says_what_the_tables_say() -> None:
    made = page()
    assert (ROOT / "docs" / "dialects.md").read_text() == made, "manage.py dialects > docs/dialects.md"
    for dialect in DIALECTS:
        assert f"## {dialect.name}\n" in made
        for name in (dialect.mark, *dialect.scopes, *dialect.names, *dialect.readers):
            assert f"`{name}`" in made or not name, name


@each_document
def test_tests_that_documents_rely_on_exist(document: Path) -> None:
    for path, name in re.findall(r"(tests/[\w/]+(?:\.py)?)(?:::(\w+))?", document.read_text()):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), name


@each_document
def test_commands_that_documents_name_exist(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^ {4}|`)(?:\w+=\S+ )*make ([a-z]+)", text, re.MULTILINE)) <= targets
    commands = {path.stem for path in (ROOT / "agentops" / "management" / "commands").glob("[a-z]*.py")}
    assert set(re.findall(r"manage(?:\.py)? (create_\w+|up|demo|prepare)", text)) <= commands


def test_the_architecture_names_every_part_of_the_house() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    parts = {
        path.stem for path in (ROOT / "agentops").iterdir() if path.name[0] not in "_." and path.name != "py.typed"
    }
    assert {part for part in parts if f"`{part}`" not in text} == set()


def test_the_manual_lists_every_metric_and_no_other() -> None:
    source = (ROOT / "agentops" / "dashboard" / "metrics.py").read_text()
    kinds = re.findall(r"(Counter|Gauge)MetricFamily\(\s*f\"{PREFIX}_(\w+)\"", source)
    names = {f"agentops_{name}{'_total' if kind == 'Counter' else ''}" for kind, name in kinds}
    manual = re.findall(r"^\| (`agentops_.*?) \|", (ROOT / "docs" / "operate.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(agentops_\w+)", " ".join(manual))) == names


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_readme_fits_on_a_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def curl_of(document: Path, key: str, directory: Path) -> tuple[dict[str, str], bytes]:
    """What the document's shell commands would send: a stand-in for curl writes down its arguments."""
    found = re.search(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
    assert found is not None
    curl = directory / "curl"
    curl.write_text('#!/bin/sh\nfor argument; do printf "%s\\0" "$argument"; done\n')
    curl.chmod(0o755)
    script = found[1].replace("KEY=agk_…", f"KEY={key}")
    sent = subprocess.run(["sh", "-euc", f'PATH="{directory}:$PATH"\n{script}'], capture_output=True, check=True).stdout
    words = sent.decode().split("\0")[:-1]
    assert words[0] == "http://127.0.0.1:8000/v1/traces"
    given = list(zip(words[1::2], words[2::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in given if option == "-H")
    return headers, next(value for option, value in given if option == "-d").encode()


async def send(headers: dict[str, str], body: bytes) -> Answer:
    """Through the whole application of a web process, from its start to its end."""
    application = build()
    answer = await call(application, body, headers=headers)
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def ignore(message: object) -> None:
        del message

    await application({"type": "lifespan"}, receive, ignore)
    return answer


@pytest.mark.django_db(transaction=True)
def test_the_first_trace_of_the_readme_is_booked_at_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "STATIC_ROOT", tmp_path)
    headers, body = curl_of(ROOT / "README.md", create_ingest_key(name="readme"), tmp_path)
    answer = asyncio.run(send(headers, body))
    assert (answer.status, answer.body) == (200, b"{}")
    run = Run.objects.get(service="my-agent")
    assert (run.cost_nano, run.user, run.llm_calls) == (6_000_000, "ada", 1)
    spend = SpendDaily.objects.get(dimension=Dimension.MODEL, service="my-agent")
    assert (spend.key, spend.cost_nano) == ("gpt-4o", 6_000_000)
