"""The websocket: who may open it, what it tells, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.test.utils import override_settings

from agentops.accounts.models import User
from agentops.live import broadcast, consumers, feed, store
from agentops.live.actions import publish
from agentops.live.models import LiveEvent
from agentops.live.routing import websockets
from tests.live.browser import Browser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.anyio]

ORIGIN = (b"origin", b"http://testserver")
RUN = "run:4bf92f3577b34da6a3ce929d0e0e4736"
GONE = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
    }
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker failed before this test."""
    monkeypatch.setattr(broadcast, "_outbox", broadcast._Outbox())


@pytest.fixture
def person() -> User:
    return User.objects.create_user("ada", password="a long password")


@pytest.fixture
def cookie(person: User) -> bytes:
    client = Client()
    client.force_login(person)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}".encode()


def socket(cookie: bytes | None, *headers: tuple[bytes, bytes], path: str = "/live/") -> Browser:
    sent = list(headers) or [ORIGIN]
    if cookie is not None:
        sent.append((b"cookie", cookie))
    return Browser(websockets, path, sent)


@asynccontextmanager
async def connected(cookie: bytes, *topics: str) -> AsyncIterator[Browser]:
    browser = socket(cookie)
    assert await browser.connect()
    if topics:
        await browser.say({"subscribe": list(topics)})
        assert (await browser.hear())["subscribed"] == sorted(topics)
    try:
        yield browser
    finally:
        await browser.disconnect()


async def told(browser: Browser, topic: str) -> dict[str, Any]:
    """The next message about a topic."""
    while True:
        message = await browser.hear()
        if message.get("topic") == topic:
            return message


async def tell(*topics: str, **data: Any) -> int:
    return await database_sync_to_async(publish)(topics, data=data)


async def test_an_event_reaches_those_who_asked_for_its_topic_and_nobody_else(cookie: bytes) -> None:
    async with connected(cookie, "runs", RUN) as concerned, connected(cookie, "alerts") as other:
        event_id = await tell("runs", "spend")
        assert await told(concerned, "runs") == {"topic": "runs", "event_id": event_id}
        assert await other.receive_nothing(timeout=0.3)


async def test_a_message_carries_what_the_event_says_besides(cookie: bytes) -> None:
    async with connected(cookie, "alerts") as browser:
        await tell("alerts", title="a loop", severity="page")
        message = await told(browser, "alerts")
        assert (message["title"], message["severity"]) == ("a loop", "page")


async def test_an_event_of_every_run_concerns_each_run_that_is_open(cookie: bytes) -> None:
    async with connected(cookie, RUN) as browser:
        await tell("run:*")
        assert await told(browser, RUN)


async def test_what_happened_while_the_page_was_rendered_is_told_at_the_first_subscription(cookie: bytes) -> None:
    event_id = await tell("runs")
    async with connected(cookie, "runs") as browser:
        assert (await told(browser, "runs"))["event_id"] == event_id


async def test_since_replays_what_was_missed_and_only_that(cookie: bytes) -> None:
    seen, missed = await tell("spend"), await tell("runs")
    await LiveEvent.objects.aupdate(at="2020-01-01T00:00Z")  # long ago, so that the first subscription is silent
    async with connected(cookie, "runs", "spend") as browser:
        await browser.say({"since": seen})
        assert await told(browser, "runs") == {"topic": "runs", "event_id": missed}
        assert await browser.receive_nothing(timeout=0.3)


async def test_since_before_the_oldest_event_kept_tells_every_topic(cookie: bytes) -> None:
    first = await tell("alerts")
    await tell("alerts")
    await LiveEvent.objects.filter(id=first).adelete()
    await LiveEvent.objects.aupdate(at="2020-01-01T00:00Z")
    async with connected(cookie, "runs") as browser:
        await browser.say({"since": first})
        assert await told(browser, "runs")


async def test_a_page_still_moves_when_the_channel_layer_is_gone(
    cookie: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.05)
    with override_settings(CHANNEL_LAYERS=GONE):
        async with connected(cookie, "runs") as browser:
            event_id = await tell("runs")
            assert (await told(browser, "runs"))["event_id"] == event_id


async def test_a_nudge_of_the_channel_layer_is_heard_without_polling(
    cookie: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "POLL_SECONDS", 3600)
    async with connected(cookie, "runs") as browser:
        await asyncio.sleep(0.5)  # the reader subscribes beside us
        await tell("runs")
        assert await told(browser, "runs")


@pytest.mark.parametrize(
    "headers",
    [[(b"host", b"testserver")], [(b"origin", b"http://evil.example")], [(b"origin", b"null")]],
    ids=["no origin", "a foreign origin", "a null origin"],
)
async def test_a_page_from_elsewhere_is_refused(cookie: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    assert not await socket(cookie, *headers).connect()


async def test_nobody_in_particular_is_refused() -> None:
    assert not await socket(None).connect()
    assert not await socket(f"{settings.SESSION_COOKIE_NAME}=made-up".encode()).connect()


async def test_another_path_is_refused(cookie: bytes) -> None:
    assert not await socket(cookie, path="/elsewhere/").connect()


async def test_a_twenty_first_socket_is_refused_until_one_closes(
    cookie: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_SOCKETS_PER_USER", 2)
    async with connected(cookie):
        async with connected(cookie):
            assert not await socket(cookie).connect()
        async with connected(cookie):
            pass


Ending = Callable[[Browser], Awaitable[None]]


async def _flood(browser: Browser) -> None:
    for _ in range(consumers.FLOOD_MESSAGES + 1):
        await browser.say({"ping": True})


async def _large(browser: Browser) -> None:
    await browser.send_input(
        {"type": "websocket.receive", "text": '{"ping": "' + "x" * consumers.MAX_FRAME_CHARS + '"}'}
    )


async def _binary(browser: Browser) -> None:
    await browser.send_input({"type": "websocket.receive", "bytes": b"\x00"})


@pytest.mark.parametrize(("act", "code"), [(_flood, 1008), (_large, 1009), (_binary, 1007)])
async def test_abuse_ends_the_connection(cookie: bytes, act: Ending, code: int) -> None:
    browser = socket(cookie)
    assert await browser.connect()
    await act(browser)
    while (message := await browser.receive_output())["type"] != "websocket.close":
        pass
    assert message["code"] == code
    await browser.disconnect(code)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "nonsense", "[" * 60_000, '{"subscribe": "runs"}', '{"subscribe": [1]}', '{"subscribe": ["<script>"]}',
     '{"since": "1"}', '{"since": -1}', '{"since": true}', '{"since": 1e400}', '{"since": 9223372036854775808}'],
    ids=range(12),
)  # fmt: skip
async def test_nonsense_is_answered_in_words_and_the_connection_lives(cookie: bytes, text: str) -> None:
    async with connected(cookie) as browser:
        await browser.send_input({"type": "websocket.receive", "text": text})
        assert "error" in await browser.hear()
        await browser.say({"ping": True})
        assert await browser.hear() == {"pong": True}


async def test_one_socket_follows_a_bounded_number_of_topics(cookie: bytes) -> None:
    async with connected(cookie) as browser:
        await browser.say({"subscribe": [f"run:{n}" for n in range(consumers.MAX_TOPICS + 1)]})
        assert "error" in await browser.hear()


def _end_sessions(_person: User) -> None:
    Session.objects.all().delete()


def _deactivate(person: User) -> None:
    User.objects.filter(pk=person.pk).update(is_active=False)


def _new_password(person: User) -> None:
    person.set_password("another long password")
    person.save()


@pytest.mark.parametrize("end", [_end_sessions, _deactivate, _new_password])
async def test_the_socket_closes_when_the_person_may_no_longer_look(
    person: User, cookie: bytes, end: Callable[[User], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.05)
    browser = socket(cookie)
    assert await browser.connect()
    await asyncio.sleep(0.2)
    assert await browser.receive_nothing(timeout=0.1)
    await database_sync_to_async(end)(person)
    assert await browser.receive_output(timeout=5) == {
        "type": "websocket.close",
        "code": consumers.SIGNED_OUT,
    }
    await browser.disconnect(consumers.SIGNED_OUT)


async def test_of_many_events_a_browser_hears_the_latest_in_their_order(cookie: bytes) -> None:
    async with connected(cookie, "runs", "spend") as browser:
        for _ in range(50):
            last = await database_sync_to_async(lambda: publish(["runs", "spend"]))()
        ids = [0]
        while ids[-1] < last:
            ids.append((await told(browser, "runs"))["event_id"])
        assert ids == sorted(set(ids))


async def test_a_browser_that_was_away_is_told_of_every_alert(cookie: bytes) -> None:
    seen = await tell("spend")
    for number in range(30):
        await tell("alerts", RUN, alerts=[{"id": number, "severity": "warn", "change": "opened"}], more=0)
    await tell("alerts", RUN)
    await LiveEvent.objects.aupdate(at="2020-01-01T00:00Z")
    async with connected(cookie, "alerts", RUN) as browser:
        await browser.say({"since": seen})
        for _ in range(2):
            message = await browser.hear()
            assert [alert["id"] for alert in message["alerts"]] == list(range(30)), message["topic"]


async def test_a_browser_that_is_slow_is_told_of_every_alert_too(cookie: bytes) -> None:
    async with connected(cookie, "alerts") as browser:
        for number in range(40):
            await tell("alerts", alerts=[{"id": number, "severity": "page", "change": "opened"}], more=0)
        told_of: set[int] = set()
        while len(told_of) < 40:
            told_of |= {alert["id"] for alert in (await told(browser, "alerts"))["alerts"]}
        assert told_of == set(range(40))


def test_reading_events_is_one_statement(django_assert_num_queries: Any) -> None:
    publish(["runs"])
    with django_assert_num_queries(1):
        assert [event.topics for event in store.list_after(0, limit=10)][-1] == ["runs"]
