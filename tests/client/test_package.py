"""What is installed: a wheel whose client needs httpx and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.client.servers import ScriptedGuard

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
#: Imports what it is given a path of, with nothing at hand that only the server or an SDK needs.
USE = """
import sys
home, url, *allowed = sys.argv[1:]
from importlib.abc import MetaPathFinder
class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
sys.path.insert(0, home)
import agentops.client
assert agentops.client.__file__.startswith(home), agentops.client.__file__
with agentops.client.Guard(url, "agk_test") as guard, guard.run("r-1") as run, run.step("llm", model="m") as step:
    step.settle(input_tokens=1, output_tokens=1)
print(sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__"}))
"""
#: httpx and what it stands on.
ALLOWED = ["agentops", "httpx", "httpcore", "h11", "h2", "hpack", "hyperframe", "anyio", "certifi", "idna", "sniffio"]
ALLOWED += ["typing_extensions"]


def run(*arguments: str, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("wheel")
    return home / run(str(home), code=BUILD).splitlines()[-1]


def test_only_httpx_is_required_and_the_server_s_needs_are_an_extra(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        facts = Parser().parsestr(archive.read(name).decode())
    required = facts.get_all("Requires-Dist") or []
    assert [line.partition(">")[0] for line in required if "extra ==" not in line] == ["httpx"]
    server = {line.partition(";")[0].strip() for line in required if "extra == 'server'" in line}
    locked = (ROOT / "requirements.in").read_text().split()
    assert {_name(line) for line in server} == {_name(line) for line in locked}
    assert facts.get_all("Provides-Extra") == ["server"]


def _name(requirement: str) -> str:
    return requirement.replace("[", "~").partition("~")[0].lower()


def test_the_installed_client_works_without_the_server_s_needs(
    wheel: Path, tmp_path: Path, server: ScriptedGuard
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    loaded = run(str(tmp_path), server.url, *ALLOWED, code=USE)
    assert "django" not in loaded
    assert "opentelemetry" not in loaded
    assert "'httpx'" in loaded
    assert [told["usage"] for told in server.settled] == [{"input_tokens": 1, "output_tokens": 1}]
    assert (tmp_path / "agentops" / "ingest" / "receiver.py").exists()
