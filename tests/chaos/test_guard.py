"""Very many clients, overlapping budgets, killed processes: no ceiling is passed, and windows are their rows."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from typing import Any

import psutil
import psycopg
import pytest

from tests.chaos.conftest import RECOVERY_SECONDS, Instance

pytestmark = pytest.mark.slow

CLIENTS, USERS = 50, 20
RESERVATIONS = int(os.environ.get("AGENTOPS_CHAOS_RESERVATIONS", "3000"))
KILLS = 5
COST, NANO = "0.01", 10**9
SERVICE = "chaos-guard"
#: Every step counts in each of these: of all, of its user, of its session, of two services together, of its run.
BUDGETS: tuple[dict[str, Any], ...] = (
    {"name": "hot", "scope": {"service": SERVICE}, "period": "total", "limit_usd": str(RESERVATIONS * 0.4 / 100)},
    {"name": "users", "each": "user", "period": "day", "limit_usd": str(RESERVATIONS * 0.03 / 100)},
    {"name": "sessions", "period": "session", "limit_steps": RESERVATIONS // 6},
    {"name": "shared", "scope": {"services": [SERVICE, "other"]}, "period": "week", "limit_usd": "1000"},
    {"name": "runs", "period": "run", "limit_tokens": 100_000},
)
WINDOWS = """
WITH rows AS (
    SELECT (w ->> 0)::bigint AS budget_id, w ->> 1 AS member, to_timestamp((w ->> 2)::bigint) AS starts_at,
        sum(held_nano) FILTER (WHERE state = 0) AS held, sum(spent_nano) FILTER (WHERE state = 1) AS spent,
        sum(held_steps) FILTER (WHERE state = 0) AS held_steps, sum(spent_steps) FILTER (WHERE state = 1) AS steps
    FROM budget_reservation, jsonb_array_elements(windows) AS w GROUP BY 1, 2, 3
)
SELECT b.name, w.member, w.spent_nano, w.reserved_nano, w.spent_steps, w.reserved_steps, b.limit_nano, b.limit_steps,
    coalesce(r.spent, 0), coalesce(r.held, 0), coalesce(r.steps, 0), coalesce(r.held_steps, 0)
FROM budget_window w JOIN budgets_budget b ON b.id = w.budget_id
LEFT JOIN rows r USING (budget_id, member, starts_at)
"""


class Agent(threading.Thread):
    """One client: it asks, sometimes again, and settles, sometimes twice, sometimes never."""

    def __init__(self, instance: Instance, seed: str, todo: list[int], told: Counter[str]) -> None:
        super().__init__()
        self._instance, self._rng, self._todo, self._told = instance, random.Random(seed), todo, told
        self._connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=20)
        self.differing = 0

    def run(self) -> None:
        rng = self._rng
        while True:
            try:
                number = self._todo.pop()
            except IndexError:
                break
            is_forgotten = rng.random() < 0.05
            asked = {
                "service": SERVICE,
                "run": f"{number % 97 + 1:032x}",
                "session": f"session {number % 5}",
                "user": f"user {number % USERS}",
                "step": {"kind": "llm", "model": "m"},
                "estimate": {"cost_usd": COST, "input_tokens": 5, "max_output_tokens": 5},
                "idempotency_key": uuid.uuid4().hex,
                "ttl_seconds": 1 if is_forgotten else 600,
            }
            answer = self._post("check", asked)
            if rng.random() < 0.1:
                again = self._post("check", asked)
                if answer["decision"] != "stop":
                    self.differing += again["reservation"] != answer["reservation"]
                    self._told["retried"] += 1
                else:
                    answer = again
            self._told[answer["decision"]] += 1
            if answer["reservation"] is None or is_forgotten:
                continue
            said = {"reservation": answer["reservation"], "cost_usd": COST, "usage": {"input_tokens": 10}}
            for _ in range(2 if rng.random() < 0.1 else 1):
                self._post("settle", said)
        self._connection.close()

    def _post(self, what: str, body: dict[str, Any]) -> Any:
        """Ask until there is an answer: what was asked before has the same one."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        headers = {"authorization": f"Bearer {self._instance.key}", "content-type": "application/json"}
        while True:
            try:
                self._connection.request("POST", f"/api/v1/guard/{what}", json.dumps(body), headers)
                answer = self._connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                self._told["lost"] += 1
            else:
                self._told[str(answer.status)] += 1
                if answer.status == http.client.OK:
                    return json.loads(content)
            assert time.monotonic() < deadline, "no answer in time"
            time.sleep(0.05)


@pytest.mark.parametrize("instance", [2], indirect=True)
def test_no_number_of_clients_and_no_kill_passes_a_ceiling(instance: Instance) -> None:
    seed = os.environ.get("AGENTOPS_CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")  # noqa: T201  (so that a failure can be had again)
    rng = random.Random(seed)
    _make_budgets(instance)
    todo, told = list(range(RESERVATIONS)), Counter[str]()
    agents = [Agent(instance, f"{seed}-{n}", todo, told) for n in range(CLIENTS)]
    began = time.monotonic()
    for agent in agents:
        agent.start()
    marks = sorted((rng.randrange(RESERVATIONS) for _ in range(KILLS)), reverse=True)
    for place, mark in enumerate(marks):
        while len(todo) > mark:
            time.sleep(0.05)
        kind = "postmaster" if place == KILLS // 2 else "web"
        if victims := instance.victims()[kind]:
            with suppress(psutil.NoSuchProcess):
                rng.choice(victims).kill()
    for agent in agents:
        agent.join(timeout=4 * RECOVERY_SECONDS)
        assert not agent.is_alive()
    took = time.monotonic() - began
    instance.wait()
    time.sleep(2.5)  # what was forgotten has expired, and somebody has looked
    print(f"{RESERVATIONS} in {took:.1f} s: {dict(told)}")  # noqa: T201
    assert "500" not in told
    assert told["stop"]
    assert told["lost"]
    assert sum(agent.differing for agent in agents) == 0
    with psycopg.connect(instance.database_url) as database:
        rows = database.execute(WINDOWS).fetchall()
        granted = database.execute("SELECT count(*) FROM budget_reservation").fetchone()
        open_ = database.execute("SELECT count(*) FROM budget_reservation WHERE state = 0").fetchone()
    assert len({row[0] for row in rows}) == len(BUDGETS) + 2
    for name, member, spent, held, steps, held_steps, limit, limit_steps, *sums in rows:
        assert [spent, held, steps, held_steps] == [int(one) for one in sums], (name, member)
        assert limit is None or spent + held <= limit, (name, member)
        assert limit_steps is None or steps + held_steps <= limit_steps, (name, member)
    assert granted == (told["allow"] + told["warn"],)
    assert open_ == (0,)


def _make_budgets(instance: Instance) -> None:
    token = instance.manage("create_token", "--user", "admin", "--scope", "write")
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=20)
    for wanted in BUDGETS:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        connection.request("POST", "/api/v1/budgets", json.dumps({"action": "stop", **wanted}), headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()
    connection.close()
