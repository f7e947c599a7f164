"""What the query string of a page of runs asks for; nothing in it can make a page fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.http import QueryDict

from agentops.pages import Chip, InvalidCursorError, PageContext
from agentops.runs.api import NANO, clean
from agentops.runs.filters import WITHOUT, Values, read_values
from agentops.runs.queries import SORTS, STATUSES, RunFilters, RunKey

DEFAULT_SORT = "-started"
#: Dimensions that can be filtered by.
DIMENSIONS = ("service", "user", "feature", "session", "release", "agent", "model", "tool")
#: Those of them that have a field.
FIELDS = ("service", "user", "feature", "session")
#: Other parameters that are shown as chips, and the words for them.
CHIPS = {"status": "status", "found": "found", "min_cost": "cost from $", "q": "search"}
#: Their values that people read in other words.
SAID = {("found", "any"): "something"}
#: Severities of findings that are asked for.
FOUND = ("any", "warn", "page")
MAX_MIN_COST = Decimal(10**6)
#: Values of one dimension that count.
MAX_VALUES = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """Filters, order and place of a list of runs, as asked for."""

    filters: RunFilters
    sort: str
    after: RunKey | None
    values: Mapping[str, str]
    parameters: QueryDict

    @property
    def dimensions(self) -> dict[str, Values]:
        """What is asked for in each dimension."""
        return {name: getattr(self.filters, name) for name in DIMENSIONS}

    @property
    def chips(self) -> list[Chip]:
        """What is filtered by."""
        others = [
            Chip.of(self.parameters, name, v, words, SAID.get((name, v), ""))
            for name, words in CHIPS.items()
            if (v := self.values[name])
        ]
        return value_chips(self.parameters, self.dimensions) + others

    @property
    def typed(self) -> dict[str, str]:
        """What the fields of the form show: the value of a dimension of which one is asked for."""
        return {name: values[0] for name, values in self.dimensions.items() if len(values) == 1 and values[0]}

    @property
    def held(self) -> list[tuple[str, str]]:
        """Values of the form's dimensions that its fields do not show, because there are several of them."""
        shown = ((name, getattr(self.filters, name)) for name in FIELDS if name not in self.typed)
        return [(name, value) for name, values in shown for value in values if value]


def read_runs(parameters: QueryDict, page: PageContext) -> Asked:
    """What a page's parameters ask for; what cannot be read counts as not asked."""
    wanted = {name: [clean(text).strip() for text in parameters.getlist(name)[:MAX_VALUES]] for name in DIMENSIONS}
    values = {name: clean(str(parameters.get(name) or "")).strip() for name in CHIPS}
    if values["status"] not in STATUSES:
        values["status"] = ""
    if values["found"] not in FOUND:
        values["found"] = ""
    least = _nano(values["min_cost"])
    if least is None:
        values["min_cost"] = ""
    sort = str(parameters.get("sort") or DEFAULT_SORT)
    texts: dict[str, Any] = {name: value for name, value in values.items() if name != "min_cost"}
    texts |= read_values(wanted, parameters.getlist(WITHOUT))
    filters = RunFilters(
        **texts,
        environment=page.environment,
        min_cost_nano=least,
        from_=page.window.from_,
        until=None if page.window.ends_now else page.window.until,
    )
    return Asked(
        filters, sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT, _key(parameters), values, parameters
    )


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


def value_chips(parameters: QueryDict, dimensions: Mapping[str, Values], **names: Mapping[str, str]) -> list[Chip]:
    """A chip for each value that is asked for; ``names`` say what those of a dimension are called."""
    return [
        Chip.of(parameters, name, value, name, names.get(name, {}).get(value, value))
        if value
        else Chip.of(parameters, WITHOUT, name, WITHOUT)
        for name, values in dimensions.items()
        for value in values
    ]
