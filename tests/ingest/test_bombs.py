"""No body makes the receiver take much more memory than the body itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ingest.payloads import BOMBS, MIB

ROOT = Path(__file__).resolve().parent.parent.parent
MOST_GROWTH = 64 * MIB


@pytest.mark.slow
def test_no_bomb_takes_more_than_64_mib_or_is_anything_but_an_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.ingest.bombs"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in found] == list(BOMBS)
    assert [line for line in found if line["grown"] > MOST_GROWTH] == []
    assert [line for line in found if line["status"] not in {200, 400, 413}] == []
