"""Whether the books agree: spans, runs and every rollup, to the nano-dollar and the token.

What is compared is what can be proved. Retention drops spans, so that runs and rollups are held against
spans only where all of them are still there; runs and rollups stay, and agree over all time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from agentops.costs import fold
from agentops.costs.models import MEASURES, Dimension, Reconciliation
from agentops.costs.spans import COUNTED, RECEIVED, SPAN_HOUR, SPAN_KEYS, SPAN_MEASURES
from agentops.domain.periods import DAY, floor_hour, truncate

#: How long the outcomes are kept.
KEPT = timedelta(days=7)
MAX_FINDINGS = 50
EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
#: How far back each minute's check looks.
RECENT = timedelta(hours=3)
#: The sum of all runs is part of each minute's check up to this many; beyond, of the whole one only.
MANY_RUNS = 500_000
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
SETTINGS = "SET LOCAL statement_timeout = '{timeout}'; SET LOCAL work_mem = '64MB'"

_MEASURES = ", ".join(MEASURES)
_SUMS = ", ".join(f"sum({m}) AS {m}" for m in MEASURES)
_ANY = " OR ".join(f"{m} <> 0" for m in MEASURES)


@dataclass(frozen=True, slots=True)
class Finding:
    """Two sums that should be equal: which, of what, and what the one and the other say."""

    check: str
    key: str
    measure: str
    expected: int
    found: int

    def words(self) -> str:
        """A sentence."""
        return f"{self.check}, {self.key}: {self.measure} is {self.found:,} and should be {self.expected:,}"


def _compare(expected: str, found: str, key: str, measures: tuple[str, ...] = MEASURES) -> str:
    """Rows of two relations with the same columns that differ: the key, then pairs of expected and found."""
    pairs = ", ".join(f"coalesce(e.{m}, 0), coalesce(f.{m}, 0)" for m in measures)
    differ = " OR ".join(f"coalesce(e.{m}, 0) <> coalesce(f.{m}, 0)" for m in measures)
    columns = [column.strip() for column in key.split(",")]
    joined = " AND ".join(f"e.{c} = f.{c}" for c in columns)
    keys = ", ".join(f"coalesce(e.{c}, f.{c})" for c in columns)
    return f"""SELECT {keys}, {pairs} FROM ({expected}) AS e FULL JOIN ({found}) AS f ON {joined}
        WHERE {differ} LIMIT {MAX_FINDINGS + 1}"""


_CELL = "dimension, start, environment, service, key"


#: All measures in one number, so that each counts.
_TOGETHER = f"cost_nano + ({' + '.join(f'{3 + 2 * place} * {m}' for place, m in enumerate(MEASURES[1:]))})"


def _weighed(*keys: str, what: str = _TOGETHER) -> str:
    """A sum that weighs what is summed by its keys: what is booked under a wrong one shows without comparing each."""
    text = " || E'\\x1f' || ".join(keys)
    return f"sum((1 + abs(hashtextextended({text}, 0) %% 999983)) * ({what}))"


def _apart(rows: str, name: str, keys: dict[int, tuple[str, ...]]) -> str:
    """Sums of rows by place, once for each of several ways to weigh them: ``name`` says which."""
    weighed = ", ".join(f"{_weighed(*columns, what='what')} AS k{number}" for number, columns in keys.items())
    values = ", ".join(f"({number}, k{number})" for number in keys)
    return f"""SELECT {name}, {_PLACE}, {_MEASURES}, by_keys FROM (
            SELECT {_PLACE}, {_SUMS}, {weighed} FROM (SELECT *, {_TOGETHER} AS what FROM {rows} OFFSET 0) AS r
            GROUP BY {_PLACE}
        ) AS s CROSS JOIN LATERAL (VALUES {values}) AS k ({name}, by_keys)"""


_PLACE = "start, environment, service"
_WEIGHED_MEASURES = (*MEASURES, "by_keys")
_STEP = f"{_PLACE}, {_SUMS}, {_weighed(*fold.KEYS[2:])} AS by_keys"
STEPS = _compare(
    f"""SELECT {_STEP} FROM (
        SELECT {SPAN_HOUR} AS start, {", ".join(f"{SPAN_KEYS[key.strip(chr(34))]} AS {key}" for key in fold.KEYS)},
            {", ".join(f"{expression} AS {m}" for m, expression in SPAN_MEASURES.items())}
        FROM spans s JOIN runs r ON r.trace_id = s.trace_id AND r.service = s.service
        WHERE s.start_ns >= %(since_ns)s AND s.received_on >= %(received_from)s AND {COUNTED}
    ) AS s GROUP BY {_PLACE}""",
    f"SELECT {_STEP} FROM spend_steps WHERE start >= %(since)s GROUP BY {_PLACE}",
    _PLACE,
    _WEIGHED_MEASURES,
)
_KEY_OF = {Dimension.SERVICE: "''", Dimension.USER: '"user"'}
HOURS = _compare(
    _apart(
        "spend_steps WHERE start >= %(since)s",
        "dimension",
        {int(d): (_KEY_OF.get(d, d.name.lower()),) for d in Dimension},
    ),
    f"""SELECT dimension, {_PLACE}, {_SUMS}, {_weighed("key")} AS by_keys FROM spend_hourly WHERE start >= %(since)s
        GROUP BY dimension, {_PLACE}""",
    f"dimension, {_PLACE}",
    _WEIGHED_MEASURES,
)
DAYS = _compare(
    f"""SELECT dimension, date_trunc('day', start, 'UTC') AS start, environment, service, key, {_SUMS}
        FROM spend_hourly WHERE start >= %(day)s GROUP BY 1, 2, 3, 4, 5""",
    f"SELECT {_CELL}, {_SUMS} FROM spend_days WHERE start >= %(day)s GROUP BY {_CELL}",
    _CELL,
)
WINDOWS = _compare(
    f"""SELECT days || ' days' AS range, dimension, e.environment, key, {_SUMS}
        FROM spend_past AS p JOIN spend_window_range ON start >= begins AND start < ends
        CROSS JOIN LATERAL (VALUES (p.environment), ('')) AS e (environment) GROUP BY 1, 2, 3, 4""",
    f"SELECT days || ' days' AS range, dimension, environment, key, {_MEASURES} FROM spend_window",
    "range, dimension, environment, key",
)
RUNS = _compare(
    f"""SELECT encode(r.trace_id, 'hex') AS run, r.service, told.* FROM runs r
        LEFT JOIN LATERAL (
            SELECT count(*) AS spans,
                {", ".join(f"coalesce(sum({e}) FILTER (WHERE {COUNTED}), 0) AS {m}" for m, e in SPAN_MEASURES.items())}
            FROM spans s WHERE s.trace_id = r.trace_id AND s.service = r.service AND {RECEIVED}
        ) AS told ON true
        WHERE r.last_received_at >= %(touched)s AND r.first_received_at >= %(kept)s""",
    f"""SELECT encode(trace_id, 'hex') AS run, service, spans, {_MEASURES} FROM runs
        WHERE last_received_at >= %(touched)s AND first_received_at >= %(kept)s""",
    "run, service",
    ("spans", *MEASURES),
)
PAIRS = _compare(
    _apart(
        f"(SELECT date_trunc('day', start, 'UTC') AS start, {', '.join(fold.KEYS)}, {_MEASURES} FROM spend_details"
        " WHERE start >= %(day)s) AS d",
        "pair",
        {fold.number(a, b): (a.name.lower(), b.name.lower()) for a, b in fold.PAIRS},
    ),
    f"""SELECT pair, {_PLACE}, {_SUMS}, {_weighed("key", "other_key")} AS by_keys
        FROM spend_pairs WHERE days = 1 AND start >= %(day)s GROUP BY pair, {_PLACE}""",
    f"pair, {_PLACE}",
    _WEIGHED_MEASURES,
)
_BLOCK = "range, pair, start, environment"
_BLOCK_SUMS = f"days || ' days' AS range, pair, start, environment, {_SUMS}, {_weighed('key', 'other_key')} AS by_keys"
BLOCKS = " UNION ALL ".join(
    "("
    + _compare(
        f"SELECT {_BLOCK_SUMS} FROM ({fold.of_closed(days, 'spend_pairs')}) AS t GROUP BY 1, 2, 3, 4",
        f"SELECT {_BLOCK_SUMS} FROM spend_pairs WHERE days = {days} GROUP BY 1, 2, 3, 4",
        _BLOCK,
        _WEIGHED_MEASURES,
    )
    + ")"
    for days in fold.BLOCKS
)
TOTALS = _compare(
    f"""SELECT dimension, c.* FROM unnest(ARRAY[{", ".join(str(int(d)) for d in Dimension)}]) AS d (dimension)
        CROSS JOIN (SELECT {SPAN_KEYS["environment"]} AS environment, r.service, {_SUMS}
            FROM runs r GROUP BY 1, 2) AS c""",
    f"SELECT dimension, environment, service, {_SUMS} FROM spend_days GROUP BY 1, 2, 3",
    "dimension, environment, service",
)
KEYS = _compare(
    """SELECT days || ' days' AS range, dimension, environment, count(*) AS keys FROM spend_window
        WHERE steps <> 0 OR cost_nano <> 0 GROUP BY 1, 2, 3""",
    "SELECT days || ' days' AS range, dimension, environment, keys FROM spend_window_keys",
    "range, dimension, environment",
    ("keys",),
)
LEDGER = _compare(
    "SELECT received_on, count(*) AS spans FROM span_ledger WHERE received_on >= %(kept)s GROUP BY 1",
    "SELECT received_on, count(*) AS spans FROM spans WHERE received_on >= %(kept)s GROUP BY 1",
    "received_on",
    ("spans",),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: its name, its statement, and the measures of which that answers pairs."""

    name: str
    statement: str
    measures: tuple[str, ...] = MEASURES
    over_all_runs: bool = False
    only_whole: bool = False


CHECKS = (
    Check("runs against spans", RUNS, ("spans", *MEASURES)),
    Check("spend by all keys against spans", STEPS, _WEIGHED_MEASURES),
    Check("spend by hour against all keys", HOURS, _WEIGHED_MEASURES),
    Check("spend by day against hours", DAYS),
    Check("spend by day against all runs", TOTALS, over_all_runs=True),
    Check("spend by two keys against all keys", PAIRS, _WEIGHED_MEASURES),
    Check("spend of blocks against days", BLOCKS, _WEIGHED_MEASURES, only_whole=True),
    Check("spend of windows against days", WINDOWS, only_whole=True),
    Check("keys of windows", KEYS, ("keys",), only_whole=True),
    Check("spans against the ledger", LEDGER, ("spans",), only_whole=True),
)
EXTENT = """
SELECT (SELECT reltuples FROM pg_class WHERE oid = 'runs'::regclass),
    (SELECT count(*) FROM spans WHERE received_on >= %(received_from)s),
    (SELECT coalesce(sum(cost_nano), 0) FROM spend_daily WHERE dimension = 0)
"""


def check_books(*, now: datetime, since: datetime | None = None) -> list[Finding]:
    """Every difference between the books' parts, at most ``MAX_FINDINGS`` of each comparison; empty is good.

    - rollups by hour, in every dimension and key, against spans that start at ``since`` or later;
    - rollups by day against those by hour, of the days from the one before ``since``;
    - the totals of runs that received anything since then against their spans;
    - the sums of all runs against each dimension's, over all time.

    Without ``since``: all that spans can still prove, the windows against days, and the spans against the ledger. One
    snapshot is the caller's business.
    """
    parameters = _scope(now, since)
    scope = f"since {since:%Y-%m-%d %H:%M}" if since else "all"
    few = _extent(parameters)[0] < MANY_RUNS
    findings: list[Finding] = []
    for check in CHECKS:
        if since is not None and (check.only_whole or (check.over_all_runs and not few)):
            continue
        with connection.cursor() as cursor:
            cursor.execute(check.statement, parameters)
            for row in cursor.fetchall():
                findings += _differences(f"{check.name} ({scope})", row, check.measures)
    return findings


def _scope(now: datetime, since: datetime | None) -> dict[str, Any]:
    # From this day on all spans are still there: a span is received at most a day before it starts.
    kept = truncate(now.astimezone(UTC), "day") - DAY * (settings.SPAN_RETENTION_DAYS - 1)
    begin = max(since or kept, kept)
    if since is None and not _has_runs_before(kept):
        begin = EPOCH
    return {
        "since": begin,
        "since_ns": int(begin.timestamp()) * 10**9,
        "received_from": (begin - DAY).date(),
        "day": truncate(since, "day") - DAY if since else EPOCH,
        "touched": since or EPOCH,
        "kept": kept,
    }


def _has_runs_before(kept: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM runs WHERE first_received_at < %s)", [kept])
        return bool(cursor.fetchall()[0][0])


def _extent(parameters: dict[str, Any]) -> tuple[int, int, int]:
    """About how many runs there are, how many spans the check looks at, and the cost of everything."""
    with connection.cursor() as cursor:
        cursor.execute(EXTENT, parameters)
        runs, spans, cost = cursor.fetchall()[0]
    return int(runs), int(spans), int(cost)


def _differences(check: str, row: tuple[Any, ...], measures: tuple[str, ...]) -> list[Finding]:
    key, pairs = row[: -2 * len(measures)], row[-2 * len(measures) :]
    words = " ".join(_word(part) for part in key)
    return [
        Finding(check, words, measure, int(expected), int(found))
        for measure, expected, found in zip(measures, pairs[::2], pairs[1::2], strict=True)
        if expected != found
    ]


def _word(part: object) -> str:
    if isinstance(part, datetime):
        return f"{part:%Y-%m-%d %H:%M}"
    if isinstance(part, int):
        return " and ".join(d.label.lower() for d in fold.dimensions(part))
    return str(part) or "(none)"


def reconcile(*, now: datetime, whole: bool = False) -> Reconciliation:
    """Check the books in one snapshot and record the outcome: of the last hours, or of everything."""
    began = time.monotonic()
    since = None if whole else floor_hour(now - RECENT)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(SNAPSHOT)
            cursor.execute(SETTINGS.format(timeout="10min" if whole else "55s"))
        findings = check_books(now=now, since=since)
        _, spans, cost = _extent(_scope(now, since))
    record = Reconciliation.objects.create(
        duration_ms=round((time.monotonic() - began) * 1000),
        spans=spans,
        cost_nano=cost,
        discrepancy_nano=sum(abs(f.found - f.expected) for f in findings if f.measure == "cost_nano"),
        findings=[f.words() for f in findings[:MAX_FINDINGS]],
    )
    Reconciliation.objects.filter(checked_at__lt=now - KEPT).delete()
    return record
