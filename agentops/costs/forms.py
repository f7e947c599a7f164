"""What the query string of the spend page asks for; nothing in it can make the page fail."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.http import QueryDict

from agentops.costs.queries import BYS, INTERVALS
from agentops.costs.sources import By, SpendFilters
from agentops.domain.periods import DAY, HOUR, Interval
from agentops.pages import SHARED_PARAMETERS, PageContext, Window
from agentops.runs.api import clean

#: What can be filtered by and shown as a chip; the environment has its own place in the frame.
FILTERS = tuple(f.name for f in fields(SpendFilters) if f.name != "environment")
#: The parameter that names dimensions of which only what carries no key is wanted.
WITHOUT = "without"
#: Values of one dimension that count.
MAX_VALUES = 50
#: Rows of the table, and of the long one.
ROWS, MANY_ROWS = 50, 1_000
#: Query-string names of the orders, and the measure that each sorts by.
SORTS = {
    "cost": "cost_nano",
    "calls": "llm_calls",
    "tools": "tool_calls",
    "input": "input_tokens",
    "output": "output_tokens",
    "errors": "errors",
    "unpriced": "unpriced_calls",
}
#: By what a key is taken apart next: the first of these that is not fixed already.
NEXT: dict[str, tuple[By, ...]] = {
    "team": ("service", "feature", "user"),
    "environment": ("service", "feature", "user"),
    "service": ("feature", "agent", "model", "user"),
    "feature": ("user", "agent", "model", "service"),
    "user": ("feature", "session", "model", "service"),
    "agent": ("model", "tool", "feature", "service"),
    "model": ("service", "agent", "feature", "user"),
    "tool": ("agent", "service", "feature", "user"),
    "session": ("agent", "model", "service", "feature"),
    "release": ("model", "agent", "feature", "service"),
}
#: Longest ranges that are drawn by an interval, beyond which there are more bars than pixels, and shortest, below which
#: there is one bar.
LONGEST = {"hour": 15 * DAY, "day": 400 * DAY, "week": 1_100 * DAY}
SHORTEST = {"week": 8 * DAY, "month": 29 * DAY}
#: Longer ranges are drawn by day unless asked otherwise.
USUALLY_BY_HOUR = 3 * DAY
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def sensible(window: Window) -> tuple[datetime, datetime]:
    """A window's range, moved into the years in which anything can be booked."""
    from_ = min(max(window.from_, EARLIEST), LATEST - DAY)
    return from_, max(min(window.until, LATEST), from_ + HOUR)


def usual_interval(length: timedelta) -> Interval:
    """By what a range of that length is drawn."""
    if length <= USUALLY_BY_HOUR:
        return "hour"
    return "day" if length <= LONGEST["day"] else "month"


@dataclass(frozen=True, slots=True)
class Asked:
    """Dimension, filters, range, interval and order, as asked for."""

    by: By
    filters: SpendFilters
    from_: datetime
    until: datetime
    interval: Interval
    intervals: list[Interval]
    sort: str
    rows: int
    kept: dict[str, str]

    @property
    def chips(self) -> list[tuple[str, str, str]]:
        """What is filtered by: words, value, parameter."""
        return [(name, value, name) for name in FILTERS for value in getattr(self.filters, name)]

    @property
    def measure(self) -> str:
        """The measure to sort by, with ``-`` the largest first."""
        return f"{'-' if self.sort.startswith('-') else ''}{SORTS[self.sort.removeprefix('-')]}"

    @property
    def next_by(self) -> By:
        """By what the page takes one key of this dimension apart."""
        return next((by for by in NEXT[self.by] if not getattr(self.filters, by)), NEXT[self.by][0])

    def drill_query(self, key: str | None) -> str:
        """The query string of the page of one key, by what it is taken apart next."""
        return urlencode([*self._parameters(self.filters.within(self.by, key)), ("by", self.next_by)])

    def runs_query(self, key: str | None) -> str:
        """The query string of the list of runs behind a key; empty when that list cannot ask for it."""
        filters = self.filters.within(self.by, key)
        if filters.team or any(getattr(filters, name) and not is_single(filters, name) for name in FILTERS):
            return ""
        return urlencode(self._parameters(filters))

    def _parameters(self, filters: SpendFilters) -> list[tuple[str, str]]:
        """Filters as they stand in a query string, after what every link keeps."""
        environment = {"environment": filters.environment} if filters.environment else {}
        chosen = [(name, value) for name in FILTERS for value in getattr(filters, name)]
        return [
            *(self.kept | environment).items(),
            *((name, value) if value else (WITHOUT, name) for name, value in chosen),
        ]


def is_single(filters: SpendFilters, name: str) -> bool:
    """Whether one named value is asked for in a dimension."""
    return len(getattr(filters, name)) == 1 and filters.has_only_named(name)


def read_spend(parameters: QueryDict, page: PageContext) -> Asked:
    """What a page's parameters ask for; what cannot be read counts as not asked."""
    wanted = str(parameters.get("by") or "")
    by: By = next((known for known in BYS if known == wanted), "service")
    values = {name: [clean(text).strip() for text in parameters.getlist(name)[:MAX_VALUES]] for name in FILTERS}
    from_, until = sensible(page.window)
    length = until - from_
    intervals = [known for known in INTERVALS if SHORTEST.get(known, HOUR) <= length <= LONGEST.get(known, length)]
    usual = usual_interval(length)
    interval: Interval = next((known for known in intervals if known == parameters.get("interval")), usual)
    sort = str(parameters.get("sort") or "")
    usual_sort = "-tools" if by == "tool" else "-cost"
    return Asked(
        by=by,
        filters=SpendFilters.read(values, parameters.getlist(WITHOUT), environment=page.environment),
        from_=from_,
        until=until,
        interval=interval,
        intervals=intervals,
        sort=sort if sort.removeprefix("-") in SORTS else usual_sort,
        rows=MANY_ROWS if parameters.get("rows") == "all" else ROWS,
        kept={name: str(parameters[name]) for name in SHARED_PARAMETERS if parameters.get(name)},
    )
