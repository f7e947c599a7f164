"""Runs and sessions as far as they have been judged: read, remembered by this process, and written back.

The row is the record. A process remembers what it wrote last, and takes that up again where the row's version says
that nobody else has judged since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from django.db import connection, transaction

from agentops.columns import Column, Integers, Texts, books_cursor, transpose
from agentops.domain.findings import Finding
from agentops.domain.hidden import Failure
from agentops.domain.loops import VERSION, Watch
from agentops.runs.findings import Place, Scope

#: Streams that a process remembers, and how long a row stays that nobody touches.
REMEMBERED = 1_000
KEPT = timedelta(days=8)
FORGOTTEN_AT_ONCE = 5_000
MAX_FAILURES = 16
#: Where loops are noted as found. What another version found stays as it is stored: this one knows nothing of it.
_LOOPS = f"loops-{VERSION}"


@dataclass(slots=True)
class Noted:
    """What has been stored and reported of a finding: ``mark`` changes when the finding does, ``alert`` is which."""

    mark: list[Any]
    alert: str
    reported_at: float = 0.0
    reported_count: int = 0
    severity: str = ""
    is_open: bool = True

    def dump(self) -> list[Any]:
        """As JSON can hold it."""
        return [self.mark, self.alert, self.reported_at, self.reported_count, self.severity, self.is_open]


@dataclass(slots=True)
class Stream:
    """A run or a session under watch.

    ``failures`` are failed tool calls of which no model has been told yet; ``others`` what other detectors found, by
    name; ``noted`` what has been stored of all findings, by source and ordinal. ``is_learnt``: the habits of its
    service know it.
    """

    place: Place
    watch: Watch
    failures: list[Failure] = field(default_factory=list)
    others: dict[str, Finding] = field(default_factory=dict)
    noted: dict[str, Noted] = field(default_factory=dict)
    is_learnt: bool = False
    version: int = 0

    def findings(self) -> dict[str, tuple[Finding, bool]]:
        """Everything found, and whether it can go on; by source and ordinal."""
        found = {f"{_LOOPS}:{at}": (finding, self.watch.is_open(at)) for at, finding in enumerate(self.watch.findings)}
        found |= {f"{name}:0": (finding, True) for name, finding in self.others.items()}
        return found

    def dump(self) -> bytes:
        """Its state as JSON text."""
        return orjson.dumps(
            {
                "watch": self.watch.dump(),
                "failures": [[f.span_id.hex(), *f[1:4], list(f.words)] for f in self.failures],
                "others": {name: finding.dump() for name, finding in self.others.items()},
                "noted": {name: noted.dump() for name, noted in self.noted.items()},
                "is_learnt": self.is_learnt,
            }
        )


_remembered: OrderedDict[Place, Stream] = OrderedDict()

VERSIONS = """
SELECT service, scope, key, version FROM watch_stream
JOIN unnest(%b::text[], %b::bigint[], %b::text[]) AS u (service, scope, key) USING (service, scope, key)
"""
STATES = """
SELECT service, scope, key, version, state FROM watch_stream
JOIN unnest(%b::text[], %b::bigint[], %b::text[]) AS u (service, scope, key) USING (service, scope, key)
"""
SAVE = """
INSERT INTO watch_stream AS s (service, scope, key, state, version, touched_at)
SELECT service, scope, key, state, version, now()
FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::text[], %b::bigint[]) AS u (service, scope, key, state, version)
ORDER BY service, scope, key
ON CONFLICT (service, scope, key) DO UPDATE
SET state = EXCLUDED.state, version = EXCLUDED.version, touched_at = EXCLUDED.touched_at
"""


def read(places: Iterable[Place]) -> dict[Place, Stream]:
    """The streams of some places, new ones where there are none. Two statements.

    Nobody remembers what is being judged: should it not be committed, the rows are what holds.
    """
    wanted = sorted(set(places), key=lambda p: (p.service, p.scope, p.key))
    versions = {_place(row): row[3] for row in _ask(VERSIONS, wanted)}
    found: dict[Place, Stream] = {}
    unknown: list[Place] = []
    for place in wanted:
        known = _remembered.pop(place, None)
        if known is not None and known.version == versions.get(place, 0):
            found[place] = known
        elif place in versions:
            unknown.append(place)
        else:
            found[place] = Stream(place, Watch(is_session=place.scope is Scope.SESSION))
    for row in _ask(STATES, unknown):
        place = _place(row)
        found[place] = load(place, row[3], row[4])
    return found


def write(streams: Sequence[Stream]) -> None:
    """Write streams back, and remember them once that is committed. One statement."""
    rows = []
    for stream in streams:
        stream.version += 1
        rows.append((*_key(stream.place), stream.dump().decode(), stream.version))
    with books_cursor() as cursor:
        cursor.execute(SAVE, transpose((*_KEY, Texts, Integers), rows))
    transaction.on_commit(partial(_remember, streams))


def _remember(streams: Sequence[Stream]) -> None:
    for stream in streams:
        _remembered[stream.place] = stream
        _remembered.move_to_end(stream.place)
    while len(_remembered) > REMEMBERED:
        _remembered.popitem(last=False)


def forget_remembered() -> None:
    """Trust nothing but the rows: a database that crashed may have lost what it had committed."""
    _remembered.clear()


PRUNE = """
DELETE FROM watch_stream WHERE (service, scope, key) IN (
    SELECT service, scope, key FROM watch_stream WHERE touched_at < %s LIMIT %s)
"""


def prune(*, now: datetime) -> None:
    """Delete what nobody has touched for long."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(PRUNE, [now - KEPT, FORGOTTEN_AT_ONCE])
            if cursor.rowcount < FORGOTTEN_AT_ONCE:
                return


_KEY: tuple[type[Column], ...] = (Texts, Integers, Texts)


def _key(place: Place) -> tuple[str, int, str]:
    return place.service, int(place.scope), place.key


def _ask(statement: str, places: Sequence[Place]) -> list[tuple[Any, ...]]:
    if not places:
        return []
    with books_cursor() as cursor:
        cursor.execute(statement, transpose(_KEY, [_key(place) for place in places]))
        return cursor.fetchall()


def _place(row: Sequence[Any]) -> Place:
    return Place(row[0], Scope(row[1]), row[2])


def load(place: Place, version: int, text: str) -> Stream:
    """The stream that ``dump`` told of."""
    state = orjson.loads(text)
    return Stream(
        place,
        Watch.load(state["watch"], is_session=place.scope is Scope.SESSION),
        [
            Failure(bytes.fromhex(span_id), agent, tool, end_ns, tuple(words))
            for span_id, agent, tool, end_ns, words in state["failures"]
        ],
        {name: Finding.load(plain) for name, plain in state["others"].items()},
        {
            name: Noted(*values)
            for name, values in state["noted"].items()
            if name.partition(":")[0] in {_LOOPS, *state["others"]}
        },
        state["is_learnt"],
        version,
    )
