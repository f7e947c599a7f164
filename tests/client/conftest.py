"""A scripted guard, a scripted provider, and a client between them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from agentops.client import Guard
from tests.client.servers import ScriptedGuard, ScriptedProvider


@pytest.fixture
def server() -> Iterator[ScriptedGuard]:
    with ScriptedGuard() as running:
        yield running


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def guard(server: ScriptedGuard) -> Iterator[Guard]:
    """A client with more patience than it needs: the machine may be busy."""
    with Guard(server.url, "agk_test", "checkout", timeout=10) as connected:
        yield connected


@pytest.fixture
def hasty(server: ScriptedGuard) -> Iterator[Guard]:
    """A client that gives up on a guard that hangs, for the tests' sake, after a second."""
    with Guard(server.url, "agk_test", "checkout", timeout=1) as connected:
        yield connected


@pytest.fixture
def anyio_backend() -> str:
    """Tests that are coroutines run on asyncio, as agents do."""
    return "asyncio"


#: LiteLLM asks the network for its prices when it is imported, unless it is told not to.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
