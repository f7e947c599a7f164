"""How grants and refusals are written, and what was answered before is found again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg import Cursor

from agentops.budgets.reservations import HELD, is_trace_id, pack
from agentops.budgets.store import WindowKey
from agentops.columns import Integers, Texts, transpose
from agentops.domain.budgets import Amounts


class Collided(Exception):
    """Somebody else has granted something under the same key just now: ask again."""


KNOWN = """
SELECT r.service, r.idempotency_key, r.body_hash, r.answer
FROM unnest(%b::text[], %b::text[]) AS k (service, key)
JOIN budget_reservation r ON r.service = k.service AND r.idempotency_key = k.key
"""


def known(
    cursor: Cursor[Any], keys: Iterable[tuple[str, str]]
) -> Callable[[], dict[tuple[str, str], tuple[bytes, Any]]]:
    """Ask what was answered under idempotency keys, (service, key) each: the hash of the question, and the answer."""
    wanted = sorted(set(keys))
    if not wanted:
        return dict
    cursor.execute(KNOWN, transpose((Texts, Texts), wanted))
    return lambda: {(row[0], row[1]): (bytes(row[2]), row[3]) for row in cursor.fetchall()}


LAST = """
SELECT DISTINCT r.service, r.run FROM unnest(%b::text[], %b::text[]) AS k (service, run)
JOIN budget_reservation r ON r.service = k.service AND r.run = k.run AND r.is_final
"""


def ended(cursor: Cursor[Any], runs: Iterable[tuple[str, str]]) -> Callable[[], set[tuple[str, str]]]:
    """Ask which runs, (service, run) each, have had their final answer."""
    wanted = sorted(set(runs))
    if not wanted:
        return set
    cursor.execute(LAST, transpose((Texts, Texts), wanted))
    return lambda: {(row[0], row[1]) for row in cursor.fetchall()}


class Stated(NamedTuple):
    """What a check says of itself, as it says it."""

    service: str
    environment: str
    run: str
    session: str
    user: str
    feature: str
    agent: str
    kind: str
    provider: str
    model: str
    tool: str
    arguments_hash: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A reservation to be written."""

    id: UUID
    stated: Stated
    key: str | None
    body_hash: bytes
    is_final: bool
    held: Amounts
    windows: Sequence[WindowKey]
    answer: dict[str, Any]
    granted_at: datetime
    expires_at: datetime
    trace_id: bytes | None
    span_id: bytes | None


_COLUMNS = """id, service, idempotency_key, body_hash, environment, run, session, "user", feature, agent, kind,
    provider, model, tool, is_final, state, held_nano, held_tokens, held_steps, windows, answer, granted_at, expires_at,
    trace_id, span_id"""
GRANT = f"""
INSERT INTO budget_reservation ({_COLUMNS})
SELECT {_COLUMNS} FROM jsonb_to_recordset(%t::jsonb) AS r (id uuid, service text, idempotency_key text, body_hash bytea,
    environment text, run text, session text, "user" text, feature text, agent text, kind text, provider text,
    model text, tool text, is_final boolean, state smallint, held_nano bigint, held_tokens bigint, held_steps bigint,
    windows jsonb, answer jsonb, granted_at timestamptz, expires_at timestamptz, trace_id bytea, span_id bytea)
ORDER BY service, idempotency_key, id
ON CONFLICT DO NOTHING RETURNING true
"""


def write(cursor: Cursor[Any], grants: Sequence[Grant]) -> Callable[[], None]:
    """Write reservations: one statement. What is returned raises ``Collided`` when one of their keys is taken."""
    if not grants:
        return lambda: None
    cursor.execute(GRANT, [orjson.dumps([_row(grant) for grant in grants]).decode()])

    def confirm() -> None:
        if len(cursor.fetchall()) != len(grants):
            raise Collided

    return confirm


def _row(grant: Grant) -> dict[str, Any]:
    said = grant.stated._asdict()
    del said["arguments_hash"]
    return said | {
        "id": str(grant.id),
        "idempotency_key": grant.key,
        "body_hash": _bytea(grant.body_hash),
        "is_final": grant.is_final,
        "state": HELD,
        "held_nano": grant.held.nano,
        "held_tokens": grant.held.tokens,
        "held_steps": grant.held.steps,
        "windows": pack(grant.windows),
        "answer": grant.answer,
        "granted_at": grant.granted_at.isoformat(),
        "expires_at": grant.expires_at.isoformat(),
        "trace_id": _bytea(grant.trace_id),
        "span_id": _bytea(grant.span_id),
    }


def _bytea(value: bytes | None) -> str | None:
    return None if value is None else f"\\x{value.hex()}"


class Refusal(NamedTuple):
    """Why a step was refused: ``cause`` is a mode, ``cause_id`` its budget or kill switch."""

    cause: str
    cause_id: int
    member: str
    stated: Stated
    estimate_nano: int
    message: str

    @property
    def step(self) -> bytes:
        """What makes two refusals the same step of the same run."""
        return blake2b("\0".join((*self.stated, self.member)).encode(), digest_size=8).digest()

    @property
    def what(self) -> str:
        """The step, in a word or two."""
        stated = self.stated
        name = stated.tool if stated.kind == "tool" else stated.model
        return f"{stated.kind} {name}".strip()


REFUSE = """
INSERT INTO budget_refusal AS f (minute, cause, cause_id, service, step, member, run, session, "user", feature, agent,
    what, count, estimate_nano, message)
SELECT date_trunc('minute', clock_timestamp()), cause, cause_id, service, step, member, run, session, "user", feature,
    agent, what, count, estimate_nano, message
FROM jsonb_to_recordset(%t::jsonb) AS r (cause text, cause_id bigint, service text, step bytea, member text, run text,
    session text, "user" text, feature text, agent text, what text, count bigint, estimate_nano bigint, message text)
ORDER BY cause, cause_id, service, step
ON CONFLICT (minute, cause, cause_id, service, step) DO UPDATE SET
    count = f.count + EXCLUDED.count, latest_at = clock_timestamp(), message = EXCLUDED.message
RETURNING cause, cause_id, service, step, xmax = 0
"""


def refuse(cursor: Cursor[Any], refusals: Sequence[Refusal]) -> set[Refusal]:
    """Note what was refused, each step of a run once a minute; those that nobody had refused in this minute."""
    if not refusals:
        return set()
    rows: dict[tuple[str, int, str, bytes], dict[str, Any]] = {}
    first: dict[tuple[str, int, str, bytes], Refusal] = {}
    for one in refusals:
        key = (one.cause, one.cause_id, one.stated.service, one.step)
        if (row := rows.get(key)) is not None:
            row["count"] += 1
            continue
        first[key] = one
        said = {name: getattr(one.stated, name) for name in ("service", "run", "session", "user", "feature", "agent")}
        rows[key] = said | {
            "cause": one.cause,
            "cause_id": one.cause_id,
            "step": _bytea(one.step),
            "member": one.member,
            "what": one.what,
            "count": 1,
            "estimate_nano": one.estimate_nano,
            "message": one.message,
        }
    cursor.execute(REFUSE, [orjson.dumps(list(rows.values())).decode()])
    return {first[row[0], row[1], row[2], bytes(row[3])] for row in cursor.fetchall() if row[4]}


MISSED = """
INSERT INTO guard_missed AS m (minute, service, closed, open)
SELECT date_trunc('minute', clock_timestamp()), service, closed, open
FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) AS u (service, closed, open) ORDER BY service
ON CONFLICT (minute, service) DO UPDATE SET closed = m.closed + EXCLUDED.closed, open = m.open + EXCLUDED.open
"""


def note_missed(cursor: Cursor[Any], missed: dict[str, tuple[int, int]]) -> None:
    """Note how often clients could not ask, by service: steps that were not made then, and those that were."""
    if missed:
        rows = [(service, *counts) for service, counts in sorted(missed.items())]
        cursor.execute(MISSED, transpose((Texts, Integers, Integers), rows))


def run_key(service: str, run: str) -> tuple[bytes, str] | None:
    """The key of a run that telemetry may know."""
    return (bytes.fromhex(run), service) if is_trace_id(run) else None
