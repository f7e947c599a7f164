"""The ceilings in force, as everybody who books or grants must see them: read inside of their own transaction.

Whoever books or grants holds a lock that it shares with all others who do; whoever decides about ceilings holds it
alone. So every span and every grant is counted by the ceilings of before a decision or by those of after it, and a
ceiling that is asked to count older spend counts each span once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor

from agentops.domain.budgets import (
    Action,
    Amounts,
    Budget,
    Each,
    Facts,
    Limits,
    Period,
    Raise,
    Replaced,
    Scope,
    next_amounts,
    replaced,
)
from agentops.locks import Lock

#: Takes the lock, shared, in one statement with the look; it is written down in the migration.
SHARE = "SELECT at, revision, has_grants FROM budgets_share()"
ALONE = f"SELECT pg_advisory_xact_lock({Lock.CEILINGS})"
LOOK = """
SELECT clock_timestamp(), (SELECT revision FROM budgets_revision), EXISTS (SELECT FROM budget_reservation)
"""
DECIDED = "SELECT budgets_decided()"

BUDGETS = """
SELECT b.id, name, services, team, feature, "user", session, run, environment, each, period, timezone, limit_nano,
    limit_tokens, limit_steps, thresholds, action, counts_from, expires_at, kept_nano, is_default,
    coalesce(u.username, '')
FROM budgets_budget b LEFT JOIN accounts_user u ON u.id = b.created_by_id WHERE NOT is_off ORDER BY b.id
"""
RAISES = """
SELECT budget_id, member, extra_nano, extra_tokens, extra_steps, starts_at, coalesce(least(until, ended_at), until)
FROM budgets_raise WHERE until > now() - interval '1 day'
"""
TEAMS = """SELECT s.slug, t.slug FROM catalog_service s JOIN accounts_team t ON t.id = s.team_id"""
STOPS = """
SELECT s.id, s.what, s.value, s.reason, s.stopped_at, coalesce(u.username, '')
FROM budgets_stop s LEFT JOIN accounts_user u ON u.id = s.stopped_by_id WHERE s.lifted_at IS NULL
"""

NONE_REPLACED = Replaced(frozenset(), frozenset())
#: How many places' budgets are remembered.
MAX_REMEMBERED = 50_000


class Halt(NamedTuple):
    """A kill switch that is on."""

    id: int
    what: str
    value: str
    reason: str
    stopped_at: datetime
    stopped_by: str


class Moment(NamedTuple):
    """When a transaction books or grants, by the database's clock, and the ceilings that hold then."""

    at: datetime
    ceilings: Ceilings
    #: Whether the guard has granted anything that a span could be the step of.
    has_grants: bool = False


@dataclass(slots=True)
class Ceilings:
    """What holds at one revision."""

    revision: int
    budgets: tuple[Budget, ...] = ()
    teams: Mapping[str, str] = field(default_factory=dict)
    halts: Mapping[tuple[str, str], Halt] = field(default_factory=dict)
    replaced: Replaced = NONE_REPLACED
    by_id: Mapping[int, Budget] = field(default_factory=dict)
    _by_service: dict[str, tuple[Budget, ...]] = field(default_factory=dict)
    _coming: dict[int, tuple[int | None, int | None, int | None]] = field(default_factory=dict)

    def counting(self, facts: Facts) -> list[Budget]:
        """The budgets that count a step, whenever it comes; its team is looked up."""
        candidates = self._by_service.get(facts.service)
        if candidates is None:
            if len(self._by_service) >= MAX_REMEMBERED:
                self._by_service.clear()
            team = self.teams.get(facts.service, "")
            candidates = self._by_service[facts.service] = tuple(
                budget for budget in self.budgets if budget.scope.fits_service(facts.service, team)
            )
        return [budget for budget in candidates if budget.scope.fits_run(facts)]

    def coming(self, budget_id: int, member: str, at: datetime) -> tuple[int | None, int | None, int | None]:
        """At which amounts somebody has to look at a window that is new."""
        found = self._coming.get(budget_id)
        if found is None:
            budget = self.by_id.get(budget_id)
            if budget is None:
                return (None, None, None)
            found = next_amounts(budget, budget.limits_at(member, at), 0.0)
            if not budget.raises:  # they end with time, and may be of one member
                self._coming[budget_id] = found
        return found

    def halts_of(self, facts: Facts) -> list[Halt]:
        """The kill switches that stop a step."""
        if not self.halts:
            return []
        keys = (
            ("service", facts.service),
            ("session", facts.session),
            ("user", facts.user),
            ("run", facts.run),
        )
        return [halt for what, value in keys if value and (halt := self.halts.get((what, value))) is not None]


_known = Ceilings(-1)
_lock = threading.Lock()


def share(cursor: Cursor[Any]) -> Moment:
    """Begin to book or to grant: the moment, and the ceilings that hold until the transaction's end.

    One statement; the ceilings are read when somebody has decided something since they were last.
    """
    return _moment(cursor, SHARE)


def look(cursor: Cursor[Any]) -> Moment:
    """The moment and the ceilings, for whoever holds the lock alone."""
    return _moment(cursor, LOOK)


def _moment(cursor: Cursor[Any], statement: str) -> Moment:
    cursor.execute(statement)
    at, revision, has_grants = cursor.fetchall()[0]
    return Moment(at, known(cursor, revision), has_grants)


def known(cursor: Cursor[Any], revision: int | None) -> Ceilings:
    """The ceilings at a revision that has just been read under the lock."""
    global _known  # noqa: PLW0603  (one for each process, replaced as a whole)
    wanted = revision or 0
    found = _known
    if found.revision != wanted:
        with _lock:
            found = _known
            if found.revision != wanted:
                found = _known = load(cursor, wanted)
    return found


def load(cursor: Cursor[Any], revision: int) -> Ceilings:
    """The ceilings as they are now."""
    cursor.execute(RAISES)
    raises: dict[int, list[Raise]] = {}
    for budget_id, member, nano, tokens, steps, starts_at, until in cursor.fetchall():
        raises.setdefault(budget_id, []).append(Raise(member, Amounts(nano, tokens, steps), starts_at, until))
    cursor.execute(BUDGETS)
    budgets = tuple(_budget(row, raises.get(row[0], ())) for row in cursor.fetchall())
    cursor.execute(TEAMS)
    teams = dict(cursor.fetchall())
    cursor.execute(STOPS)
    halts = {(row[1], row[2]): Halt(*row) for row in cursor.fetchall()}
    return Ceilings(revision, budgets, teams, halts, replaced(budgets), {budget.id: budget for budget in budgets})


def _budget(row: tuple[Any, ...], raises: Iterable[Raise]) -> Budget:
    pk, name, services, team, feature, user, session, run, environment, each, period, zone, *rest = row
    nano, tokens, steps, thresholds, action, counts_from, expires_at, kept, is_default, set_by = rest
    return Budget(
        id=pk,
        name=name,
        scope=Scope(frozenset(services), team, feature, user, session, run, environment),
        each=Each(each) if each else None,
        period=Period(period),
        zone=zone,
        limits=Limits(nano, tokens, steps),
        thresholds=tuple(sorted(thresholds)),
        action=Action(action),
        counts_from=counts_from,
        expires_at=expires_at,
        kept_nano=kept,
        is_default=is_default,
        raises=tuple(raises),
        set_by=set_by,
    )
