"""What ceilings do not hold: spend without whom they are for, and what passed a window by in spite of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from django.db import transaction
from psycopg.errors import QueryCanceled

from agentops.budgets.ceilings import Ceilings
from agentops.budgets.reservations import EXPIRED, SETTLED, pack
from agentops.budgets.store import WindowKey
from agentops.columns import books_cursor
from agentops.costs.models import Dimension
from agentops.domain.budgets import APART, Budget, Unit
from agentops.guard.queries import KEPT, Standing

#: Over how many days it is told which share of spend is under no ceiling.
COVERED_DAYS = 7
_OF_EACH = {"user": Dimension.USER, "feature": Dimension.FEATURE, "session": Dimension.SESSION}
TIMEOUT = "SET LOCAL statement_timeout = '2s'"

COVERAGE = """
SELECT dimension, environment, service, sum(cost_nano)::bigint FROM spend_days
WHERE dimension = ANY(%b::smallint[]) AND start >= %b AND key = '' GROUP BY 1, 2, 3
"""


def uncovered(budgets: Iterable[Budget], held: Ceilings, *, now: datetime) -> dict[int, float]:
    """By the id of a budget with windows for each of something: which share of spend in its scope says none.

    Only those where there is any, and that count whole services; at most one statement.
    """
    wanted = {budget.id: budget for budget in budgets if _each(budget) and _is_of_services(budget)}
    if not wanted:
        return {}
    since = (now - timedelta(days=COVERED_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    dimensions = {Dimension.SERVICE, *(_OF_EACH[_each(budget)] for budget in wanted.values())}
    with books_cursor() as cursor:
        cursor.execute(COVERAGE, [sorted(map(int, dimensions)), since])
        sums = {(dimension, environment, service): nano for dimension, environment, service, nano in cursor.fetchall()}
    shares = {pk: _share(budget, sums, held.teams) for pk, budget in wanted.items()}
    return {pk: share for pk, share in shares.items() if share}


def _each(budget: Budget) -> str:
    return next((part.value for part in budget.parts if part.value in _OF_EACH), "")


def _is_of_services(budget: Budget) -> bool:
    """Rollups tell what a dimension is without for whole services alone."""
    scope = budget.scope
    return not (scope.feature or scope.user or scope.session or scope.run)


def _share(budget: Budget, sums: Mapping[tuple[int, str, str], int], teams: Mapping[str, str]) -> float:
    scope, dimension = budget.scope, _OF_EACH[_each(budget)]
    without = total = 0
    for (which, environment, service), nano in sums.items():
        fits = environment == scope.environment if scope.environment else environment not in APART
        if not fits or (scope.services and service not in scope.services):
            continue
        if scope.team and teams.get(service) != scope.team:
            continue
        total += nano if which == Dimension.SERVICE else 0
        without += nano if which == dimension else 0
    return without / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Passed:
    """How what is spent in a window got past its ceiling: each a part of ``spent``, in the unit of the window.

    ``asked``: spent by steps that had asked; ``beyond``: what these cost more than they had held; ``late``: what of
    it was told after it was held no longer. What did not ask is the rest.
    """

    spent: int
    asked: int
    beyond: int
    late: int

    @property
    def unasked(self) -> int:
        """Spent by spans of agents that do not ask the guard."""
        return max(self.spent - self.asked, 0)


_NAMES = {Unit.USD: "nano", Unit.TOKENS: "tokens", Unit.STEPS: "steps"}
# Times are those of grants, in whose windows steps count.
PASSED = """
SELECT coalesce(sum(spent_{0}), 0)::bigint, coalesce(sum(greatest(spent_{0} - held_{0}, 0)) FILTER (WHERE NOT is_late), 0)::bigint,
    coalesce(sum(spent_{0}) FILTER (WHERE is_late), 0)::bigint
FROM budget_reservation WHERE granted_at >= %b AND granted_at < %b AND state = ANY(%b::smallint[]) AND windows @> %b::jsonb
"""  # noqa: E501


def passed(found: Standing, *, now: datetime) -> Passed | None:
    """What passed a window by; ``None`` where that cannot be told: too long ago, or too many steps."""
    position = found.position
    oldest = now - KEPT
    has_beginning = position.ends_at is not None or not position.budget.parts
    if has_beginning and max(position.starts_at, position.budget.counts_from) < oldest:
        return None
    key = WindowKey(position.budget.id, position.member, position.starts_at)
    limits = [max(position.starts_at, oldest), position.ends_at or now + timedelta(days=1)]
    try:
        with transaction.atomic(), books_cursor() as cursor:
            cursor.execute(TIMEOUT)
            states = [SETTLED, EXPIRED]
            cursor.execute(PASSED.format(_NAMES[found.unit]), [*limits, states, orjson.dumps(pack([key])).decode()])
            return Passed(found.spent, *cursor.fetchall()[0])
    except QueryCanceled:
        return None
