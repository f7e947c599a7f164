"""What the query string of a page of runs asks for; nothing in it can make a page fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from agentops.pages import InvalidCursorError, PageContext
from agentops.runs.api import NANO, clean
from agentops.runs.queries import SORTS, STATUSES, RunFilters, RunKey

DEFAULT_SORT = "-started"
#: Parameters that are shown as chips, and the words for them.
CHIPS = {
    "service": "service",
    "user": "user",
    "feature": "feature",
    "session": "session",
    "release": "release",
    "agent": "agent",
    "model": "model",
    "tool": "tool",
    "status": "status",
    "min_cost": "cost from $",
    "q": "search",
}
MAX_MIN_COST = Decimal(10**6)


@dataclass(frozen=True, slots=True)
class Asked:
    """Filters, order and place of a list of runs, as asked for."""

    filters: RunFilters
    sort: str
    after: RunKey | None
    values: Mapping[str, str]

    @property
    def chips(self) -> list[tuple[str, str, str]]:
        """What is filtered by: words, value, parameter."""
        return [(words, value, name) for name, words in CHIPS.items() if (value := self.values[name])]


def read_runs(parameters: Mapping[str, Any], page: PageContext) -> Asked:
    """What a page's parameters ask for; what cannot be read counts as not asked."""
    values = {name: clean(str(parameters.get(name) or "")).strip() for name in CHIPS}
    if values["status"] not in STATUSES:
        values["status"] = ""
    least = _nano(values["min_cost"])
    if least is None:
        values["min_cost"] = ""
    sort = str(parameters.get("sort") or DEFAULT_SORT)
    texts = cast("dict[str, Any]", {name: value for name, value in values.items() if name != "min_cost"})
    filters = RunFilters(
        **texts,
        environment=page.environment,
        min_cost_nano=least,
        from_=page.window.from_,
        until=None if page.window.name != "custom" else page.window.until,
    )
    return Asked(filters, sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT, _key(parameters), values)


def _nano(text: str) -> int | None:
    try:
        usd = Decimal(text.removeprefix("$").replace(",", ""))
    except InvalidOperation:
        return None
    return int(usd * NANO) if usd.is_finite() and 0 <= usd <= MAX_MIN_COST else None


def _key(parameters: Mapping[str, Any]) -> RunKey | None:
    try:
        return RunKey.decode(str(parameters["cursor"])) if parameters.get("cursor") else None
    except InvalidCursorError:
        return None
