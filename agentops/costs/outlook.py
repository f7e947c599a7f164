"""What is to be expected of spend, and what was not: the month's end, unusual hours, and what made them.

All of it is read from rollups. Days and hours are those of UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.db import connection

from agentops.catalog.queries import Ownership, ownership
from agentops.costs import queries
from agentops.costs.models import Dimension
from agentops.costs.sources import (
    MANY_KEYED,
    STEP_COLUMNS,
    By,
    Source,
    SpendFilters,
    cells,
    filter_parameters,
    matching,
    steps,
)
from agentops.costs.spans import matching_runs
from agentops.domain.anomalies import Anomaly, find_anomalies
from agentops.domain.baseline import DAYS_LOOKED_AT, FEWEST_DAYS, Baseline, History, Hours
from agentops.domain.forecast import MOST_DAYS, Forecast, NoForecast, forecast_month, share_to_come
from agentops.domain.periods import DAY, HOUR, WEEK, Buckets, buckets, ceil_hour, floor_hour, truncate

#: What a baseline looks at, a week before that for its level, and the days since the Monday on which it was made.
HISTORY = DAYS_LOOKED_AT * DAY + 2 * WEEK
#: Hours are judged so far back at most.
LONGEST = 92 * DAY
#: Days that tell which part of a day is still to come.
PROFILE = 28 * DAY
#: Keys that are judged by themselves, and anomalies of which is told what made them.
JUDGED, TOLD = 7, 6
#: A key that made less than this share of an excess did not make it.
LEAST_SHARE = 0.5
#: Hours of an anomaly that are looked into, and weeks before that they are compared with.
LOOKED_INTO, COMPARED = 48 * HOUR, 4
#: Runs that are named, and how long before the first hour they may have started.
NAMED_RUNS, RUNNING_SINCE = 3, DAY
#: What may have made an excess.
MAKERS: dict[Dimension, By] = {
    Dimension.SERVICE: "service",
    Dimension.FEATURE: "feature",
    Dimension.AGENT: "agent",
    Dimension.MODEL: "model",
    Dimension.USER: "user",
}
#: Told apart by the hour.
HOURLY = Buckets("hour", ())

DAYS = "SELECT date_trunc('day', start, 'UTC'), sum(cost_nano) FROM ({cells}) AS c GROUP BY 1"
HOURS = """
SELECT key, array_agg(hour), array_agg(cost) FROM (
    SELECT key, (date_part('epoch', start) / 3600)::int AS hour, least(sum(cost_nano), 9e18)::bigint AS cost
    FROM ({cells}) AS c GROUP BY 1, 2
) AS h GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class MonthOutlook:
    """How the month that began on ``month`` will end: what is booked of it, and the month before.

    ``previous_since`` is the day on which spend began in the month before, if it did.
    """

    month: date
    booked_nano: int
    previous_nano: int
    found: Forecast | NoForecast
    previous_since: date | None = None

    @property
    def forecast(self) -> Forecast | None:
        """The forecast, if there is one."""
        return self.found if isinstance(self.found, Forecast) else None

    @property
    def reason(self) -> str:
        """Why there is none."""
        return self.found.reason if isinstance(self.found, NoForecast) else ""

    @property
    def to_come_nano(self) -> int | None:
        """What is expected of the days to come."""
        return self.forecast.expected_nano - self.forecast.booked_nano if self.forecast else None

    @property
    def growth(self) -> float | None:
        """The expected cost against the month before; ``None`` without the one or the whole of the other."""
        if self.forecast is None or not self.previous_nano or self.previous_since:
            return None
        return self.forecast.expected_nano / self.previous_nano - 1


def month_outlook(filters: SpendFilters, *, now: datetime) -> MonthOutlook:
    """The outlook for the running month. Two statements."""
    today, month = truncate(now, "day"), truncate(now, "month")
    before = truncate(month - DAY, "month")
    begin, end = min(before, today - (MOST_DAYS + 1) * DAY), floor_hour(now) + HOUR
    source = cells("environment", filters, begin, end, buckets=buckets(begin, end, "day"))
    by_day = {day: int(cost) for day, cost in _ask(DAYS.format(cells=source.sql), source.parameters)}
    profile = _hours(cells("environment", filters, today - PROFILE, today, buckets=HOURLY))
    booked = sum(cost for day, cost in by_day.items() if day >= month)
    found = forecast_month(
        [by_day.get(begin + place * DAY, 0) for place in range((today - begin) // DAY)],
        today=today.date(),
        booked_nano=booked,
        left_of_today=share_to_come(_dense(_total(profile), today - PROFILE, today).costs, (now - today) / HOUR),
    )
    previous = sum(cost for day, cost in by_day.items() if before <= day < month)
    began = min((day for day, cost in by_day.items() if cost), default=begin)
    since = began.date() if before < began < month else None
    return MonthOutlook(month.date(), booked, previous, found, since)


@dataclass(frozen=True, slots=True)
class Maker:
    """Who made a share of an anomaly's excess, 0 to 1: a key of a dimension."""

    by: By
    key: str
    share: float


@dataclass(frozen=True, slots=True)
class MakingRun:
    """A run of an anomaly's hours, and what it cost as a whole; ``None`` when none of its calls has a price."""

    trace_id: bytes
    service: str
    started_at: datetime
    cost_nano: int | None

    @property
    def hex_id(self) -> str:
        """The trace id as it is written."""
        return self.trace_id.hex()


@dataclass(frozen=True, slots=True)
class Unusual:
    """An anomaly of one key, ``None`` for what carries none, or of everything together."""

    anomaly: Anomaly
    key: str | None
    is_total: bool
    makers: tuple[Maker, ...] = ()
    runs: tuple[MakingRun, ...] = ()


@dataclass(frozen=True, slots=True)
class UnusualHours:
    """The anomalies of a range, the most expensive first, and the hours of everything in it.

    ``judged_from`` is where judging begins: later than asked where the range is too long; ``is_cold`` where there is
    too little history for the last hour.
    """

    found: tuple[Unusual, ...]
    total: Hours
    judged_from: datetime
    is_cold: bool


def unusual_hours(by: By, filters: SpendFilters, from_: datetime, until: datetime, *, now: datetime) -> UnusualHours:
    """The anomalies of ``[from_, until)`` of everything and of its ``JUDGED`` largest keys.

    One of everything that a key's own accounts for is told as that. A dozen statements at most.
    """
    end = min(ceil_hour(until), floor_hour(now) + HOUR)
    begin = max(min(floor_hour(from_), end), end - LONGEST)
    since = truncate(begin - HISTORY, "day")
    everything = cells("environment", filters, since, end, buckets=HOURLY)
    total = _dense(_total(_hours(everything)), since, end)
    found = [Unusual(a, None, is_total=True) for a in find_anomalies(total, begin, end, with_drops=True)]
    keys = _largest(by, filters, begin, end)
    if keys:
        for key, hours in _hours(cells(by, filters.among(by, keys), since, end, buckets=HOURLY)).items():
            anomalies = find_anomalies(_dense(hours, since, end), begin, end, with_drops=True)
            found += [Unusual(anomaly, key or None, is_total=False) for anomaly in anomalies]
    told = sorted(_unexplained(found), key=lambda u: (-u.anomaly.excess_nano, u.anomaly.start, u.key or ""))
    places = slice((begin - since) // HOUR, None)
    return UnusualHours(
        found=_explained(by, filters, told),
        total=Hours(begin, total.costs[places]),
        judged_from=begin,
        is_cold=History(total).days_before((end - since) // DAY) < FEWEST_DAYS,
    )


def usual(service: str, *, now: datetime) -> Baseline:
    """What each hour of the week usually costs a service. One statement."""
    since, end = truncate(now - HISTORY, "day"), floor_hour(now)
    source = cells("environment", SpendFilters(service=(service,)), since, end, buckets=HOURLY)
    return History(_dense(_total(_hours(source)), since, end)).at((end - since) // DAY)


def _largest(by: By, filters: SpendFilters, begin: datetime, end: datetime) -> list[str]:
    """The keys that are judged. The hours of one user or session among all would be too many to read."""
    if by in MANY_KEYED or begin >= end:
        return []
    return [item.key or "" for item in queries.spend(by, filters, begin, end, limit=JUDGED).items]


def _unexplained(found: Sequence[Unusual]) -> list[Unusual]:
    """All but those of everything of which keys that are told make more than half."""
    keys = [unusual for unusual in found if not unusual.is_total]

    def made_by_keys(total: Anomaly) -> int:
        return sum(
            key.anomaly.excess_nano
            for key in keys
            if key.anomaly.kind == total.kind and key.anomaly.start < total.end and key.anomaly.end > total.start
        )

    return [u for u in found if not u.is_total or 2 * made_by_keys(u.anomaly) <= u.anomaly.excess_nano]


def _explained(by: By, filters: SpendFilters, found: Sequence[Unusual]) -> tuple[Unusual, ...]:
    """The same with what made them, as far as that is told."""
    spikes = [unusual for unusual in found if unusual.anomaly.kind == "spike"][:TOLD]
    narrowed = [filters if u.is_total else filters.within(by, u.key) for u in spikes]
    owners = ownership() if spikes else {}
    told = {
        id(unusual): replace(
            unusual, makers=_makers(unusual.anomaly, asked, owners), runs=_runs(unusual.anomaly, asked, owners)
        )
        for unusual, asked in zip(spikes, narrowed, strict=True)
    }
    return tuple(told.get(id(unusual), unusual) for unusual in found)


# The hours of an anomaly are compared with the same hours in the weeks before.
MADE = f"""
SELECT DISTINCT ON (dimension) dimension, name, excess FROM (
    SELECT dimension, name,
        sum(CASE WHEN start >= %(begins)s THEN cost_nano ELSE -cost_nano / {COMPARED} END) AS excess
    FROM ({{costs}}) AS c (start, dimension, name, cost_nano) WHERE name <> '' GROUP BY 1, 2
) AS told WHERE excess > 0 ORDER BY dimension, excess DESC, name
"""
_OF_ONE = f"""
SELECT u.start, u.dimension, CASE u.dimension WHEN {int(Dimension.SERVICE)} THEN u.service ELSE u.key END AS name,
    u.cost_nano
FROM spend_hourly AS u WHERE u.dimension = ANY(%(dimensions)s) AND u.start = ANY(%(hours)s) {{matching}}"""


def _makers(anomaly: Anomaly, filters: SpendFilters, owners: dict[str, Ownership]) -> tuple[Maker, ...]:
    """What made most of an anomaly's excess, of what the filters leave open. One statement."""
    dimensions = {d: name for d, name in MAKERS.items() if len(getattr(filters, name)) != 1}
    if filters.team and sum((owner.team or "") in filters.team for owner in owners.values()) == 1:
        dimensions.pop(Dimension.SERVICE, None)
    length = min(anomaly.end - anomaly.start, LOOKED_INTO) // HOUR
    hours = [anomaly.start + place * HOUR - back * WEEK for back in range(COMPARED + 1) for place in range(length)]
    parameters = {"begins": anomaly.start, "hours": hours, "dimensions": [int(d) for d in dimensions]}
    if filters.keyed():
        names = ", ".join(f"({int(d)}, {STEP_COLUMNS[name]})" for d, name in dimensions.items())
        told = steps(", ".join(STEP_COLUMNS[name] for name in dimensions.values()), filters, "u.start = ANY(%(hours)s)")
        costs = f"SELECT u.start, p.*, u.cost_nano FROM ({told}) AS u CROSS JOIN LATERAL (VALUES {names}) AS p"
    else:
        costs = _OF_ONE.format(matching=matching(filters, {}))
    rows = _ask(MADE.format(costs=costs), filter_parameters(filters, owners) | parameters) if dimensions else []
    made = [(dimension, name, min(1.0, float(excess) / anomaly.excess_nano)) for dimension, name, excess in rows]
    return tuple(Maker(dimensions[d], name, share) for d, name, share in made if share >= LEAST_SHARE)


#: What runs know of their steps.
_OF_STEPS = {"agent": "r.agents", "model": "r.models", "tool": "r.tools"}
RUNS = """
SELECT r.trace_id, r.service, r.started_at, CASE WHEN r.unpriced_calls = 0 OR r.cost_nano > 0 THEN r.cost_nano END
FROM runs r WHERE NOT r.is_absorbed AND r.started_at >= %(since)s AND r.started_at < %(ends)s
    AND r.latest_at >= %(begins)s {matching}
ORDER BY r.cost_nano DESC, r.started_at, r.trace_id LIMIT %(limit)s
"""


def _runs(anomaly: Anomaly, filters: SpendFilters, owners: dict[str, Ownership]) -> tuple[MakingRun, ...]:
    """The most expensive runs that were under way in an anomaly's hours. One statement."""
    steps = [name for name in _OF_STEPS if getattr(filters, name)]
    if not all(filters.has_only_named(name) for name in steps):
        return ()
    matching = matching_runs(filters) + "".join(f" AND {_OF_STEPS[name]} && %({name})s::text[]" for name in steps)
    parameters = filter_parameters(filters, owners) | {
        "since": anomaly.start - RUNNING_SINCE,
        "begins": anomaly.start,
        "ends": anomaly.end,
        "limit": NAMED_RUNS,
    }
    return tuple(
        MakingRun(bytes(trace_id), *row) for trace_id, *row in _ask(RUNS.format(matching=matching), parameters)
    )


#: Hours since the epoch and what they cost.
Costs = dict[int, int]


def _hours(source: Source) -> dict[str, Costs]:
    """What each hour of each key cost. One statement."""
    rows = _ask(HOURS.format(cells=source.sql), source.parameters)
    return {key: dict(zip(hours, costs, strict=True)) for key, hours, costs in rows}


def _total(by_key: dict[str, Costs]) -> Costs:
    total: Costs = {}
    for costs in by_key.values():
        for hour, cost in costs.items():
            total[hour] = total.get(hour, 0) + cost
    return total


def _dense(costs: Costs, begin: datetime, end: datetime) -> Hours:
    """The hours of a range, those without spend among them."""
    first, last = (int(moment.timestamp()) // 3_600 for moment in (begin, end))
    return Hours(begin, [costs.get(hour, 0) for hour in range(first, last)])


def _ask(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
