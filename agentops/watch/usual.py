"""What is usual: the habits of services' good runs, and what they spend in five minutes, as stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import orjson
from django.db import connection

from agentops.domain import velocity
from agentops.domain.habits import Habits
from agentops.watch.models import Moment

#: A class of runs: a service and a name, empty for all of its runs.
Class = tuple[str, str]
#: How long five minutes are remembered; a new service is judged by its own last day.
KEPT = timedelta(days=2)
LOOKED_BACK = timedelta(hours=25)

HABITS = """
SELECT service, name, runs, steps::text, timed, mean, squares FROM watch_habit
JOIN unnest(%s::text[], %s::text[]) AS u (service, name) USING (service, name)
"""
SAVE_HABITS = """
INSERT INTO watch_habit AS h (service, name, runs, steps, timed, mean, squares)
SELECT service, name, runs, steps, timed, mean, squares
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::jsonb[], %s::bigint[], %s::float[], %s::float[])
    AS u (service, name, runs, steps, timed, mean, squares)
ORDER BY service, name
ON CONFLICT (service, name) DO UPDATE SET runs = EXCLUDED.runs, steps = EXCLUDED.steps, timed = EXCLUDED.timed,
    mean = EXCLUDED.mean, squares = EXCLUDED.squares
"""
SPEND = """
INSERT INTO watch_moment AS m (service, start, cost_nano)
SELECT service, start, cost FROM unnest(%s::text[], %s::timestamptz[], %s::bigint[]) AS u (service, start, cost)
ORDER BY service, start
ON CONFLICT (service, start) DO UPDATE SET cost_nano = m.cost_nano + EXCLUDED.cost_nano
"""


def read_habits(classes: Iterable[Class]) -> dict[Class, Habits]:
    """The habits of some classes; those of which nothing is known are missing."""
    wanted = sorted(set(classes))
    with connection.cursor() as cursor:
        cursor.execute(HABITS, [[service for service, _ in wanted], [name for _, name in wanted]])
        return {
            (service, name): Habits(
                runs, orjson.loads(steps) if isinstance(steps, str) else steps, timed, mean, squares
            )
            for service, name, runs, steps, timed, mean, squares in cursor.fetchall()
        }


def write_habits(habits: Mapping[Class, Habits]) -> None:
    """Write habits back. The caller holds the lock of the watch."""
    if not habits:
        return
    rows = [
        (service, name, h.runs, orjson.dumps(h.steps).decode(), h.timed, h.mean, h.squares)
        for (service, name), h in habits.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(SAVE_HABITS, [list(column) for column in zip(*rows, strict=True)])


def spend(amounts: Mapping[tuple[str, datetime], int]) -> None:
    """Add what services spent in five minutes each."""
    if amounts:
        rows = [(service, start, cost) for (service, start), cost in amounts.items()]
        with connection.cursor() as cursor:
            cursor.execute(SPEND, [list(column) for column in zip(*rows, strict=True)])


def spent(services: Iterable[str], *, now: datetime) -> dict[str, dict[datetime, int]]:
    """What services spent in the five minutes of their last day."""
    found: dict[str, dict[datetime, int]] = {service: {} for service in services}
    rows = Moment.objects.filter(service__in=list(found), start__gt=now - LOOKED_BACK, start__lte=velocity.floor(now))
    for service, start, cost in rows.values_list("service", "start", "cost_nano"):
        found[service][start] = cost
    return found


def prune(*, now: datetime) -> None:
    """Forget five minutes that are long over."""
    Moment.objects.filter(start__lt=now - KEPT).delete()
