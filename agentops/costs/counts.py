"""How many runs and users there are behind an amount: what costs are divided by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from agentops.catalog.queries import ownership
from agentops.costs import windows
from agentops.costs.sources import By, SpendFilters, cells, filter_parameters
from agentops.costs.spans import SPAN_KEYS, matching_runs
from agentops.domain.periods import ceil_hour, floor_hour

#: Whether a run belongs to a key ``k``, as an index serves it.
_KEYS: dict[By, str] = {
    "service": "r.service = k.key",
    "team": """r.service IN (SELECT o.service FROM unnest(%(owned)s::text[], %(teams)s::text[]) AS o (service, team)
        WHERE o.team = k.key)""",
    "user": 'r."user" = k.key',
    **{name: f"r.{name} = k.key" for name in ("feature", "session", "release")},
    "environment": f"{SPAN_KEYS['environment']} = k.key",
    "agent": "r.agents && ARRAY[k.key]",
    "model": "r.models && ARRAY[k.key]",
    "tool": "r.tools && ARRAY[k.key]",
}
#: What runs know of their steps: the names that they have.
_NAMED = {"agent": "r.agents", "model": "r.models", "tool": "r.tools"}
_RUNNING = "(NOT r.has_root AND r.last_received_at > now() - %(idle)s)"
_FAILED = "(r.root_error OR r.last_error)"
# Counted one by one, because an index each knows how many there are.
RUNS = f"""
SELECT (SELECT count(*) FROM runs r WHERE {{asked}}),
    (SELECT count(*) FROM runs r WHERE {{asked}} AND {_FAILED} AND NOT {_RUNNING}),
    (SELECT count(*) FROM runs r WHERE {{asked}} AND {_RUNNING})
"""
BY_KEY = f"""
SELECT k.key, (SELECT count(*) FROM runs r WHERE {{asked}}),
    (SELECT count(*) FROM runs r WHERE {{asked}} AND {_FAILED} AND NOT {_RUNNING}),
    (SELECT count(*) FROM runs r WHERE {{asked}} AND {_RUNNING})
FROM unnest(%(keys)s::text[]) AS k (key)
"""
USERS = """
SELECT count(*) FROM (
    SELECT key FROM ({cells}) AS c WHERE key <> '' GROUP BY key HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0
) AS k
"""


@dataclass(frozen=True, slots=True)
class RunCounts:
    """The runs that started in a range, by how they are now, and the different users that had any steps in it.

    ``users`` is ``None`` where they were not asked for.
    """

    runs: int
    ok: int
    errors: int
    running: int
    users: int | None = None


def run_counts(filters: SpendFilters, from_: datetime, until: datetime) -> RunCounts | None:
    """What is behind ``[from_, until)``, widened to whole hours. Two statements.

    A run belongs to an agent, a model or a tool when any of its steps does: each counts it. ``None`` where nobody
    knows: which runs have a step without an agent, a model or a tool.
    """
    if not _can_count(filters):
        return None
    begin, end = floor_hour(from_), ceil_hour(until)
    parameters = filter_parameters(filters, ownership()) | _range(begin, end)
    runs, errors, running = _ask(RUNS.format(asked=_asked(filters)), parameters)
    if windows.hold("user", filters):
        rest = windows.rest("user", filters, begin, end)
        (users,) = _ask(windows.KEYS.format(cells=rest.sql), rest.parameters)
    else:
        source = cells("user", filters, begin, end)
        (users,) = _ask(USERS.format(cells=source.sql), source.parameters)
    return RunCounts(runs, runs - errors - running, errors, running, users)


def run_counts_by_key(
    by: By, filters: SpendFilters, from_: datetime, until: datetime, keys: Sequence[str]
) -> dict[str | None, RunCounts]:
    """The same of some keys, without the users. One statement; nothing where nobody knows."""
    if not keys or not _can_count(filters):
        return {}
    begin, end = floor_hour(from_), ceil_hour(until)
    owned = ownership()
    parameters = filter_parameters(filters, owned) | _range(begin, end) | {"keys": list(keys)}
    asked = f"{_asked(filters)} AND {_KEYS[by]}"
    if by == "team":
        owners = [owner for owner in owned.values() if owner.team in keys]
        parameters |= {"owned": [o.service for o in owners], "teams": [o.team for o in owners]}
    with connection.cursor() as cursor:
        cursor.execute(BY_KEY.format(asked=asked), parameters)
        return {
            key: RunCounts(runs, runs - errors - running, errors, running)
            for key, runs, errors, running in cursor.fetchall()
        }


def _can_count(filters: SpendFilters) -> bool:
    return not any(getattr(filters, name) and not filters.has_only_named(name) for name in _NAMED)


def _asked(filters: SpendFilters) -> str:
    names = (f" AND {column} && %({name})s::text[]" for name, column in _NAMED.items() if getattr(filters, name))
    return (
        "NOT r.is_absorbed AND r.started_at >= %(from)s AND r.started_at < %(until)s"
        + matching_runs(filters)
        + "".join(names)
    )


def _range(begin: datetime, end: datetime) -> dict[str, Any]:
    return {"from": begin, "until": end, "idle": timedelta(seconds=settings.RUN_IDLE_SECONDS)}


def _ask(statement: str, parameters: dict[str, Any]) -> tuple[int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        counts: tuple[int, ...] = cursor.fetchall()[0]
    return counts
