"""What pages ask about the watch: services with their rules, and tools of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from agentops.catalog.queries import ownership
from agentops.watch import decisions, rules
from agentops.watch.models import RuleChange
from agentops.watch.words import describe

#: How far back tools are looked for, in how many runs, and how many are shown.
TOOLS_SINCE = timedelta(days=7)
TOOLS_RUNS, MAX_TOOLS = 2_000, 60

# {of_service}: a condition that may be always true would hide the index of one service.
TOOLS = f"""
SELECT tool, count(*) FROM (
    SELECT tools FROM runs WHERE NOT is_absorbed AND started_at >= %(since)s {{of_service}}
    ORDER BY started_at DESC, trace_id DESC LIMIT {TOOLS_RUNS}
) AS r, unnest(tools) AS tool
WHERE tool <> '' AND length(tool) <= {decisions.MAX_TOOL_CHARS}
GROUP BY tool ORDER BY count(*) DESC, tool LIMIT {MAX_TOOLS}
"""


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """A service (empty: all of them), what differs (what, how), and its latest change."""

    service: str
    differs: list[tuple[str, str]]
    latest: RuleChange | None


def list_services() -> list[ServiceRules]:
    """All services first, then each by its name. Four statements."""
    latest, book = decisions.latest_of_all(), rules.load(rules.latest_revision())
    names = ["", *sorted((ownership().keys() | latest.keys()) - {""})]
    return [ServiceRules(name, describe(book.decided_for(name)), latest.get(name)) for name in names]


def seen_tools(service: str, *, now: datetime) -> dict[str, int]:
    """Tools of a service's newest runs, or of all services', with how many of these used them; the most used first."""
    statement = TOOLS.format(of_service="AND service = %(service)s" if service else "")
    with connection.cursor() as cursor:
        cursor.execute(statement, {"since": now - TOOLS_SINCE, "service": service})
        return dict(cursor.fetchall())
