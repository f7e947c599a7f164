"""The rows of the spend page's table, ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from agentops.catalog.queries import Ownership
from agentops.costs.counts import RunCounts
from agentops.costs.forms import Asked
from agentops.costs.queries import Item, SpendReport, Totals
from agentops.costs.sources import By, SpendFilters
from agentops.domain.economics import UnitCosts, unit_costs
from agentops.domain.spans import OTHER

#: What keys are called, by dimension, where they go by another name.
Names = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """A row: totals, share of the total, what fills its bar in percent, growth, and where it leads.

    ``by`` is empty for a sum of several keys. ``inside`` is what an open row is taken apart into, ``rest`` the sum of
    what is too small to be listed there.
    """

    totals: Totals
    units: UnitCosts
    by: By | None = None
    key: str | None = None
    label: str = ""
    share: float = 0
    weight: float | None = None
    growth: float | None = None
    is_new: bool = False
    runs: RunCounts | None = None
    runs_url: str = ""
    drill_url: str = ""
    toggle_url: str = ""
    is_open: bool = False
    inside: Sequence[Line] = ()
    rest: Line | None = None
    others: int = 0
    others_url: str = ""

    @property
    def is_too_many(self) -> bool:
        """Whether it sums the values that were too many of their kind in a day."""
        return self.key == OTHER


class Lines:
    """Makes the rows of one table."""

    def __init__(self, asked: Asked, total: Totals, names: Names, owners: Mapping[str, Ownership]) -> None:
        self._asked, self._total, self._names, self._owners = asked, total, names, owners

    def total(self, runs: RunCounts | None, before: int | None) -> Line:
        """The last row."""
        growth = _growth(self._total.cost_nano, before)
        return Line(self._total, _units(self._total, runs), growth=growth, runs=runs)

    def rest(self, totals: Totals) -> Line:
        """The row of what is too small to be listed."""
        return Line(totals, _units(totals, None))

    def outer(
        self,
        item: Item,
        listed: Sequence[Item],
        *,
        before: int | None,
        is_new: bool,
        runs: RunCounts | None,
        inside: SpendReport | None,
    ) -> Line:
        """The row of a key; ``inside`` is the report of what it is taken apart into, when it is open."""
        asked, filters = self._asked, self._asked.filters
        within = filters.within(asked.by, item.key)
        growth = _growth(item.totals.cost_nano, before)
        more: dict[str, Any] = {
            "growth": growth,
            "is_new": growth is None and is_new and item.totals.cost_nano > 0,
            "runs": runs,
            "toggle_url": asked.toggle(item.key),
        }
        if inside is not None:
            rows = [row for row in inside.items if belongs(asked.then, row)]
            more |= {
                "is_open": True,
                "inside": [self._line(asked.then, row, rows, within) for row in rows],
                "rest": self.rest(inside.other) if inside.other else None,
                "others": inside.others,
                "others_url": asked.of_key(asked.by, item.key, filters, asked.then),
            }
        return self._line(asked.by, item, listed, filters, **more)

    def _line(self, by: By, item: Item, listed: Sequence[Item], filters: SpendFilters, **more: Any) -> Line:
        asked = self._asked
        largest = max((_weight(asked.by, other.totals) for other in listed), default=0)
        weight, total = _weight(asked.by, item.totals), _weight(asked.by, self._total)
        runs_query = asked.runs_query(filters.within(by, item.key), self._owners)
        return Line(
            item.totals,
            _units(item.totals, more.get("runs")),
            by=by,
            key=item.key,
            label=self._names.get(by, {}).get(item.key or "", item.key or ""),
            share=weight / total if total else 0,
            weight=100 * weight / largest if largest else 0,
            runs_url=f"{reverse('runs:list')}?{runs_query}" if runs_query else "",
            drill_url=asked.of_key(by, item.key, filters),
            **more,
        )


def belongs(by: By, item: Item) -> bool:
    """Whether a key has a row: a tool call has no model, and a model call no tool, but what costs is never left out."""
    if item.totals.cost_nano:
        return True
    if by == "model":
        return item.totals.llm_calls > 0
    return by != "tool" or item.key is not None


def _weight(by: By, totals: Totals) -> int:
    return totals.tool_calls if by == "tool" else totals.cost_nano


def _growth(now: int, before: int | None) -> float | None:
    return now / before - 1 if before and before > 0 else None


def _units(totals: Totals, runs: RunCounts | None) -> UnitCosts:
    return unit_costs(
        totals.known_cost_nano,
        totals.tokens,
        runs=runs.runs if runs else None,
        ok=runs.ok if runs else None,
        users=runs.users if runs else None,
    )
