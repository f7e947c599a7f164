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

CLIENTS, USERS, SESSIONS, RUNS = 50, 20, 5, 97
RESERVATIONS = int(os.environ.get("AGENTOPS_CHAOS_RESERVATIONS", "4000"))
KILLS = 5
COST, NANO = 10**7, 10**9
#: Shares of the steps that nobody settles, that are settled when their time is over, and whose spans are sent.
FORGOTTEN, LATE, TOLD = 0.05, 0.02, 0.25
SERVICE = "chaos-guard"
#: Every step counts in each of these: of all, of its user, of its session, of two services together, of its run.
BUDGETS: tuple[dict[str, Any], ...] = (
    {"name": "hot", "scope": {"service": SERVICE}, "period": "total", "limit_usd": str(RESERVATIONS * 0.4 / 100)},
    {"name": "users", "each": "user", "period": "day", "limit_usd": str(RESERVATIONS * 0.03 / 100)},
    {"name": "sessions", "period": "session", "limit_steps": RESERVATIONS // 10},
    {"name": "shared", "scope": {"services": [SERVICE, "other"]}, "period": "week", "limit_usd": "1000"},
    {"name": "runs", "period": "run", "limit_tokens": 100_000},
)
# What was settled when its time was over may be above a limit, and nothing else here.
PASSED = """
WITH late AS (
    SELECT (w ->> 0)::bigint AS budget_id, w ->> 1 AS member, to_timestamp((w ->> 2)::bigint) AS starts_at,
        sum(spent_nano) AS nano, sum(spent_steps) AS steps
    FROM budget_reservation, jsonb_array_elements(windows) AS w WHERE is_late GROUP BY 1, 2, 3
)
SELECT b.name, w.member, w.spent_nano, w.reserved_nano, w.spent_steps, w.reserved_steps, l.nano, l.steps
FROM budget_window w JOIN budgets_budget b ON b.id = w.budget_id LEFT JOIN late l USING (budget_id, member, starts_at)
WHERE w.spent_nano + w.reserved_nano > b.limit_nano + coalesce(l.nano, 0)
    OR w.spent_steps + w.reserved_steps > b.limit_steps + coalesce(l.steps, 0)
    OR least(w.spent_nano, w.reserved_nano, w.spent_steps, w.reserved_steps) < 0
"""
WINDOWS = """
WITH rows AS (
    SELECT (w ->> 0)::bigint AS budget_id, w ->> 1 AS member, to_timestamp((w ->> 2)::bigint) AS starts_at,
        sum(held_nano) FILTER (WHERE state = 0) AS held, sum(held_steps) FILTER (WHERE state = 0) AS held_steps,
        sum(spent_nano) FILTER (WHERE state = 1 AND NOT is_counted) AS spent,
        sum(spent_steps) FILTER (WHERE state = 1 AND NOT is_counted) AS steps
    FROM budget_reservation, jsonb_array_elements(windows) AS w GROUP BY 1, 2, 3
), told AS (
    SELECT w.budget_id, w.member, w.starts_at, sum(s.cost_nano) AS nano, count(*) AS steps
    FROM budget_window w JOIN budgets_budget b ON b.id = w.budget_id
    JOIN spans s ON s.counted_at >= GREATEST(w.starts_at, b.counts_from)
        AND s.counted_at < coalesce(w.ends_at, 'infinity')
    JOIN runs r ON r.trace_id = s.trace_id AND r.service = s.service
    WHERE w.member = CASE WHEN b.each = 'user' THEN r."user" WHEN 'session' IN (b.each, b.period) THEN r.session
        WHEN 'run' IN (b.each, b.period) THEN encode(r.trace_id, 'hex') ELSE '' END
    GROUP BY 1, 2, 3
)
SELECT b.name, w.member, w.spent_nano, w.reserved_nano, w.spent_steps, w.reserved_steps,
    coalesce(r.spent, 0) + coalesce(t.nano, 0), coalesce(r.held, 0), coalesce(r.steps, 0) + coalesce(t.steps, 0),
    coalesce(r.held_steps, 0)
FROM budget_window w JOIN budgets_budget b ON b.id = w.budget_id
LEFT JOIN rows r USING (budget_id, member, starts_at) LEFT JOIN told t USING (budget_id, member, starts_at)
"""
COUNTS = """
SELECT count(*), count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE is_late),
    count(*) FILTER (WHERE is_counted), (SELECT count(*) FROM spans) FROM budget_reservation
"""


class Told(Counter[str]):
    """What clients were told, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def note(self, what: str, count: int = 1) -> None:
        with self._lock:
            self[what] += count


class Agent(threading.Thread):
    """One client: it asks, sometimes again, and settles, sometimes twice, sometimes late or never."""

    def __init__(self, instance: Instance, seed: str, todo: list[int], told: Told) -> None:
        super().__init__()
        self._instance, self._rng, self._todo, self._told = instance, random.Random(seed), todo, told
        self._connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=20)

    def run(self) -> None:
        while True:
            try:
                number = self._todo.pop()
            except IndexError:
                break
            self._make(number)
        self._connection.close()

    def _make(self, number: int) -> None:
        rng, run = self._rng, number % RUNS
        fate = rng.random()
        asked = {
            "service": SERVICE,
            "run": f"{run + 1:032x}",
            "session": f"session {run % SESSIONS}",
            "user": f"user {run % USERS}",
            "step": {"kind": "llm", "model": "m"},
            "estimate": {"cost_usd": str(COST / NANO), "input_tokens": 5, "max_output_tokens": 5},
            "idempotency_key": uuid.uuid4().hex,
            "ttl_seconds": 1 if fate < FORGOTTEN + LATE else 600,
        }
        answer = self._post("/api/v1/guard/check", asked)
        if rng.random() < 0.1:
            again = self._post("/api/v1/guard/check", asked)
            self._told.note("retried")
            if answer["decision"] != "stop":
                self._told.note("differs", again != answer)
            answer = again
        self._told.note(answer["decision"])
        if answer["reservation"] is None or fate < FORGOTTEN:
            self._told.note("forgotten", answer["reservation"] is not None)
            return
        if fate < FORGOTTEN + LATE:
            time.sleep(2.2)
        self._end(number, answer["reservation"])

    def _end(self, number: int, reservation: str) -> None:
        rng = self._rng
        ends = ["settle"] * (2 if rng.random() < 0.1 else 1)
        if rng.random() < TOLD:
            ends = rng.choice([["tell"], ["tell", *ends], [*ends, "tell"], [*ends, "tell", "tell"]])
        for end in ends:
            if end == "settle":
                self._settle(reservation)
            else:
                self._post("/v1/traces", _span(number, reservation))

    def _settle(self, reservation: str) -> None:
        usage = {"input_tokens": 5, "output_tokens": 5}
        said = {"reservation": reservation, "cost_usd": str(COST / NANO), "usage": usage}
        self._told.note("late", self._post("/api/v1/guard/settle", said)["late"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask until there is an answer: what was asked before has the same one."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        headers = {"authorization": f"Bearer {self._instance.key}", "content-type": "application/json"}
        while True:
            try:
                self._connection.request("POST", path, json.dumps(body), headers)
                answer = self._connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                self._told.note("lost")
            else:
                self._told.note(str(answer.status))
                if answer.status == http.client.OK:
                    return json.loads(content)
            assert time.monotonic() < deadline, "no answer in time"
            time.sleep(0.05)


class Watcher(threading.Thread):
    """Looks at the windows all the time: in no snapshot may one be passed."""

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self._url, self.is_over = instance.database_url, threading.Event()
        self.looks, self.passed = 0, list[Any]()

    def run(self) -> None:
        while not self.is_over.is_set():
            with suppress(psycopg.Error), psycopg.connect(self._url, autocommit=True, connect_timeout=3) as database:
                while not self.is_over.wait(0.1):
                    self.passed += database.execute(PASSED).fetchall()
                    self.looks += 1
            self.is_over.wait(0.2)


@pytest.mark.parametrize("instance", [2], indirect=True)
def test_no_number_of_clients_and_no_kill_passes_a_ceiling(instance: Instance) -> None:
    seed = os.environ.get("AGENTOPS_CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")  # noqa: T201  (so that a failure can be had again)
    _make_budgets(instance)
    todo, told, watcher = list(range(RESERVATIONS)), Told(), Watcher(instance)
    agents = [Agent(instance, f"{seed}-{n}", todo, told) for n in range(CLIENTS)]
    began = time.monotonic()
    for thread in (watcher, *agents):
        thread.start()
    _kill(instance, random.Random(seed), todo)
    for agent in agents:
        agent.join(timeout=4 * RECOVERY_SECONDS)
        assert not agent.is_alive()
    took = time.monotonic() - began
    instance.wait()
    _wait_for_what_is_forgotten(instance)
    watcher.is_over.set()
    watcher.join()
    print(f"{RESERVATIONS} in {took:.1f} s, {watcher.looks} looks: {dict(told)}")  # noqa: T201
    assert watcher.looks > 20
    assert watcher.passed == []
    assert "500" not in told
    assert all(told[one] for one in ("stop", "lost", "late", "retried", "forgotten"))
    assert told["differs"] == 0
    _windows_are_their_rows(instance, told)


def _kill(instance: Instance, rng: random.Random, todo: list[int]) -> None:
    """Kill web workers at random, and the postmaster once."""
    marks = sorted((rng.randrange(RESERVATIONS) for _ in range(KILLS)), reverse=True)
    for place, mark in enumerate(marks):
        while len(todo) > mark:
            time.sleep(0.05)
        kind = "postmaster" if place == KILLS // 2 else "web"
        if victims := instance.victims()[kind]:
            with suppress(psutil.NoSuchProcess):
                rng.choice(victims).kill()


def _wait_for_what_is_forgotten(instance: Instance) -> None:
    """Return once nothing is held any more: somebody looks for what has expired."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    with psycopg.connect(instance.database_url, autocommit=True) as database:
        while database.execute("SELECT FROM budget_reservation WHERE state = 0 LIMIT 1").fetchall():
            assert time.monotonic() < deadline, "what has expired is still held"
            time.sleep(0.2)


def _windows_are_their_rows(instance: Instance, told: Told) -> None:
    with psycopg.connect(instance.database_url) as database:
        rows = database.execute(WINDOWS).fetchall()
        counts = database.execute(COUNTS).fetchone()
    assert {row[0] for row in rows} == {"Any run", "Any session", *(one["name"] for one in BUDGETS)}
    for name, member, *amounts in rows:
        assert amounts[:4] == [int(one) for one in amounts[4:]], (name, member)
    assert counts is not None
    granted, held, late, counted, spans = counts
    assert granted == told["allow"] + told["warn"]
    assert held == 0
    assert late
    assert counted == spans
    assert spans > 0


def _span(number: int, reservation: str) -> dict[str, Any]:
    """The step of a reservation as its span tells it: it has needed less than was held for it."""
    now = time.time_ns()
    said: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 5,
        "agentops.reservation.id": reservation,
    }
    span = {
        "traceId": f"{number % RUNS + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "name": "chat gpt-4o",
        "kind": 3,
        "startTimeUnixNano": str(now - 10**6),
        "endTimeUnixNano": str(now),
        "attributes": [
            {"key": key, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
            for key, value in said.items()
        ],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": SERVICE}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "chaos"}, "spans": [span]}]}]}


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
