"""Whether this process lives, whether the product is ready, and what a monitor may count."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from agentops.dashboard import metrics
from agentops.ingest.models import Heartbeat
from agentops.runs import pending
from agentops.watch import aside

if TYPE_CHECKING:
    from collections.abc import Callable

BROKER_TIMEOUT_SECONDS = 1.0
#: A heartbeat comes every 10 seconds; after this long without one, nothing periodic happens.
HEARTBEAT_LATE_SECONDS = 60.0
_started = time.monotonic()


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that must work, and what is known of it."""

    name: str
    ok: bool
    detail: str


def parts() -> list[Part]:
    """What readiness consists of: database, broker, migrations, beat. Without a database the last two are unknown.

    When the watch is late it says so as well, which makes nothing unready: no span is lost by it.
    """
    database = _database()
    if not database.ok:
        unknown = "unknown: the database does not answer"
        return [database, _broker(), *(Part(name, ok=False, detail=unknown) for name in ("migrations", "beat"))]
    return [database, _broker(), _safely("migrations", _migrations), _safely("beat", _beat), *_watch()]


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process answers at all."""
    del request
    return JsonResponse({"status": "ok"})


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when every part works, else 503; each part says how it is."""
    del request
    found = parts()
    ready = all(part.ok for part in found)
    body = {
        "status": "ready" if ready else "not ready",
        "parts": {part.name: {"ok": part.ok, "detail": part.detail} for part in found},
    }
    return JsonResponse(body, status=200 if ready else 503)


@login_not_required
@never_cache
@require_safe
def prometheus(request: HttpRequest) -> HttpResponse:
    """The metrics, for monitors in ``METRICS_NETWORKS`` (this machine, unless set) and for signed-in people."""
    if not (_is_monitor(request.META.get("REMOTE_ADDR", "")) or request.user.is_authenticated):
        return HttpResponseForbidden("Not one of AGENTOPS_METRICS_NETWORKS.\n", content_type="text/plain")
    return HttpResponse(metrics.render(timezone.now()), content_type=metrics.CONTENT_TYPE)


def _is_monitor(address: str) -> bool:
    try:
        client = ip_address(address)
    except ValueError:
        return False
    return any(client in ip_network(network, strict=False) for network in settings.METRICS_NETWORKS)


def _safely(name: str, check: Callable[[], Part]) -> Part:
    try:
        return check()
    except DatabaseError as error:
        return Part(name, ok=False, detail=str(error).partition("\n")[0])


def _database() -> Part:
    def check() -> Part:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version')")
            return Part("database", ok=True, detail=f"PostgreSQL {cursor.fetchall()[0][0]}")

    return _safely("database", check)


def _broker() -> Part:
    client = Redis.from_url(
        settings.VALKEY_URL, socket_timeout=BROKER_TIMEOUT_SECONDS, socket_connect_timeout=BROKER_TIMEOUT_SECONDS
    )
    try:
        client.ping()
    except RedisError as error:
        return Part("broker", ok=False, detail=f"{error}; spans are booked all the same, pages move a little later")
    finally:
        client.close()
    return Part("broker", ok=True, detail="answers")


@lru_cache(maxsize=1)
def _all_applied() -> bool:
    """True once and for all: a process does not outlive its own migrations. Raises ``LookupError`` while some wait."""
    executor = MigrationExecutor(connection)
    if waiting := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise LookupError(len(waiting))  # an exception is not cached
    return True


def _migrations() -> Part:
    try:
        _all_applied()
    except LookupError as error:
        return Part("migrations", ok=False, detail=f"{error} not applied: run “python manage.py migrate”")
    return Part("migrations", ok=True, detail="all applied")


def _beat() -> Part:
    at = Heartbeat.objects.filter(name="beat").values_list("at", flat=True).first()
    age = (timezone.now() - at).total_seconds() if at else None
    if age is not None and age <= HEARTBEAT_LATE_SECONDS:
        return Part("beat", ok=True, detail=f"last heartbeat {max(age, 0):.0f} s ago")
    seen = "no heartbeat yet" if age is None else f"last heartbeat {age:.0f} s ago"
    # A process that has just started, or has been updated with the rest, gives the others a minute.
    if time.monotonic() - _started < HEARTBEAT_LATE_SECONDS:
        return Part("beat", ok=True, detail=f"{seen}; just started")
    return Part("beat", ok=False, detail=f"{seen}: check the worker and beat processes")


def _watch() -> list[Part]:
    """Nothing while the watch keeps up."""
    try:
        lag = pending.lag()
    except DatabaseError:
        return []  # the parts before have said it
    age = aside.oldest_seconds(lag, now=timezone.now())
    if age <= aside.LATE_SECONDS:
        return []
    late = f"late: {lag.pending} runs wait, the oldest for {age:.0f} s; check the watch process"
    return [Part("watch", ok=True, detail=late)]
