"""What is held for steps under way, and how it is settled: by their client, by their span, or by the clock.

Until its span has come, a settled step counts by what its client said; from then on by its span, which is booked as
everything is. Neither counts twice, whichever comes first, and both count in the window in which the step was granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Cursor

from agentops.budgets.ceilings import Ceilings, Moment
from agentops.budgets.store import Deltas, WindowKey
from agentops.columns import Byteas, Column, Integers, Texts, transpose
from agentops.domain.budgets import JOIN, NOTHING, Amounts, Each
from agentops.domain.spans import STEP_KINDS

HELD, SETTLED, EXPIRED = 0, 1, 2
#: A span that comes later than this after its step was granted counts when it comes.
REMEMBERED = timedelta(hours=24)
#: Reservations that expire in one go.
AT_ONCE = 500
_HEX = frozenset("0123456789abcdef")
TRACE_DIGITS = 32


@dataclass(slots=True)
class Reservation:
    """What was granted to a step; ``windows`` are those it is held or spent in."""

    id: UUID
    service: str
    run: str
    state: int
    held: Amounts
    spent: Amounts | None
    windows: list[WindowKey]
    granted_at: datetime
    is_late: bool
    is_counted: bool
    provider: str = ""
    model: str = ""
    kind: str = ""
    tool: str = ""
    stated: tuple[str, str, str, str] = ("", "", "", "")

    @property
    def is_open(self) -> bool:
        """Whether its estimate is held."""
        return self.state == HELD


def is_trace_id(run: str) -> bool:
    """Whether a run is named by its trace, so that its spans are found."""
    return len(run) == TRACE_DIGITS and _HEX.issuperset(run)


def stays(reservation: Reservation, key: WindowKey, ceilings: Ceilings) -> bool:
    """Whether a window is of a run that no span will name: there the reservation counts for good."""
    budget = ceilings.by_id.get(key.budget_id)
    if budget is None or Each.RUN not in budget.parts or is_trace_id(reservation.run):
        return False
    return key.member.split(JOIN)[budget.parts.index(Each.RUN)] == reservation.run


def pack(windows: Iterable[WindowKey]) -> list[list[Any]]:
    """Windows as a reservation keeps them."""
    return [[key.budget_id, key.member, int(key.starts_at.timestamp())] for key in windows]


def unpack(windows: Iterable[Sequence[Any]]) -> list[WindowKey]:
    """What ``pack`` packed."""
    return [WindowKey(pk, member, datetime.fromtimestamp(start, UTC)) for pk, member, start in windows]


#: What is read of a reservation ``r``.
COLUMNS = """r.id, r.service, r.run, r.state, r.held_nano, r.held_tokens, r.held_steps, r.spent_nano, r.spent_tokens,
    r.spent_steps, r.windows, r.granted_at, r.is_late, r.is_counted, r.provider, r.model, r.kind,
    r.tool, r.environment, r."user", r.session, r.feature"""


def read(row: Sequence[Any]) -> Reservation:
    """A row of ``COLUMNS``."""
    spent = None if row[7] is None else Amounts(*row[7:10])
    return Reservation(
        id=row[0],
        service=row[1],
        run=row[2],
        state=row[3],
        held=Amounts(*row[4:7]),
        spent=spent,
        windows=unpack(row[10]),
        granted_at=row[11],
        is_late=row[12],
        is_counted=row[13],
        provider=row[14],
        model=row[15],
        kind=row[16],
        tool=row[17],
        stated=(row[18], row[19], row[20], row[21]),
    )


LOCK = f"""
SELECT {COLUMNS} FROM budget_reservation r WHERE r.id = ANY(%s::uuid[]) ORDER BY r.id FOR UPDATE
"""


def lock(cursor: Cursor[Any], ids: Iterable[UUID]) -> Callable[[], dict[UUID, Reservation]]:
    """Lock reservations until the end of the transaction; what is returned reads them."""
    wanted = sorted(ids)
    if not wanted:
        return dict
    cursor.execute(LOCK, [wanted])
    return lambda: {row[0]: read(row) for row in cursor.fetchall()}


EXPIRE = f"""
UPDATE budget_reservation AS r SET state = {EXPIRED}
WHERE r.id IN (
    SELECT id FROM budget_reservation WHERE state = {HELD} AND expires_at <= %b
    ORDER BY id LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED)
RETURNING {COLUMNS}
"""


def expire(cursor: Cursor[Any], at: datetime) -> Callable[[Deltas], int]:
    """Let go of what was held until a moment, which the database's clock gives.

    What is returned adds to what windows move by, and tells how many there were.
    """
    cursor.execute(EXPIRE, [at])

    def take(deltas: Deltas) -> int:
        rows = cursor.fetchall()
        for row in rows:
            reservation = read(row)
            for key in reservation.windows:
                deltas.of(key).hold(reservation.held, sign=-1)
        return len(rows)

    return take


class Claim(NamedTuple):
    """A span that may be the step of a reservation, which it may name."""

    trace_id: bytes
    span_id: bytes
    service: str
    reservation_id: UUID | None
    answer_key: bytes | None


FIND = f"""
WITH u AS MATERIALIZED (
    SELECT trace_id, span_id, service, reservation::uuid, answer_key, place
    FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::text[], %b::bytea[])
        WITH ORDINALITY AS u (trace_id, span_id, service, reservation, answer_key, place)
), found AS MATERIALIZED (
    SELECT r.id, u.place FROM u JOIN budget_reservation r ON r.id = u.reservation AND r.service = u.service
    UNION SELECT r.id, u.place FROM u JOIN budget_reservation r
        ON r.trace_id = u.trace_id AND r.span_id = u.span_id AND r.service = u.service
    UNION SELECT r.id, u.place FROM u JOIN budget_reservation r
        ON r.answer_key = u.answer_key AND r.service = u.service
)
SELECT f.place, {COLUMNS} FROM found f JOIN budget_reservation r ON r.id = f.id
ORDER BY r.id, f.place FOR UPDATE OF r
"""


def find(cursor: Cursor[Any], claims: Sequence[Claim]) -> list[tuple[int, Reservation]]:
    """The reservations of spans, locked, each with its span's place among them; one statement."""
    rows = [
        (c.trace_id, c.span_id, c.service, None if c.reservation_id is None else str(c.reservation_id), c.answer_key)
        for c in claims
    ]
    cursor.execute(FIND, transpose((Byteas, Byteas, Texts, Texts, Byteas), rows))
    known: dict[UUID, Reservation] = {}
    return [(row[0] - 1, known.setdefault(row[1], read(row[1:]))) for row in cursor.fetchall()]


def count(reservation: Reservation, amounts: Amounts, ceilings: Ceilings, deltas: Deltas, *, service: str) -> None:
    """A reservation's span has come and is booked: from now on that counts, and the reservation no more.

    Where no span can be told to be of its run, the reservation goes on counting, as what its span did.
    """
    if reservation.is_counted:
        return
    said = reservation.spent or NOTHING
    if reservation.state == EXPIRED:
        reservation.is_late = True
    for key in reservation.windows:
        delta = deltas.of(key, service=service)
        if reservation.state == HELD:
            delta.hold(reservation.held, sign=-1)
        else:
            delta.spend(said, sign=-1)
        if stays(reservation, key, ceilings):
            delta.spend(amounts)
    reservation.state, reservation.spent, reservation.is_counted = SETTLED, amounts, True


def settle(reservation: Reservation, amounts: Amounts, deltas: Deltas) -> None:
    """A client says what its step has spent. Too late is booked as well, and said to be late."""
    if reservation.state == SETTLED:
        return
    for key in reservation.windows:
        delta = deltas.of(key, service=reservation.service)
        if reservation.state == HELD:
            delta.hold(reservation.held, sign=-1)
        delta.spend(amounts)
    reservation.is_late = reservation.state == EXPIRED
    reservation.state, reservation.spent = SETTLED, amounts


SAVE = """
UPDATE budget_reservation AS r SET state = u.state, spent_nano = u.nano, spent_tokens = u.tokens, spent_steps = u.steps,
    is_late = u.flags & 1 = 1, is_counted = u.flags & 2 = 2, settled_at = coalesce(r.settled_at, clock_timestamp()),
    outcome = coalesce(u.outcome, r.outcome, 'ok'), trace_id = coalesce(u.trace_id, r.trace_id),
    span_id = coalesce(u.span_id, r.span_id), answer_key = coalesce(u.answer_key, r.answer_key)
FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::bytea[],
    %b::bytea[], %b::bytea[]) AS u (id, state, nano, tokens, steps, flags, outcome, trace_id, span_id, answer_key)
WHERE r.id = u.id::uuid
"""
_SAVE_TYPES: tuple[type[Column], ...] = (
    *(Texts, Integers, Integers, Integers, Integers, Integers, Texts),
    *(Byteas, Byteas, Byteas),
)


class Ids(NamedTuple):
    """What ties a settlement to its span, and how the step ended."""

    outcome: str | None = None
    trace_id: bytes | None = None
    span_id: bytes | None = None
    answer_key: bytes | None = None


def save(cursor: Cursor[Any], settled: Iterable[tuple[Reservation, Ids]]) -> None:
    """Write settled reservations: one statement, and none for none."""
    rows = [
        (str(r.id), r.state, *(r.spent or NOTHING), int(r.is_late) | int(r.is_counted) << 1, *ids)
        for r, ids in sorted(settled, key=lambda pair: pair[0].id)
    ]
    if rows:
        cursor.execute(SAVE, transpose(_SAVE_TYPES, rows))


# Spans that came before the settlement that names them: what both said is counted until this is seen.
STRAYS = f"""
WITH latest AS MATERIALIZED (
    SELECT id, trace_id, span_id, service, answer_key FROM budget_reservation
    WHERE state = {SETTLED} AND NOT is_counted AND settled_at > clock_timestamp() - %s::interval
), strays AS (
    SELECT r.id FROM latest r
    JOIN span_ledger l ON l.trace_id = r.trace_id AND l.span_id = r.span_id AND l.service = r.service
    JOIN spans s ON s.received_on = l.received_on AND s.trace_id = l.trace_id AND s.start_ns = l.start_ns
        AND s.span_id = l.span_id AND s.service = l.service AND s.kind = ANY(%s)
    UNION SELECT r.id FROM latest r JOIN answers a ON a.key = r.answer_key
)
SELECT {COLUMNS} FROM strays JOIN budget_reservation r USING (id)
WHERE NOT r.is_counted ORDER BY r.id LIMIT {AT_ONCE} FOR UPDATE OF r SKIP LOCKED
"""


def match_strays(cursor: Cursor[Any], moment: Moment, within: timedelta, deltas: Deltas) -> int:
    """Count by their spans what was settled when these had been booked already; how many there were."""
    cursor.execute(STRAYS, [within, [int(kind) for kind in STEP_KINDS]])
    found = [read(row) for row in cursor.fetchall()]
    for reservation in found:
        count(reservation, reservation.spent or NOTHING, moment.ceilings, deltas, service=reservation.service)
    save(cursor, [(reservation, Ids()) for reservation in found])
    return len(found)
