"""Booked runs whose attribution is put right: statements over a page of them, inside the caller's transaction.

Whoever corrects locks the runs first, as every writer does: a span that comes meanwhile is booked before or after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson
from psycopg import Cursor

from agentops.columns import Byteas, Integers, Texts, transpose
from agentops.domain.attribution import RULED, Facts, of_content
from agentops.domain.spans import ATTRIBUTION, DEFAULT_ENVIRONMENT
from agentops.runs.store import RunKey

_ENVIRONMENT = ATTRIBUTION.index("environment")


@dataclass(slots=True, frozen=True)
class AttributedRun:
    """How a run is attributed, and how good that is, in the order of ``ATTRIBUTION``; ``since`` when it has spans."""

    key: RunKey
    attribution: tuple[str | None, ...]
    orders: tuple[int | None, ...]
    started_at: datetime
    since: date


#: A place among runs: when they started, then what tells equals apart.
Place = tuple[datetime, bytes, str]

_WANTED = """r.started_at >= %(from)s AND r.started_at < %(until)s AND r.first_received_at >= %(kept)s
    AND (%(service)s = '' OR r.service = %(service)s)"""
COUNT = f"SELECT count(*) FROM runs r WHERE {_WANTED}"
NEXT = f"""
SELECT r.started_at, r.trace_id, r.service FROM runs r
WHERE {_WANTED} AND (r.started_at, r.trace_id, r.service) > (%(after_at)s, %(after_trace)s, %(after_service)s)
ORDER BY r.started_at, r.trace_id, r.service LIMIT %(limit)s
"""


@dataclass(slots=True, frozen=True)
class Wanted:
    """Runs of a service (empty for any) that started in ``[from_, until)``, all of whose spans are still there."""

    from_: datetime
    until: datetime
    service: str
    kept_since: datetime

    def parameters(self) -> dict[str, Any]:
        """As the statements name them."""
        return {"from": self.from_, "until": self.until, "service": self.service, "kept": self.kept_since}


def count_runs(cursor: Cursor[Any], wanted: Wanted) -> int:
    """How many there are."""
    cursor.execute(COUNT, wanted.parameters())
    return int(cursor.fetchall()[0][0])


def next_runs(cursor: Cursor[Any], wanted: Wanted, *, after: Place | None, limit: int) -> list[Place]:
    """Some runs in the order of their start, from a place on."""
    after_at, after_trace, after_service = after or (wanted.from_, b"", "")
    more = {"after_at": after_at, "after_trace": after_trace, "after_service": after_service, "limit": limit}
    cursor.execute(NEXT, wanted.parameters() | more)
    return [(row[0], bytes(row[1]), row[2]) for row in cursor.fetchall()]


#: Runs that are looked at for those that lack something.
MAX_LOOKED_AT = 20_000
NEWEST_WITHOUT = """
SELECT r.trace_id, r.service FROM (
    SELECT * FROM runs r WHERE r.started_at >= %(since)s AND (%(service)s = '' OR r.service = %(service)s)
    ORDER BY r.started_at DESC LIMIT {looked_at}
) AS r WHERE r."{dimension}" IS NULL AND r.steps > 0 AND r.first_received_at >= %(since)s
ORDER BY r.started_at DESC LIMIT %(limit)s
"""


def newest_without(cursor: Cursor[Any], dimension: str, *, service: str, since: datetime, limit: int) -> list[RunKey]:
    """The newest runs of a service (empty for any) with steps but without a value in a dimension of ``RULED``."""
    if dimension not in RULED:
        raise ValueError(dimension)
    statement = NEWEST_WITHOUT.format(dimension=dimension, looked_at=MAX_LOOKED_AT)
    cursor.execute(statement, {"since": since, "service": service, "limit": limit})
    return [(bytes(row[0]), row[1]) for row in cursor.fetchall()]


READ = f"""
SELECT r.trace_id, r.service, r.started_at, (r.first_received_at AT TIME ZONE 'UTC')::date,
    {", ".join(f'r."{dimension}"' for dimension in ATTRIBUTION)}, {", ".join(f"r.{d}_order" for d in ATTRIBUTION)}
FROM unnest(%b::bytea[], %b::text[]) AS k (trace_id, service) JOIN runs r USING (trace_id, service)
ORDER BY r.trace_id, r.service
"""
LOCK = f"{READ} FOR UPDATE OF r"


def attributed_runs(cursor: Cursor[Any], keys: Iterable[RunKey], *, lock: bool) -> list[AttributedRun]:
    """Some runs; with ``lock`` nobody else writes them until the end of the transaction."""
    cursor.execute(LOCK if lock else READ, transpose((Byteas, Texts), sorted(keys)))
    width = len(ATTRIBUTION)
    return [
        AttributedRun((row[0], row[1]), row[4 : 4 + width], row[4 + width :], row[2], row[3])
        for row in cursor.fetchall()
    ]


# Of texts only those that may matter are read: they are most of a span.
FACTS = """
SELECT s.trace_id, s.service, s.start_ns, s.parent_span_id IS NULL, s.name, s.own_agent, s.tool, s.request_model,
    s.response_model, CASE WHEN EXISTS (SELECT FROM unnest(%b::text[]) AS n (text) WHERE strpos(s.content, n.text) > 0)
    THEN s.content END
FROM unnest(%b::bytea[], %b::text[], %b::date[]) AS k (trace_id, service, since)
JOIN spans s ON s.trace_id = k.trace_id AND s.service = k.service AND s.received_on >= k.since
"""


def span_facts(
    cursor: Cursor[Any], runs: Sequence[AttributedRun], needles: Sequence[str]
) -> Iterator[tuple[RunKey, int, Facts]]:
    """What rules can see of each span of some runs, and when it started; its content where it holds a needle."""
    environments = {run.key: run.attribution[_ENVIRONMENT] or DEFAULT_ENVIRONMENT for run in runs}
    written = [orjson.dumps(needle).decode()[1:-1] for needle in needles]
    keys = transpose((Byteas, Texts), [run.key for run in runs])
    cursor.execute(FACTS, [Texts(written), *keys, [run.since for run in runs]])
    for trace_id, service, start_ns, is_root, name, agent, tool, *models, content in cursor.fetchall():
        seen = of_content(orjson.loads(content) if content else {})
        key = (trace_id, service)
        yield key, start_ns, Facts(name, is_root, agent, tool, tuple(models), environments[key], *seen)


SET = f"""
UPDATE runs r SET {", ".join(f'"{d}" = u."{d}", {d}_order = u.{d}_order' for d in RULED)}
FROM unnest(%b::bytea[], %b::text[], {", ".join("%b::text[], %b::bigint[]" for _ in RULED)})
    AS u (trace_id, service, {", ".join(f'"{d}", {d}_order' for d in RULED)})
WHERE r.trace_id = u.trace_id AND r.service = u.service
"""


def set_attribution(
    cursor: Cursor[Any], rows: Sequence[tuple[RunKey, dict[str, tuple[int | None, str | None]]]]
) -> None:
    """Say what locked runs are attributed to, in each dimension of ``RULED``: order and value."""
    types = (Byteas, Texts, *(kind for _ in RULED for kind in (Texts, Integers)))
    flat = [(*key, *(part for dimension in RULED for part in reversed(best[dimension]))) for key, best in sorted(rows)]
    cursor.execute(SET, transpose(types, flat))
