"""What a budget's windows hold, worked out anew from the books.

For a budget that is to count older spend, for one that counts something else from now on, and to see whether windows
and books agree. Runs that began within the window are counted by their own totals, others by their spans.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from psycopg import Cursor

from agentops.budgets import reservations
from agentops.budgets.ceilings import Moment
from agentops.budgets.reservations import HELD, SETTLED, Reservation, stays
from agentops.budgets.store import HIGHEST_REACHED, SPENT_SHARE, Deltas, WindowKey, move, windows_of
from agentops.columns import Texts, transpose
from agentops.domain.budgets import ALWAYS, APART, CALENDAR, NOTHING, Amounts, Budget, Each, Facts
from agentops.domain.spans import DEFAULT_ENVIRONMENT
from agentops.runs.store import IS_MODEL, IS_STEP

#: A step counts at most so long before its span comes.
SLACK = reservations.REMEMBERED
#: A span comes, for its run, when its transaction began, and counts some time within it.
LENGTH = timedelta(minutes=10)
#: Windows before the present one that are filled in.
MOST_PAST, INSTANT = 100, timedelta(microseconds=1)
_COLUMNS = f"""r.service, coalesce(r.environment, '{DEFAULT_ENVIRONMENT}'), coalesce(r."user", ''),
    coalesce(r.feature, ''), coalesce(r.session, ''), encode(r.trace_id, 'hex')"""
FITS = f"""(%(services)s::text[] = '{{}}' OR r.service = ANY(%(services)s))
    AND (%(user)s = '' OR r."user" = %(user)s) AND (%(feature)s = '' OR r.feature = %(feature)s)
    AND (%(session)s = '' OR r.session = %(session)s)
    AND (%(run)s::bytea IS NULL OR r.trace_id = %(run)s)
    AND CASE WHEN %(environment)s <> '' THEN coalesce(r.environment, '{DEFAULT_ENVIRONMENT}') = %(environment)s
        ELSE coalesce(r.environment, '{DEFAULT_ENVIRONMENT}') <> ALL(%(apart)s) END"""
WHOLE = f"""
SELECT {_COLUMNS}, r.cost_nano, r.input_tokens + r.output_tokens, r.steps
FROM runs r WHERE r.first_received_at >= %(whole)s AND r.last_received_at < %(until)s AND {FITS}
"""
PARTS = f"""
SELECT {_COLUMNS}, sum(coalesce(s.cost_nano, 0))::bigint,
    sum(CASE WHEN {IS_MODEL} THEN coalesce(s.input_tokens, 0) + coalesce(s.output_tokens, 0) ELSE 0 END)::bigint,
    count(*)
FROM runs r JOIN spans s ON s.trace_id = r.trace_id AND s.service = r.service AND s.received_on >= %(day)s
WHERE r.last_received_at >= %(received)s AND NOT (r.first_received_at >= %(whole)s AND r.last_received_at < %(until)s)
    AND r.first_received_at < %(latest)s AND {FITS}
    AND s.counted_at >= %(since)s AND s.counted_at < %(until)s AND s.merged_into IS NULL AND {IS_STEP}
GROUP BY r.trace_id, r.service
"""
TIMEOUT = "SET LOCAL statement_timeout = '60s'"
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def since(budget: Budget, at: datetime) -> datetime:
    """From when on spend counts in the windows that a moment is in."""
    return max(budget.window(at)[0], budget.counts_from)


def sums(cursor: Cursor[Any], moment: Moment, budget: Budget, at: datetime) -> dict[WindowKey, Amounts]:
    """What the books have spent in a budget's windows at a moment, which may be past."""
    start, end = budget.window(at)
    parameters = scope_of(budget, moment.ceilings.teams)
    if parameters is None:
        return {}
    begin, until = since(budget, at), end or FOREVER
    ever = begin <= ALWAYS
    parameters |= {
        "since": begin,
        "until": until,
        "received": begin if ever else begin - LENGTH,
        "day": begin.date(),
        "whole": begin if ever else begin + SLACK,
        "latest": FOREVER if end is None else end + SLACK,
    }
    found: dict[WindowKey, Amounts] = {}
    cursor.execute(TIMEOUT)
    for statement in (WHOLE, PARTS):
        cursor.execute(statement, parameters)
        for service, environment, user, feature, session, run, *amounts in cursor:
            facts = Facts(service, environment, user, feature, session, run)
            if (member := budget.member(facts)) is not None:
                key = WindowKey(budget.id, member, start)
                found[key] = found.get(key, NOTHING).plus(Amounts(*amounts))
    return found


def scope_of(budget: Budget, teams: Mapping[str, str]) -> dict[str, Any] | None:
    """What a budget counts, as parameters; ``None`` where that can be nothing."""
    scope = budget.scope
    services = set(scope.services)
    if scope.team:
        of_team = {service for service, team in teams.items() if team == scope.team}
        services = services & of_team if services else of_team
        if not services:
            return None
    if scope.run and not reservations.is_trace_id(scope.run):
        return None
    return {
        "services": sorted(services),
        "user": scope.user,
        "feature": scope.feature,
        "session": scope.session,
        "run": bytes.fromhex(scope.run) if scope.run else None,
        "environment": scope.environment,
        "apart": sorted(APART),
    }


FORGET = "DELETE FROM budget_window WHERE budget_id = %s AND (ends_at IS NULL OR ends_at > %s)"
# What is not said by a check is known from its run.
UNDER_WAY = f"""
SELECT {reservations.COLUMNS}, coalesce(nullif(r.environment, ''), u.environment, '{DEFAULT_ENVIRONMENT}'),
    coalesce(nullif(r."user", ''), u."user", ''), coalesce(nullif(r.feature, ''), u.feature, ''),
    coalesce(nullif(r.session, ''), u.session, '')
FROM budget_reservation r
LEFT JOIN runs u ON u.trace_id = CASE WHEN r.run ~ '^[0-9a-f]{{32}}$' THEN decode(r.run, 'hex') END
    AND u.service = r.service
WHERE r.granted_at >= %s AND (r.state = {HELD} OR (r.state = {SETTLED}
    AND (NOT r.is_counted OR (%s AND r.run <> '' AND r.run !~ '^[0-9a-f]{{32}}$'))))
ORDER BY r.id FOR UPDATE OF r
"""
# What was granted in an open window before its budget began to count is in it no more, however it ends.
LEAVE = """
UPDATE budget_reservation AS r SET windows = (
    SELECT coalesce(jsonb_agg(w ORDER BY place), '[]') FROM jsonb_array_elements(r.windows)
        WITH ORDINALITY AS u (w, place)
    WHERE NOT ((w ->> 0)::bigint = %(budget)s AND (w ->> 2)::bigint = %(start)s))
WHERE r.granted_at >= %(begin)s AND r.granted_at < %(since)s AND NOT r.is_counted
    AND r.windows @> jsonb_build_array(jsonb_build_array(%(budget)s::bigint))
"""
POINT = """
UPDATE budget_reservation AS r SET windows = u.windows::jsonb
FROM unnest(%b::text[], %b::text[]) AS u (id, windows) WHERE r.id = u.id::uuid
"""


def recount(cursor: Cursor[Any], moment: Moment, budget: Budget) -> None:
    """Begin a budget's open windows anew, with what the books and the steps under way have in them.

    The caller holds the lock of ceilings alone, so that nobody books or grants meanwhile.
    """
    cursor.execute(FORGET, [budget.id, moment.at])
    deltas = Deltas()
    start, _ = budget.window(moment.at)
    if (begin := since(budget, moment.at)) > start:
        left = {"budget": budget.id, "begin": start, "start": int(start.timestamp()), "since": begin}
        cursor.execute(LEAVE, left)
    for key, amounts in sums(cursor, moment, budget, moment.at).items():
        deltas.of(key).spend(amounts)
    repointed = []
    for reservation, facts in _under_way(cursor, budget, moment.at):
        others = [key for key in reservation.windows if key.budget_id != budget.id]
        found = [key for one, key in windows_of(moment.ceilings, facts, moment.at) if one.id == budget.id]
        if reservation.is_counted:
            found = [key for key in found if stays(reservation, key, moment.ceilings)]
        for key in found:
            delta = deltas.of(key, service=reservation.service)
            if reservation.is_open:
                delta.hold(reservation.held)
            else:
                delta.spend(reservation.spent or NOTHING)
        if others + found != reservation.windows:
            repointed.append((str(reservation.id), orjson.dumps(reservations.pack(others + found)).decode()))
    if repointed:
        cursor.execute(POINT, transpose((Texts, Texts), repointed))
    move(cursor, moment, deltas)
    if budget.period not in CALENDAR:
        limits = budget.limits_at("", moment.at)
        cursor.execute(QUIET, {"budget": budget.id, "thresholds": list(budget.thresholds), **limits._asdict()})


# Runs and sessions that were over before somebody made a ceiling for them are no news.
QUIET = f"""
UPDATE budget_window AS w SET is_due = false, exhausted_at = CASE WHEN s.share >= 1 THEN clock_timestamp() END,
    fired = {HIGHEST_REACHED}
FROM (
    SELECT w.member, w.starts_at, {SPENT_SHARE} AS share
    FROM budget_window w WHERE w.budget_id = %(budget)b AND w.is_due
) AS s WHERE w.budget_id = %(budget)b AND w.member = s.member AND w.starts_at = s.starts_at
"""
PAST = "UPDATE budget_window SET is_due = false WHERE budget_id = %b AND ends_at <= %b"


def recount_past(cursor: Cursor[Any], moment: Moment, budget: Budget) -> int:
    """Fill in the windows that were over before a budget counted, the latest first; how many there are.

    Nobody is told of them.
    """
    if budget.period not in CALENDAR:
        return 0
    deltas, filled = Deltas(), 0
    at = budget.window(moment.at)[0] - INSTANT
    while at >= budget.counts_from and filled < MOST_PAST:
        start, _ = budget.window(at)
        for key, amounts in sums(cursor, moment, budget, at).items():
            deltas.of(key).spend(amounts)
        filled, at = filled + 1, start - INSTANT
    move(cursor, moment, deltas)
    cursor.execute(PAST, [budget.id, moment.at])
    return filled


def _under_way(cursor: Cursor[Any], budget: Budget, at: datetime) -> list[tuple[Reservation, Facts]]:
    """What was granted in the open windows and counts there by itself, with all that is known of it."""
    cursor.execute(UNDER_WAY, [since(budget, at), Each.RUN in budget.parts])
    found = []
    for *row, environment, user, feature, session in cursor.fetchall():
        reservation = reservations.read(row)
        facts = Facts(reservation.service, environment, user, feature, session, reservation.run)
        found.append((reservation, facts))
    return found
