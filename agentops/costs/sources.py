"""Where spend is read from: one SELECT of cells for each kind of question, and all of it are rollups.

A cell has a start, a key and the measures; a key may have any number of cells. Every source knows ``service``, ``team``
and ``environment``; which one is read depends on how many other dimensions a question names, be it to group by or as
filters:

| other dimensions | days inside the range | hours at its ends, or told apart |
|---|---|---|
| none | ``spend_daily``, of services | ``spend_hourly`` |
| one | ``spend_daily``, or closed blocks of ``spend_pairs`` and the journal | ``spend_hourly`` |
| two, neither user nor session | ``spend_pairs`` by days and blocks, and the journal | ``spend_steps`` |
| any | ``spend_steps``: details and the journal | ``spend_steps`` |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from django.db import connection

from agentops.catalog.queries import Ownership, ownership
from agentops.costs.fold import BOUNDED, number
from agentops.costs.models import MEASURES, Dimension
from agentops.domain.periods import DAY, HOUR, Buckets, truncate
from agentops.domain.spans import DEFAULT_ENVIRONMENT
from agentops.runs.filters import Values, is_named

By = Literal["service", "team", "user", "feature", "model", "agent", "tool", "session", "release", "environment"]
#: The rollup whose key a dimension is; those that are missing are columns of every rollup, or joined.
DIMENSIONS: dict[str, Dimension] = {
    "user": Dimension.USER,
    "feature": Dimension.FEATURE,
    "session": Dimension.SESSION,
    "release": Dimension.RELEASE,
    "agent": Dimension.AGENT,
    "model": Dimension.MODEL,
    "tool": Dimension.TOOL,
}
#: Those that grow with what happens. Days that are over leave ``spend_daily`` for ``spend_past``; ``spend_days`` is
#: both.
MANY_KEYED: dict[str, Dimension] = {"user": Dimension.USER, "session": Dimension.SESSION}
HOURS_PER_DAY = 24
#: Days that are looked up one by one at most; of more, their range is read.
_NAMED_DAYS = 1_000
_ROLLED = ", ".join(f"u.{m}" for m in MEASURES)
#: Those rows ``u`` of a rollup that a condition on their dimension and key leaves. The index leads to them by way of
#: the services' own rows ``t``, of which there are few: without them it would have to read all keys. OFFSET keeps the
#: planner from joining the other way round, as it does where it has no statistics yet, and from making the product of
#: both.
SOME_KEYS = """{table} AS t CROSS JOIN LATERAL (
    SELECT * FROM {table} AS k WHERE {condition} AND k.start = t.start
        AND k.environment = t.environment AND k.service = t.service OFFSET 0
) AS u"""
#: Not folded yet, by day.
_JOURNAL = "(SELECT to_timestamp(hour / 24 * 86400.0) AS start, * FROM spend_journal) AS u"
STEP_COLUMNS = {name: f'u."{name}"' for name in ("service", "environment", *DIMENSIONS)}


@dataclass(frozen=True, slots=True)
class SpendFilters:
    """Which spend: of any of these values in each dimension. ``team`` holds slugs; ``environment`` is one, or empty."""

    service: Values = ()
    team: Values = ()
    user: Values = ()
    feature: Values = ()
    session: Values = ()
    release: Values = ()
    environment: str = ""
    agent: Values = ()
    model: Values = ()
    tool: Values = ()

    @classmethod
    def of(cls, *, environment: str = "", **values: str | None) -> SpendFilters:
        """One value each; ``None`` is what carries none, and an empty text any."""
        chosen = {name: (value or "",) for name, value in values.items() if value != ""}
        return cls(environment=environment, **chosen)

    def within(self, by: By, key: str | None) -> SpendFilters:
        """The same, of one key of a dimension alone."""
        if by == "environment":
            return replace(self, environment=key or DEFAULT_ENVIRONMENT)
        return self.among(by, (key,))

    def among(self, by: By, keys: Iterable[str | None]) -> SpendFilters:
        """The same, of some keys of a dimension; of several environments, of all."""
        only: dict[str, Any] = {by: tuple(key or "" for key in keys)}
        return replace(self, **only) if by != "environment" else self

    def has_only_named(self, dimension: str) -> bool:
        """Whether the values asked for in a dimension leave out what carries none."""
        return is_named(getattr(self, dimension))

    def keyed(self) -> list[str]:
        """The dimensions with filters, without those that every source knows."""
        return [name for name in DIMENSIONS if getattr(self, name)]


@dataclass(frozen=True, slots=True)
class Source:
    """A SELECT of cells ``(start, key, *MEASURES)``, with an ``outer_key`` where asked for, and its parameters."""

    sql: str
    parameters: dict[str, Any]


def cells(
    by: By,
    filters: SpendFilters,
    from_: datetime,
    until: datetime,
    *,
    buckets: Buckets | None = None,
    within: By | None = None,
    hours_at_ends: bool = False,
    with_past: bool = True,
) -> Source:
    """The cells of ``[from_, until)``, whole hours, that an answer by ``by`` sums.

    ``buckets`` are what they may be told apart by at most, None for nothing at all; with ``hours_at_ends`` the
    first and the last hour stay apart in any case. ``within`` is another dimension whose keys, as ``outer_key``, are
    told apart too. Without ``with_past``, none of ``spend_past``. May look up which days are closed.
    """
    question = _Question(by, within, filters, ownership() if "team" in (by, within) or filters.team else {})
    kinds = [DIMENSIONS[name] for name in question.dimensions]
    pieces = _pieces(from_, until, buckets, hours_at_ends=hours_at_ends)
    is_pair = len(kinds) == len(("one", "other")) and all(kind in BOUNDED for kind in kinds)
    if len(kinds) <= 1 or is_pair:
        is_one = len(kinds) == 1 and kinds[0] in BOUNDED
        with_blocks = buckets is None and (is_one or (is_pair and not question.tells_services))
        pieces = [part for piece in pieces for part in _in_blocks(piece, of_pairs=is_pair, with_blocks=with_blocks)]
    else:
        pieces = [Piece("spend_hourly", from_, until)]
    selects, parameters = list[str](), filter_parameters(filters, question.owners)
    for place, piece in enumerate(pieces):
        if piece.length:
            selects.append(_of_pairs(question, piece, place))
        elif piece.table == _JOURNAL or len(kinds) > 1:
            selects.append(_of_steps(question, piece, place))
        else:
            reads_past = with_past and any(name in MANY_KEYED for name in question.dimensions)
            selects.append(_of_one(question, piece, place, with_past=reads_past))
        parameters |= piece.parameters(place)
    return _with_teams(Source(" UNION ALL ".join(selects), parameters), question)


def whole_days(from_: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The days inside a range of whole hours, half-open; the end is not after the start when there is none."""
    return truncate(from_ + DAY - HOUR, "day"), truncate(until, "day")


_WITH_PAST = {"spend_daily": "spend_days"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A table and the part of the range that is read from it: of some days nothing, or nothing but some hours.

    With a ``length`` it is one of ``spend_pairs``: of the cells of so many days each.
    """

    table: str
    begin: datetime
    end: datetime
    without: tuple[datetime, ...] = ()
    only: tuple[datetime, ...] = ()
    length: int = 0

    def parameters(self, place: int) -> dict[str, Any]:
        """Its parameters in a statement of several pieces."""
        return {
            f"begin{place}": self.begin,
            f"end{place}": self.end,
            f"without{place}": list(self.without),
            f"only{place}": list(self.only),
        }

    def condition(self, place: int, relation: str = "u") -> str:
        """SQL that leaves of a relation's rows those of this piece."""
        condition = f"{relation}.start >= %(begin{place})s AND {relation}.start < %(end{place})s"
        condition += f" AND {relation}.start <> ALL(%(without{place})s)" if self.without else ""
        return condition + (f" AND {relation}.start = ANY(%(only{place})s)" if self.only else "")


def _pieces(from_: datetime, until: datetime, buckets: Buckets | None, *, hours_at_ends: bool = False) -> list[Piece]:
    """Days inside the range and hours at its edges, and of days that two buckets share; hours alone where none is."""
    first_day, last_day = whole_days(from_, until)
    if hours_at_ends:
        first_day, last_day = truncate(from_ + DAY, "day"), truncate(until - HOUR, "day")
    shared = tuple(day for day in buckets.cut_days if first_day <= day < last_day) if buckets else ()
    no_days = first_day >= last_day or len(shared) * DAY >= last_day - first_day
    if no_days or (buckets and buckets.interval == "hour"):
        return [Piece("spend_hourly", from_, until)]
    pieces = [
        Piece("spend_hourly", from_, first_day),
        Piece("spend_daily", first_day, last_day, without=shared),
        Piece("spend_hourly", last_day, until),
    ]
    if shared:
        hours = tuple(day + place * HOUR for day in shared for place in range(HOURS_PER_DAY))
        pieces.append(Piece("spend_hourly", first_day, last_day, only=hours))
    return [piece for piece in pieces if piece.begin < piece.end]


def _in_blocks(piece: Piece, *, of_pairs: bool, with_blocks: bool) -> list[Piece]:
    """A piece of days as closed blocks, and what these do not cover; hours stay as they are.

    Of two dimensions single days are in ``spend_pairs`` too; of one they stay where they are. What of the days that
    are read there is still in the journal comes from the journal. Which blocks are closed only grows, and their days
    stay: one that is closed while this is asked is read as its days.
    """
    if piece.table != "spend_daily":
        return [piece]
    blocks = _closed_blocks(piece.begin, piece.end) if with_blocks else []
    covered = {start + place * DAY for length, start in blocks for place in range(length)}
    if not blocks and not of_pairs:
        return [piece]
    found = [
        replace(piece, table="spend_pairs", length=length, only=tuple(start for of, start in blocks if of == length))
        for length in sorted({length for length, _ in blocks})
    ]
    count = (piece.end - piece.begin) // DAY
    gone = covered.union(piece.without)
    left = tuple(day for place in range(count) if (day := piece.begin + place * DAY) not in gone)
    if left:
        named = replace(piece, only=left, without=()) if count <= _NAMED_DAYS else replace(piece, without=tuple(gone))
        found.append(replace(named, table="spend_pairs", length=1) if of_pairs else named)
    journal = replace(piece, table=_JOURNAL)
    return [*found, journal if of_pairs else replace(journal, only=tuple(sorted(covered)))]


#: Of blocks that lie in a longer one, only the longer.
CLOSED = """
SELECT days, start FROM spend_closed AS c
WHERE days > 1 AND start >= %(begin)s AND start + days * interval '1 day' <= %(end)s
    AND NOT EXISTS (
        SELECT FROM spend_closed AS l WHERE l.days > c.days AND l.start <= c.start
            AND l.start + l.days * interval '1 day' > c.start
            AND l.start >= %(begin)s AND l.start + l.days * interval '1 day' <= %(end)s
    )
"""


def _closed_blocks(begin: datetime, end: datetime) -> list[tuple[int, datetime]]:
    """Lengths in days and starts of the fewest closed blocks that lie inside a range."""
    with connection.cursor() as cursor:
        cursor.execute(CLOSED, {"begin": begin, "end": end})
        blocks: list[tuple[int, datetime]] = cursor.fetchall()
    return blocks


@dataclass(frozen=True, slots=True)
class _Question:
    """What is grouped by and left out by filters."""

    by: By
    within: By | None
    filters: SpendFilters
    owners: dict[str, Ownership]

    @property
    def dimensions(self) -> list[str]:
        """The dimensions that it names, without those that every source knows."""
        return [name for name in DIMENSIONS if name in {self.by, self.within} or getattr(self.filters, name)]

    @property
    def tells_services(self) -> bool:
        """Whether it asks anything about services."""
        return bool({self.by, self.within} & {"service", "team"} or self.filters.service or self.filters.team)

    def select(self, relation: str, columns: Mapping[str, str], where: str) -> str:
        """Cells of those rows ``u`` of a relation that the filters leave; ``columns`` hold the dimensions."""
        keys = self._key(self.by, columns) + " AS key"
        if self.within:
            keys = f"{self._key(self.within, columns)} AS outer_key, {keys}"
        return f"SELECT u.start, {keys}, {_ROLLED} FROM {relation} WHERE {where}{matching(self.filters, columns)}"

    def _key(self, by: By, columns: Mapping[str, str]) -> str:
        name = "service" if by == "team" else by
        return columns.get(name, f"u.{name}")


def matching(filters: SpendFilters, columns: Mapping[str, str], relation: str = "u") -> str:
    """SQL for the filters that a relation with these columns can answer, each after an AND."""
    service = columns.get("service", f"{relation}.service")
    found = [f"{columns[name]} = ANY(%({name})s)" for name in filters.keyed() if name in columns]
    if filters.environment:
        found.append(f"{relation}.environment = %(environment)s")
    if filters.service:
        found.append(f"{service} = ANY(%(service)s)")
    if filters.team:
        found.append(f"{service} = ANY(%(services)s)")
    return "".join(f" AND {condition}" for condition in found)


def _of_one(question: _Question, piece: Piece, place: int, *, with_past: bool) -> str:
    """The cells of a rollup of one dimension, or of services."""
    name = next(iter(question.dimensions), None)
    dimension = int(DIMENSIONS[name]) if name else int(Dimension.SERVICE)
    table = _WITH_PAST.get(piece.table, piece.table) if with_past else piece.table
    columns = {name: "u.key"} if name else {}
    # The past has an index of its keys.
    if name is None or not getattr(question.filters, name) or table == "spend_days":
        return question.select(f"{table} AS u", columns, f"u.dimension = {dimension} AND {piece.condition(place)}")
    condition = f"k.dimension = {dimension} AND k.key = ANY(%({name})s)"
    services = matching(question.filters, {}, "t")
    where = f"t.dimension = {int(Dimension.SERVICE)} AND {piece.condition(place, 't')}{services}"
    return question.select(SOME_KEYS.format(table=table, condition=condition), columns, where)


def _of_pairs(question: _Question, piece: Piece, place: int) -> str:
    """The cells of ``spend_pairs``: of two dimensions, or of one with services or alone."""
    first, *other = question.dimensions
    columns = {first: "u.key"} | ({other[0]: "u.other_key"} if other else {})
    pair = number(DIMENSIONS[first], DIMENSIONS[other[0] if other else first])
    if not other and question.tells_services:
        columns["service"] = "u.other_key"
        pair = number(DIMENSIONS[first], Dimension.SERVICE)
    where = f"u.pair = {pair} AND u.days = {piece.length} AND {piece.condition(place)}"
    return question.select("spend_pairs AS u", columns, where)


def _of_steps(question: _Question, piece: Piece, place: int) -> str:
    """The cells of the details by hour and of the journal, or those of the journal by day."""
    relation = piece.table if piece.table == _JOURNAL else "spend_steps AS u"
    return question.select(relation, STEP_COLUMNS, piece.condition(place))


def steps(keys: str, filters: SpendFilters, where: str) -> str:
    """SQL for all steps ``u`` of some time that match, with some keys and the measures."""
    return f"SELECT u.start, {keys}, {_ROLLED} FROM spend_steps AS u WHERE {where}{matching(filters, STEP_COLUMNS)}"


def bucket_of(moment: str, buckets: Buckets) -> str:
    """SQL for the bucket of a moment: the hour that it is in, else its place in the parameter ``starts``, from 1."""
    if buckets.interval == "hour":
        return f"date_trunc('hour', {moment}, 'UTC')"
    return f"width_bucket({moment}, %(starts)s::timestamptz[])"


def filter_parameters(filters: SpendFilters, owners: dict[str, Ownership]) -> dict[str, Any]:
    """The parameters of conditions by filters; a team is its services."""
    wanted: dict[str, Any] = {name: list(getattr(filters, name)) for name in ("service", *DIMENSIONS)}
    wanted["environment"] = filters.environment
    wanted["services"] = [o.service for o in owners.values() if (o.team or "") in filters.team]
    return wanted


def _with_teams(source: Source, question: _Question) -> Source:
    """The same with the slugs of teams where it has their services."""
    names = [name for name, by in (("outer_key", question.within), ("key", question.by)) if by]
    if "team" not in (question.by, question.within):
        return source
    by = {"outer_key": question.within, "key": question.by}
    keys = ", ".join(f"coalesce(o.team, '') AS {name}" if by[name] == "team" else f"c.{name}" for name in names)
    joined = next(name for name in names if by[name] == "team")
    sql = f"""SELECT c.start, {keys}, {", ".join(f"c.{m}" for m in MEASURES)} FROM ({source.sql}) AS c
        LEFT JOIN unnest(%(owned)s::text[], %(teams)s::text[]) AS o (service, team) ON o.service = c.{joined}"""
    owned: Sequence[Ownership] = [o for o in question.owners.values() if o.team]
    teams = {"owned": [o.service for o in owned], "teams": [o.team for o in owned]}
    return Source(sql, source.parameters | teams)
