"""How runs and spans are written: the statements of the hot path, each over a whole batch.

Every function takes a psycopg cursor inside the caller's transaction and runs one statement,
whatever the number of rows. Locks are taken in one order everywhere (ledger, runs, then what
depends on them), each sorted by key, so that concurrent writers cannot deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Protocol

from psycopg import Cursor

from agentops.columns import Booleans, Byteas, Column, Integers, Texts, transpose
from agentops.domain.runtree import unique_response
from agentops.domain.spans import ATTRIBUTION, COSTED_KINDS, MEASURES, STEP_KINDS, Kind

#: (trace_id, service)
RunKey = tuple[bytes, str]
#: (trace_id, span_id, service)
SpanKey = tuple[bytes, bytes, str]

#: Parents of one run that are remembered; beyond, its tree is read at every batch.
MAX_OPEN_PARENTS = 64
#: Agents, models and tools of one run that are remembered, of each.
MAX_NAMES = 100
#: Places that are remembered for one answer, and spans that are looked up for one batch.
MAX_TOLD, MAX_NEARBY = 16, 20_000

NO_MEASURES = (0,) * len(MEASURES)

#: SQL: whether a span ``s`` is a model call, and a step.
IS_MODEL, IS_STEP = (
    f"s.kind IN ({', '.join(str(int(kind)) for kind in sorted(kinds))})" for kinds in (COSTED_KINDS, STEP_KINDS)
)

_RUN_KEY: tuple[type[Column], ...] = (Byteas, Texts)
_SPAN_KEY: tuple[type[Column], ...] = (Byteas, Byteas, Texts)


@dataclass(slots=True)
class RunDelta:
    """What one batch says of one run; every field combines with the stored row in any order."""

    key: RunKey
    best: dict[str, tuple[int, str]] = field(default_factory=dict)
    name: str | None = None
    agents: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    tools: set[str] = field(default_factory=set)
    has_root: bool = False
    root_error: bool = False
    last_ended: tuple[int, bool] = (0, False)
    start_ns: int = 1 << 62
    end_ns: int = 0
    measures: list[int] = field(default_factory=lambda: [0] * len(MEASURES))
    spans: int = 0
    needs_tree: bool = False
    parents: set[str] = field(default_factory=set)
    llm_ids: set[str] = field(default_factory=set)
    llm_scopes: set[str] = field(default_factory=set)


@dataclass(slots=True, frozen=True)
class RunState:
    """A run after its upsert, locked: how it is attributed, and how it was before."""

    key: RunKey
    attribution: tuple[str | None, ...]
    was: tuple[str | None, ...]
    existed: bool
    needs_tree: bool
    open_parents: list[str]
    llm_scopes: list[str]
    #: How many spans it had before this batch.
    stored: int
    #: The day on which its first span came: no partition before it holds any.
    since: date


class Booked(Protocol):
    """A run that has spans: its key, and the day before which no partition holds any."""

    @property
    def key(self) -> RunKey: ...  # noqa: D102

    @property
    def since(self) -> date: ...  # noqa: D102


@dataclass(slots=True, frozen=True)
class StoredSpan:
    """What the tree and the rollups need of a span that is booked already."""

    received_on: date
    service: str
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    kind: int
    is_error: bool
    scope: str
    own_agent: str | None
    agent: str | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    tool: str | None
    start_ns: int
    end_ns: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    reasoning_output_tokens: int | None
    cost_nano: int | None
    price_source: int | None
    price_id: str | None
    is_estimate: bool
    terms: dict[str, Any] | None
    merged_into: bytes | None
    merged_trace_id: bytes | None
    #: What it told itself, where it counts what another span tells: ``FIGURES`` as JSON.
    own_figures: str | None
    #: The moment by which budgets count it; ``None`` for what came before there were any.
    counted_at: datetime | None = None

    @property
    def key(self) -> SpanKey:
        """Its key in the ledger."""
        return (self.trace_id, self.span_id, self.service)

    @property
    def run(self) -> RunKey:
        """The key of its run."""
        return (self.trace_id, self.service)

    @property
    def figures(self) -> tuple[Any, ...]:
        """What it counts, in the order of ``FIGURES``."""
        return (*self.tokens, self.cost_nano, self.price_source, self.price_id, self.is_estimate, self.terms)

    @property
    def tokens(self) -> tuple[int | None, ...]:
        """Its counts of tokens, in the order of ``MEASURES``."""
        return (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_input_tokens,
            self.cache_creation_input_tokens,
            self.reasoning_output_tokens,
        )


CLAIM = """
INSERT INTO span_ledger AS l (trace_id, span_id, service, fingerprint, received_on, is_llm, parent_span_id, start_ns)
SELECT trace_id, span_id, service, fingerprint::int, CURRENT_DATE, is_llm, parent_span_id, start_ns
FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::bigint[], %b::bool[], %b::bytea[], %b::bigint[])
     AS s (trace_id, span_id, service, fingerprint, is_llm, parent_span_id, start_ns)
ORDER BY trace_id, span_id, service
ON CONFLICT DO NOTHING
RETURNING trace_id, span_id, service, received_on
"""


def claim(cursor: Cursor[Any], rows: Sequence[tuple[Any, ...]]) -> dict[SpanKey, date]:
    """Enter spans into the ledger; those returned are new, all others have been counted before.

    A row is (trace id, span id, service, fingerprint, is a model call, parent or ``None``, start in ns).
    """
    cursor.execute(CLAIM, transpose((*_SPAN_KEY, Integers, Booleans, Byteas, Integers), rows))
    return {(row[0], row[1], row[2]): row[3] for row in cursor.fetchall()}


FINGERPRINTS = """
SELECT l.trace_id, l.span_id, l.service, l.fingerprint
FROM unnest(%b::bytea[], %b::bytea[], %b::text[]) AS s (trace_id, span_id, service)
JOIN span_ledger l USING (trace_id, span_id, service)
"""


def fingerprints(cursor: Cursor[Any], keys: Iterable[SpanKey]) -> dict[SpanKey, int]:
    """What the ledger holds of spans that came again."""
    cursor.execute(FINGERPRINTS, transpose(_SPAN_KEY, list(keys)))
    return {(row[0], row[1], row[2]): row[3] for row in cursor.fetchall()}


LLM_PARENTS = """
SELECT DISTINCT l.trace_id, l.service
FROM unnest(%b::bytea[], %b::bytea[], %b::text[]) AS s (trace_id, span_id, service)
JOIN span_ledger l USING (trace_id, span_id, service)
WHERE l.is_llm
"""


def runs_with_llm_parents(cursor: Cursor[Any], parents: Iterable[SpanKey]) -> set[RunKey]:
    """Runs in which one of these spans, all of them parents of others, is a model call."""
    cursor.execute(LLM_PARENTS, transpose(_SPAN_KEY, list(parents)))
    return {(row[0], row[1]) for row in cursor.fetchall()}


# Who tells an answer first makes its row; whoever tells it again waits here until the first has committed.
NOTE_ANSWERS = f"""
WITH noted AS (
    INSERT INTO answers AS a (key, received_on, members)
    SELECT key, CURRENT_DATE, array_agg(member ORDER BY member)
    FROM unnest(%b::bytea[], %b::bytea[]) AS u (key, member) GROUP BY key ORDER BY key
    ON CONFLICT (key) DO UPDATE SET members = (a.members || EXCLUDED.members)[1:{MAX_TOLD}]
    RETURNING key, members
)
SELECT key, members FROM noted WHERE cardinality(members) > 1
"""
ANSWERS = "SELECT key, members FROM answers WHERE key = ANY(%b::bytea[]) AND cardinality(members) > 1"


def answer_key(service: str, kind: Kind, response_id: str | None) -> bytes | None:
    """Under what a model's answer is remembered; ``None`` for an id that is none of its own."""
    response = unique_response(response_id)
    if response is None:
        return None
    return blake2b(f"{service}\0{int(kind)}\0{response}".encode(), digest_size=16).digest()


@dataclass(slots=True, frozen=True)
class Told:
    """Where an answer was told: a model call by its trace, its span and its start."""

    trace_id: bytes
    span_id: bytes
    start_ns: int

    def pack(self) -> bytes:
        """As the database holds it."""
        return self.trace_id + self.span_id + self.start_ns.to_bytes(8, "big")

    @classmethod
    def unpack(cls, member: bytes) -> Told:
        """What ``pack`` packed."""
        return cls(member[:16], member[16:24], int.from_bytes(member[24:32], "big"))


def note_answers(cursor: Cursor[Any], rows: Sequence[tuple[bytes, Told]]) -> dict[bytes, list[Told]]:
    """Remember where answers were told, by key; back come those that were told more than once, by whomever."""
    cursor.execute(NOTE_ANSWERS, transpose((Byteas, Byteas), [(key, told.pack()) for key, told in rows]))
    return _told(cursor)


def answers(cursor: Cursor[Any], keys: Sequence[bytes]) -> dict[bytes, list[Told]]:
    """Those of some answers that were told more than once."""
    cursor.execute(ANSWERS, [Byteas(keys)])
    return _told(cursor)


def _told(cursor: Cursor[Any]) -> dict[bytes, list[Told]]:
    return {key: [Told.unpack(member) for member in members] for key, members in cursor.fetchall()}


def _since(runs: Sequence[Booked]) -> list[Any]:
    """Keys of runs, and since when they have spans, as parameters."""
    return [*transpose(_RUN_KEY, [run.key for run in runs]), [run.since for run in runs]]


def _take_better(dimension: str) -> str:
    better = (
        f"EXCLUDED.{dimension}_order IS NOT NULL AND (r.{dimension}_order IS NULL OR "
        f'(EXCLUDED.{dimension}_order, EXCLUDED."{dimension}" COLLATE "C") < '
        f'(r.{dimension}_order, r."{dimension}" COLLATE "C"))'
    )
    return (
        f'was_{dimension} = r."{dimension}", '
        f'"{dimension}" = CASE WHEN {better} THEN EXCLUDED."{dimension}" ELSE r."{dimension}" END, '
        f"{dimension}_order = LEAST(r.{dimension}_order, EXCLUDED.{dimension}_order)"
    )


def _union(column: str, limit: int) -> str:
    return (
        f"{column} = CASE WHEN EXCLUDED.{column} <@ r.{column} THEN r.{column} ELSE "
        f"(SELECT (array_agg(DISTINCT x ORDER BY x))[1:{limit}] "
        f"FROM unnest(r.{column} || EXCLUDED.{column}) AS u (x)) END"
    )


_DIMENSIONS = ", ".join(f'"{d}"' for d in ATTRIBUTION)
_ORDERS = ", ".join(f"{d}_order" for d in ATTRIBUTION)
_MEASURES = ", ".join(MEASURES)
_SEPARATOR = "\x1f"

UPSERT = f"""
INSERT INTO runs AS r (trace_id, service, {_DIMENSIONS}, {_ORDERS}, name, agents, models, tools, has_root, root_error,
    last_ended_ns, last_error, started_at, latest_at, first_received_at, last_received_at,
    {_MEASURES}, spans, needs_tree, open_parents, llm_scopes)
SELECT trace_id, service, {_DIMENSIONS}, {_ORDERS}, name,
    coalesce(string_to_array(nullif(agents, ''), E'\\x1f'), '{{}}'),
    coalesce(string_to_array(nullif(models, ''), E'\\x1f'), '{{}}'),
    coalesce(string_to_array(nullif(tools, ''), E'\\x1f'), '{{}}'), has_root, root_error, last_ended_ns, last_error,
    to_timestamp(0) + started_us * interval '1 microsecond', to_timestamp(0) + latest_us * interval '1 microsecond',
    now(), now(), {_MEASURES}, spans, needs_tree,
    coalesce(string_to_array(nullif(open_parents, ''), E'\\x1f'), '{{}}'),
    coalesce(string_to_array(nullif(llm_scopes, ''), E'\\x1f'), '{{}}')
FROM (SELECT trace_id, service, {_DIMENSIONS}, {_ORDERS}, name, agents, models, tools, has_root, root_error,
        last_ended_ns, last_error, started_us, latest_us, {_MEASURES}, spans, needs_tree, open_parents, llm_scopes
    FROM unnest(%b::bytea[], %b::text[], {"%b::text[], " * 5} {"%b::bigint[], " * 5}
        {"%b::text[], " * 4} %b::bool[], %b::bool[], %b::bigint[], %b::bool[], %b::bigint[], %b::bigint[],
        {"%b::bigint[], " * len(MEASURES)} %b::bigint[], %b::bool[], %b::text[], %b::text[])
    AS u (trace_id, service, {_DIMENSIONS}, {_ORDERS}, name, agents, models, tools, has_root, root_error,
        last_ended_ns, last_error, started_us, latest_us, {_MEASURES}, spans, needs_tree, open_parents, llm_scopes)
) AS s
WHERE spans > 0 OR EXISTS (SELECT FROM runs o WHERE o.trace_id = s.trace_id AND o.service = s.service)
ORDER BY trace_id, service
ON CONFLICT (trace_id, service) DO UPDATE SET
    {", ".join(_take_better(d) for d in ATTRIBUTION)},
    name = LEAST(EXCLUDED.name COLLATE "C", r.name COLLATE "C"),
    {", ".join(_union(names, MAX_NAMES) for names in ("agents", "models", "tools"))},
    has_root = r.has_root OR EXCLUDED.has_root,
    root_error = r.root_error OR EXCLUDED.root_error,
    last_ended_ns = GREATEST(r.last_ended_ns, EXCLUDED.last_ended_ns),
    last_error = CASE WHEN (EXCLUDED.last_ended_ns, EXCLUDED.last_error) > (r.last_ended_ns, r.last_error)
        THEN EXCLUDED.last_error ELSE r.last_error END,
    started_at = LEAST(r.started_at, EXCLUDED.started_at),
    latest_at = GREATEST(r.latest_at, EXCLUDED.latest_at),
    first_received_at = LEAST(r.first_received_at, EXCLUDED.first_received_at),
    last_received_at = CASE WHEN EXCLUDED.spans = 0 THEN r.last_received_at
        ELSE GREATEST(r.last_received_at, EXCLUDED.last_received_at) END,
    {", ".join(f"{m} = r.{m} + EXCLUDED.{m}" for m in MEASURES)},
    spans = r.spans + EXCLUDED.spans,
    needs_tree = r.needs_tree OR EXCLUDED.needs_tree OR cardinality(r.open_parents) >= {MAX_OPEN_PARENTS},
    {_union("open_parents", MAX_OPEN_PARENTS)},
    {_union("llm_scopes", 4)}
RETURNING trace_id, service, {_DIMENSIONS}, {", ".join(f"was_{d}" for d in ATTRIBUTION)},
    spans, needs_tree, open_parents, llm_scopes, (first_received_at AT TIME ZONE 'UTC')::date
"""


def upsert_runs(cursor: Cursor[Any], deltas: Sequence[RunDelta]) -> dict[RunKey, RunState]:
    """Combine what a batch says with the stored runs, and lock them until the end of the transaction.

    One of which it says nothing (no spans) is locked as well, in its place among the others, when there is one.
    """
    rows = [_upsert_row(delta) for delta in deltas]
    cursor.execute(UPSERT, transpose(_UPSERT_TYPES, rows))
    fresh = {delta.key: delta.spans for delta in deltas}
    width = len(ATTRIBUTION)
    states = {}
    for row in cursor.fetchall():
        key = (row[0], row[1])
        spans, needs_tree, open_parents, llm_scopes, since = row[2 + 2 * width :]
        states[key] = RunState(
            key=key,
            attribution=row[2 : 2 + width],
            was=row[2 + width : 2 + 2 * width],
            existed=spans > fresh[key],
            stored=spans - fresh[key],
            needs_tree=needs_tree,
            open_parents=open_parents,
            llm_scopes=llm_scopes,
            since=since,
        )
    return states


_UPSERT_TYPES: tuple[type[Column], ...] = (
    *_RUN_KEY,
    *(Texts for _ in ATTRIBUTION),
    *(Integers for _ in ATTRIBUTION),
    *(Texts, Texts, Texts, Texts, Booleans, Booleans, Integers, Booleans, Integers, Integers),
    *(Integers for _ in MEASURES),
    *(Integers, Booleans, Texts, Texts),
)


def _upsert_row(delta: RunDelta) -> tuple[Any, ...]:
    best = [delta.best.get(dimension) for dimension in ATTRIBUTION]
    return (
        *delta.key,
        *(b[1] if b else None for b in best),
        *(b[0] if b else None for b in best),
        delta.name,
        *(_SEPARATOR.join(sorted(names)) for names in (delta.agents, delta.models, delta.tools)),
        delta.has_root,
        delta.root_error,
        *delta.last_ended,
        delta.start_ns // 1000,
        delta.end_ns // 1000,
        *delta.measures,
        delta.spans,
        delta.needs_tree,
        _SEPARATOR.join(sorted(delta.parents)[:MAX_OPEN_PARENTS]),
        _SEPARATOR.join(sorted(delta.llm_scopes)),
    )


#: The columns of a ``StoredSpan``, of spans ``s``.
STORED_COLUMNS = """s.received_on, s.service, s.trace_id, s.span_id, coalesce(s.parent_span_id, ''::bytea), s.kind,
    s.is_error, s.scope, s.own_agent, s.agent, s.request_model, s.response_model, s.response_id, s.tool, s.start_ns,
    s.end_ns, s.input_tokens, s.output_tokens, s.cache_read_input_tokens, s.cache_creation_input_tokens,
    s.reasoning_output_tokens, s.cost_nano, s.price_source, s.price_id, s.is_estimate, s.terms, s.merged_into,
    s.merged_trace_id, s.own_figures, s.counted_at"""
STORED = f"""
SELECT {STORED_COLUMNS}
FROM unnest(%b::bytea[], %b::text[], %b::date[]) AS k (trace_id, service, since)
JOIN spans s ON s.trace_id = k.trace_id AND s.service = k.service AND s.received_on >= k.since
"""
#: The ledger says in which partition a span is, and when it started: that is what the index of spans is by.
_IN_SPANS = """spans s ON s.received_on = l.received_on AND s.trace_id = l.trace_id AND s.start_ns = l.start_ns
    AND s.span_id = l.span_id AND s.service = l.service"""
BY_KEY = f"""
SELECT {STORED_COLUMNS} FROM unnest(%b::bytea[], %b::bytea[], %b::text[]) AS k (trace_id, span_id, service)
JOIN span_ledger l USING (trace_id, span_id, service) JOIN {_IN_SPANS}
"""
WITH_ANCESTORS = f"""
WITH RECURSIVE l AS (
    SELECT l.trace_id, l.span_id, l.service, l.parent_span_id, l.start_ns, l.received_on
    FROM unnest(%b::bytea[], %b::bytea[], %b::text[]) AS k (trace_id, span_id, service)
    JOIN span_ledger l USING (trace_id, span_id, service)
    UNION
    SELECT p.trace_id, p.span_id, p.service, p.parent_span_id, p.start_ns, p.received_on
    FROM l JOIN span_ledger p ON p.trace_id = l.trace_id AND p.span_id = l.parent_span_id AND p.service = l.service
)
SELECT {STORED_COLUMNS} FROM l JOIN {_IN_SPANS} LIMIT {MAX_NEARBY}
"""
STARTED = f"""
SELECT {STORED_COLUMNS}
FROM unnest(%b::bytea[], %b::text[], %b::date[], %b::bigint[], %b::bigint[])
    AS k (trace_id, service, since, from_ns, until_ns)
JOIN spans s ON s.trace_id = k.trace_id AND s.service = k.service AND s.received_on >= k.since
    AND s.start_ns BETWEEN k.from_ns AND k.until_ns
LIMIT {MAX_NEARBY}
"""


def stored_spans(cursor: Cursor[Any], runs: Sequence[RunState]) -> dict[RunKey, list[StoredSpan]]:
    """Every booked span of some runs, without its text."""
    found: dict[RunKey, list[StoredSpan]] = {run.key: [] for run in runs}
    cursor.execute(STORED, _since(runs))
    for row in cursor.fetchall():
        found[row[2], row[1]].append(StoredSpan(*row))
    return found


def spans_by_key(cursor: Cursor[Any], keys: Iterable[SpanKey], *, ancestors: bool = False) -> list[StoredSpan]:
    """Those of some spans that are booked, and all above them; at most ``MAX_NEARBY``."""
    cursor.execute(WITH_ANCESTORS if ancestors else BY_KEY, transpose(_SPAN_KEY, sorted(keys)))
    return [StoredSpan(*row) for row in cursor.fetchall()]


def spans_started(cursor: Cursor[Any], ranges: Sequence[tuple[RunState, int, int]]) -> list[StoredSpan]:
    """The booked spans of runs that started in a range of ns, the end included; at most ``MAX_NEARBY``."""
    runs, begins, ends = zip(*ranges, strict=True)
    cursor.execute(STARTED, [*_since(runs), Integers(begins), Integers(ends)])
    return [StoredSpan(*row) for row in cursor.fetchall()]


LOCK_RUNS = f"""
SELECT r.trace_id, r.service, {", ".join(f"r.{d}" if d != "user" else 'r."user"' for d in ATTRIBUTION)}
FROM unnest(%b::bytea[], %b::text[]) AS k (trace_id, service) JOIN runs r USING (trace_id, service)
ORDER BY r.trace_id, r.service FOR UPDATE OF r
"""


def lock_runs(cursor: Cursor[Any], keys: Iterable[RunKey]) -> dict[RunKey, tuple[str | None, ...]]:
    """Lock runs until the end of the transaction; how each is attributed."""
    cursor.execute(LOCK_RUNS, transpose(_RUN_KEY, sorted(keys)))
    return {(row[0], row[1]): row[2:] for row in cursor.fetchall()}


WAIT = """
INSERT INTO span_waiting (trace_id, service, ancestor, span_id, received_on)
SELECT trace_id, service, ancestor, span_id, CURRENT_DATE
FROM unnest(%b::bytea[], %b::text[], %b::bytea[], %b::bytea[]) AS u (trace_id, service, ancestor, span_id)
ORDER BY trace_id, ancestor, service, span_id ON CONFLICT DO NOTHING
"""
WAIT_ON = """
UPDATE span_waiting AS w SET ancestor = k.next
FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::bytea[]) AS k (trace_id, ancestor, service, next)
WHERE w.trace_id = k.trace_id AND w.ancestor = k.ancestor AND w.service = k.service
"""
WAIT_NO_MORE = """
DELETE FROM span_waiting AS w USING unnest(%b::bytea[], %b::bytea[], %b::text[]) AS k (trace_id, ancestor, service)
WHERE w.trace_id = k.trace_id AND w.ancestor = k.ancestor AND w.service = k.service
"""


def wait(cursor: Cursor[Any], rows: Sequence[tuple[bytes, str, bytes, bytes]]) -> None:
    """Let steps of large runs wait for what may name their agent: (trace id, service, ancestor, span id)."""
    cursor.execute(WAIT, transpose((Byteas, Texts, Byteas, Byteas), rows))


def wait_on(cursor: Cursor[Any], ancestors: Mapping[SpanKey, bytes]) -> None:
    """Let what waits for these spans wait for others, which are above them."""
    cursor.execute(
        WAIT_ON, transpose((*_SPAN_KEY, Byteas), [(*key, next_) for key, next_ in sorted(ancestors.items())])
    )


def wait_no_more(cursor: Cursor[Any], ancestors: Iterable[SpanKey]) -> None:
    """Let nothing wait for these spans any more."""
    cursor.execute(WAIT_NO_MORE, transpose(_SPAN_KEY, sorted(ancestors)))


# With its start a span is found by the index of spans; a run may have hundreds of thousands.
_FOUND_AGAIN = """spans.received_on = u.received_on AND spans.trace_id = u.trace_id
  AND spans.start_ns = u.start_ns AND spans.span_id = u.span_id AND spans.service = u.service"""
REBOOK = f"""
UPDATE spans SET agent = u.agent, merged_into = u.merged_into, merged_trace_id = u.merged_trace_id
FROM unnest(%b::date[], %b::bytea[], %b::bytea[], %b::text[], %b::bigint[], %b::text[], %b::bytea[], %b::bytea[])
     AS u (received_on, trace_id, span_id, service, start_ns, agent, merged_into, merged_trace_id)
WHERE {_FOUND_AGAIN}
"""
FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
    "cost_nano",
    "price_source",
    "price_id",
    "is_estimate",
    "terms",
)
REFIGURE = f"""
UPDATE spans SET own_figures = u.own_figures, {", ".join(f"{f} = u.{f}" for f in FIGURES[:-1])}, terms = u.terms::jsonb
FROM unnest(%b::date[], %b::bytea[], %b::bytea[], %b::text[], %b::bigint[], %b::text[],
    {"%b::bigint[], " * 7} %b::text[], %b::bool[], %b::text[])
     AS u (received_on, trace_id, span_id, service, start_ns, own_figures, {", ".join(FIGURES)})
WHERE {_FOUND_AGAIN}
"""


def rebook_spans(
    cursor: Cursor[Any], rows: Sequence[tuple[StoredSpan, str | None, bytes | None, bytes | None]]
) -> None:
    """Change agent and merge of booked spans: (span, agent, merged into, trace of that)."""
    flat = [(s.trace_id, s.span_id, s.service, s.start_ns, *rest) for s, *rest in rows]
    types = (*_SPAN_KEY, Integers, Texts, Byteas, Byteas)
    cursor.execute(REBOOK, [[s.received_on for s, *_ in rows], *transpose(types, flat)])


def refigure_spans(cursor: Cursor[Any], rows: Sequence[tuple[StoredSpan, str | None, Sequence[Any]]]) -> None:
    """Change what booked spans count: (span, its own figures as JSON when others are counted, ``FIGURES``)."""
    flat = [
        (s.trace_id, s.span_id, s.service, s.start_ns, own, *figures, None if terms is None else json.dumps(terms))
        for s, own, (*figures, terms) in rows
    ]
    types = (*_SPAN_KEY, Integers, Texts, *(Integers for _ in range(7)), Texts, Booleans, Texts)
    cursor.execute(REFIGURE, [[s.received_on for s, *_ in rows], *transpose(types, flat)])


CORRECT = f"""
UPDATE runs r SET needs_tree = r.needs_tree OR u.needs_tree, absorbed_spans = r.absorbed_spans + u.absorbed,
    {", ".join(f"{m} = r.{m} + u.{m}" for m in MEASURES)}
FROM unnest(%b::bytea[], %b::text[], %b::bool[], %b::bigint[], {", ".join(["%b::bigint[]"] * len(MEASURES))})
     AS u (trace_id, service, needs_tree, absorbed, {_MEASURES})
WHERE r.trace_id = u.trace_id AND r.service = u.service
"""


@dataclass(slots=True)
class Correction:
    """What a run's own row is off by; ``absorbed``: more of its spans that are merged into other traces."""

    measures: list[int] = field(default_factory=lambda: [0] * len(MEASURES))
    absorbed: int = 0
    needs_tree: bool = False


def correct_runs(cursor: Cursor[Any], corrections: Mapping[RunKey, Correction]) -> None:
    """Add to runs whose tree, or whose calls in other traces, decided otherwise than their spans alone."""
    flat = [(*key, c.needs_tree, c.absorbed, *c.measures) for key, c in sorted(corrections.items())]
    types = (*_RUN_KEY, Booleans, Integers, *(Integers for _ in MEASURES))
    cursor.execute(CORRECT, transpose(types, flat))


SPAN_COLUMNS = {
    "received_on": "date",
    "service": "text",
    "trace_id": "bytea",
    "span_id": "bytea",
    "parent_span_id": "bytea",
    "kind": "int2",
    "is_error": "bool",
    "name": "text",
    "scope": "text",
    "own_agent": "text",
    "agent": "text",
    "provider": "text",
    "request_model": "text",
    "response_model": "text",
    "response_id": "text",
    "tool": "text",
    "error_type": "text",
    "start_ns": "int8",
    "end_ns": "int8",
    "input_tokens": "int8",
    "output_tokens": "int8",
    "cache_read_input_tokens": "int8",
    "cache_creation_input_tokens": "int8",
    "reasoning_output_tokens": "int8",
    "cost_nano": "int8",
    "price_source": "int2",
    "price_id": "text",
    "is_estimate": "bool",
    "terms": "jsonb",
    "merged_into": "bytea",
    "merged_trace_id": "bytea",
    "own_figures": "text",
    "counted_at": "timestamptz",
    "content": "text",
}
COPY_SPANS = f"COPY spans ({', '.join(SPAN_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_SPAN_TYPES = list(SPAN_COLUMNS.values())


def copy_spans(cursor: Cursor[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Append new spans; a row has the columns of ``SPAN_COLUMNS``."""
    with cursor.copy(COPY_SPANS) as copy:
        copy.set_types(_SPAN_TYPES)
        write = copy.write_row
        for row in rows:
            write(row)
