"""What the query string of the spend page asks for; nothing in it can make the page fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar, cast
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import QueryDict

from agentops.catalog.queries import Ownership
from agentops.costs.queries import BYS, INTERVALS
from agentops.costs.sources import MANY_KEYED, By, SpendFilters
from agentops.domain.periods import DAY, HOUR, Interval, ceil_hour, months_before
from agentops.pages import RANGES, SHARED_PARAMETERS, UTC_ZONE, PageContext, Window
from agentops.runs.api import clean
from agentops.runs.filters import WITHOUT, Values, read_values, write_values

#: Parameters that say how things are shown.
FORM = ("interval", "compare", "shape", "show")
#: Parameters that links bring along from other pages, and all that say anything about the page, in one order.
SHARED = ("range", "from", "until", "environment")
#: What can be filtered by and shown as a chip; the environment has its own place in the frame.
FILTERS = tuple(f.name for f in fields(SpendFilters) if f.name != "environment")
KNOWN = (*SHARED, "timezone", "by", "then", "open", "inside", *FORM, "sort", "top", *FILTERS, WITHOUT)
#: Values of one dimension that count.
MAX_VALUES = 50
#: How many rows the table shows; the rest is one.
TOPS = (5, 10, 25, 50, 1_000)
USUAL_TOP = 50
#: Rows of what is inside a key, and how many keys are taken apart at once: fewer by what has very many keys.
INSIDE, MOST_OPEN, FEW_OPEN = 10, 25, 3
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

Shape = Literal["area", "bars"]
T = TypeVar("T", bound=str)
#: What is compared with: query-string name, months back (none: the time just before), words, words in a sentence.
COMPARISONS: dict[str, tuple[int, str, str]] = {
    "before": (0, "The time before", "before"),
    "month": (1, "A month earlier", "a month earlier"),
    "year": (12, "A year earlier", "a year earlier"),
}


def sensible(window: Window, zone: ZoneInfo = UTC_ZONE) -> tuple[datetime, datetime]:
    """A window's range, moved into the years in which anything can be booked.

    Where a zone's clocks are off by less than an hour, what begins at one of its hours begins at the next whole one.
    """
    from_ = min(max(window.from_, EARLIEST), LATEST - DAY)
    until = max(min(window.until, LATEST), from_ + HOUR)
    if window.name not in RANGES and (from_.astimezone(zone).utcoffset() or timedelta()) % HOUR:
        return ceil_hour(from_), until if window.ends_now else ceil_hour(until)
    return from_, until


def usual_interval(length: timedelta) -> Interval:
    """By what a range of that length is drawn."""
    if length <= USUALLY_BY_HOUR:
        return "hour"
    return "day" if length <= LONGEST["day"] else "month"


@dataclass(frozen=True, slots=True)
class Asked:
    """Dimensions, filters, range, interval and order, as asked for.

    ``opened`` are the keys that are taken apart by ``then``, ``None`` among them for what carries none: the last ones
    that were opened, where those are more than are taken apart at once.
    """

    parameters: QueryDict
    by: By
    then: By
    opened: tuple[str | None, ...]
    all_open: bool
    filters: SpendFilters
    from_: datetime
    until: datetime
    zone: ZoneInfo
    interval: Interval
    intervals: list[Interval]
    compare: str
    shape: Shape
    sort: str
    top: int
    shows_units: bool
    kept: dict[str, str]

    @property
    def dimensions(self) -> dict[str, Values]:
        """What is filtered by in each dimension but the environment."""
        return {name: getattr(self.filters, name) for name in FILTERS}

    @property
    def measure(self) -> str:
        """The measure to sort by, with ``-`` the largest first."""
        return f"{'-' if self.sort.startswith('-') else ''}{SORTS[self.sort.removeprefix('-')]}"

    @property
    def before(self) -> tuple[datetime, datetime] | None:
        """The range that is compared with, if there is one."""
        months = COMPARISONS[self.compare][0]
        if not months:
            return self.from_ - (self.until - self.from_), self.from_
        from_, until = (months_before(moment, months, self.zone) for moment in (self.from_, self.until))
        return (from_, until) if from_ < until else None

    @property
    def before_words(self) -> str:
        """What is compared with, behind a number."""
        return COMPARISONS[self.compare][2]

    @property
    def most_open(self) -> int:
        """How many keys are taken apart at once."""
        return _most_open(self.then)

    @property
    def thens(self) -> list[By]:
        """By what a key can be taken apart."""
        return [by for by in BYS if by != self.by and len(getattr(self.filters, by)) != 1]

    def address(self, **changes: str | Iterable[str] | None) -> str:
        """This page's query string with some parameters changed; ``None``, or no values, removes one."""
        parameters = self.parameters.copy()
        for name, value in changes.items():
            values = [value] if isinstance(value, str) else list(value or ())
            parameters.setlist(name.rstrip("_"), values)
        return f"?{parameters.urlencode()}"

    def toggle(self, key: str | None) -> str:
        """The query string that opens a key, or closes it when it is open."""
        opened = [*self.opened, key] if key not in self.opened else [k for k in self.opened if k != key]
        return self.address(then=self.then, open=[k or "" for k in opened], inside=None)

    def of_key(self, by: By, key: str | None, filters: SpendFilters, next_by: By | None = None) -> str:
        """The query string of the page of one key, taken apart by what comes next unless it is said."""
        chosen = filters.within(by, key)
        next_by = next_by or _next(by, chosen)
        return f"?{urlencode([*self._parameters(chosen), *self._form(), ('by', next_by)])}"

    def runs_query(self, filters: SpendFilters, owners: Mapping[str, Ownership]) -> str:
        """The query string of the list of runs with these values; empty when there is none. A team is its services."""
        if filters.team:
            services = [o.service for o in owners.values() if (o.team or "") in filters.team]
            both = [name for name in services if not filters.service or name in filters.service]
            if not both:
                return ""
            filters = replace(filters, team=(), service=tuple(both))
        return urlencode(self._parameters(filters))

    def _form(self) -> list[tuple[str, str]]:
        """How things are shown, which a link to another key keeps."""
        return [
            (name, str(self.parameters[name])) for name in ("interval", "compare", "shape") if name in self.parameters
        ]

    def _parameters(self, filters: SpendFilters) -> list[tuple[str, str]]:
        """Filters as they stand in a query string, after what every link keeps."""
        environment = {"environment": filters.environment} if filters.environment else {}
        chosen = write_values({name: getattr(filters, name) for name in FILTERS})
        return [*(self.kept | environment).items(), *chosen]


def _most_open(then: By) -> int:
    return FEW_OPEN if then in MANY_KEYED else MOST_OPEN


def read_spend(parameters: QueryDict, page: PageContext) -> Asked:
    """What a page's parameters ask for; what cannot be read counts as not asked."""
    parameters = parameters.copy()
    parameters.pop("filter", None)  # what is being typed
    by = _one_of(BYS, parameters.get("by")) or "service"
    wanted = {name: [clean(text).strip() for text in parameters.getlist(name)[:MAX_VALUES]] for name in FILTERS}
    from_, until = sensible(page.window, page.zone)
    length = until - from_
    intervals = [known for known in INTERVALS if SHORTEST.get(known, HOUR) <= length <= LONGEST.get(known, length)]
    interval = _one_of(intervals, parameters.get("interval")) or usual_interval(length)
    filters = SpendFilters(**read_values(wanted, parameters.getlist(WITHOUT)), environment=page.environment)
    then = _one_of(BYS, parameters.get("then"))
    if not then or then == by:
        then = _next(by, filters)
    sort = str(parameters.get("sort") or "")
    opened = [clean(text) or None for text in parameters.getlist("open")[-_most_open(then) :]]
    return Asked(
        parameters=parameters,
        by=by,
        then=then,
        opened=tuple(dict.fromkeys(opened)),
        all_open=parameters.get("inside") == "all",
        filters=filters,
        from_=from_,
        until=until,
        zone=page.zone,
        interval=interval,
        intervals=intervals,
        compare=_one_of(tuple(COMPARISONS), parameters.get("compare")) or "before",
        shape=cast("Shape", _one_of(("area", "bars"), parameters.get("shape")) or usual_shape(interval)),
        sort=sort if sort.removeprefix("-") in SORTS else "-tools" if by == "tool" else "-cost",
        top=next((top for top in TOPS if str(top) == parameters.get("top")), USUAL_TOP),
        shows_units=parameters.get("show") == "units",
        kept={name: str(parameters[name]) for name in SHARED_PARAMETERS if parameters.get(name)},
    )


def _next(by: By, filters: SpendFilters) -> By:
    """By what a key of a dimension is taken apart, unless asked otherwise."""
    return next((name for name in NEXT[by] if not getattr(filters, name)), NEXT[by][0])


def usual_shape(interval: Interval) -> Shape:
    """How a chart by an interval is drawn: between two days a slope would say that the new one fell to nothing."""
    return "area" if interval == "hour" else "bars"


def _one_of(known: Iterable[T], wanted: str | None) -> T | None:
    return next((one for one in known if one == wanted), None)
