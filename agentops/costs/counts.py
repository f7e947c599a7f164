"""How many runs and users there are behind an amount: what costs are divided by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from agentops.costs import windows
from agentops.costs.sources import SpendFilters, cells, matching_runs
from agentops.domain.periods import ceil_hour, floor_hour

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
USERS = """
SELECT count(*) FROM (
    SELECT key FROM ({cells}) AS c WHERE key <> '' GROUP BY key HAVING sum(steps) <> 0 OR sum(cost_nano) <> 0
) AS k
"""


@dataclass(frozen=True, slots=True)
class RunCounts:
    """The runs that started in a range, by how they are now, and the different users that had any steps in it."""

    runs: int
    ok: int
    errors: int
    running: int
    users: int


def run_counts(filters: SpendFilters, from_: datetime, until: datetime) -> RunCounts | None:
    """What is behind ``[from_, until)``, widened to whole hours. Two statements.

    A run belongs to an agent, a model or a tool when any of its steps does: each counts it. ``None`` where nobody
    knows: which runs have a step without an agent, a model or a tool.
    """
    if any(getattr(filters, name) and not filters.has_only_named(name) for name in _NAMED):
        return None
    begin, end = floor_hour(from_), ceil_hour(until)
    source = cells("user", filters, begin, end)
    asked = "r.started_at >= %(from)s AND r.started_at < %(until)s" + matching_runs(filters)
    for name, names in _NAMED.items():
        asked += f" AND {names} && %({name})s::text[]" if getattr(filters, name) else ""
    parameters = source.parameters | {"from": begin, "until": end, "idle": timedelta(seconds=settings.RUN_IDLE_SECONDS)}
    runs, errors, running = _ask(RUNS.format(asked=asked), parameters)
    if source.reads == "rollups" and not (filters.service or filters.team or filters.user):
        rest = windows.rest("user", filters, begin, end)
        (users,) = _ask(windows.KEYS.format(cells=rest.sql), rest.parameters)
    else:
        (users,) = _ask(USERS.format(cells=source.sql), source.parameters)
    return RunCounts(runs, runs - errors - running, errors, running, users)


def _ask(statement: str, parameters: dict[str, Any]) -> tuple[int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        counts: tuple[int, ...] = cursor.fetchall()[0]
    return counts
