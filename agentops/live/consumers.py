"""The websocket at ``/live/``: a browser names topics, and hears when one of them has changed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, deque
from collections.abc import Iterable
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.utils import timezone

from agentops.live import store
from agentops.live.feed import feed
from agentops.live.messages import merge

MAX_FRAME_CHARS = 65_536
MAX_SOCKETS_PER_USER = 20  # in one process
MAX_TOPICS = 100
#: More messages than this within ``FLOOD_SECONDS`` end the connection.
FLOOD_MESSAGES = 60
FLOOD_SECONDS = 10.0
RECHECK_SECONDS = 60.0
#: A first subscription hears what changed this long before: the page was rendered a moment ago.
RENDERING = timedelta(seconds=5)
REPLAY_LIMIT = 1000
TOPIC = re.compile(r"[a-z_]{1,32}(:[\w.:-]{1,200})?", re.ASCII)
#: An event of very many runs says this instead of each: it concerns every run.
EVERY_RUN = "run:*"

SIGNED_OUT, TOO_BIG, FLOOD, BAD_DATA = 4401, 1009, 1008, 1007

_sockets: Counter[int] = Counter()


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One browser. Events come from the feed of the process; a slow browser delays only itself."""

    #: No layer of its own: with the broker gone, a browser must still be able to connect.
    channel_layer_alias = "none"

    async def connect(self) -> None:
        """Let in a signed-in person who has not too many pages open."""
        user = self.scope["user"]
        self._user_id: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if not user.is_authenticated or _sockets[user.pk] >= MAX_SOCKETS_PER_USER:
            await self.close()
            return
        self._user_id = user.pk
        _sockets[user.pk] += 1
        self._topics: set[str] = set()
        self._pending: dict[str, dict[str, Any]] = {}
        self._ready = asyncio.Event()
        self._received: deque[float] = deque(maxlen=FLOOD_MESSAGES)
        await self.accept()
        feed().add(self)
        self._tasks = [asyncio.create_task(self._deliver()), asyncio.create_task(self._recheck())]

    async def disconnect(self, code: int) -> None:
        """Forget the browser."""
        del code
        for task in self._tasks:
            task.cancel()
        feed().remove(self)
        if self._user_id is not None:
            _sockets[self._user_id] -= 1
            self._user_id = None

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer ``{"subscribe": [topic…]}``, ``{"since": event_id}`` and ``{"ping": …}``."""
        if bytes_data is not None or text_data is None:
            await self.close(BAD_DATA)
        elif len(text_data) > MAX_FRAME_CHARS:
            await self.close(TOO_BIG)
        elif self._is_flood():
            await self.close(FLOOD)
        else:
            await self._answer(text_data)

    def offer(self, event: store.Event) -> None:
        """Keep a message for each topic that the browser asked for; of several, the latest with the alerts of all."""
        for topic in self._concerned(event.topics):
            message = {"topic": topic, "event_id": event.id, **event.data}
            self._pending[topic] = merge(self._pending.get(topic), message)
        if self._pending:
            self._ready.set()

    def _concerned(self, topics: Iterable[str]) -> set[str]:
        changed = set(topics)
        concerned = self._topics & changed
        if EVERY_RUN in changed:
            concerned |= {topic for topic in self._topics if topic.startswith("run:")}
        return concerned

    def _is_flood(self) -> bool:
        now = time.monotonic()
        full = len(self._received) == FLOOD_MESSAGES and now - self._received[0] < FLOOD_SECONDS
        self._received.append(now)
        return full

    async def _answer(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            await self._say({"error": 'Send a JSON object: {"subscribe": [...]}, {"since": id} or {"ping": true}.'})
            return
        try:
            if "subscribe" in message:
                await self._subscribe(message["subscribe"])
            if "since" in message:
                await self._replay(message["since"])
        except DatabaseError:
            await self._say({"error": "The database does not answer just now."})
        if "ping" in message:
            await self._say({"pong": message["ping"] is not None})

    async def _subscribe(self, topics: object) -> None:
        names: list[Any] = topics if isinstance(topics, list) else [None]
        if not all(isinstance(name, str) and TOPIC.fullmatch(name) for name in names):
            await self._say({"error": 'Topics are names such as "runs" or "run:<trace id>".'})
            return
        if len(self._topics.union(names)) > MAX_TOPICS:
            await self._say({"error": f"One connection follows {MAX_TOPICS} topics at most."})
            return
        is_first = not self._topics
        self._topics.update(names)
        latest = await database_sync_to_async(store.latest_id)()
        await self._say({"subscribed": sorted(self._topics), "event_id": latest})
        if is_first:
            moment = timezone.now() - RENDERING
            for event in await database_sync_to_async(store.list_since)(moment, limit=REPLAY_LIMIT):
                self.offer(event)

    async def _replay(self, since: object) -> None:
        """Offer what was missed; what cannot be told any more counts as changed."""
        if type(since) is not int or not 0 <= since < 2**63:
            await self._say({"error": '"since" is the event_id of a message.'})
            return
        events = await database_sync_to_async(store.list_after)(since, limit=REPLAY_LIMIT)
        if len(events) == REPLAY_LIMIT or not await database_sync_to_async(store.is_kept)(since):
            latest = await database_sync_to_async(store.latest_id)()
            events = [store.Event(latest, sorted(self._topics), {})]
        for event in events:
            self.offer(event)

    async def _deliver(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            pending, self._pending = self._pending, {}
            for message in pending.values():
                await self._say(message)

    async def _recheck(self) -> None:
        """Close soon after the session has ended or the person may no longer sign in."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            session_key = self.scope["session"].session_key
            try:
                allowed = await database_sync_to_async(is_signed_in)(session_key, self._user_id)
            except DatabaseError:
                continue
            if not allowed:
                await self.close(SIGNED_OUT)
                return

    async def _say(self, message: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(message))


def is_signed_in(session_key: str | None, user_id: int | None) -> bool:
    """Whether a session still belongs to an active person: it ends by signing out, expiry or a new password."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(SimpleNamespace(session=session))  # type: ignore[arg-type]  # it reads the session only
    return user.is_authenticated and user.is_active and user.pk == user_id
