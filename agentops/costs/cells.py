"""What a span counts and where: the one way from spans to the cells of every rollup.

Booking adds new spans, and whoever corrects the books later moves booked ones; both collect ``Moves``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from agentops.budgets.store import Deltas, Receipt, amounts_of
from agentops.costs.models import Dimension
from agentops.domain.budgets import Facts
from agentops.domain.spans import ATTRIBUTION, COSTED_KINDS, DEFAULT_ENVIRONMENT, STEP_KINDS, Cost, Kind, Span
from agentops.runs.store import NO_MEASURES, RunKey, StoredSpan

NS_PER_HOUR = 3_600_000_000_000

_MODEL_KINDS = COSTED_KINDS
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_TOOL = Kind.TOOL
# Plain integers: members of an enum are hashed by a Python function.
_SERVICE, _BY_USER, _BY_FEATURE, _BY_SESSION, _BY_RELEASE, _BY_AGENT, _BY_MODEL, _BY_TOOL = map(int, Dimension)
#: Attribution: (user, session, feature, release, environment), in the order of ``ATTRIBUTION``.
_USER, _SESSION, _FEATURE, _RELEASE, _ENVIRONMENT = range(len(ATTRIBUTION))

#: (environment, user, feature, session, release), as the rollups spell them.
Place = tuple[str, str, str, str, str]
#: (hours since the epoch, agent, model, tool), as the rollups spell them.
Where = tuple[int, str, str, str]
#: (dimension, hours since the epoch, environment, service, key)
CellKey = tuple[int, int, str, str, str]
Cells = dict[CellKey, list[int]]
Key = TypeVar("Key")


@dataclass(slots=True)
class Moves:
    """What is added to the rollups and taken out of them, by run and by all keys of a step together."""

    runs: dict[tuple[str, Place], dict[Where, list[int]]] = field(default_factory=dict)
    #: What budgets count of it, by run and by the moment at which it counts.
    receipts: dict[Receipt, list[int]] = field(default_factory=dict)
    #: What moves budgets' windows besides.
    windows: Deltas = field(default_factory=Deltas)

    def steps(self, service: str, place: Place) -> dict[Where, list[int]]:
        """The sums of a service's runs that are attributed so, to be added to."""
        found = self.runs.get((service, place))
        if found is None:
            found = self.runs[service, place] = {}
        return found

    def add(self, service: str, place: Place, where: Where, measures: Sequence[int], *, sign: int = 1) -> None:
        """Add what a span counts, or take it out again."""
        if measures is not NO_MEASURES:
            add_step(self.steps(service, place), where, measures, sign=sign)

    def book(
        self, run: RunKey, place: Place, where: Where, at: datetime | None, measures: Sequence[int], *, sign: int = 1
    ) -> None:
        """Add what a span of a run counts, to the rollups and to budgets, or take it out again."""
        self.add(run[1], place, where, measures, sign=sign)
        self.receive(run, place, at, measures, sign=sign)

    def receive(
        self, run: RunKey, place: Place, at: datetime | None, measures: Sequence[int], *, sign: int = 1
    ) -> None:
        """Let budgets count measures, or count them no more; what came before there were any budgets they never did."""
        amounts = amounts_of(measures)
        if at is None or not any(amounts):
            return
        environment, user, feature, session, _ = place
        key = Receipt(Facts(run[1], environment, user, feature, session, run[0].hex()), at)
        add_step(self.receipts, key, amounts, sign=sign)

    def cells(self) -> Cells:
        """The differences of the rollups' cells, in every dimension."""
        cells: Cells = {}
        for (service, place), steps in self.runs.items():
            environment = place[0]
            hours: dict[int, list[int]] = {}
            for (hour, agent, model, tool), measures in steps.items():
                keys = ((_BY_AGENT, agent), (_BY_MODEL, model), (_BY_TOOL, tool))
                _add_keys(cells, hour, environment, service, keys, measures)
                if (total := hours.get(hour)) is None:
                    hours[hour] = list(measures)
                else:
                    add_to(total, measures)
            for hour, total in hours.items():
                _add_keys(cells, hour, environment, service, _run_keys(place), total)
        return cells


def add_step(steps: dict[Key, list[int]], where: Key, measures: Sequence[int], *, sign: int = 1) -> None:
    """Add what a span counts to the sums of its run, or of another kind."""
    total = steps.get(where)
    if total is None:
        steps[where] = list(measures) if sign > 0 else [-value for value in measures]
    else:
        add_to(total, measures, sign=sign)


def add_to(total: list[int], measures: Sequence[int], *, sign: int = 1) -> None:
    """Add measures to a total, or take them from it."""
    for i, value in enumerate(measures):
        if value:
            total[i] += sign * value


def place_of(attribution: Sequence[str | None]) -> Place:
    """Where a run's spans are booked; the attribution is in the order of ``ATTRIBUTION``."""
    return (
        attribution[_ENVIRONMENT] or DEFAULT_ENVIRONMENT,
        attribution[_USER] or "",
        attribution[_FEATURE] or "",
        attribution[_SESSION] or "",
        attribution[_RELEASE] or "",
    )


def _run_keys(place: Place) -> tuple[tuple[int, str], ...]:
    """The dimensions that all spans of a run share."""
    _, user, feature, session, release = place
    return (
        (_SERVICE, ""),
        (_BY_USER, user),
        (_BY_FEATURE, feature),
        (_BY_SESSION, session),
        (_BY_RELEASE, release),
    )


def _add_keys(
    cells: Cells,
    hour: int,
    environment: str,
    service: str,
    keys: Iterable[tuple[int, str]],
    measures: Sequence[int],
) -> None:
    for dimension, key in keys:
        cell = (dimension, hour, environment, service, key)
        total = cells.get(cell)
        if total is None:
            cells[cell] = list(measures)
        else:
            add_to(total, measures)


def measures_of(span: Span, cost: Cost) -> tuple[int, ...]:
    """What a span counts when it is not merged away, in the order of ``MEASURES``."""
    usage = span.usage
    tokens = (usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)
    return measures(span.kind, cost.nano, tokens, is_error=span.is_error)


def measures(kind: int, cost_nano: int | None, tokens: Sequence[int | None], *, is_error: bool) -> tuple[int, ...]:
    """What a span of this kind counts; ``tokens`` in the order of ``MEASURES``."""
    if kind not in STEP_KINDS:
        return NO_MEASURES
    cost, error = cost_nano or 0, 1 if is_error else 0
    if kind not in _MODEL_KINDS:
        return (cost, 0, 0, 1 if kind == _TOOL else 0, 1, error, 0, 0, 0, 0, 0)
    # The rule of counts_as_unpriced, whoever asks.
    unpriced = cost_nano is None and (not is_error or any(count is not None for count in tokens))
    given, output, read, creation, reasoning = tokens
    return (cost, int(unpriced), 1, 0, 1, error, given or 0, output or 0, read or 0, creation or 0, reasoning or 0)


def model_key(span: Span) -> str:
    """The model that a span's spend is shown under; empty for none."""
    return (span.response_model or span.request_model or "") if span.kind in _MODEL_KINDS else ""


def tool_key(span: Span) -> str:
    """The tool that a span is shown under; empty for none."""
    return (span.tool_name or "") if span.kind is _TOOL else ""


def where_of(span: Span, agent: str | None) -> Where:
    """Where a new span is booked, under this agent."""
    return (span.start_ns // NS_PER_HOUR, agent or "", model_key(span), tool_key(span))


def stored_measures(span: StoredSpan) -> tuple[int, ...]:
    """What a booked span counts when it is not merged away."""
    return measures(span.kind, span.cost_nano, span.tokens, is_error=span.is_error)


def stored_where(span: StoredSpan, agent: str | None) -> Where:
    """Where a booked span is booked, under this agent."""
    is_model = span.kind in _MODEL_KINDS
    return (
        span.start_ns // NS_PER_HOUR,
        agent or "",
        (span.response_model or span.request_model or "") if is_model else "",
        (span.tool or "") if span.kind == _TOOL else "",
    )
