"""The latency of every page's and API call's answer, and of its queries alone, in one process on the books as they are.

python -m bench.pages    with the environment of an instance; prints a JSON list
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
django.setup()

from django.db import connection  # noqa: E402  (Django must be set up first)
from django.test import Client  # noqa: E402

from agentops.accounts.models import User  # noqa: E402
from agentops.costs.sources import DIMENSIONS  # noqa: E402

_SECONDS_EACH, _LEAST, _MOST, _WARM = 2.0, 5, 30, 2
_SAMPLE = """
SELECT encode(trace_id, 'hex'), service, "user", session, feature FROM runs
WHERE "user" IS NOT NULL ORDER BY started_at DESC OFFSET 20 LIMIT 1
"""
#: What the explorer is asked by, and of what, over 90 days: each pair of two dimensions once, one way or the other, and
#: what has most to read.
_EXPLORED = (
    ("feature", "model"),
    ("release", "feature"),
    ("agent", "feature"),
    ("feature", "tool"),
    ("model", "release"),
    ("agent", "release"),
    ("tool", "release"),
    ("model", "agent"),
    ("tool", "model"),
    ("agent", "tool"),
    ("user", "feature"),
    ("user", "release"),
    ("user", "agent"),
    ("model", "user"),
    ("user", "tool"),
    ("user", "session"),
    ("session", "feature"),
    ("release", "session"),
    ("session", "agent"),
    ("session", "model"),
    ("session", "tool"),
    ("service", "agent"),
    ("team", "model"),
    ("user", "service"),
)
_NESTED = (("service", "feature"), ("feature", "model"), ("user", "model"), ("agent", "session"), ("team", "user"))
_BUSIEST = """
SELECT key FROM spend_daily WHERE dimension = %s AND key <> '' GROUP BY key ORDER BY sum(steps) DESC LIMIT 1
"""
_LONGEST = "SELECT encode(trace_id, 'hex') FROM runs ORDER BY spans DESC LIMIT 1"


def cases() -> dict[str, str]:
    """What is asked, by name."""
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE)
        trace, service, user, session, feature = cursor.fetchone()
        cursor.execute(_LONGEST)
        (longest,) = cursor.fetchone()
    found = {
        "nothing (control)": "/healthz",
        "overview, 24 h": "/?range=24h",
        "overview, 30 d": "/?range=30d",
        "overview of an environment": "/?range=30d&environment=production",
        "overview chart, 30 d": "/spend.json?range=30d",
        "runs, 24 h": "/runs/?range=24h",
        "runs, 30 d": "/runs/?range=30d",
        "runs of a service": f"/runs/?range=30d&service={service}",
        "runs of a user": f"/runs/?range=30d&user={user}",
        "runs of a session": f"/runs/?range=30d&session={session}",
        "runs of a feature": f"/runs/?range=30d&feature={feature}",
        "runs with errors": "/runs/?range=30d&status=error",
        "runs by cost": "/runs/?range=30d&sort=-cost",
        "runs of a rare model, 90 d": "/runs/?range=90d&model=never-called",
        "one run": f"/runs/{trace}/",
        "the longest run": f"/runs/{longest}/",
        "operations": "/operations/",
        "set-up": "/setup/",
        "API runs": "/api/v1/runs?limit=100",
        "API one run": f"/api/v1/runs/{trace}",
    }
    for by in ("service", "team", "user", "feature", "model", "agent", "tool", "session", "release", "environment"):
        found[f"spend by {by}, 30 d"] = f"/spend/?range=30d&by={by}"
    for by in ("user", "model"):
        found[f"API spend by {by}, days"] = f"/api/v1/spend?by={by}&interval=day"
    found |= _explorer({"service": service, "user": user, "session": session})
    found["spend by session, 90 d"] = "/spend/?range=90d&by=session"
    found["spend by session of an environment"] = "/spend/?range=30d&by=session&environment=production"
    found["spend by user of a service"] = f"/spend/?range=7d&by=user&service={service}"
    return found


def _explorer(of: dict[str, str]) -> dict[str, str]:
    """The pages of the explorer, the figures and the table first, then the chart and the outlook."""
    with connection.cursor() as cursor:
        for name, dimension in DIMENSIONS.items():
            if name not in of:  # what most spend has
                cursor.execute(_BUSIEST, [int(dimension)])
                (of[name],) = cursor.fetchone()
    found = {"explorer, 90 d": "/spend/?range=90d", "outlook, 90 d": "/spend/outlook/?range=90d"}
    for by, name in _EXPLORED:
        asked = urlencode({"range": "90d", "by": by, name: of[name]})
        found[f"explorer by {by} of one {name}"] = f"/spend/?{asked}"
        found[f"chart by {by} of one {name}"] = f"/spend/chart.json?{asked}"
    for by, then in _NESTED:
        found[f"explorer by {by}, inside them by {then}"] = f"/spend/?range=90d&by={by}&then={then}&inside=all"
    for by, name in (("feature", "model"), ("agent", "release"), ("user", "service")):
        asked = urlencode({"range": "90d", "by": by, name: of[name]})
        found[f"outlook by {by} of one {name}"] = f"/spend/outlook/?{asked}"
    return found


def measure(client: Client, url: str) -> dict[str, Any]:
    """Status, and the times of the whole answer, of its queries together and of the slowest of them, in ms."""
    whole, queries, slowest = list[float](), list[float](), list[float]()
    until = time.monotonic() + _SECONDS_EACH
    number, status = 0, 0
    while number < _WARM + _LEAST or (number < _MOST and time.monotonic() < until):
        with counting() as spent:
            begun = time.perf_counter()
            status = client.get(url).status_code
            took = time.perf_counter() - begun
        if number >= _WARM:
            whole.append(took)
            queries.append(sum(spent))
            slowest.append(max(spent, default=0.0))
        number += 1
    return {
        "status": status,
        "statements": len(spent),
        "query_least_ms": _percentile(queries, 0.0),
        "query_p50_ms": _percentile(queries, 0.5),
        "query_p95_ms": _percentile(queries, 0.95),
        "slowest_p95_ms": _percentile(slowest, 0.95),
        "p50_ms": _percentile(whole, 0.5),
        "p95_ms": _percentile(whole, 0.95),
    }


@contextmanager
def counting() -> Iterator[list[float]]:
    """Seconds spent in each query."""
    spent: list[float] = []

    def wrapper(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        begun = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            spent.append(time.perf_counter() - begun)

    with connection.execute_wrapper(wrapper):
        yield spent


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def main() -> None:
    """Measure every case as the first admin."""
    client = Client()
    client.force_login(User.objects.get(username="admin"))
    json.dump([{"case": name, "url": url, **measure(client, url)} for name, url in cases().items()], sys.stdout)


if __name__ == "__main__":
    main()
