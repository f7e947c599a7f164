"""An agent with a real SDK, our client and telemetry against the product: stopped at its ceiling, counted once."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from agentops.client import BudgetExceeded, Guard, Stopped
from tests.client.sdks import MESSAGES, for_ever, legacy_openai_of
from tests.client.servers import INPUT, OUTPUT, ScriptedProvider
from tests.e2e.conftest import ADMIN, Site
from tests.e2e.traffic import span

pytestmark = pytest.mark.browser  # beside those: it needs the served product
SERVICE = "guarded-agent"
#: What one call of the scripted provider costs at gpt-4o's public price.
CACHED = 100
COST = ((INPUT - CACHED) * Decimal("2.5") + CACHED * Decimal("1.25") + OUTPUT * Decimal(10)) / 10**6


class Api:
    """The operator's side."""

    def __init__(self, site: Site) -> None:
        self._url = f"{site.url}/api/v1"
        token = site.manage("create_token", "--user", ADMIN, "--scope", "write").strip().splitlines()[-1]
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def __call__(self, method: str, address: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self._url}/{address}", content, self._headers, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def api(site: Site) -> Api:
    return Api(site)


def unique_ids() -> Iterator[str]:
    """Ids of answers as real providers have them."""
    while True:
        yield f"chatcmpl-{secrets.token_hex(14)}"


def test_a_runaway_agent_is_stopped_at_its_ceiling_and_its_spans_count_once(site: Site, api: Api) -> None:
    scope = {"service": SERVICE}
    limit = Decimal("0.05")
    budget = api("POST", "budgets", {"scope": scope, "period": "day", "limit_usd": str(limit), "action": "stop"})
    answers: list[Any] = []
    with ScriptedProvider() as provider, Guard(site.url, site.sender.key, SERVICE) as guard:
        client = legacy_openai_of(guard, provider)
        provider.ids = unique_ids()

        def call() -> None:
            answers.append(client.chat.completions.create(model="gpt-4o", max_tokens=500, messages=MESSAGES))

        with guard.run(session="s-1", user="ana") as run, pytest.raises(BudgetExceeded) as stopped:
            for_ever(call)
        client.close()
        made = len(provider.calls)
    assert str(budget["id"]) in str(stopped.value)
    position = api("GET", f"budgets/{budget['id']}/position")
    assert Decimal(position["spent"]) == made * COST
    assert Decimal(position["spent"]) <= limit
    assert position["reserved"] == "0"
    assert position["refused"] == 1
    spans = [
        span(
            "chat gpt-4o",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.response.id": answer.id,
                "gen_ai.usage.input_tokens": INPUT,
                "gen_ai.usage.cache_read.input_tokens": CACHED,
                "gen_ai.usage.output_tokens": OUTPUT,
            },
            trace=run.id,
        )
        for answer in answers
    ]
    site.sender.send(SERVICE, *spans)
    site.sender.send(SERVICE, *spans)
    assert api("GET", f"budgets/{budget['id']}/position")["spent"] == position["spent"]
    told = api("GET", f"runs/{run.id}")
    assert (told["user"], told["session"]) == ("ana", "s-1")
    assert Decimal(told["cost_usd"]) == made * COST


def test_a_raised_ceiling_and_a_lifted_kill_switch_let_the_agent_go_on(site: Site, api: Api) -> None:
    with ScriptedProvider() as provider, Guard(site.url, site.sender.key, "stopped-agent") as guard:
        client = legacy_openai_of(guard, provider)
        with guard.run(session="s-2"):
            api("POST", "guard/stop", {"session": "s-2", "reason": "it writes to customers"})
            with pytest.raises(Stopped, match="it writes to customers"):
                client.chat.completions.create(model="gpt-4o", max_tokens=500, messages=MESSAGES)
            api("DELETE", "guard/stop?session=s-2")
            client.chat.completions.create(model="gpt-4o", max_tokens=500, messages=MESSAGES)
        client.close()
        assert len(provider.calls) == 1


def test_a_wrong_key_is_a_clear_error(site: Site) -> None:
    headers = {"authorization": "Bearer agk_wrong"}
    asked = urllib.request.Request(f"{site.url}/api/v1/guard/check", b'{"step": {"kind": "llm"}}', headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=30)
    assert refused.value.code == 401
    assert refused.value.headers["content-type"] == "application/problem+json"
    refused.value.close()
