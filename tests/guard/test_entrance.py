"""The guard's entrance with a real desk: keys, bodies, a database that goes away, desks that work at the same time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from itertools import count
from queue import Queue
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client as DjangoClient

from agentops.accounts.actions import create_ingest_key
from agentops.guard import grants
from agentops.guard.desk import Desk, Question, check_of, settlement_of
from agentops.guard.entrance import CHECK, SETTLE, Entrance, is_guard
from agentops.ingest.answers import Refused
from agentops.ingest.booking import book
from agentops.ingest.connections import connect
from agentops.live import store as live
from agentops.live.models import LiveEvent
from tests.budgets.making import make_budget, usd, windows
from tests.budgets.test_windows import call
from tests.guard.asking import RUN, SERVICE, body

pytestmark = pytest.mark.django_db(transaction=True)


END_THE_DESKS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'agentops-guard'"


class Client:
    """Speaks ASGI to one entrance."""

    def __init__(self) -> None:
        self.entrance = Entrance()
        self.loop = asyncio.new_event_loop()

    def post(self, path: str, content: bytes, key: str = "", **headers: str) -> tuple[int, dict[str, str], Any]:
        parts = [content[:10], content[10:]]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        return self.speak(path, receive, key, headers)

    def stream(self, key: str = "", **headers: str) -> tuple[int, dict[str, str], int]:
        """Send a body without an end: the status, the headers, and how many pieces of 1 KiB were read."""
        read = count(1)

        async def receive() -> dict[str, Any]:
            next(read)
            return {"type": "http.request", "body": b" " * 1024, "more_body": True}

        status, told, _ = self.speak(CHECK, receive, key, headers)
        return status, told, next(read) - 1

    def speak(
        self, path: str, receive: Callable[[], Awaitable[Any]], key: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        return self.loop.run_until_complete(self._speak(path, receive, key, headers))

    async def _speak(
        self, path: str, receive: Callable[[], Awaitable[Any]], key: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        given = {"authorization": f"Bearer {key}", **headers} if key else headers
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "client": ("10.0.0.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        await self.entrance(scope, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], told, json.loads(sent[1]["body"])

    def close(self) -> None:
        self.entrance.close()
        self.loop.close()


@pytest.fixture
def client() -> Iterator[Client]:
    found = Client()
    yield found
    found.close()


@pytest.fixture
def key() -> str:
    return create_ingest_key(name="test", service=SERVICE)


def test_a_step_is_checked_and_settled(client: Client, key: str) -> None:
    budget = make_budget("1.00")
    status, headers, answer = client.post(CHECK, body(), key)
    assert (status, answer["decision"]) == (200, "allow")
    assert headers["content-type"].startswith("application/json")
    status, _, told = client.post(SETTLE, json.dumps({"reservation": answer["reservation"]}).encode(), key)
    assert (status, told["spent"]) == (200, "0.1")
    assert windows(budget) == {"": (usd("0.10"), 0)}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"\xff\xfe" * 10, 422),
        (b'{"step": {"kind": "llm"}, "user": "\\ud800"}', 422),
        (b'{"step": {"kind": "llm"}, "user": "a\\u0000b"}', 422),
        (b"[" * 30_000, 422),
        (b'{"step": {"kind": "llm"}, "estimate": {"cost_usd": NaN}}', 422),
        (b'{"step": {"kind": "llm"}, "estimate": {"input_tokens": 1e400}}', 422),
        (b'{"step": {"kind": "llm"}, "estimate": {"input_tokens": true}}', 422),
        (b'{"step": {"kind": "tool"}, "step": {"kind": "llm"}, "unknown": {"x": [1]}}', 200),
        (b'{"service": "other", "step": {"kind": "llm"}}', 403),
        (b" " * 70_000, 413),
    ],
    ids=range(12),
)
def test_what_is_hostile_gets_a_clear_answer(client: Client, key: str, content: bytes, status: int) -> None:
    found, headers, answer = client.post(CHECK, content, key)
    assert found == status
    if status != 200:
        assert headers["content-type"] == "application/problem+json"
        assert (answer["status"], bool(answer["detail"])) == (status, True)


def test_without_a_key_nobody_is_answered_and_guessing_ends(client: Client) -> None:
    assert client.post(CHECK, body())[0] == 401
    wrong = [client.post(CHECK, body(), "agk_wrong")[0] for _ in range(22)]
    assert wrong[0] == 401
    assert wrong[-1] == 429


def test_a_body_that_nobody_reads_to_its_end_ends_its_connection(client: Client, key: str) -> None:
    refused = [client.stream(), client.stream("agk_wrong"), client.stream(key, **{"content-length": "70000"})]
    assert [(status, headers["connection"], read) for status, headers, read in refused] == [
        (401, "close", 0),
        (401, "close", 0),
        (413, "close", 0),
    ]
    status, headers, read = client.stream(key)
    assert (status, headers["connection"], read) == (413, "close", 65)
    for _ in range(20):
        status, headers, read = client.stream("agk_wrong")
    assert (status, headers["connection"], read) == (429, "close", 0)
    assert int(headers["retry-after"]) > 1
    for content in (body(), b"{"):
        assert "connection" not in client.post(CHECK, content, key)[1]


def test_whoever_goes_away_is_not_answered(client: Client, key: str) -> None:
    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(IndexError):  # nothing was sent
        client.speak(CHECK, leave, key, {})


def test_only_two_addresses_are_the_guards() -> None:
    assert is_guard({"method": "POST", "path": CHECK})
    assert not is_guard({"method": "GET", "path": CHECK})
    assert not is_guard({"method": "POST", "path": "/api/v1/guard/stop"})
    for address in (CHECK, SETTLE):
        assert DjangoClient().get(address).status_code == 405


def test_a_database_that_goes_away_is_not_available_and_comes_back(
    client: Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_budget("1.00")
    assert client.post(CHECK, body(), key)[0] == 200
    with connection.cursor() as cursor:
        cursor.execute(END_THE_DESKS)
    assert client.post(CHECK, body(), key)[0] == 200  # asked once more, over a new connection
    with monkeypatch.context() as patch:
        patch.setattr("agentops.guard.desk.connect", _nowhere)
        desk = client.entrance._desk
        assert desk is not None
        desk._disconnect()
        status, headers, answer = client.post(CHECK, body(), key)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "not available" in answer["detail"]
    assert client.post(CHECK, body(), key)[0] == 200


def _nowhere(role: str) -> Any:
    raise psycopg.OperationalError(role)


def at_once(desks: int, each: int, *, each_desk: int = 4, **said: Any) -> list[Any]:
    """So many desks, each asked so often from several threads; every answer."""
    answers: list[Any] = []
    lock = threading.Lock()

    def ask(desk: Desk) -> None:
        for _ in range(each):
            try:
                answer: Any = desk.ask(check_of(body(**said), SERVICE))
            except Refused as refused:
                answer = refused.status
            with lock:
                answers.append(answer)

    running = [Desk() for _ in range(desks)]
    threads = [threading.Thread(target=ask, args=(desk,)) for desk in running for _ in range(each_desk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for desk in running:
        desk.close()
    return answers


def test_desks_that_work_at_once_never_grant_more_than_there_is() -> None:
    budget = make_budget("2.00", thresholds=[])
    make_budget("50.00", each="user", period="day")
    answers = at_once(3, 8, user="ana")
    decided = Counter(answer["decision"] for answer in answers)
    assert decided == {"allow": 20, "stop": 76}
    assert windows(budget) == {"": (0, usd("2.00"))}


def test_a_key_that_is_used_at_once_by_several_desks_gives_one_reservation() -> None:
    budget = make_budget("2.00")
    answers = at_once(3, 4, idempotency_key="once")
    assert len({answer["reservation"] for answer in answers}) == 1
    assert windows(budget) == {"": (0, usd("0.10"))}


def test_a_key_that_somebody_else_has_just_used_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = make_budget("2.00")
    (first,) = at_once(1, 1, idempotency_key="once", each_desk=1)
    seen = iter([dict])  # in the first look nothing of it is to be seen yet
    known = grants.known
    monkeypatch.setattr(grants, "known", lambda cursor, keys: next(seen, None) or known(cursor, keys))
    assert at_once(1, 1, idempotency_key="once", each_desk=1) == [first]
    assert next(seen, None) is None
    assert windows(budget) == {"": (0, usd("0.10"))}


def test_a_commit_whose_answer_is_lost_is_asked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = make_budget("2.00")
    commit, lost = Desk._transaction, []

    def commit_and_lose(desk: Desk, asked: Any) -> None:
        commit(desk, asked)
        if not lost:
            lost.append(True)
            desk._disconnect()
            raise psycopg.OperationalError

    monkeypatch.setattr(Desk, "_transaction", commit_and_lose)
    (answer,) = at_once(1, 1, idempotency_key="once", each_desk=1)
    assert answer["decision"] == "allow"
    assert at_once(1, 1, idempotency_key="once", each_desk=1) == [answer]
    assert (lost, windows(budget)) == ([True], {"": (0, usd("0.10"))})


def test_pages_are_told_of_the_last_change_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentops.guard.desk.TELL_SECONDS", 0.3)
    told: Queue[int] = Queue()
    desk = Desk(told.put)
    for _ in range(2):
        desk.ask(check_of(body(), SERVICE))
    events = [told.get(timeout=10) for _ in range(2)]  # the second without anybody who asks again
    desk.close()
    assert LiveEvent.objects.filter(pk__in=events, topics=["budgets"]).count() == 2
    assert told.empty()


def test_pages_are_told_at_the_end_of_what_they_had_not_heard() -> None:
    told: Queue[int] = Queue()
    desk = Desk(told.put)
    for _ in range(2):
        desk.ask(check_of(body(), SERVICE))
    desk.close()
    assert told.qsize() == 2


def test_a_round_that_is_made_again_tells_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    record, lost = live.record, []

    def record_and_lose(*args: Any) -> int:
        event_id = record(*args)
        if not lost:
            lost.append(event_id)
            raise psycopg.errors.SerializationFailure
        return event_id

    monkeypatch.setattr(live, "record", record_and_lose)
    told: Queue[int] = Queue()
    desk = Desk(told.put)
    assert desk.ask(check_of(body(), SERVICE))["decision"] == "allow"
    event_id = told.get(timeout=0.5)  # by the round itself
    desk.close()
    assert LiveEvent.objects.filter(pk__in=[*lost, event_id]).values_list("pk", flat=True)[::1] == [event_id]


def test_pages_are_told_once_the_database_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentops.guard.desk.TELL_SECONDS", 0.3)
    told: Queue[int] = Queue()
    desk = Desk(told.put)
    for _ in range(2):
        desk.ask(check_of(body(), SERVICE))
    with connection.cursor() as cursor:
        cursor.execute(END_THE_DESKS)
    for _ in range(2):
        told.get(timeout=10)
    assert desk.ask(check_of(body(), SERVICE))["decision"] == "allow"
    desk.close()


def test_made_up_runs_and_users_make_no_more_than_a_window_each() -> None:
    each = [make_budget("1", each=each, period="day") for each in ("user", "run")]
    desk = Desk()
    told: Queue[Any] = Queue()
    many = 2_000
    assert not desk.is_busy
    for n in range(many):
        desk.put(Question(check_of(body(user=f"u{n}", run=f"{n + 1:032x}"), SERVICE), told.put))
    assert desk.is_busy, "nothing gives way to it"
    decided = Counter(told.get(timeout=30)["decision"] for _ in range(many))
    desk.close()
    assert not desk.is_busy
    assert decided == {"allow": many}
    assert [len(windows(budget)) for budget in each] == [many, many]


def test_a_question_that_the_database_cannot_hold_spoils_no_other() -> None:
    full = make_budget(limit_steps=100, user="ana")
    at_once(1, 1, user="ana", each_desk=1)
    with connection.cursor() as cursor:
        most = "UPDATE budget_window SET reserved_nano = 9223372036854775807 WHERE budget_id = %s"
        cursor.execute(most, [full.pk])
    desk = Desk()
    told: Queue[Any] = Queue()
    waiting = [Question(check_of(body(user=user), SERVICE), told.put) for user in ("bob", "ana", "cem")]
    desk._answer(waiting)
    desk._disconnect()
    answers = [told.get_nowait() for _ in waiting]
    assert [one.status if isinstance(one, Refused) else one["decision"] for one in answers] == ["allow", 503, "allow"]


def test_spans_that_are_booked_while_their_steps_are_settled_count_once() -> None:
    budget = make_budget("100", each="run")
    desk = Desk()
    granted = [desk.ask(check_of(body(run=RUN), SERVICE))["reservation"] for _ in range(24)]

    def settle() -> None:
        for reservation in granted:
            said = json.dumps({"reservation": reservation, "cost_usd": "0.07"}).encode()
            desk.ask(settlement_of(said, SERVICE))

    def ingest() -> None:
        with connect("test") as own, own.cursor(binary=True) as cursor:
            for number, reservation in enumerate(reversed(granted), 1):
                with own.transaction():
                    book(cursor, [call(number, "0.04", reservation_id=reservation)], set())

    threads = [threading.Thread(target=work) for work in (settle, ingest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.close()
    assert windows(budget) == {RUN: (int(24 * Decimal("0.04") * 10**9), 0)}
